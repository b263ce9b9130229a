"""The rows of houses of the procedural street scenes: walls, roofs, windows, doors and shops."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sdabn_plugins.scenes.painting import (
    BUILDING,
    GLASS,
    LEFT_BRICKS,
    RIGHT_BRICKS,
    Street,
    rectangles,
)

ROOFS = np.array([(146, 78, 62), (98, 92, 96), (122, 88, 74), (86, 92, 104)])
DOORS = np.array([(94, 58, 44), (52, 84, 74), (46, 66, 104), (138, 52, 48), (70, 70, 74)])
AWNINGS = np.array([(178, 66, 62), (62, 92, 138), (92, 132, 104), (212, 156, 72), (126, 60, 70)])
CREAM = np.array((238, 232, 220))
LAMPLIGHT = np.array((250, 208, 134))
FRAME, DETAIL = 9.0, 20.0  # pixels per metre from which window frames and brick courses are drawn
WIDTH = 11.0  # of a house, away from the street


@dataclass(frozen=True)
class Wall:
    """An upright plane with its own run (metres along it) and brightness."""

    origin: tuple[float, float, float]
    along: tuple[float, float, float]
    facing: float

    def draw(
        self, street: Street, spans: np.ndarray, colours: np.ndarray, part: int = BUILDING
    ) -> None:
        """Draw rectangles (M, 4: from, bottom, to, top) in colours (M or 1, 3)."""
        faces = rectangles(self.origin, self.along, spans)
        street.canvas.faces(faces, colours, part, self.facing)


@dataclass(frozen=True)
class House:
    """One house of the row on the left (side -1) or the right (1)."""

    side: int
    start: float  # z of its near and its far end
    stop: float
    front: Wall  # runs along the street, from the near end
    gable: Wall  # turned to the camera, runs away from the street
    ground: float  # height of the ground floor
    storey: float  # height of each floor above
    levels: np.ndarray  # (F,) heights of these floors
    height: float
    colour: np.ndarray
    trim: np.ndarray
    bricks: bool

    @property
    def x(self) -> float:
        """Where its front stands."""
        return self.front.origin[0]


def make_house(street: Street, side: int, start: float, stop: float) -> House:
    """Choose size and style of a house that stands from z = start to stop."""
    rng, x = street.rng, street.fronts[side > 0]
    ground, storey = rng.uniform(3.2, 3.9), rng.uniform(2.8, 3.3)
    levels = ground + storey * np.arange(rng.integers(1, 3 + round(4 * street.urban)))
    colour = street.pick(street.walls)
    return House(
        side, start, stop,
        front=Wall((x, 0, start), (0, 0, 1), street.facing(-side, 0, 0)),
        gable=Wall((x, 0, start), (side, 0, 0), street.facing(0, 0, -1)),
        ground=ground, storey=storey, levels=levels, height=levels[-1] + storey + 0.5,
        colour=colour, trim=0.35 * colour + 0.62 * CREAM, bricks=rng.random() < 0.55,
    )  # fmt: skip


def draw_building(street: Street, side: int, start: float, stop: float) -> None:
    """Draw one house of the row on the left (-1) or the right (1) from z = start to stop."""
    house = make_house(street, side, start, stop)
    bays = max(2, round((stop - start) / street.rng.uniform(2.4, 3.4)))
    edges = np.linspace(0, stop - start, bays + 1)
    if street.rng.random() > 0.7 * street.urban:  # else the roof is flat
        _draw_roof(street, house)
    _draw_gable(street, house)
    _draw_front(street, house, edges)
    _draw_windows(street, house, house.front, edges)
    _draw_ground_floor(street, house, edges)
    _cast_shadow(street, house)


def _draw_roof(street: Street, house: House) -> None:
    """Draw a pitched roof with the top of its gable and a chimney."""
    ridge = house.x + house.side * WIDTH / 2
    top = house.height + street.rng.uniform(2.5, 6)
    z = house.start + (house.stop - house.start) * street.rng.uniform(0.3, 0.7)
    stack = Wall((ridge - house.side, 0, z), (1, 0, 0), house.gable.facing)
    stack.draw(street, [(-0.5, house.height, 0.5, top + 0.9)], [ROOFS[0]])
    # The slope in strips from the eaves up, in tones that suggest rows of tiles.
    low = house.height - 0.3 * (top - house.height) / (WIDTH / 2)
    lines = np.linspace((house.x - 0.3 * house.side, low), (ridge, top), 7)
    rows = np.empty((6, 4, 3))
    rows[:, [0, 1], :2], rows[:, [2, 3], :2] = lines[:-1, None], lines[1:, None]
    rows[..., 2] = np.array((house.start, house.stop, house.stop, house.start))
    tones = street.pick(ROOFS) * np.array((0.92, 1.03, 0.97, 1.05, 0.98, 1.02))[:, None]
    street.canvas.faces(rows, tones, BUILDING, street.facing(-house.side * 0.5, 0.86, 0))
    outline = [(house.x, house.height), (house.x + house.side * WIDTH, house.height), (ridge, top)]
    gable = [[(x, y, house.start) for x, y in outline]]
    street.canvas.faces(gable, [house.colour], BUILDING, house.gable.facing)


def _draw_gable(street: Street, house: House) -> None:
    """Draw the end wall, with brick courses or string courses, and its windows."""
    wall = house.gable
    wall.draw(street, [(0, 0, WIDTH, house.height)], [house.colour])
    near = street.canvas.camera.scale(house.start)
    if house.bricks and near > DETAIL:
        low = np.arange(0, house.height, 0.3)
        wall.draw(street, np.stack([0 * low, low, 0 * low + WIDTH, low + 0.05], 1),
                  [house.colour * 1.09])  # fmt: skip
    bands = [(0, level - 0.12, WIDTH, level + 0.1) for level in house.levels[:1]]
    bands += [(0, house.height - 0.3, WIDTH, house.height), (0, 0, 0.5, house.height)]
    wall.draw(street, bands, [house.trim])
    if near > FRAME:
        _draw_windows(street, house, wall, np.linspace(0.8, WIDTH - 0.8, 4))


def _draw_front(street: Street, house: House, edges: np.ndarray) -> None:
    """Draw the wall along the street with its plinth, cornice and string course."""
    part = (RIGHT_BRICKS if house.side > 0 else LEFT_BRICKS) if house.bricks else BUILDING
    low = np.zeros(len(edges) - 1)
    # One rectangle per bay, so that the haze grows along the wall.
    bays = np.stack([edges[:-1], low, edges[1:], low + house.height], 1)
    house.front.draw(street, bays, [house.colour], part)
    run = edges[-1]
    bands = [(0, 0, run, 0.5), (0, house.height - 0.45, run, house.height)]
    bands.append((0, house.ground - 0.12, run, house.ground + 0.1))
    tones = [house.colour * 0.72, house.trim, house.trim * 0.96]
    house.front.draw(street, bands, tones)


def _draw_windows(street: Street, house: House, wall: Wall, edges: np.ndarray) -> None:
    """Draw one window per bay between `edges` (B + 1,) on each upper floor of a wall."""
    rng = street.rng
    centre, level = (v.ravel() for v in np.meshgrid((edges[1:] + edges[:-1]) / 2, house.levels))
    half = (edges[1] - edges[0]) * rng.uniform(0.21, 0.3)
    low = level + 0.28 * house.storey
    top = low + rng.uniform(0.5, 0.62) * house.storey
    panes = GLASS * rng.uniform(0.75, 1.25, (len(centre), 1))
    if street.dusk:
        panes[rng.random(len(panes)) < 0.4] = LAMPLIGHT
    blind = top - rng.uniform(0.1, 0.35, len(top)) * (top - low)
    layers = [(half, low, top, panes)]
    middle = wall.origin[2] + wall.along[2] * edges.mean()
    if street.canvas.camera.scale(middle + 1) > FRAME:
        frame = np.broadcast_to(house.trim, panes.shape)
        layers = [
            (half + 0.12, low - 0.12, top + 0.12, frame), *layers,
            (half, blind, top, panes * 0.72), (0.05, low, top, frame),
            (half + 0.22, low - 0.2, low - 0.06, frame * 1.05),
        ]  # fmt: skip
    spans = [np.stack([centre - h, bottom, centre + h, upper], 1) for h, bottom, upper, _ in layers]
    wall.draw(street, np.concatenate(spans), np.concatenate([layer[3] for layer in layers]))


def _draw_ground_floor(street: Street, house: House, edges: np.ndarray) -> None:
    """Draw a door and, in the other bays, windows or shop fronts under awnings."""
    shop = street.rng.random() < 0.25 + 0.5 * street.urban
    door, accent = street.rng.integers(len(edges) - 1), street.pick(DOORS)
    pane = LAMPLIGHT if street.dusk and shop else GLASS * 0.9
    spans, tones = [], []
    for bay, (left, right) in enumerate(pairwise(edges)):
        middle, half = (left + right) / 2, (right - left) * 0.42
        if bay == door:
            sizes = [(0.68, 0, 2.5), (0.52, 0.05, 2.0), (0.52, 2.06, 2.4)]
            tones += [house.trim, accent, GLASS]
        else:
            low = 0.45 if shop else 0.95
            sizes = [(half, low, 2.65), (half - 0.1, low + 0.12, 2.5), (0.04, low, 2.5)]
            tones += [accent, pane, accent] if shop else [house.trim, pane, house.trim]
        spans += [(middle - size, low, middle + size, top) for size, low, top in sizes]
    house.front.draw(street, spans, np.array(tones))
    if shop:
        _draw_awnings(street, house, edges)


def _draw_awnings(street: Street, house: House, edges: np.ndarray) -> None:
    """Draw a striped awning over the whole front, far stripes first."""
    near = street.canvas.camera.scale(house.start) > FRAME
    lines = np.linspace(house.stop - 0.1, house.start + 0.1, (5 if near else 3) * len(edges))
    stripes = np.empty((len(lines) - 1, 4, 3))
    stripes[..., 0] = house.x - house.side * np.array((0, 0, 1.1, 1.1))
    stripes[..., 1] = np.array((house.ground - 0.3, house.ground - 0.3, 2.45, 2.45))
    stripes[:, [0, 3], 2], stripes[:, [1, 2], 2] = lines[:-1, None], lines[1:, None]
    cloth = np.stack([street.pick(AWNINGS), CREAM])
    street.canvas.faces(
        stripes, cloth[np.arange(len(stripes)) % 2], BUILDING,
        street.facing(-house.side * 0.55, 0.83, 0),
    )  # fmt: skip


def _cast_shadow(street: Street, house: House) -> None:
    """Cast a shadow over the street if the sun stands behind the house."""
    light = street.canvas.light
    if house.side * light.toward[0] < 0:
        return
    reach = 1.1 * house.height * light.shadow
    x, far = house.x, house.x - house.side * reach
    skew = 0.2 * reach
    street.canvas.shadow(
        [x, x, far, far], [house.start, house.stop, house.stop + skew, house.start + skew]
    )


def draw_skyline(street: Street, z: float) -> None:
    """Close the end of the street with distant houses."""
    count = 26
    x = np.linspace(-90, 90, count) + street.rng.uniform(-3, 3, count)
    top = street.rng.uniform(5, 9 + 16 * street.urban, count)
    wall = Wall((0, 0, z), (1, 0, 0), 0.4)
    colours = street.walls[street.rng.integers(len(street.walls), size=count)]
    wall.draw(street, np.stack([x - 4, 0 * x, x + 4, top], 1), colours)
