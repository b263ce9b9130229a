"""Procedural street scenes with exact labels, in the classes and colours of CamVid.

A scene is a straight street seen by a driver: houses and gardens on both sides, pavements, a road
with cars and cyclists, trees, lamps, signs and people. Everything is drawn from three integers
(seed, split, index), so the data set needs no files and never changes between runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from sdabn_cli.contracts import Example
from sdabn_plugins import scene_painting as paint
from sdabn_plugins.scene_painting import Camera, Canvas, Light, capsules

PALETTE = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
VOID = 11
COUNTS = {"train": 400, "val": 60, "test": 60}
SIZES = (64, 4096)
END = 130.0  # metres to the end of the street

# zenith, horizon, cloud; sun tint, shade tint; cloud cover, shadow depth, metres of visibility
WEATHER = {
    "noon": ((92, 148, 214), (200, 222, 236), (250, 250, 250), (1.10, 1.06, 0.98),
             (0.64, 0.69, 0.80), 0.35, 0.42, 260),
    "morning": ((126, 174, 220), (246, 228, 204), (255, 244, 230), (1.12, 1.03, 0.88),
                (0.64, 0.67, 0.78), 0.30, 0.40, 170),
    "overcast": ((172, 182, 194), (216, 220, 222), (232, 234, 236), (0.98, 0.98, 0.98),
                 (0.78, 0.80, 0.84), 0.75, 0.16, 150),
    "golden": ((118, 150, 198), (250, 212, 164), (255, 222, 186), (1.16, 1.00, 0.78),
               (0.62, 0.61, 0.74), 0.35, 0.42, 160),
    "dusk": ((96, 104, 160), (236, 180, 168), (228, 166, 170), (0.94, 0.83, 0.82),
             (0.56, 0.56, 0.70), 0.45, 0.22, 150),
    "mist": ((190, 202, 212), (222, 226, 226), (238, 240, 240), (0.98, 0.97, 0.94),
             (0.80, 0.82, 0.85), 0.60, 0.12, 70),
}
# Each row is one street's wall colours; roofs, doors and clothes go with all of them.
WALLS = np.array([
    [(186, 98, 76), (214, 178, 136), (168, 84, 68), (226, 208, 178), (198, 134, 98)],
    [(232, 222, 202), (206, 190, 160), (184, 196, 196), (222, 196, 172), (172, 120, 98)],
    [(226, 178, 150), (236, 214, 156), (164, 192, 188), (214, 150, 136), (240, 232, 216)],
    [(150, 140, 134), (190, 180, 168), (158, 104, 86), (204, 200, 194), (130, 132, 140)],
    [(202, 162, 120), (176, 112, 84), (224, 204, 170), (156, 166, 148), (230, 220, 206)],
], dtype=np.float32)
ROOFS = np.array([(146, 78, 62), (98, 92, 96), (122, 88, 74), (86, 92, 104)], dtype=np.float32)
DOORS = np.array([(94, 58, 44), (52, 84, 74), (46, 66, 104), (138, 52, 48), (70, 70, 74)])
FOLIAGE = np.array([(96, 140, 66), (78, 124, 62), (122, 152, 66), (104, 128, 58), (196, 146, 62),
                    (206, 112, 58)], dtype=np.float32)
CAR_PAINT = np.array([(186, 52, 48), (52, 92, 150), (226, 226, 222), (58, 62, 68), (168, 174, 178),
                      (222, 178, 74), (84, 130, 112), (126, 60, 70), (120, 168, 196)])
CLOTHES = np.array([(178, 66, 62), (62, 92, 138), (224, 208, 182), (70, 74, 84), (212, 156, 72),
                    (92, 132, 104), (142, 96, 134), (236, 236, 230), (96, 142, 172)])
TROUSERS = np.array([(54, 64, 92), (62, 60, 62), (116, 98, 78), (80, 92, 112), (146, 132, 112)])
SKIN = np.array([(236, 196, 166), (206, 158, 122), (150, 104, 78), (104, 72, 56)])
HAIR = np.array([(58, 42, 34), (112, 76, 46), (196, 158, 96), (40, 38, 40), (150, 148, 146)])
GLASS = np.array((86, 106, 124))


@dataclass
class Street:
    """What the things in one scene share: canvas, random stream and cross-section (metres)."""

    canvas: Canvas
    rng: np.random.Generator
    edges: tuple[float, float]  # x of the kerbs, left and right
    fronts: tuple[float, float]  # x of the house fronts, left and right
    parking: tuple[bool, bool]
    lanes: tuple[float, float]  # x of the lanes' middles, left and right
    walls: np.ndarray  # (5, 3) wall colours
    foliage: np.ndarray  # (3,)
    urban: float  # 0 village to 1 city
    dusk: bool

    def pick(self, colours: np.ndarray) -> np.ndarray:
        """Choose one of the colours (N, 3) and vary it a little."""
        return colours[self.rng.integers(len(colours))] * self.rng.uniform(0.92, 1.06, 3)

    def facing(self, *normal: float) -> float:
        """Return how far a surface of this unit normal is turned to the sun, 0..1."""
        return float(self.canvas.light.facing(normal))


def rectangles(origin: tuple, along: tuple, spans: np.ndarray) -> np.ndarray:
    """Place upright rectangles (M, 4: from, bottom, to, top) on a wall; returns (M, 4, 3)."""
    spans = np.asarray(spans, dtype=np.float32).reshape(-1, 4)
    run, rise = spans[:, [0, 2, 2, 0]], spans[:, [1, 1, 3, 3]]
    up = np.array((0, 1, 0))
    return np.asarray(origin) + run[..., None] * np.asarray(along) + rise[..., None] * up


def upright(outlines: np.ndarray, x: float, z: float) -> np.ndarray:
    """Stand flat outlines (M, K, 2) that face the camera on the ground at (x, z)."""
    depth = np.full((*outlines.shape[:2], 1), z, dtype=np.float32)
    return np.concatenate([outlines + (x, 0), depth], axis=-1)


def draw_limbs(street: Street, x: float, z: float, limbs: list, colours: list, part: int) -> None:
    """Draw rounded limbs (M rows, see `capsules`) at (x, z), each with a lit and a shaded side."""
    rows, colours = np.asarray(limbs, dtype=np.float32), np.asarray(colours, dtype=np.float32)
    lit = rows * (1, 1, 0.62, 1, 1, 0.62)
    lit[:, [0, 3]] += 0.33 * rows[:, [2, 5]] * np.sign(street.canvas.light.toward[0])
    both = np.stack([capsules(rows), capsules(lit)], axis=1).reshape(-1, 12, 2)
    facing = np.tile([0.3, 0.75], len(rows))
    street.canvas.faces(upright(both, x, z), np.repeat(colours, 2, axis=0), part, facing)


def draw_shadow(street: Street, x: float, z: float, half_width: float, reach: float) -> None:
    """Cast a round shadow on the ground, drawn out away from the sun."""
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    away = -np.sign(street.canvas.light.toward[0]) * reach
    across = half_width * np.cos(angle)
    across += np.where(across * away > 0, away, 0)
    street.canvas.shadow(x + across, z + half_width * np.sin(angle))


def draw_ground(street: Street) -> None:
    """Draw pavements, kerbs, the road and its markings."""
    canvas, rng, (left, right) = street.canvas, street.rng, street.edges
    middle = sum(street.lanes) / 2
    up = street.facing(0, 1, 0)
    asphalt = np.array((104, 104, 110)) * rng.uniform(0.84, 1.12)
    slabs = np.array((190, 180, 168)) * rng.uniform(0.88, 1.05, 3)
    strips = [(-80, 80, slabs, paint.PAVEMENT), (left, right, asphalt, paint.ROAD)]
    for edge, side in ((left, -1), (right, 1)):
        strips.append((edge, edge - side * 0.25, asphalt * 0.8, paint.ROAD))
        strips.append((edge, edge + side * 0.22, slabs * 1.14, paint.PAVEMENT))
    for start, stop, colour, part in strips:
        canvas.faces(_patch(start, stop, 0, END * 3), [colour], part, up)
    paintwork = np.array((226, 224, 214)) * rng.uniform(0.9, 1.04)
    for z in np.arange(rng.uniform(0, 6), END, 6.5):
        canvas.faces(_patch(middle - 0.07, middle + 0.07, z, z + 3), [paintwork], paint.ROAD, up)
    for side, edge in enumerate(street.edges):
        if street.parking[side]:
            line = edge + (2.15 if side == 0 else -2.15)
            canvas.faces(_patch(line - 0.05, line + 0.05, 0, END), [paintwork], paint.ROAD, up)
    if rng.random() < 0.35:
        z = rng.uniform(6, 22)
        for x in np.arange(left + 0.5, right - 0.5, 1.0):
            canvas.faces(_patch(x, x + 0.5, z, z + 3), [paintwork], paint.ROAD, up)


def _patch(left: float, right: float, near: float, far: float) -> np.ndarray:
    """Return a rectangle on the ground, (1, 4, 3)."""
    return np.array([[(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]])


def draw_background(street: Street) -> None:
    """Close the end of the street with distant houses and a line of trees."""
    rng, z = street.rng, END * 1.25
    count = 26
    x = np.linspace(-90, 90, count) + rng.uniform(-3, 3, count)
    top = rng.uniform(5, 9 + 16 * street.urban, count)
    houses = rectangles((0, 0, z), (1, 0, 0), np.stack([x - 4, 0 * x, x + 4, top], 1))
    street.canvas.faces(houses, street.walls[rng.integers(5, size=count)], paint.BUILDING, 0.4)
    if rng.random() < 0.7 - 0.4 * street.urban:
        count, x = 60, rng.uniform(-80, 80, 60)
        low = rng.uniform(1, 5, count)
        wide = rng.uniform(2, 5, count)
        crowns = capsules(np.stack([x, 0 * x, wide, x, low, wide], 1))
        tones = street.foliage * rng.uniform(0.75, 1.05, (count, 1))
        street.canvas.faces(upright(crowns, 0, z - 8), tones, paint.TREE)


def draw_building(street: Street, side: int, start: float, stop: float) -> None:
    """Draw one house of the row on the left (-1) or the right (1) from z = start to stop."""
    canvas, rng = street.canvas, street.rng
    x = street.fronts[side > 0]
    storeys = int(rng.integers(2, 4 + round(4 * street.urban)))
    ground, storey = rng.uniform(3.2, 3.9), rng.uniform(2.8, 3.3)
    height = ground + storey * (storeys - 1) + 0.5
    wall = street.pick(street.walls)
    bricks = rng.random() < 0.55
    part = (paint.RIGHT_BRICKS if side > 0 else paint.LEFT_BRICKS) if bricks else paint.BUILDING
    fronts = (street.facing(-side, 0, 0), street.facing(0, 0, -1))
    _draw_roof(street, side, start, stop, height, wall)
    gable = rectangles((x, 0, start), (side, 0, 0), [(0, 0, 11, height)])
    canvas.faces(gable, [wall], paint.BUILDING, fronts[1])
    bays = max(2, round((stop - start) / rng.uniform(2.4, 3.4)))
    edges = np.linspace(0, stop - start, bays + 1)
    low = np.zeros(bays)
    spans = np.stack([edges[:-1], low, edges[1:], low + height], 1)
    origin, along = (x, 0, start), (0, 0, 1)
    canvas.faces(rectangles(origin, along, spans[::-1]), [wall], part, fronts[0])
    trim = wall * 0.35 + np.array((240, 236, 226)) * 0.62
    bands = [(0, 0, stop - start, 0.5), (0, height - 0.45, stop - start, height)]
    bands += [(0, ground - 0.12, stop - start, ground + 0.1)]
    tones = np.array([wall * 0.72, trim, trim * 0.96])
    canvas.faces(rectangles(origin, along, bands), tones, paint.BUILDING, fronts[0])
    style = (rng.uniform(0.42, 0.6), rng.uniform(0.5, 0.62), trim)
    levels = ground + storey * np.arange(storeys - 1)
    _draw_windows(street, (*origin, 0), along, edges, levels, storey, style, fronts[0])
    _draw_windows(street, (x, 0, start, 0), (side, 0, 0), np.linspace(0.6, 10.4, 4), levels,
                  storey, style, fronts[1])
    _draw_ground_floor(street, side, edges, start, ground, trim)
    reach = height * street.canvas.light.shadow * 1.1
    if side * canvas.light.toward[0] > 0:
        canvas.shadow([x, x, x - side * reach, x - side * reach],
                      [start, stop, stop + 0.2 * reach, start + 0.2 * reach])


def _draw_roof(
    street: Street, side: int, start: float, stop: float, height: float, wall: np.ndarray
) -> None:
    """Draw a pitched roof with its gable and a chimney; tall city houses stay flat."""
    if street.rng.random() < 0.7 * street.urban:
        return
    x, rise = street.fronts[side > 0], street.rng.uniform(2.5, 6)
    ridge, top = x + side * 5.5, height + rise
    roof = street.pick(ROOFS)
    facing = street.facing(-side * 0.5, 0.86, 0)
    z = start + (stop - start) * street.rng.uniform(0.3, 0.7)
    stack = rectangles((ridge - side, 0, z), (1, 0, 0), [(-0.5, height, 0.5, top + 0.9)])
    street.canvas.faces(stack, [ROOFS[0]], paint.BUILDING, street.facing(0, 0, -1))
    steps = np.linspace(0, 1, 6)[:, None]
    eaves = np.array((x - side * 0.3, height, 0)), np.array((ridge, top, 0))
    lines = eaves[0] + steps * (eaves[1] - eaves[0])
    rows = np.stack([lines[:-1], lines[:-1], lines[1:], lines[1:]], 1)
    rows[:, [0, 3], 2], rows[:, [1, 2], 2] = start - 0.2, stop + 0.2
    tones = roof * np.array([0.93, 1.03, 0.97, 1.05, 1.0])[:, None]
    street.canvas.faces(rows, tones, paint.BUILDING, facing)
    gable = [[(x, height, start), (x + side * 11, height, start), (ridge, top, start)]]
    street.canvas.faces(gable, [wall], paint.BUILDING, street.facing(0, 0, -1))


def _draw_windows(
    street: Street, origin: tuple, along: tuple, edges: np.ndarray, levels: np.ndarray,
    storey: float, style: tuple, facing: float,
) -> None:
    """Draw a grid of windows between the bay `edges` (B + 1,) on the floors `levels` (F,)."""
    rng, canvas = street.rng, street.canvas
    wide, high, trim = style
    centre, level = np.meshgrid((edges[1:] + edges[:-1]) / 2, levels)
    centre, level = centre.ravel()[::-1], level.ravel()[::-1]
    half = (edges[1] - edges[0]) * wide / 2
    low, top = level + 0.28 * storey, level + (0.28 + high) * storey
    place = origin[:3], along

    def draw(grow: float, bottom: np.ndarray, upper: np.ndarray, colours: np.ndarray) -> None:
        spans = np.stack([centre - half - grow, bottom, centre + half + grow, upper], 1)
        canvas.faces(rectangles(*place, spans), colours, paint.BUILDING, facing)

    near = canvas.camera.scale(origin[2] + float(edges.mean()) * along[2] + 1) > 9
    tones = GLASS * rng.uniform(0.75, 1.25, (len(centre), 1))
    if street.dusk:
        tones[rng.random(len(tones)) < 0.4] = (250, 206, 128)
    if near:
        draw(0.12, low - 0.12, top + 0.12, [trim])
    draw(0.0, low, top, tones)
    if not near:
        return
    draw(0.0, top - rng.uniform(0.1, 0.3) * (top - low), top, tones * 0.7)
    draw(0.05 - half, low, top, [trim])
    draw(0.22, low - 0.2, low - 0.06, [trim * 1.05])


def _draw_ground_floor(
    street: Street, side: int, edges: np.ndarray, start: float, ground: float, trim: np.ndarray
) -> None:
    """Draw doors and either windows or shop fronts with awnings on the ground floor."""
    rng, x = street.rng, street.fronts[side > 0]
    canvas, place = street.canvas, ((x, 0, start), (0, 0, 1))
    facing = street.facing(-side, 0, 0)
    shop = rng.random() < 0.25 + 0.5 * street.urban
    door, accent = int(rng.integers(len(edges) - 1)), street.pick(DOORS)
    cloth = np.stack([street.pick(CLOTHES), (238, 232, 220)])
    for bay in reversed(range(len(edges) - 1)):
        a, b = edges[bay], edges[bay + 1]
        middle, half = (a + b) / 2, (b - a) * 0.42
        if bay == door:
            spans = [(middle - 0.68, 0, middle + 0.68, 2.5), (middle - 0.52, 0.05, middle + 0.52,
                     2.0), (middle - 0.52, 2.06, middle + 0.52, 2.4)]
            tones = np.stack([trim, accent, GLASS])
        else:
            spans = [(middle - half, 0.45 if shop else 0.95, middle + half, 2.65),
                     (middle - half + 0.1, 0.6 if shop else 1.05, middle + half - 0.1, 2.5),
                     (middle - 0.04, 0.6 if shop else 1.05, middle + 0.04, 2.5)]
            pane = np.array((246, 214, 150)) if street.dusk and shop else GLASS * 0.9
            tones = np.stack([accent if shop else trim, pane, accent if shop else trim])
        canvas.faces(rectangles(*place, spans), tones, paint.BUILDING, facing)
        if shop:
            stripes = np.linspace(a + 0.1, b - 0.1, 7)
            top = np.stack([stripes[:-1], stripes[1:], stripes[1:], stripes[:-1]], 1)
            awning = np.empty((6, 4, 3))
            awning[..., 2] = start + top
            awning[..., 0] = x - side * np.array((0, 0, 1.1, 1.1))
            awning[..., 1] = np.array((ground - 0.3, ground - 0.3, 2.45, 2.45))
            canvas.faces(awning[::-1], cloth[np.arange(6) % 2], paint.BUILDING, facing)


def draw_garden(street: Street, side: int, start: float, stop: float) -> None:
    """Draw a gap between the houses: trees and bushes behind a fence."""
    rng, x = street.rng, street.fronts[side > 0]
    hedge = np.arange(start, stop, 0.9)[::-1]
    for z in np.sort(rng.uniform(start + 1, stop, max(1, round((stop - start) / 5))))[::-1]:
        draw_tree(street, x + side * rng.uniform(2, 5), float(z), rng.uniform(4, 8))
    limbs = np.stack([0 * hedge, 0 * hedge, 0 * hedge + 1.0, 0 * hedge,
                      rng.uniform(0.6, 1.3, len(hedge)), rng.uniform(0.7, 1, len(hedge))], 1)
    bushes = np.concatenate([capsules(limbs) + (x + side * 1.4, 0),
                             np.broadcast_to(hedge[:, None, None], (len(hedge), 12, 1))], axis=-1)
    tones = street.foliage * rng.uniform(0.6, 0.85, (len(hedge), 1))
    street.canvas.faces(bushes, tones, paint.LEAVES, street.facing(-side, 0, 0))
    draw_fence(street, x, start, stop, rng.uniform(1.0, 1.7), -side)


def draw_fence(
    street: Street, x: float, start: float, stop: float, height: float, normal: float
) -> None:
    """Draw a plank fence along the street at x."""
    rng = street.rng
    colour = np.array([(232, 228, 218), (150, 110, 78), (112, 124, 112), (176, 148, 116)])
    colour = street.pick(colour)
    posts = np.arange(start, stop, 0.22)[::-1]
    low = np.full(len(posts), 0.08)
    spans = np.stack([posts, low, posts + 0.17, low + height - rng.choice([0.0, 0.1]) *
                      (np.arange(len(posts)) % 2)], 1)
    place, facing = ((x, 0, 0), (0, 0, 1)), street.facing(normal, 0, 0)
    steps = np.arange(start, stop, 3.0)[::-1]
    back = np.stack([steps, 0 * steps, np.minimum(steps + 3, stop), 0 * steps + height * 0.86], 1)
    street.canvas.faces(rectangles(*place, back), [colour * 0.6], paint.FENCE, facing)
    tones = colour * rng.uniform(0.88, 1.06, (len(posts), 1))
    street.canvas.faces(rectangles(*place, spans), tones, paint.FENCE, facing)


def draw_tree(street: Street, x: float, z: float, height: float) -> None:
    """Draw a tree of leaf clumps, dark below and inside, light toward the sun."""
    rng, canvas = street.rng, street.canvas
    size = canvas.camera.scale(z)
    bark, colour = np.array((112, 88, 68)), street.foliage * rng.uniform(0.9, 1.1, 3)
    lean, thick = rng.uniform(-0.3, 0.3), 0.032 * height
    fork = 0.5 * height
    limbs = [(0, 0, thick, lean, fork, thick * 0.7)]
    limbs += [(lean, fork - 0.5, thick * 0.5, lean + s * 0.16 * height, 0.66 * height, thick * 0.3)
              for s in (-1, 0.2, 1)]
    draw_limbs(street, x, z, limbs, [bark] * 4, paint.TREE)
    count = int(np.clip(size * height / 3, 16, 110))
    radius, slim = height * rng.uniform(0.24, 0.34), rng.uniform(0.75, 1.25)
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count))
    across, rise = reach * np.cos(angle), reach * np.sin(angle)
    light = 0.45 * across * np.sign(canvas.light.toward[0]) + 0.75 * rise
    order = np.argsort(light + rng.normal(0, 0.25, count))
    clumps = radius * rng.uniform(0.2, 0.42, count) * (1.1 - 0.4 * reach)
    turn = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], -1) * rng.uniform(0.75, 1.2, (count, 9, 1))
    middle = np.stack([lean + across * radius, 0.68 * height + rise * radius * slim], 1)
    outlines = middle[:, None] + ring * clumps[:, None, None]
    tones = colour * (0.92 + 0.24 * light[:, None] + rng.normal(0, 0.05, (count, 1)))
    part = paint.LEAVES if size > 9 else paint.TREE
    canvas.faces(upright(outlines[order], x, z), tones[order], part, 0.5 + 0.35 * light[order])
    draw_shadow(street, x, z, radius * 0.9, 1.2)


@cache
def car_rings(kind: str) -> np.ndarray:
    """Return a car body as rings (S, 8, 3) around stations from its tail (z = 0) to its nose."""
    # position along, height of the waist, height of the top, half width of the top
    stations = np.array({
        "saloon": [(0, 0.78, 0.84, 0.7), (0.6, 0.9, 0.95, 0.76), (1.25, 0.92, 1.4, 0.58),
                   (2.3, 0.92, 1.43, 0.6), (3.15, 0.9, 0.95, 0.76), (4.25, 0.74, 0.8, 0.72),
                   (4.45, 0.6, 0.64, 0.66)],
        "hatchback": [(0, 0.82, 0.9, 0.74), (0.12, 0.92, 1.0, 0.74), (0.5, 0.94, 1.46, 0.6),
                      (2.0, 0.94, 1.5, 0.62), (2.85, 0.92, 0.98, 0.76), (3.75, 0.76, 0.82, 0.72),
                      (3.9, 0.6, 0.66, 0.66)],
        "van": [(0, 1.05, 1.95, 0.78), (0.08, 1.1, 2.05, 0.8), (2.6, 1.1, 2.08, 0.82),
                (3.7, 1.1, 1.98, 0.76), (4.3, 1.05, 1.15, 0.8), (4.9, 0.85, 0.95, 0.78),
                (5.0, 0.65, 0.7, 0.7)],
    }[kind])
    half = np.full(len(stations), 0.88)
    half[[0, -1]] = 0.8
    rows = [(half * 0.94, 0.2), (half, 0.52), (half * 0.98, stations[:, 1]),
            (stations[:, 3], stations[:, 2])]
    x, y = (np.stack([np.broadcast_to(r[i], half.shape) for r in rows], 1) for i in (0, 1))
    ring = np.concatenate([np.stack([-x, y], -1), np.stack([x, y], -1)[:, ::-1]], 1)
    along = np.broadcast_to(stations[:, None, :1], (*ring.shape[:2], 1))
    return np.concatenate([ring, along], -1)


def draw_car(street: Street, x: float, z: float, oncoming: bool) -> None:
    """Draw a car whose near end is at z, seen from behind or oncoming."""
    rng, canvas = street.rng, street.canvas
    rings = car_rings(str(rng.choice(["saloon", "hatchback", "hatchback", "van"]))).copy()
    length, stations = rings[-1, 0, 2], len(rings)
    if oncoming:
        rings[..., 2] = length - rings[..., 2]
    rings += (x, 0, z)
    colour = street.pick(CAR_PAINT)
    upper = np.arange(stations - 1)
    quads = np.stack([rings[:-1], rings[1:], np.roll(rings[1:], -1, 1), np.roll(rings[:-1], -1, 1)],
                     axis=2)
    glazed = np.zeros((stations - 1, 8), dtype=bool)
    tall = rings[:, 3, 1] - rings[:, 2, 1] > 0.3
    glazed[:, [2, 4]] = (tall[1:] & tall[:-1])[:, None]
    glazed[:, 3] = tall[1:] ^ tall[:-1]
    del upper
    quads, glazed = quads[:, :7].reshape(-1, 4, 3), glazed[:, :7].ravel()
    normals = np.cross(quads[:, 1] - quads[:, 0], quads[:, 3] - quads[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    middle = quads.mean(1)
    inside = middle - (x, 0.7, z + length / 2)
    normals *= np.where((normals * inside).sum(1) < 0, -1, 1)[:, None]
    seen = (normals * ((0, canvas.camera.eye, 0) - middle)).sum(1) > 0
    order = np.flatnonzero(seen)[np.argsort(-middle[seen, 2])]
    facing = canvas.light.facing(normals)
    tyres = rectangles((x, 0, z + 0.6), (1, 0, 0), [(-0.82, 0, -0.6, 0.4), (0.6, 0, 0.82, 0.4),
                                                    (-0.82, 0.1, 0.82, 0.3)])
    canvas.faces(tyres, [(34, 34, 38)], paint.CAR, 0.3)
    canvas.faces(quads[order], [colour], paint.CAR, facing[order])
    order = order[glazed[order]]
    panes = middle[order, None] + (quads[order] - middle[order, None]) * 0.84
    canvas.faces(panes, [GLASS * 0.72], paint.CAR, facing[order])
    _draw_wheels(street, x, z, length)
    _draw_car_end(street, rings[-1 if oncoming else 0], oncoming, colour)
    canvas.shadow(x + np.array((-1.05, 1.05, 1.05, -1.05)),
                  z + np.array((-0.25, -0.25, length, length)))
    away = -np.sign(canvas.light.toward[0])
    canvas.shadow(x + away * np.array((0, 1.7, 1.7, 0)), z + np.array((0.1, 0.4, length, length)))


def _draw_wheels(street: Street, x: float, z: float, length: float) -> None:
    """Draw the wheels on the side of a car that is turned to the camera."""
    side = x - np.sign(x) * 0.9
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for start in (z + length - 0.8, z + 0.8):
        for radius, tone in ((0.36, 40), (0.32, 30), (0.19, 168), (0.07, 90)):
            wheel = np.stack([np.full(16, side), 0.33 + radius * np.sin(turn),
                              start + radius * np.cos(turn)], -1)
            street.canvas.faces([wheel], [(tone, tone, tone + 3)], paint.CAR, 0.6)


def _draw_car_end(street: Street, ring: np.ndarray, oncoming: bool, colour: np.ndarray) -> None:
    """Close the near end (8, 3) of a car with its lights, number plate and bumper."""
    x, z = float(ring[:, 0].mean()), float(ring[0, 2])
    waist, top = ring[2, 1], ring[3, 1]
    canvas, facing = street.canvas, street.facing(0, 0, -1)
    canvas.faces([ring], [colour], paint.CAR, facing)
    if top > 1.5:
        pane = rectangles((x, 0, z), (1, 0, 0), [(-0.62, waist + 0.05, 0.62, top - 0.12)])
        canvas.faces(pane, [GLASS * 0.72], paint.CAR, facing)
    lamp = (250, 246, 224) if oncoming else (206, 40, 38)
    low = waist - 0.24
    spans = [(-0.72, low, -0.44, low + 0.17), (0.44, low, 0.72, low + 0.17),
             (-0.26, 0.42, 0.26, 0.54), (-0.78, 0.2, 0.78, 0.34)]
    if oncoming:
        spans.append((-0.4, low, 0.4, low + 0.13))
    tones = np.array([lamp, lamp, (236, 232, 214), (52, 54, 58), (44, 46, 50)])[: len(spans)]
    canvas.faces(rectangles((x, 0, z), (1, 0, 0), spans), tones, paint.CAR, 0.8)


def draw_pedestrian(street: Street, x: float, z: float) -> None:
    """Draw a walking person, 1.1 to 1.9 m tall."""
    rng = street.rng
    tall = rng.uniform(1.1, 1.35) if rng.random() < 0.15 else rng.uniform(1.55, 1.9)
    stride, way = rng.uniform(0.04, 0.17), rng.choice([-1, 1])
    skin, hair, shirt, legs = (street.pick(c) for c in (SKIN, HAIR, CLOTHES, TROUSERS))
    shoes, coat = np.array((60, 48, 44)), rng.random() < 0.4
    limbs, colours = [], []
    for sign, tone in ((-1, 0.8), (1, 1.0)):
        foot = sign * stride
        limbs += [(foot, 0.025, 0.02, foot + way * 0.05, 0.02, 0.018),
                  (0.02 * sign, 0.5, 0.055, foot * 0.6 + way * 0.025, 0.27, 0.045),
                  (foot * 0.6 + way * 0.025, 0.27, 0.045, foot, 0.05, 0.03)]
        colours += [shoes, legs * tone, legs * tone]
    limbs += [(-0.07, 0.76, 0.03, -0.09 - stride * 0.6, 0.5, 0.022)]
    limbs += [(0, 0.77, 0.08, 0, 0.4 if coat else 0.52, 0.1 if coat else 0.075)]
    limbs += [(0.08, 0.77, 0.032, 0.09 + stride * 0.6, 0.52, 0.024),
              (0.09 + stride * 0.6, 0.5, 0.02, 0.095 + stride * 0.6, 0.48, 0.02),
              (0, 0.82, 0.03, 0, 0.87, 0.03), (0, 0.91, 0.055, 0, 0.935, 0.058),
              (-0.012 * way, 0.955, 0.06, -0.025 * way, 0.93, 0.05)]
    colours += [shirt * 0.8, shirt, shirt * 0.92, skin, skin, skin, hair]
    if rng.random() < 0.4:
        limbs.append((-way * 0.1, 0.74, 0.045, -way * 0.1, 0.62, 0.055))
        colours.append(street.pick(CLOTHES))
    draw_limbs(street, x, z, np.array(limbs) * tall, colours, paint.PEDESTRIAN)
    draw_shadow(street, x, z, 0.26, 0.9)


def draw_cyclist(street: Street, x: float, z: float) -> None:
    """Draw a person on a bicycle, from nearly end-on to side-on."""
    rng = street.rng
    turn = rng.choice([-1, 1]) * rng.uniform(0.22, 1.0)
    skin, hair, shirt, legs = (street.pick(c) for c in (SKIN, HAIR, CLOTHES, TROUSERS))
    frame, helmet = street.pick(CAR_PAINT), street.pick(CLOTHES)
    tyre = np.array((46, 46, 50))
    limbs, colours = [], []
    angle = np.linspace(0, 2 * np.pi, 15)
    for hub in (-0.5, 0.55):
        ring = np.stack([hub + 0.33 * np.cos(angle), 0.35 + 0.33 * np.sin(angle),
                         np.full(15, 0.028)], 1)
        limbs += np.concatenate([ring[:-1], ring[1:]], 1).tolist()
        limbs += [(hub, 0.35, 0.03, *spoke) for spoke in ring[1:8:2] * (1, 1, 0.3)]
        colours += [tyre] * 14 + [np.array((150, 152, 156))] * 4
    bars = [(-0.5, 0.35, -0.05, 0.32), (-0.05, 0.32, -0.2, 0.9), (-0.2, 0.82, 0.38, 0.86),
            (-0.05, 0.32, 0.38, 0.84), (0.36, 0.98, 0.55, 0.35), (-0.5, 0.35, -0.18, 0.8)]
    limbs += [(a, b, 0.03, c, d, 0.03) for a, b, c, d in bars]
    limbs += [(-0.3, 0.95, 0.05, -0.08, 0.95, 0.035), (0.32, 1.02, 0.03, 0.46, 1.04, 0.03)]
    colours += [frame] * 6 + [tyre] * 2
    lift = rng.uniform(-0.12, 0.12)
    for sign, tone in ((-1, 0.78), (1, 1.0)):
        pedal = (-0.05 + 0.1 * sign, 0.3 + lift * sign)
        knee = (0.24, 0.72 + 0.6 * lift * sign)
        limbs += [(-0.18, 1.0, 0.1, *knee, 0.075), (*knee, 0.075, *pedal, 0.05),
                  (*pedal, 0.05, pedal[0] + 0.13, pedal[1] - 0.02, 0.04)]
        colours += [legs * tone, legs * tone, np.array((58, 48, 46))]
    limbs += [(-0.2, 1.04, 0.13, 0.14, 1.42, 0.15), (0.16, 1.42, 0.06, 0.3, 1.16, 0.05),
              (0.3, 1.16, 0.05, 0.42, 1.06, 0.04), (0.2, 1.52, 0.05, 0.24, 1.62, 0.06),
              (0.26, 1.66, 0.1, 0.26, 1.7, 0.1), (0.2, 1.74, 0.1, 0.28, 1.76, 0.08)]
    colours += [shirt, shirt * 0.9, skin, skin, skin, helmet if rng.random() < 0.6 else hair]
    rows = np.array(limbs) * (turn, 1, 1, turn, 1, 1)
    draw_limbs(street, x, z, rows, colours, paint.BICYCLIST)
    draw_shadow(street, x, z, 0.3 + 0.4 * abs(turn), 0.6)


def draw_lamp(street: Street, x: float, z: float) -> None:
    """Draw a lamp post whose arm reaches over the road."""
    height, arm = street.rng.uniform(4.5, 7.5), -np.sign(x) * 1.3
    grey = np.array((92, 98, 100))
    lamp = np.array((255, 232, 170)) if street.dusk else np.array((222, 222, 212))
    limbs = [(0, 0, 0.13, 0, 1.0, 0.1), (0, 0.9, 0.085, 0, height, 0.06),
             (0, height, 0.06, arm * 0.5, height + 0.35, 0.05),
             (arm * 0.5, height + 0.35, 0.05, arm, height + 0.35, 0.06),
             (arm * 0.75, height + 0.28, 0.1, arm * 1.2, height + 0.26, 0.09)]
    draw_limbs(street, x, z, limbs, [grey * 0.8, grey, grey, grey, lamp], paint.POLE)
    draw_shadow(street, x, z, 0.15, 2.5)


def draw_sign(street: Street, x: float, z: float) -> None:
    """Draw a traffic sign, a direction board or a traffic light on its pole."""
    rng = street.rng
    height, radius = rng.uniform(2.1, 2.7), rng.uniform(0.34, 0.5)
    draw_limbs(street, x, z, [(0, 0, 0.06, 0, height + 0.3, 0.055)], [(128, 132, 134)], paint.POLE)
    draw_shadow(street, x, z, 0.12, 1.2)
    red, white, blue = (196, 44, 44), (240, 240, 236), (38, 88, 168)
    green, dark, amber = (44, 118, 86), (44, 46, 50), (240, 186, 60)
    sides, start, layers = [
        (20, 0.0, [(1, red), (0.74, white), (0.3, dark)]), (20, 0.0, [(1, white), (0.92, blue)]),
        (3, np.pi / 2, [(1.25, red), (0.78, white), (0.2, dark)]),
        (4, np.pi / 4, [(1.2, white), (1.08, blue), (0.5, white)]),
        (4, 0.0, [(1.15, white), (1.0, amber)]), (8, np.pi / 8, [(1.05, white), (0.95, red)]),
        (0, 0.0, [(1.6, white), (1.5, blue)]), (0, 0.0, [(2.0, white), (1.9, green)]),
        (-1, 0.0, []),
    ][rng.integers(9)]
    if sides > 0:
        angle = start + np.linspace(0, 2 * np.pi, sides, endpoint=False)
        ring = np.stack([np.cos(angle), np.sin(angle)], 1) * radius
        plates, tones = [ring * size for size, _ in layers], [tone for _, tone in layers]
        faces = upright(np.array(plates) + (0, height), x, z)
    elif sides == 0:
        spans = [(-s * radius, height - s * radius * 0.5, s * radius, height + s * radius * 0.5)
                 for s, _ in layers]
        spans += [(-0.5, height - 0.14, 0.3, height - 0.06), (-0.5, height + 0.08, 0.4,
                  height + 0.16)]
        faces, tones = rectangles((x, 0, z), (1, 0, 0), spans), [t for _, t in layers] + [white] * 2
    else:
        lit = rng.integers(3)
        lamps = [tone if i == lit else np.array(tone) * 0.35
                 for i, tone in enumerate((red, amber, (70, 190, 110)))]
        limbs = [(0, height, 0.2, 0, height + 0.6, 0.2)]
        limbs += [(0, height + 0.62 - 0.3 * i, 0.11, 0.001, height + 0.62 - 0.3 * i, 0.11)
                  for i in range(3)]
        draw_limbs(street, x, z, limbs, [dark, *lamps], paint.SIGN)
        return
    street.canvas.faces(faces, tones, paint.SIGN, 0.75)


def make_light(rng: np.random.Generator) -> tuple[Light, bool]:
    """Choose a time of day and weather; returns the light and whether lamps are lit."""
    name = str(rng.choice(list(WEATHER), p=[0.3, 0.18, 0.16, 0.16, 0.12, 0.08]))
    zenith, horizon, cloud, sun, shade, cover, shadow, visibility = WEATHER[name]
    toward = np.array((rng.choice([-1, 1]) * rng.uniform(0.45, 0.9), 0.6, rng.uniform(-0.6, 0.3)))
    tint = rng.uniform(0.96, 1.04, 3)
    light = Light(
        zenith=np.array(zenith) * tint, horizon=np.array(horizon) * tint, cloud=np.array(cloud),
        sun=np.array(sun) * rng.uniform(0.95, 1.05), shade=np.array(shade),
        toward=toward / np.linalg.norm(toward), cover=cover + rng.uniform(-0.2, 0.2),
        shadow=shadow, visibility=visibility * rng.uniform(0.8, 1.3),
    )
    return light, name == "dusk"


def make_street(rng: np.random.Generator, width: int, height: int) -> Street:
    """Choose camera, light, cross-section and colours of a scene."""
    parking = (bool(rng.random() < 0.7), bool(rng.random() < 0.7))
    lane, own = rng.uniform(2.9, 3.6), rng.choice([-1, 1])
    middle = -own * lane * rng.uniform(0.25, 0.65)
    edges = (middle - lane - 2.1 * parking[0], middle + lane + 2.1 * parking[1])
    fronts = (edges[0] - rng.uniform(2.4, 5), edges[1] + rng.uniform(2.4, 5))
    camera = Camera(
        width, height, focal=height * rng.uniform(0.85, 1.25),
        vanishing=(width * rng.uniform(0.36, 0.64), height * rng.uniform(0.44, 0.58)),
        eye=rng.uniform(1.5, 2.3),
    )
    light, dusk = make_light(rng)
    return Street(
        canvas=Canvas(camera, light), rng=rng, edges=edges, fronts=fronts, parking=parking,
        lanes=(middle - lane / 2, middle + lane / 2), walls=WALLS[rng.integers(len(WALLS))],
        foliage=FOLIAGE[rng.choice(len(FOLIAGE), p=[0.24, 0.24, 0.2, 0.2, 0.07, 0.05])],
        urban=rng.random(), dusk=dusk,
    )


def draw_rows(street: Street) -> None:
    """Draw houses and gardens on both sides, far to near."""
    rng, lots = street.rng, []
    for side in (-1, 1):
        stop, garden = END + rng.uniform(0, 8), False
        while stop > 1:
            start = max(stop - rng.uniform(7, 15), paint.NEAR)
            garden = not garden and rng.random() < 0.5 - 0.25 * street.urban
            lots.append((start, stop, side, garden))
            stop = start
    for start, stop, side, garden in sorted(lots, reverse=True):
        (draw_garden if garden else draw_building)(street, side, start, stop)


def draw_things(street: Street) -> None:
    """Place everything that stands on the street and draw it, far to near."""
    rng, things = street.rng, []
    for side in (0, 1):
        things += _pavement_things(street, side) + _road_things(street, side)
    for z, draw, *rest in sorted(things, key=lambda thing: -thing[0]):
        draw(street, *rest)


def _pavement_things(street: Street, side: int) -> list[tuple]:
    """Place trees, lamps, signs, fences and people on one pavement: (z, function, arguments)."""
    rng, sign = street.rng, 2 * side - 1
    kerb, front = street.edges[side], street.fronts[side]
    things: list[tuple] = []
    for z in np.arange(rng.uniform(8, 16), 90, rng.uniform(9, 16)) if rng.random() < 0.5 else ():
        things.append((z, draw_tree, kerb + 0.8 * sign, z, rng.uniform(4.5, 7.5)))
    for z in np.arange(rng.uniform(6, 16), 100, rng.uniform(16, 28)) if rng.random() < 0.7 else ():
        things.append((z, draw_lamp, kerb + 0.45 * sign, z))
    for z in rng.uniform(5.5, 26, rng.integers(0, 4)):
        things.append((z, draw_sign, kerb + rng.uniform(0.5, 0.8) * sign, z))
    for z in rng.uniform(5, 32, rng.poisson(2.2 + street.urban)):
        x = kerb + sign * rng.uniform(1.1, abs(front - kerb) - 0.5)
        things.append((z, draw_pedestrian, x, z))
    if rng.random() < 0.25:
        start, length = rng.uniform(4, 16), rng.uniform(8, 20)
        for z in np.arange(start, start + length, 4.0):
            things.append((z + 2, draw_fence, kerb + 0.35 * sign, z, z + 4, 0.95, -sign))
    return things


def _road_things(street: Street, side: int) -> list[tuple]:
    """Place parked and driving cars and cyclists on one half of the road."""
    rng, sign = street.rng, 2 * side - 1
    oncoming = abs(street.lanes[side]) > abs(street.lanes[1 - side])
    things: list[tuple] = []
    if street.parking[side]:
        x = street.edges[side] - 1.1 * sign
        for z in np.arange(rng.uniform(6, 12), 80, 6.4):
            if rng.random() < 0.6:
                things.append((z, draw_car, x, z + rng.uniform(0, 0.8), oncoming))
    if rng.random() < 0.6:
        z = rng.uniform(9, 40)
        things.append((z, draw_car, street.lanes[side], z, oncoming))
    lane = street.edges[side] - (2.1 * street.parking[side] + 0.5) * sign
    for z in rng.uniform(5, 24, rng.choice(3, p=[0.45, 0.4, 0.15])):
        things.append((z, draw_cyclist, lane, z))
    return things


def draw_scene(
    index: int, *, seed: int = 0, width: int = 480, height: int = 360
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene: the picture (H, W, 3) in RGB and the class ids (H, W), both uint8."""
    rng = np.random.default_rng([seed, index])
    street = make_street(rng, width, height)
    sky = paint.paint_sky(street.canvas.camera, street.canvas.light, rng)
    draw_background(street)
    draw_ground(street)
    draw_rows(street)
    draw_things(street)
    return paint.finish(street.canvas, sky, street.fronts, rng)


class Scenes:
    """A split of generated scenes, drawn one by one when they are asked for."""

    classes = tuple(PALETTE)
    palette = tuple(PALETTE.values())
    ignore_index = VOID

    def __init__(self, split: str, count: int, width: int, height: int, seed: int) -> None:
        self.split = split
        self.count = count
        self.size = (width, height)
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Example:
        i = range(self.count)[i]
        stream = i * len(COUNTS) + list(COUNTS).index(self.split)  # no scene is in two splits
        image, labels = draw_scene(stream, seed=self.seed, width=self.size[0], height=self.size[1])
        return Example(f"{self.split}-{i:04d}", image, labels)
