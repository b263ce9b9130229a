"""Data set ``scenes``: procedural street scenes with exact labels, in CamVid's classes and colours.

A scene is a straight street seen by a driver: houses and gardens on both sides, pavements, a road
with cars and cyclists, trees, lamps, signs and people. Seed, split and index alone determine a
scene, so the data set needs no files and never changes between runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdabn_cli.contracts import Example
from sdabn_plugins.scenes.buildings import draw_building, draw_skyline
from sdabn_plugins.scenes.objects import (
    BOARDS,
    draw_car,
    draw_cyclist,
    draw_fence,
    draw_garden,
    draw_lamp,
    draw_pedestrian,
    draw_sign,
    draw_tree,
    draw_treeline,
)
from sdabn_plugins.scenes.painting import (
    NEAR,
    PAVEMENT,
    ROAD,
    Camera,
    Canvas,
    Light,
    Street,
    finish,
    paint_sky,
)

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
VOID = 11
COUNTS = {"train": 400, "val": 60, "test": 60}
SMALLEST, LARGEST = 64, 4096
END = 130.0  # metres to the end of the street

# Share of the scenes; colours of zenith, horizon, clouds; tints of sun and shade; cloud cover,
# depth of shadows, metres of visibility.
WEATHER = {
    "noon": (0.30, (104, 156, 214), (204, 224, 236), (250, 250, 250),
             (1.10, 1.06, 0.98), (0.64, 0.69, 0.80), 0.35, 0.42, 260),
    "morning": (0.18, (126, 174, 220), (246, 228, 204), (255, 244, 230),
                (1.12, 1.03, 0.88), (0.64, 0.67, 0.78), 0.30, 0.40, 170),
    "overcast": (0.16, (172, 182, 194), (216, 220, 222), (232, 234, 236),
                 (0.98, 0.98, 0.98), (0.78, 0.80, 0.84), 0.75, 0.16, 150),
    "golden": (0.16, (118, 150, 198), (250, 212, 164), (255, 222, 186),
               (1.16, 1.00, 0.78), (0.62, 0.61, 0.74), 0.35, 0.42, 160),
    "dusk": (0.12, (96, 104, 160), (236, 180, 168), (228, 166, 170),
             (0.94, 0.83, 0.82), (0.56, 0.56, 0.70), 0.45, 0.22, 150),
    "mist": (0.08, (190, 202, 212), (222, 226, 226), (238, 240, 240),
             (0.98, 0.97, 0.94), (0.80, 0.82, 0.85), 0.60, 0.12, 70),
}  # fmt: skip
# Each row holds the wall colours of one street.
WALLS = np.array([
    [(186, 98, 76), (214, 178, 136), (168, 84, 68), (226, 208, 178), (198, 134, 98)],
    [(232, 222, 202), (206, 190, 160), (184, 196, 196), (222, 196, 172), (172, 120, 98)],
    [(226, 178, 150), (236, 214, 156), (164, 192, 188), (214, 150, 136), (240, 232, 216)],
    [(150, 140, 134), (190, 180, 168), (158, 104, 86), (204, 200, 194), (130, 132, 140)],
    [(202, 162, 120), (176, 112, 84), (224, 204, 170), (156, 166, 148), (230, 220, 206)],
])  # fmt: skip
FOLIAGE = np.array([(96, 140, 66), (78, 124, 62), (122, 152, 66), (104, 128, 58), (196, 146, 62),
                    (206, 112, 58)])  # fmt: skip
SEASONS = (0.24, 0.24, 0.2, 0.2, 0.07, 0.05)  # share of the scenes with each foliage


class Scenes:
    """One split of generated scenes; nothing is read, each one is drawn when it is asked for.

    Args:
        root: Nothing is read from it.
        split: ``train``, ``val`` or ``test``; no scene is in two of them.
        count: Number of scenes, by default 400, 60 or 60.
        width: Width of the pictures, 64 to 4096 pixels.
        height: Height of the pictures, 64 to 4096 pixels.
        seed: Other seeds give other scenes; not negative.

    Raises:
        ValueError: If there is no such split or an option is out of range.
    """

    classes = CLASSES
    palette = PALETTE
    ignore_index = VOID
    reads_root = False

    def __init__(
        self,
        root: Path | None,
        split: str,
        *,
        count: int | None = None,
        width: int = 480,
        height: int = 360,
        seed: int = 0,
    ) -> None:
        if split not in COUNTS:
            raise ValueError(f"split must be one of {', '.join(COUNTS)}, not {split!r}")
        if count is not None and count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, not {seed}")
        for name, size in (("width", width), ("height", height)):
            if not SMALLEST <= size <= LARGEST:
                raise ValueError(f"{name} must be between {SMALLEST} and {LARGEST}, not {size}")
        self._split = split
        self._count = COUNTS[split] if count is None else count
        self._size = (width, height)
        self._seed = seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        index = range(self._count)[index]
        number = index * len(COUNTS) + list(COUNTS).index(self._split)
        width, height = self._size
        image, labels = draw_scene(number, seed=self._seed, width=width, height=height)
        return Example(f"{self._split}-{index:04d}", image, labels)


def draw_scene(
    index: int, *, seed: int = 0, width: int = 480, height: int = 360
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene: the picture (H, W, 3) in RGB and the class ids (H, W), both uint8."""
    rng = np.random.default_rng([seed, index])
    street = make_street(rng, width, height)
    sky = paint_sky(street.canvas.camera, street.canvas.light, rng)
    draw_skyline(street, END * 1.25)
    if rng.random() < 0.7 - 0.4 * street.urban:
        draw_treeline(street, END * 1.2)
    draw_ground(street)
    draw_rows(street)
    draw_objects(street)
    return finish(street.canvas, sky, street.fronts, rng)


