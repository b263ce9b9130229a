"""Draw a segmentation over its image, with a legend of the classes that occur."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

#: Share of the class colour in the mixture.
OPACITY = 0.45
BACKGROUND = (24, 24, 24)
TEXT = (240, 240, 240)

#: Classes under this share of the pixels are left out of the legend, if others remain.
NOTICEABLE = 0.001


def mix(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[tuple[int, int, int]]
) -> np.ndarray:
    """Mix rows of an image with the colours of their classes, and draw outlines between these.

    Args:
        image: uint8 (h, W, 3).
        labels: Class ids (h, W), or (h + 1, W) with the row below, if there is one.
        palette: Colour of every class.

    Returns:
        uint8 (h, W, 3).
    """
    height = len(image)
    colours = np.asarray(palette, dtype=np.float32)[labels[:height]]
    mixed = image * (1 - OPACITY) + colours * OPACITY
    mixed = np.where(_outlines(labels)[:height, :, None], colours * 0.6, mixed)
    return np.round(mixed).astype(np.uint8)


def legend(
    labels: np.ndarray, classes: Sequence[str], palette: Sequence[tuple[int, int, int]]
) -> np.ndarray:
    """Draw the legend of the classes that occur, the largest first.

    Args:
        labels: Class ids (H, W).
        classes: Name of every class.
        palette: Colour of every class.

    Returns:
        uint8 (h, W, 3), to be put below the image.
    """
    return _legend(labels.shape[1], _present(labels, len(classes)), classes, palette)


def _outlines(labels: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour is of another class."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge


def _present(labels: np.ndarray, count: int) -> list[int]:
    """Classes that occur, the largest first."""
    counts = sum(np.bincount(row, minlength=count)[:count] for row in labels)
    share = counts / labels.size
    order = [int(i) for i in np.argsort(-share, kind="stable") if share[i] > 0]
    return [i for i in order if share[i] >= NOTICEABLE] or order


def _legend(
    width: int,
    present: Sequence[int],
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> np.ndarray:
    size = int(np.clip(width / 40, 11, 40))
    font = ImageFont.load_default(size)
    gap, row_height = size // 2, round(size * 1.7)
    places, x, row = [], gap, 0
    for index in present:
        needed = size + gap + round(font.getlength(classes[index])) + 2 * gap
        if x > gap and x + needed > width:
            x, row = gap, row + 1
        places.append((index, x, row))
        x += needed
    legend = Image.new("RGB", (width, (row + 1) * row_height + gap), BACKGROUND)
    brush = ImageDraw.Draw(legend)
    for index, x, row in places:
        y = gap // 2 + row * row_height + row_height // 2
        top = y - size // 2
        brush.rectangle(
            (x, top, x + size, top + size), fill=tuple(palette[index]), outline=(200, 200, 200)
        )
        brush.text((x + size + gap, y), classes[index], font=font, fill=TEXT, anchor="lm")
    return np.asarray(legend)
