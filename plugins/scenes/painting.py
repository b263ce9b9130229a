"""Painting tools for procedural street scenes: camera, light, canvas, sky and surface textures.

Lengths are metres in camera coordinates: x to the right, y up from the ground, z ahead. A scene is
a list of flat coloured faces in drawing order (far to near); the same faces give picture and
labels. Fine textures are added last, per pixel, because the ground and the house fronts are
planes whose world coordinates follow from the pixel position alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

# A face's part code: its class in the low four bits, above them the texture its pixels get.
CLASS_BITS = 15
LEFT_BRICKS = BUILDING | 16
RIGHT_BRICKS = BUILDING | 32
LEAVES = TREE | 16

GLASS = np.array((86, 106, 124))

OVERSAMPLING = 2
SMALLEST = 0.4  # faces narrower than this many pixels are left out
NEAR = 0.2  # faces are cut here, in metres ahead of the camera
TILE = 256  # side of the repeating noise texture
BRICK_LENGTH, BRICK_HEIGHT = 0.52, 0.2  # larger than real bricks, so that they can be seen
SLAB = 0.8


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera that looks along the street."""

    width: int
    height: int
    focal: float
    vanishing: tuple[float, float]
    eye: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Map points (..., 3) in metres to pixels (..., 2), x to the right and y down."""
        scale = self.focal / np.maximum(points[..., 2:], NEAR)
        offset = np.stack([points[..., 0], self.eye - points[..., 1]], axis=-1)
        return offset * scale + np.asarray(self.vanishing)

    def scale(self, depth: float) -> float:
        """Pixels per metre at a depth, for a picture 360 pixels high (level of detail)."""
        return self.focal / depth * 360 / self.height


@dataclass(frozen=True)
class Light:
    """Sky colours (RGB 0..255), surface tints (RGB factors) and the direction of the sun."""

    zenith: np.ndarray
    horizon: np.ndarray
    cloud: np.ndarray
    sun: np.ndarray
    shade: np.ndarray
    toward: np.ndarray  # unit vector (3,) to the sun
    cover: float  # cloud cover, 0..1
    shadow: float  # depth of cast shadows, 0..1
    visibility: float  # metres to 63 % haze

    def facing(self, normals: ArrayLike) -> np.ndarray:
        """Return how far surfaces of unit normals (..., 3) are turned to the sun, 0..1."""
        return 0.5 + 0.5 * np.asarray(normals) @ self.toward

    def tone(self, colours: np.ndarray, facing: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Light and haze colours (N, 3), given their facing (N,) and depth (N,)."""
        lit = colours * (self.shade + (self.sun - self.shade) * facing[:, None])
        return self.horizon + (lit - self.horizon) * np.exp(-depth / self.visibility)[:, None]