def make_street(rng: np.random.Generator, width: int, height: int) -> Street:
    """Choose camera, light, cross-section and colours of a scene."""
    camera = Camera(
        width,
        height,
        focal=height * rng.uniform(0.85, 1.25),
        vanishing=(width * rng.uniform(0.36, 0.64), height * rng.uniform(0.44, 0.58)),
        eye=rng.uniform(1.5, 2.3),
    )
    light, dusk = make_light(rng)
    parking = (bool(rng.random() < 0.7), bool(rng.random() < 0.7))
    lane, own = rng.uniform(2.9, 3.6), rng.choice([-1, 1])
    middle = -own * lane * rng.uniform(0.25, 0.65)  # the camera drives in its own lane
    edges = (middle - lane - 2.1 * parking[0], middle + lane + 2.1 * parking[1])
    return Street(
        canvas=Canvas(camera, light),
        rng=rng,
        edges=edges,
        fronts=(edges[0] - rng.uniform(2.4, 5), edges[1] + rng.uniform(2.4, 5)),
        lanes=(middle - lane / 2, middle + lane / 2),
        parking=parking,
        crossing=rng.uniform(6, 22) if rng.random() < 0.35 else None,
        walls=WALLS[rng.integers(len(WALLS))],
        foliage=FOLIAGE[rng.choice(len(FOLIAGE), p=SEASONS)],
        urban=rng.random(),
        dusk=dusk,
    )


def make_light(rng: np.random.Generator) -> tuple[Light, bool]:
    """Choose a time of day and weather; returns the light and whether lamps are lit."""
    name = str(rng.choice(list(WEATHER), p=[weather[0] for weather in WEATHER.values()]))
    _, zenith, horizon, cloud, sun, shade, cover, shadow, visibility = WEATHER[name]
    toward = np.array((rng.choice([-1, 1]) * rng.uniform(0.45, 0.9), 0.6, rng.uniform(-0.6, 0.3)))
    tint = rng.uniform(0.96, 1.04, 3)
    light = Light(
        zenith=np.array(zenith) * tint,
        horizon=np.array(horizon) * tint,
        cloud=np.array(cloud),
        sun=np.array(sun) * rng.uniform(0.95, 1.05),
        shade=np.array(shade),
        toward=toward / np.linalg.norm(toward),
        cover=cover + rng.uniform(-0.2, 0.2),
        shadow=shadow,
        visibility=visibility * rng.uniform(0.8, 1.3),
    )
    return light, name == "dusk"


def draw_ground(street: Street) -> None:
    """Draw pavements, kerbs and the road."""
    asphalt = np.array((112, 112, 117)) * street.rng.uniform(0.86, 1.12)
    slabs = np.array((190, 180, 168)) * street.rng.uniform(0.86, 1.06)
    left, right = street.edges
    _draw_patch(street, (-1000, 1000), (0, END * 3), slabs, PAVEMENT)
    _draw_patch(street, (left, right), (0, END * 3), asphalt, ROAD)
    for edge, side in ((left, -1), (right, 1)):
        _draw_patch(street, (edge, edge - side * 0.25), (0, END * 3), asphalt * 0.8, ROAD)
        _draw_patch(street, (edge, edge + side * 0.22), (0, END * 3), slabs * 1.14, PAVEMENT)
    for _ in range(street.rng.integers(5)):  # mended places
        x, z = street.rng.uniform(left, right - 1.5), street.rng.uniform(3, 30)
        size = street.rng.uniform(0.6, 1.5), street.rng.uniform(1, 4)
        tone = asphalt * street.rng.uniform(0.86, 1.1)
        _draw_patch(street, (x, x + size[0]), (z, z + size[1]), tone, ROAD)
    _draw_markings(street)


def _draw_markings(street: Street) -> None:
    """Draw the dashes in the middle, the edges of parking lanes and the zebra crossing."""
    white = np.array((226, 224, 214)) * street.rng.uniform(0.9, 1.04)
    (left, right), middle = street.edges, sum(street.lanes) / 2
    for z in np.arange(street.rng.uniform(0, 6), END, 6.5):
        _draw_patch(street, (middle - 0.07, middle + 0.07), (z, z + 3), white, ROAD)
    for parking, line in zip(street.parking, (left + 2.15, right - 2.15), strict=True):
        if parking:
            _draw_patch(street, (line - 0.05, line + 0.05), (0, END), white, ROAD)
    if street.crossing is not None:
        for x in np.arange(left + 0.5, right - 0.5, 1.0):
            z = street.crossing
            _draw_patch(street, (x, x + 0.5), (z, z + 3), white, ROAD)


