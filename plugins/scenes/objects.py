"""What stands and moves in the procedural street scenes: trees, fences, lamps, signs, cars, people.

Every function draws one object at (x, z), in metres, and its shadow.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from sdabn_plugins.scenes.painting import (
    BICYCLIST,
    CAR,
    FENCE,
    GLASS,
    LEAVES,
    PEDESTRIAN,
    POLE,
    SIGN,
    TREE,
    Street,
    capsules,
    rectangles,
    upright,
)

BARK = np.array((112, 88, 68))
BOARDS = np.array([(226, 222, 212), (150, 110, 78), (112, 124, 112), (176, 148, 116)])
CAR_PAINT = np.array([(186, 52, 48), (52, 92, 150), (226, 226, 222), (58, 62, 68), (168, 174, 178),
                      (222, 178, 74), (84, 130, 112), (126, 60, 70), (120, 168, 196)])  # fmt: skip
CLOTHES = np.array([(178, 66, 62), (62, 92, 138), (224, 208, 182), (70, 74, 84), (212, 156, 72),
                    (92, 132, 104), (142, 96, 134), (236, 236, 230), (96, 142, 172)])  # fmt: skip
TROUSERS = np.array([(54, 64, 92), (62, 60, 62), (116, 98, 78), (80, 92, 112), (146, 132, 112)])
SKIN = np.array([(236, 196, 166), (206, 158, 122), (150, 104, 78), (104, 72, 56)])
HAIR = np.array([(58, 42, 34), (112, 76, 46), (196, 158, 96), (40, 38, 40), (150, 148, 146)])
SHOES, RUBBER, STEEL = (np.array(c) for c in ((60, 48, 44), (42, 42, 46), (150, 152, 156)))
RED, WHITE, BLUE = (196, 44, 44), (240, 240, 236), (38, 88, 168)
GREEN, DARK, AMBER = (44, 118, 86), (44, 46, 50), (240, 186, 60)

# Sign plates: number of corners, angle of the first, and (relative size, colour) from the back on.
PLATES = (
    (20, 0.0, ((1.0, RED), (0.74, WHITE), (0.3, DARK))),
    (20, 0.0, ((1.0, WHITE), (0.92, BLUE), (0.4, WHITE))),
    (20, 0.0, ((1.0, RED), (0.74, WHITE))),
    (3, np.pi / 2, ((1.25, RED), (0.78, WHITE), (0.2, DARK))),
    (4, np.pi / 4, ((1.2, WHITE), (1.08, BLUE), (0.5, WHITE))),
    (4, 0.0, ((1.15, WHITE), (1.0, AMBER))),
    (8, np.pi / 8, ((1.05, WHITE), (0.95, RED))),
)
# Car bodies: stations (metres from the tail, height of the waist, height and half width of the top)
BODIES = {
    "saloon": [(0, 0.78, 0.84, 0.7), (0.6, 0.9, 0.95, 0.76), (1.25, 0.92, 1.4, 0.58),
               (2.3, 0.92, 1.43, 0.6), (3.15, 0.9, 0.95, 0.76), (4.25, 0.74, 0.8, 0.72),
               (4.45, 0.6, 0.64, 0.66)],
    "hatchback": [(0, 0.82, 0.9, 0.74), (0.12, 0.92, 1.0, 0.74), (0.5, 0.94, 1.46, 0.6),
                  (2.0, 0.94, 1.5, 0.62), (2.85, 0.92, 0.98, 0.76), (3.75, 0.76, 0.82, 0.72),
                  (3.9, 0.6, 0.66, 0.66)],
    "van": [(0, 1.05, 1.95, 0.78), (0.08, 1.1, 2.05, 0.8), (2.6, 1.1, 2.08, 0.82),
            (3.7, 1.1, 1.98, 0.76), (4.3, 1.05, 1.15, 0.8), (4.9, 0.85, 0.95, 0.78),
            (5.0, 0.65, 0.7, 0.7)],
}  # fmt: skip


class Figure:
    """Something made of rounded limbs, each with a lit and a shaded side."""

    def __init__(self) -> None:
        self._limbs: list[tuple[float, ...]] = []
        self._colours: list[np.ndarray] = []

    def add(self, colour: np.ndarray, *limbs: tuple[float, ...]) -> None:
        """Add limbs (x, y, radius of one end, then of the other), in front of the earlier ones."""
        self._limbs += limbs
        self._colours += [colour] * len(limbs)

    def draw(
        self, street: Street, x: float, z: float, part: int, tall: float = 1.0, turn: float = 1.0
    ) -> None:
        """Stand the figure at (x, z), scaled by `tall`, its x foreshortened by `turn`."""
        limbs = np.array(self._limbs) * tall * (turn, 1, 1, turn, 1, 1)
        lit = limbs * (1, 1, 0.62, 1, 1, 0.62)
        lit[:, [0, 3]] += 0.33 * limbs[:, [2, 5]] * np.sign(street.canvas.light.toward[0])
        both = capsules(np.stack([limbs, lit], 1).reshape(-1, 6))
        facing = np.tile([0.3, 0.75], len(limbs))
        street.canvas.faces(upright(both, x, z), np.repeat(self._colours, 2, 0), part, facing)


def cast_shadow(street: Street, x: float, z: float, radius: float, reach: float) -> None:
    """Cast a round shadow on the ground, drawn out away from the sun."""
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    away = -np.sign(street.canvas.light.toward[0]) * reach
    across = radius * np.cos(angle)
    across += np.where(across * away > 0, away, 0)
    street.canvas.shadow(x + across, z + radius * np.sin(angle))


def draw_tree(street: Street, x: float, z: float, height: float) -> None:
    """Draw a tree: a trunk that forks, and a crown of clumps of leaves."""
    lean, thick, fork = street.rng.uniform(-0.3, 0.3), 0.032 * height, 0.5 * height
    trunk = Figure()
    trunk.add(BARK, (0, 0, thick, lean, fork, thick * 0.7))
    for way in (-1, 0.2, 1):
        tip = (lean + way * 0.16 * height, 0.66 * height, thick * 0.3)
        trunk.add(BARK, (lean, fork - 0.5, thick * 0.5, *tip))
    trunk.draw(street, x, z, TREE)
    radius = height * street.rng.uniform(0.24, 0.34)
    _draw_crown(street, (x + lean, 0.68 * height, z), radius)
    cast_shadow(street, x, z, radius * 0.9, 1.2)


def _draw_crown(street: Street, centre: tuple[float, float, float], radius: float) -> None:
    """Draw clumps of leaves around a centre, dark below and inside, light toward the sun."""
    rng, size = street.rng, street.canvas.camera.scale(centre[2])
    count = int(np.clip(size * radius, 9, 85))
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count))
    across, rise = reach * np.cos(angle), reach * np.sin(angle)
    light = 0.45 * across * np.sign(street.canvas.light.toward[0]) + 0.75 * rise
    order = np.argsort(light + rng.normal(0, 0.25, count))  # light clumps lie on the dark ones
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], -1) * rng.uniform(0.78, 1.22, (count, 8, 1))
    clumps = radius * rng.uniform(0.2, 0.42, count) * (1.1 - 0.4 * reach) * (1 + 3 / count)
    place = np.stack([across, rise * rng.uniform(0.75, 1.25)], 1) * radius + (0, centre[1])
    outlines = (place[:, None] + ring * clumps[:, None, None])[order]
    colour = street.foliage * rng.uniform(0.9, 1.1, 3)
    tones = colour * (0.92 + 0.24 * light[:, None] + rng.normal(0, 0.05, (count, 1)))
    part = LEAVES if size > 9 else TREE  # the leaves of far trees cannot be told apart
    faces = upright(outlines, centre[0], centre[2])
    street.canvas.faces(faces, tones[order], part, 0.5 + 0.35 * light[order])


def draw_treeline(street: Street, z: float) -> None:
    """Draw distant trees across the end of the street."""
    x, top, radius = street.rng.uniform((-80, 1, 2), (80, 5, 5), (60, 3)).T
    crowns = capsules(np.stack([x, 0 * x, radius, x, top, radius], 1))
    tones = street.foliage * street.rng.uniform(0.75, 1.05, (60, 1))
    street.canvas.faces(upright(crowns, 0, z), tones, TREE)


def draw_garden(street: Street, side: int, start: float, stop: float) -> None:
    """Draw a gap between the houses: trees and bushes behind a fence."""
    rng, x = street.rng, street.fronts[side > 0]
    for z in np.sort(rng.uniform(start, stop, max(1, round((stop - start) / 5))))[::-1]:
        if z > 3:
            draw_tree(street, x + side * rng.uniform(2, 5), float(z), rng.uniform(4, 8))
    depths = np.arange(start, stop, 0.9)[::-1]
    radius = rng.uniform(0.6, 0.9, len(depths))
    top = rng.uniform(0.9, 1.4, len(depths))
    limbs = np.stack([0 * depths, radius, radius, 0 * depths, top, radius], 1)
    bushes = upright(capsules(limbs), x + side * 1.4, 0)
    bushes[..., 2] = depths[:, None]
    tones = street.foliage * rng.uniform(0.6, 0.85, (len(depths), 1))
    street.canvas.faces(bushes, tones, LEAVES, street.facing(-side, 0, 0))
    draw_fence(street, x, (start, stop), rng.uniform(1.0, 1.7), street.pick(BOARDS))


def draw_fence(
    street: Street, x: float, along: tuple[float, float], height: float, colour: np.ndarray
) -> None:
    """Draw pickets along the street, from z to z; their gaps show a backing of the same wood."""
    start, stop = along
    place, facing = ((x, 0, 0), (0, 0, 1)), street.facing(-np.sign(x), 0, 0)
    panels = np.arange(start, stop, 3.0)[::-1]
    low = np.zeros(len(panels))
    back = np.stack([panels, low, np.minimum(panels + 3, stop), low + height * 0.88], 1)
    street.canvas.faces(rectangles(*place, back), [colour * 0.6], FENCE, facing)
    posts = np.arange(start, stop, 0.22)[::-1]
    top = height - 0.06 * (np.arange(len(posts)) % 2)
    pickets = np.stack([posts, 0 * top + 0.05, posts + 0.17, top], 1)
    tones = colour * street.rng.uniform(0.88, 1.06, (len(posts), 1))
    street.canvas.faces(rectangles(*place, pickets), tones, FENCE, facing)


def draw_lamp(street: Street, x: float, z: float) -> None:
    """Draw a lamp post whose arm reaches over the road."""
    high, arm = street.rng.uniform(4.5, 7.5), -np.sign(x) * 1.3
    grey, top = street.pick(np.array([(92, 98, 100), (74, 88, 82), (120, 122, 122)])), high + 0.35
    post = Figure()
    post.add(grey * 0.8, (0, 0, 0.13, 0, 1.0, 0.1))
    post.add(grey, (0, 0.9, 0.085, 0, high, 0.06), (0, high, 0.06, arm / 2, top, 0.05),
             (arm / 2, top, 0.05, arm, top, 0.06))  # fmt: skip
    lamp = np.array((255, 232, 170) if street.dusk else (222, 222, 212))
    post.add(lamp, (arm * 0.75, high + 0.28, 0.1, arm * 1.2, high + 0.26, 0.09))
    post.draw(street, x, z, POLE)
    cast_shadow(street, x, z, 0.15, 2.5)


def draw_sign(street: Street, x: float, z: float) -> None:
    """Draw a traffic sign, a direction board or a traffic light on its pole."""
    rng = street.rng
    height, radius = rng.uniform(2.1, 2.7), rng.uniform(0.36, 0.52)
    pole = Figure()
    pole.add(np.array((128, 132, 134)), (0, 0, 0.065, 0, height + 0.3, 0.055))
    pole.draw(street, x, z, POLE)
    cast_shadow(street, x, z, 0.12, 1.2)
    kind = rng.random()
    if kind < 0.15:
        _draw_traffic_light(street, x, z, height)
    elif kind < 0.4:
        _draw_board(street, x, z, height)
    else:
        corners, start, layers = PLATES[rng.integers(len(PLATES))]
        angle = start + np.linspace(0, 2 * np.pi, corners, endpoint=False)
        ring = np.stack([np.cos(angle), np.sin(angle)], 1) * radius
        plates = np.array([ring * size for size, _ in layers])
        plates[..., 1] += height
        tones = [tone for _, tone in layers]
        street.canvas.faces(upright(plates, x, z), tones, SIGN, 0.75)


def _draw_board(street: Street, x: float, z: float, height: float) -> None:
    """Draw a direction board with two lines of writing."""
    half, low = street.rng.uniform(0.6, 1.1), height - 0.35
    ends = street.rng.uniform(0.1, 0.8, 2) * half
    spans = [(-half, low, half, low + 0.8), (-half + 0.05, low + 0.05, half - 0.05, low + 0.75),
             (-half * 0.8, low + 0.2, ends[0], low + 0.3),
             (-half * 0.8, low + 0.48, ends[1], low + 0.58)]  # fmt: skip
    ground = (BLUE, GREEN)[street.rng.integers(2)]
    faces = rectangles((x, 0, z), (1, 0, 0), spans)
    street.canvas.faces(faces, [WHITE, ground, WHITE, WHITE], SIGN, 0.75)


def _draw_traffic_light(street: Street, x: float, z: float, height: float) -> None:
    """Draw a traffic light with one of its three lamps lit."""
    box, lit = Figure(), street.rng.integers(3)
    box.add(np.array(DARK), (0, height, 0.2, 0, height + 0.6, 0.2))
    for i, tone in enumerate((RED, AMBER, (70, 190, 110))):
        y = height + 0.62 - 0.3 * i
        box.add(np.array(tone) * (1 if i == lit else 0.35), (0, y, 0.11, 0.001, y, 0.11))
    box.draw(street, x, z, SIGN)


@cache
def car_rings(kind: str) -> np.ndarray:
    """Return a car body as rings (S, 8, 3) around its stations, from the tail at z = 0 on.

    A ring starts at the sill of the left side and goes over the roof to the right sill.
    """
    stations = np.array(BODIES[kind])
    half = np.full(len(stations), 0.88)
    half[[0, -1]] = 0.8
    rings = np.empty((len(stations), 8, 3))
    rings[:, :4, 0] = -np.stack([half * 0.94, half, half * 0.98, stations[:, 3]], 1)
    rings[:, :2, 1], rings[:, 2:4, 1] = (0.2, 0.52), stations[:, 1:3]
    rings[:, 4:] = rings[:, 3::-1] * (-1, 1, 1)
    rings[..., 2] = stations[:, :1]
    return rings


def car_faces(rings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Span faces between the rings (S, 8, 3) of a car, the underside left out.

    Returns corners (M, 4, 3), unit normals (M, 3) to the outside, and which are glazed (M,).
    """
    near, far = rings[:-1], rings[1:]
    corners = np.stack([near[:, :-1], far[:, :-1], far[:, 1:], near[:, 1:]], 2)
    cabin = rings[:, 3, 1] - rings[:, 2, 1] > 0.3
    glazed = np.zeros(corners.shape[:2], dtype=bool)
    glazed[:, [2, 4]] = (cabin[1:] & cabin[:-1])[:, None]  # side windows
    glazed[:, 3] = cabin[1:] ^ cabin[:-1]  # windscreen and rear window
    corners = corners.reshape(-1, 4, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    outward = corners.mean(1) - rings.mean((0, 1))
    return corners, normals * np.sign((normals * outward).sum(1))[:, None], glazed.ravel()


def draw_car(street: Street, x: float, z: float, oncoming: bool) -> None:
    """Draw a car whose near end is at z, seen from behind or oncoming."""
    rings = car_rings(str(street.rng.choice(["saloon", "hatchback", "hatchback", "van"])))
    length = rings[-1, 0, 2]
    if oncoming:
        rings = (rings * (1, 1, -1) + (0, 0, length))[::-1]
    rings = rings + np.array((x, 0, z))
    colour = street.pick(CAR_PAINT)
    under = [(-0.82, 0, -0.6, 0.4), (0.6, 0, 0.82, 0.4), (-0.82, 0.1, 0.82, 0.3)]
    tyres = rectangles((x, 0, z + 0.6), (1, 0, 0), under)
    street.canvas.faces(tyres, [RUBBER * 0.8], CAR, 0.3)
    _draw_body(street, rings, colour)
    _draw_wheels(street, x, z, length)
    _draw_car_end(street, rings[0], oncoming, colour)
    near, far = z - 0.25, z + length
    street.canvas.shadow([x - 1.05, x + 1.05, x + 1.05, x - 1.05], [near, near, far, far])
    away = x - 1.7 * np.sign(street.canvas.light.toward[0])
    street.canvas.shadow([x, away, away, x], [z + 0.1, z + 0.4, z + length, z + length])


def _draw_body(street: Street, rings: np.ndarray, colour: np.ndarray) -> None:
    """Draw the sides and the top of a car body as far as they are turned to the camera."""
    corners, normals, glazed = car_faces(rings)
    middle = corners.mean(1)
    sight = np.array((0, street.canvas.camera.eye, 0)) - middle
    seen = np.flatnonzero((normals * sight).sum(1) > 0)
    seen = seen[np.argsort(-middle[seen, 2])]
    facing = street.canvas.light.facing(normals)
    street.canvas.faces(corners[seen], [colour], CAR, facing[seen])
    seen = seen[glazed[seen]]
    panes = middle[seen, None] + 0.84 * (corners[seen] - middle[seen, None])
    street.canvas.faces(panes, [GLASS * 0.72], CAR, facing[seen])


def _draw_wheels(street: Street, x: float, z: float, length: float) -> None:
    """Draw the wheels on the side of a car that is turned to the camera."""
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    sizes = np.tile((0.36, 0.32, 0.19, 0.07), 2)[:, None]
    axles = np.repeat((z + length - 0.8, z + 0.8), 4)[:, None]
    wheels = np.empty((8, 16, 3))
    wheels[..., 0] = x - np.sign(x) * 0.9
    wheels[..., 1], wheels[..., 2] = 0.33 + sizes * np.sin(turn), axles + sizes * np.cos(turn)
    tones = np.tile([RUBBER, RUBBER * 0.8, STEEL, STEEL * 0.6], (2, 1))
    street.canvas.faces(wheels, tones, CAR, 0.6)


def _draw_car_end(street: Street, ring: np.ndarray, oncoming: bool, colour: np.ndarray) -> None:
    """Close the near end (8, 3) of a car; draw its lights, number plate, bumper and grille."""
    x, z, waist, top = ring[:, 0].mean(), ring[0, 2], ring[2, 1], ring[3, 1]
    street.canvas.faces([ring], [colour], CAR, street.facing(0, 0, -1))
    low = waist - 0.24
    lamp = (250, 246, 224) if oncoming else (206, 40, 38)
    spans = [(-0.26, 0.42, 0.26, 0.54), (-0.78, 0.2, 0.78, 0.34)]
    tones = [(236, 232, 214), (52, 54, 58)]
    if oncoming:
        spans.append((-0.74, low - 0.02, 0.74, low + 0.15))
        tones.append(DARK)
    spans += [(-0.72, low, -0.44, low + 0.13), (0.44, low, 0.72, low + 0.13)]
    tones += [lamp, lamp]
    if top > 1.5:  # the tail of a van has a window
        spans.append((-0.62, waist + 0.05, 0.62, top - 0.12))
        tones.append(GLASS * 0.72)
    street.canvas.faces(rectangles((x, 0, z), (1, 0, 0), spans), tones, CAR, 0.7)


def draw_pedestrian(street: Street, x: float, z: float) -> None:
    """Draw a walking person, 1.1 to 1.9 m tall."""
    rng, person = street.rng, Figure()
    tall = rng.uniform(1.1, 1.35) if rng.random() < 0.15 else rng.uniform(1.55, 1.9)
    stride, way = rng.uniform(0.04, 0.17), int(rng.choice([-1, 1]))
    skin = street.pick(SKIN)
    _add_legs(person, stride, way, street.pick(TROUSERS))
    _add_trunk(person, street, stride, skin)
    person.add(skin, (0, 0.82, 0.03, 0, 0.87, 0.03), (0, 0.91, 0.055, 0, 0.935, 0.058))
    person.add(street.pick(HAIR), (-0.012 * way, 0.955, 0.06, -0.025 * way, 0.93, 0.05))
    if rng.random() < 0.4:  # a rucksack
        person.add(street.pick(CLOTHES), (-way * 0.1, 0.74, 0.045, -way * 0.1, 0.62, 0.055))
    person.draw(street, x, z, PEDESTRIAN, tall)
    cast_shadow(street, x, z, 0.26, 0.9)


def _add_legs(person: Figure, stride: float, way: int, colour: np.ndarray) -> None:
    """Add legs and shoes of a person of height 1, the farther leg darker."""
    for side, tone in ((-1, 0.8), (1, 1.0)):
        foot = side * stride
        knee = (foot * 0.6 + way * 0.025, 0.27, 0.045)
        person.add(SHOES, (foot, 0.025, 0.02, foot + way * 0.05, 0.02, 0.018))
        person.add(colour * tone, (0.02 * side, 0.5, 0.055, *knee), (*knee, foot, 0.05, 0.03))


def _add_trunk(person: Figure, street: Street, stride: float, skin: np.ndarray) -> None:
    """Add the trunk in a shirt or a coat, and arms that swing, of a person of height 1."""
    shirt, hand = street.pick(CLOTHES), 0.09 + stride * 0.6
    hem = (0.4, 0.1) if street.rng.random() < 0.4 else (0.52, 0.075)
    person.add(shirt * 0.8, (-0.07, 0.76, 0.03, -hand, 0.5, 0.022))
    person.add(shirt, (0, 0.77, 0.08, 0, *hem))
    person.add(shirt * 0.92, (0.08, 0.77, 0.032, hand, 0.52, 0.024))
    person.add(skin, (hand, 0.5, 0.02, hand, 0.48, 0.02))


def draw_cyclist(street: Street, x: float, z: float) -> None:
    """Draw a person on a bicycle, from nearly end-on to side-on."""
    cyclist = Figure()
    turn = street.rng.choice([-1, 1]) * street.rng.uniform(0.22, 1.0)
    _add_bicycle(cyclist, street.pick(CAR_PAINT))
    _add_rider(cyclist, street)
    cyclist.draw(street, x, z, BICYCLIST, turn=turn)
    cast_shadow(street, x, z, 0.3 + 0.4 * abs(turn), 0.6)


def _add_bicycle(cyclist: Figure, colour: np.ndarray) -> None:
    """Add two wheels with spokes, the frame, the saddle and the handlebar, in metres."""
    angle = np.linspace(0, 2 * np.pi, 15)
    for hub in (-0.5, 0.55):
        x, y = hub + 0.33 * np.cos(angle), 0.35 + 0.33 * np.sin(angle)
        rim = [(x[i], y[i], 0.028, x[i + 1], y[i + 1], 0.028) for i in range(14)]
        cyclist.add(RUBBER, *rim)
        cyclist.add(STEEL, *((hub, 0.35, 0.03, x[i], y[i], 0.01) for i in (1, 4, 7, 10, 13)))
    bars = [
        (-0.5, 0.35, -0.05, 0.32),
        (-0.05, 0.32, -0.2, 0.9),
        (-0.2, 0.82, 0.38, 0.86),
        (-0.05, 0.32, 0.38, 0.84),
        (0.36, 0.98, 0.55, 0.35),
        (-0.5, 0.35, -0.18, 0.8),
    ]
    cyclist.add(colour, *((a, b, 0.03, c, d, 0.03) for a, b, c, d in bars))
    saddle, handlebar = (-0.3, 0.95, 0.05, -0.08, 0.95, 0.035), (0.32, 1.02, 0.03, 0.46, 1.04, 0.03)
    cyclist.add(RUBBER, saddle, handlebar)


def _add_rider(cyclist: Figure, street: Street) -> None:
    """Add a pedalling rider, in metres, to fit the bicycle."""
    shirt, legs, skin = (street.pick(c) for c in (CLOTHES, TROUSERS, SKIN))
    lift = street.rng.uniform(-0.12, 0.12)
    for side, tone in ((-1, 0.78), (1, 1.0)):
        pedal, knee = (-0.05 + 0.1 * side, 0.3 + lift * side), (0.24, 0.72 + 0.6 * lift * side)
        cyclist.add(legs * tone, (-0.18, 1.0, 0.1, *knee, 0.075), (*knee, 0.075, *pedal, 0.05))
        cyclist.add(SHOES, (*pedal, 0.05, pedal[0] + 0.13, pedal[1] - 0.02, 0.04))
    cyclist.add(shirt, (-0.2, 1.04, 0.13, 0.14, 1.42, 0.15))
    cyclist.add(shirt * 0.9, (0.16, 1.42, 0.06, 0.3, 1.16, 0.05))
    cyclist.add(skin, (0.3, 1.16, 0.05, 0.42, 1.06, 0.04), (0.2, 1.52, 0.05, 0.24, 1.62, 0.06),
                (0.26, 1.66, 0.1, 0.26, 1.7, 0.1))  # fmt: skip
    cap = street.pick(CLOTHES if street.rng.random() < 0.6 else HAIR)
    cyclist.add(cap, (0.2, 1.74, 0.1, 0.28, 1.76, 0.08))