class Canvas:
    """Collects faces and cast shadows, then paints them over a sky."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera = camera
        self.light = light
        self._points: list[np.ndarray] = []
        self._counts: list[int] = []
        self._styles: list[np.ndarray] = []
        self._shadows: list[np.ndarray] = []

    def faces(
        self, corners: ArrayLike, colours: ArrayLike, part: ArrayLike, facing: ArrayLike = 0.5
    ) -> None:
        """Add M flat faces of K corners: (M, K, 3) metres, colours (M or 1, 3) RGB 0..255.

        `part` and `facing` (0..1, how far a face is turned to the sun) are scalars or (M,).
        """
        corners = np.asarray(corners, dtype=np.float32)
        style = np.empty((len(corners), 5), dtype=np.float32)
        style[:, :3], style[:, 3], style[:, 4] = colours, facing, part
        self._points.append(corners.reshape(-1, 3))
        self._counts += [corners.shape[1]] * len(corners)
        self._styles.append(style)

    def shadow(self, x: ArrayLike, z: ArrayLike) -> None:
        """Add the outline of a shadow on the ground."""
        x, z = np.broadcast_arrays(np.asarray(x, dtype=np.float32), z)
        self._shadows.append(np.stack([x, np.zeros_like(x), z], axis=-1))

    def paint(self, sky: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Paint all faces over a sky (H, W, 3) uint8.

        Returns the anti-aliased picture (H, W, 3) float32 and the part codes (H, W) uint8.
        """
        size = (self.camera.width * OVERSAMPLING, self.camera.height * OVERSAMPLING)
        picture = Image.fromarray(sky).resize(size, Image.Resampling.NEAREST)
        parts = Image.new("L", size, SKY)
        draw_colour, draw_part = ImageDraw.Draw(picture).polygon, ImageDraw.Draw(parts).polygon
        for outline, (*colour, part) in self._outlines():
            draw_colour(outline, fill=tuple(colour))
            draw_part(outline, fill=part)
        return np.asarray(picture.reduce(OVERSAMPLING), dtype=np.float32), majority(parts)

    def _outlines(self) -> list[tuple[list[float], list[int]]]:
        """Project all faces; returns (outline, [red, green, blue, part]) of those in view."""
        points, styles = np.concatenate(self._points), np.concatenate(self._styles)
        ends = np.cumsum(self._counts)
        starts = ends - self._counts
        pixels = self.camera.project(points)
        low, high = (f.reduceat(pixels, starts) for f in (np.minimum, np.maximum))
        size = (self.camera.width, self.camera.height)
        large = high - low > SMALLEST
        seen = np.flatnonzero(np.all((high > 0) & (low < size) & large, axis=1))
        depth = np.add.reduceat(points[:, 2], starts) / self._counts
        depth[np.isin(styles[:, 4], (ROAD, PAVEMENT))] = 0  # the ground gets its haze per pixel
        styles[:, :3] = self.light.tone(styles[:, :3], styles[:, 3], depth)
        inks = styles[:, [0, 1, 2, 4]].clip(0, 255).astype(np.uint8).tolist()
        flat = (pixels * OVERSAMPLING).ravel().tolist()
        return [(flat[2 * starts[i] : 2 * ends[i]], inks[i]) for i in seen.tolist()]

    def shadow_mask(self) -> np.ndarray:
        """Draw the cast shadows with soft edges: (H, W) float32, 0 lit to 1 dark."""
        mask = Image.new("L", (self.camera.width, self.camera.height))
        draw = ImageDraw.Draw(mask)
        for outline in self._shadows:
            draw.polygon(self.camera.project(outline).ravel().tolist(), fill=255)
        soft = mask.filter(ImageFilter.BoxBlur(self.camera.height / 240))
        return np.asarray(soft, dtype=np.float32) / 255


@dataclass
class Street:
    """What the things in one scene share: canvas, random stream and cross-section (metres)."""

    canvas: Canvas
    rng: np.random.Generator
    edges: tuple[float, float]  # x of the kerbs, left and right
    fronts: tuple[float, float]  # x of the house fronts, left and right
    lanes: tuple[float, float]  # x of the lanes' middles, left and right
    parking: tuple[bool, bool]
    crossing: float | None  # z of a zebra crossing
    walls: np.ndarray  # (5, 3) wall colours
    foliage: np.ndarray  # (3,)
    urban: float  # 0 village to 1 city
    dusk: bool

    def pick(self, colours: np.ndarray) -> np.ndarray:
        """Choose one of the colours (N, 3) and vary it a little."""
        tint = self.rng.uniform(0.92, 1.05) * self.rng.uniform(0.98, 1.02, 3)
        return colours[self.rng.integers(len(colours))] * tint

    def facing(self, *normal: float) -> float:
        """Return how far a surface of this unit normal is turned to the sun, 0..1."""
        return float(self.canvas.light.facing(normal))


def majority(parts: Image.Image) -> np.ndarray:
    """Reduce part codes by two in each direction, taking the most frequent of each four."""
    codes = np.asarray(parts)
    a, b, c, d = codes[::2, ::2], codes[::2, 1::2], codes[1::2, ::2], codes[1::2, 1::2]
    # If no two of b, c, d agree, a is in the largest group, be it of two or of one.
    return np.where((b == c) | (b == d), b, np.where(c == d, c, a))


def capsules(limbs: ArrayLike) -> np.ndarray:
    """Outline tapered limbs with round ends.

    `limbs` (M, 6) holds x, y and radius of both ends; returns outlines (M, 12, 2).
    """
    limbs = np.asarray(limbs, dtype=np.float32)
    ends = limbs.reshape(-1, 2, 1, 3)
    along = np.arctan2(limbs[:, 4] - limbs[:, 1], limbs[:, 3] - limbs[:, 0])
    arc = np.linspace(np.pi / 2, 3 * np.pi / 2, 6)
    angles = along[:, None, None] + np.stack([arc, arc + np.pi])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return (ends[..., :2] + ends[..., 2:] * circle).reshape(-1, 12, 2)


def rectangles(
    origin: tuple[float, float, float], along: tuple[float, float, float], spans: ArrayLike
) -> np.ndarray:
    """Place upright rectangles (M, 4: from, bottom, to, top) on a wall; returns (M, 4, 3)."""
    spans = np.asarray(spans, dtype=np.float32)
    corners = np.array(origin) + spans[:, [0, 2, 2, 0], None] * np.array(along)
    corners[..., 1] += spans[:, [1, 1, 3, 3]]
    return corners


