"""Pictures as small files within the page: images, label maps, labels drawn over images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from sdabn_cli import overlay
from sdabn_cli.labels import IGNORED
from sdabn_cli.pixels import to_uint8
from sdabn_cli.planes import Plane
from sdabn_cli.report.content import Colour, Layer

#: Longest side of a picture in a report.
MAX_SIDE = 1024

#: Of JPEG, with colours at full resolution: noise keeps its strength to a few percent, at half the
#: size of a PNG. WebP halves the resolution of colours: of a sigma of 43 it leaves 30.
QUALITY = 90

#: Images of no more pixels are kept exactly.
SMALL = 65536

#: Rows of an image that are looked at together.
BAND = 256

NO_LABEL = (0, 0, 0)


def shrunk(image: Plane, max_side: int = MAX_SIDE) -> np.ndarray:
    """Make an image as small as a report needs it, without having all of it in memory.

    Args:
        image: (3, H, W), nominally in [0, 1]; clipped.
        max_side: Longest side of the result.

    Returns:
        uint8 (h, w, 3).
    """
    _, height, width = image.shape
    factor = max(1, max(height, width) // max_side)
    step = max(1, BAND // factor) * factor
    bands = []
    for top in range(0, height, step):
        window = (slice(top, min(top + step, height)), slice(0, width))
        values = image.read(window)[0].float().clamp(0, 1)
        pooled = F.avg_pool2d(values, factor, ceil_mode=True) if factor > 1 else values
        bands.append(pooled.cpu())
    array = to_uint8(torch.cat(bands, 1).permute(1, 2, 0).contiguous().numpy())
    size = small_size(height, width, max_side)
    if array.shape[:2] == size:
        return array
    return np.asarray(Image.fromarray(array).resize(size[::-1], Image.Resampling.LANCZOS))


def small_size(height: int, width: int, max_side: int = MAX_SIDE) -> tuple[int, int]:
    """Height and width of a picture, shrunk to a longest side if it is larger."""
    factor = min(1.0, max_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def thinned(labels: np.ndarray, max_side: int = MAX_SIDE) -> np.ndarray:
    """Make a label map as small as ``shrunk`` makes its image: the nearest pixels' classes.

    Args:
        labels: Class ids (H, W).
        max_side: Longest side of the result.

    Returns:
        uint8 (h, w).
    """
    places = [
        ((np.arange(small) + 0.5) * length / small).astype(np.int64)
        for small, length in zip(small_size(*labels.shape, max_side), labels.shape, strict=True)
    ]
    return labels[np.ix_(*places)].astype(np.uint8)


def size_note(height: int, width: int, max_side: int = MAX_SIDE) -> str:
    """Say how large an image is, and how much of that a report shows."""
    small = small_size(height, width, max_side)
    said = f"{width} \N{MULTIPLICATION SIGN} {height} pixels"
    if small == (height, width):
        return f"{said}."
    share = f"{100 * small[1] / width:.0f} %"
    return f"{said}, shown at {share} of that, which makes noise look weaker than it is."


def photo(name: str, pixels: np.ndarray, *, alt: str = "", figure: str = "") -> Layer:
    """Encode an image.

    Args:
        name: Of the layer.
        pixels: uint8 (h, w, 3).
        alt: What a person reads who does not see it; the name by default.
        figure: What was measured of it.
    """
    image = Image.fromarray(pixels)
    if pixels.shape[0] * pixels.shape[1] <= SMALL:
        data = _encoded(image, format="PNG")
        return _layer(name, "image/png", data, pixels, alt, figure)
    data = _encoded(image, format="JPEG", quality=QUALITY, subsampling=0)
    return _layer(name, "image/jpeg", data, pixels, alt, figure)


def class_map(
    name: str, labels: np.ndarray, palette: Sequence[Colour], *, alt: str = "", figure: str = ""
) -> Layer:
    """Encode a label map in the colours of its classes; pixels without a label are black.

    Args:
        name: Of the layer.
        labels: uint8 (h, w), ``IGNORED`` where there is no label.
        palette: Colour of every class.
        alt: As in ``photo``.
        figure: As in ``photo``.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    colours[IGNORED] = NO_LABEL
    image = Image.frombytes("P", labels.shape[::-1], np.ascontiguousarray(labels).tobytes())
    image.putpalette(colours.tobytes())
    data = _encoded(image, format="PNG", optimize=True)
    return _layer(name, "image/png", data, labels, alt, figure)


def covered(
    name: str, pixels: np.ndarray, labels: np.ndarray, palette: Sequence[Colour], *, alt: str = ""
) -> Layer:
    """Encode an image with its label map drawn over it.

    Args:
        name: Of the layer.
        pixels: uint8 (h, w, 3).
        labels: uint8 (h, w), every one with a colour.
        palette: Colour of every class.
        alt: As in ``photo``.
    """
    return photo(name, overlay.mix(pixels, labels, palette), alt=alt)


def _encoded(image: Image.Image, **how: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **how)
    return stream.getvalue()


def _layer(
    name: str,
    media: Literal["image/png", "image/jpeg"],
    data: bytes,
    pixels: np.ndarray,
    alt: str,
    figure: str,
) -> Layer:
    height, width = pixels.shape[:2]
    return Layer(name, media, data, width, height, alt or name, figure)