def _draw_patch(
    street: Street,
    across: tuple[float, float],
    along: tuple[float, float],
    colour: np.ndarray,
    part: int,
) -> None:
    """Draw a rectangle on the ground, from x to x and from z to z."""
    (left, right), (near, far) = across, along
    corners = [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]
    street.canvas.faces([corners], [colour], part, street.facing(0, 1, 0))


def draw_rows(street: Street) -> None:
    """Draw houses and gardens on both sides, far to near."""
    rng, lots = street.rng, []
    for side in (-1, 1):
        stop, garden = END + rng.uniform(0, 8), False
        while stop > NEAR:
            start = stop - rng.uniform(7, 15)
            start = start if start > 4 else NEAR
            garden = not garden and rng.random() < 0.5 - 0.25 * street.urban
            lots.append((start, stop, side, draw_garden if garden else draw_building))
            stop = start
    for start, stop, side, draw in sorted(lots, key=lambda lot: -lot[0]):
        draw(street, side, start, stop)


def draw_objects(street: Street) -> None:
    """Place everything that stands on the street and draw it, far to near.

    An object is its z, its drawing function and that function's arguments.
    """
    objects: list[tuple] = []
    for side in (0, 1):
        objects += _place_posts(street, side)
        objects += _place_pedestrians(street, side)
        objects += _place_vehicles(street, side)
    for _, draw, *arguments in sorted(objects, key=lambda thing: -thing[0]):
        draw(street, *arguments)


def _place_posts(street: Street, side: int) -> list[tuple]:
    """Place trees, lamps, signs and fences along the kerb of one pavement."""
    rng, sign, kerb = street.rng, 2 * side - 1, street.edges[side]
    objects: list[tuple] = []
    if rng.random() < 0.5:
        for z in np.arange(rng.uniform(8, 16), 90, rng.uniform(9, 16)):
            objects.append((z, draw_tree, kerb + 0.8 * sign, z, rng.uniform(4.5, 7.5)))
    if rng.random() < 0.7:
        for z in np.arange(rng.uniform(6, 16), 100, rng.uniform(16, 28)):
            objects.append((z, draw_lamp, kerb + 0.45 * sign, z))
    for z in 5 + 20 * rng.random(rng.integers(0, 4)) ** 1.3:
        objects.append((z, draw_sign, kerb + rng.uniform(0.5, 0.8) * sign, z))
    if rng.random() < 0.25:
        start, length, colour = rng.uniform(4, 16), rng.uniform(8, 20), street.pick(BOARDS)
        for z in np.arange(start, start + length, 4.0):  # in pieces: people walk on both sides
            objects.append((z + 2, draw_fence, kerb + 0.3 * sign, (z, z + 4), 0.95, colour))
    return objects


def _place_pedestrians(street: Street, side: int) -> list[tuple]:
    """Place people on one pavement and on the zebra crossing."""
    rng, sign, kerb = street.rng, 2 * side - 1, street.edges[side]
    room = abs(street.fronts[side] - kerb)
    objects: list[tuple] = []
    for z in 4.5 + 26 * rng.random(rng.poisson(2.8 + street.urban)) ** 1.4:
        objects.append((z, draw_pedestrian, kerb + sign * rng.uniform(1.1, room - 0.5), z))
    if street.crossing is not None and rng.random() < 0.4:
        z = street.crossing + rng.uniform(0.5, 2.5)
        objects.append((z, draw_pedestrian, rng.uniform(*street.edges), z))
    return objects


def _place_vehicles(street: Street, side: int) -> list[tuple]:
    """Place parked and driving cars and cyclists on one half of the road."""
    rng, sign, kerb, lane = street.rng, 2 * side - 1, street.edges[side], street.lanes[side]
    oncoming = abs(lane) > abs(street.lanes[1 - side])  # the camera is in the nearer lane
    rides = 4.5 + 20 * rng.random(rng.choice(3, p=[0.36, 0.46, 0.18])) ** 1.3
    beside_parking = kerb - (2.1 * street.parking[side] + 0.5) * sign
    objects: list[tuple] = [(z, draw_cyclist, beside_parking, z) for z in rides]
    if street.parking[side]:
        for slot in np.arange(rng.uniform(6, 12), 80, 6.4):
            z = slot + rng.uniform(0, 0.8)
            if rng.random() < 0.6 and _has_room(street, z, rides):
                objects.append((z, draw_car, kerb - 1.1 * sign, z, oncoming))
    z = rng.uniform(9, 40)
    if rng.random() < 0.6 and _has_room(street, z, rides):
        objects.append((z, draw_car, lane, z, oncoming))
    return objects


def _has_room(street: Street, z: float, rides: np.ndarray) -> bool:
    """Tell whether a car with its near end at z keeps off the crossing and the cyclists."""
    if street.crossing is not None and z - 3 < street.crossing < z + 6:
        return False
    return not np.any((rides > z - 0.5) & (rides < z + 5.5))