def upright(outlines: np.ndarray, x: float, z: float) -> np.ndarray:
    """Stand flat outlines (M, K, 2) that face the camera on the ground at (x, z): (M, K, 3)."""
    faces = np.full((*outlines.shape[:2], 3), z, dtype=np.float32)
    faces[..., :2] = outlines
    faces[..., 0] += x
    return faces


@cache
def noise_tile(smoothness: float = 1.5) -> np.ndarray:
    """Return repeating noise (TILE, TILE) float32 of mean 0, deviation 1; 1.5 looks like clouds."""
    white = np.random.default_rng(0).standard_normal((TILE, TILE))
    rows, columns = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)
    frequency = np.hypot(rows, columns) + 2 / TILE
    noise = np.fft.irfft2(np.fft.rfft2(white) * frequency**-smoothness)
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


@cache
def leaf_tile(size: int) -> np.ndarray:
    """Return a repeating texture (size, size) float32, about -1..1, of overlapping leaves."""
    rng = np.random.default_rng(1)
    tile = Image.new("L", (size, size), 40)
    draw = ImageDraw.Draw(tile)
    limbs = np.zeros((2600, 6))
    limbs[:, 2], limbs[:, 5], limbs[:, 3:5] = 0.006, 0.002, rng.uniform(-0.012, 0.012, (2600, 2))
    leaves = (capsules(limbs) + rng.uniform(0, 1, (2600, 1, 2))) * size
    for leaf, shade in zip(leaves, rng.integers(60, 250, 2600).tolist(), strict=True):
        for shift in np.ndindex(2, 2):  # leaves that cross the border enter on the other side
            draw.polygon((leaf - np.multiply(shift, size)).ravel().tolist(), fill=shade)
    texture = np.asarray(tile, dtype=np.float32) / 128 - 1
    return texture - texture.mean()


def sample(tile: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Read a repeating tile (TILE, TILE) at fractional positions, with bilinear weights."""
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    top, left = top.astype(np.int32), left.astype(np.int32)
    upper, lower = top % TILE * TILE, (top + 1) % TILE * TILE
    flat, first, second = tile.ravel(), left % TILE, (left + 1) % TILE
    above = flat[upper + first] * (1 - right) + flat[upper + second] * right
    below = flat[lower + first] * (1 - right) + flat[lower + second] * right
    return above + (below - above) * down


def paint_sky(camera: Camera, light: Light, rng: np.random.Generator) -> np.ndarray:
    """Paint a sky with clouds on a plane that recedes to the horizon: (H, W, 3) uint8."""
    # Clouds are soft: half the resolution will do.
    size = ((camera.width + 1) // 2, (camera.height + 1) // 2)
    horizon = camera.vanishing[1] / 2
    rise = 1 - (np.arange(size[1], dtype=np.float32)[:, None] + 0.5) / horizon
    rise = rise[rise[:, 0] > 0]
    across = (np.arange(size[0], dtype=np.float32) * 2 - camera.vanishing[0]) / camera.height
    far = 1 / (rise + 0.22)
    rows, columns = far * 62 + rng.uniform(0, TILE), across * far * 60 + rng.uniform(0, TILE)
    clouds = sample(noise_tile(), *np.broadcast_arrays(rows, columns))
    sky = np.empty((size[1], size[0], 3), dtype=np.uint8)
    sky[:] = light.horizon.clip(0, 255)
    sky[: len(rise)] = _sky_colours(light, clouds, rise, across).clip(0, 255)
    full = Image.fromarray(sky).resize((camera.width, camera.height), Image.Resampling.BILINEAR)
    return np.asarray(full)


def _sky_colours(
    light: Light, clouds: np.ndarray, rise: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """Colour the sky (h, w, 3): clouds (h, w), height `rise` (h, 1), `across` (w,)."""
    density = clouds + 2.2 * light.cover - 1
    cover = np.clip(density, 0, 1) * np.clip(rise * 5, 0, 0.9)
    under = 1 - 0.22 * np.clip(density * 0.5 - 0.2, 0, 1)  # thick clouds are darker below
    glow = 0.4 * np.exp(-4 * ((across - light.toward[0]) ** 2 + (rise - 0.6) ** 2))
    blue = light.zenith + (light.horizon - light.zenith) * (1 - rise[..., None]) ** 1.6
    blue = blue + (light.cloud - blue) * glow[..., None]
    return blue + (light.cloud * under[..., None] - blue) * cover[..., None]


def fade(pixels: np.ndarray) -> np.ndarray:
    """Return the contrast 0..1 at which a pattern that spans so many pixels is drawn."""
    return np.clip((pixels - 1.5) / 4, 0, 1)


def brick_texture(camera: Camera, wall: float, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Evaluate brickwork (N,), about -1..1, at pixels (N,) of the plane x = `wall`."""
    offset = np.abs(columns - camera.vanishing[0]) + 0.5
    depth = camera.focal * abs(wall) / offset
    course = (camera.eye + (camera.vanishing[1] - rows) * depth / camera.focal) / BRICK_HEIGHT
    layer = np.floor(course)
    brick = depth / BRICK_LENGTH + 0.5 * (layer % 2)
    number = np.floor(brick)
    tones = noise_tile().ravel()
    tone = tones[((layer * 37 + number * 101) % tones.size).astype(np.int32)]
    joint = np.maximum(course - layer < 0.16, brick - number < 0.07)
    height = fade(BRICK_HEIGHT * camera.focal / depth)
    length = fade(BRICK_LENGTH * offset / depth)
    return height * (0.35 * np.clip(tone, -1.5, 1.5) * length + 0.65 * joint)


def ground_texture(camera: Camera, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evaluate the ground from row `top` down (h rows).

    Returns textures of asphalt and of paving slabs (both (h, W), about -1..1) and depths (h, 1).
    """
    rows = np.arange(top, camera.height, dtype=np.float32)[:, None] + 0.5
    depth = camera.focal * camera.eye / np.maximum(rows - camera.vanishing[1], 0.5)
    x = (np.arange(camera.width, dtype=np.float32) - camera.vanishing[0]) * depth / camera.focal
    near = fade(camera.focal * 0.2 / depth)
    grain = near * sample(noise_tile(0.9), *np.broadcast_arrays(depth * 34, x * 34))
    row, column = np.floor(depth / SLAB), np.floor(x / SLAB)
    tones = noise_tile().ravel()
    tone = tones[((row * 53 + column * 97) % tones.size).astype(np.int32)]
    joint = np.maximum(depth / SLAB - row < 0.06, x / SLAB - column < 0.05)
    return grain, near * (0.4 * tone - 1.6 * joint) + 0.3 * grain, depth


def finish(
    canvas: Canvas, sky: np.ndarray, walls: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the canvas over a sky (H, W, 3), with textures, shadows and haze.

    `walls` are the x of the left and the right house fronts. Returns the picture (H, W, 3) and
    the class labels (H, W), both uint8.
    """
    picture, parts = canvas.paint(sky)
    labels = parts & CLASS_BITS
    gain = surface_texture(parts, rng)
    for part, wall in zip((LEFT_BRICKS, RIGHT_BRICKS), walls, strict=True):
        where = np.nonzero(parts == part)
        gain[where] += 0.16 * brick_texture(canvas.camera, wall, *where)
    top = int(np.clip(canvas.camera.vanishing[1], 0, len(labels) - 1))
    ground_gain, haze = ground_shading(canvas, labels[top:], top)
    gain[top:] *= ground_gain
    picture *= gain[..., None]
    picture[top:] += haze[..., None] * canvas.light.horizon.astype(np.float32)
    return picture.clip(0, 255).astype(np.uint8), labels


def surface_texture(parts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return brightness factors (H, W) float32 for leaves, and soft stains for all but the sky."""
    height, width = parts.shape
    rows, columns = np.arange(height), np.arange(width) + rng.integers(1024)
    tile = leaf_tile(max(8, round(300 * height / 360)))
    leaves = tile[np.ix_(rows % len(tile), columns % len(tile))]
    soft = noise_tile()[np.ix_(rows * 150 // height % TILE, columns * 150 // height % TILE)]
    return 1 + np.float32(0.012) * soft * (parts != SKY) + 0.2 * leaves * (parts == LEAVES)


def ground_shading(canvas: Canvas, labels: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return brightness factors and haze weights (both (h, W) float32) from row `top` down."""
    asphalt, slabs, depth = ground_texture(canvas.camera, top)
    road, pavement = labels == ROAD, labels == PAVEMENT
    ground = road | pavement
    gain = 1 + 0.05 * asphalt * road + 0.06 * slabs * pavement
    gain *= 1 - np.float32(canvas.light.shadow) * canvas.shadow_mask()[top:] * ground
    haze = ground * (1 - np.exp(-depth / np.float32(canvas.light.visibility)))
    return gain * (1 - haze), haze
