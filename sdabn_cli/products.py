"""What is written for an image: denoised and noisy image, label map and overlay, band by band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdabn_cli import files, overlay
from sdabn_cli.encoding import Raster, png_writer, tiff_writer
from sdabn_cli.inference import Result
from sdabn_cli.inputs import Job
from sdabn_cli.model import Description
from sdabn_cli.pixels import Picture, from_unit, to_unit
from sdabn_cli.planes import Plane

#: Rows that are converted and written together.
BAND = 256


class PicturePlane:
    """A decoded image as a plane, converted to [0, 1] where it is looked at.

    Args:
        picture: Grey ones are given as three equal colours.
    """

    def __init__(self, picture: Picture) -> None:
        self._pixels = picture.pixels
        self.shape = (3, *picture.pixels.shape[:2])

    def read(self, window: tuple[slice, slice]) -> Tensor:
        """Values of a window, float32 (1, 3, h, w)."""
        # A copy, since what was decoded may be read-only.
        values = torch.from_numpy(np.array(to_unit(np.asarray(self._pixels[window]))))
        if values.ndim == 2:
            return values.expand(1, 3, *values.shape).contiguous()
        return values.permute(2, 0, 1)[None].contiguous()


@dataclass(frozen=True)
class Page:
    """A page of an image file and what was found in it."""

    picture: Picture
    result: Result

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.result.noisy.shape[1], self.result.noisy.shape[2]


def write(
    job: Job, pages: Sequence[Page], products: Sequence[str], description: Description
) -> dict[str, str]:
    """Write every product of an image; all are on disk before the first is put in its place.

    Raises:
        SdabnError: If one cannot be written; none is in its place then.
    """
    writers = {job.output(p): _writer(p, job, pages, description) for p in products}
    files.write_together(writers)
    return {product: str(job.output(product)) for product in products}


def _writer(
    product: str, job: Job, pages: Sequence[Page], description: Description
) -> files.Writer:
    rasters = [RASTERS[product](page, description) for page in pages]
    return tiff_writer(rasters) if job.is_tiff else png_writer(rasters[0])


def _denoised(page: Page, description: Description) -> Raster:
    assert page.result.estimate is not None
    return _image(page, page.result.estimate)


def _noisy(page: Page, description: Description) -> Raster:
    return _image(page, page.result.noisy)


def _image(page: Page, plane: Plane) -> Raster:
    """An image of the kind that was read: grey or colour, of its depth, with its alpha channel."""
    picture = page.picture
    grey = picture.pixels.ndim == 2
    channels = (1 if grey else 3) + (picture.alpha is not None)
    shape = page.size if channels == 1 else (*page.size, channels)
    return Raster(shape, picture.pixels.dtype, _bands(page, plane, grey), icc=picture.icc)


def _bands(page: Page, plane: Plane, grey: bool) -> Iterator[np.ndarray]:
    picture = page.picture
    for window in _windows(page.size):
        band = pixels_of(plane, window, picture.pixels.dtype, grey=grey)
        if picture.alpha is not None:
            alpha = np.asarray(picture.alpha[window])
            band = np.concatenate([np.atleast_3d(band), alpha[..., None]], axis=2)
        yield band


def pixels_of(
    plane: Plane, window: tuple[slice, slice], dtype: np.typing.DTypeLike, *, grey: bool
) -> np.ndarray:
    """Convert a window of an image (3, H, W) to pixels.

    Args:
        plane: The image, in [0, 1].
        window: Which part of it.
        dtype: Integers are clipped and rounded, floats stay as they are.
        grey: Whether the mean of the colours is given.

    Returns:
        (h, w) or (h, w, 3).
    """
    values = plane.read(window)[0].float().cpu()
    array = values.mean(0) if grey else values.permute(1, 2, 0)
    return from_unit(array.numpy(), dtype)


def _labels(page: Page, description: Description) -> Raster:
    bands = (page.result.labels[rows].numpy() for rows, _ in _windows(page.size))
    return Raster(page.size, np.dtype(np.uint8), bands, palette=description.palette)


def _overlay(page: Page, description: Description) -> Raster:
    height, width = page.size
    labels = page.result.labels.numpy()
    key = overlay.legend(labels, description.classes, description.palette)
    return Raster(
        (height + len(key), width, 3),
        np.dtype(np.uint8),
        _overlay_bands(page, labels, key, description),
        icc=page.picture.icc if page.picture.pixels.ndim == 3 else None,
    )


def _overlay_bands(
    page: Page, labels: np.ndarray, key: np.ndarray, description: Description
) -> Iterator[np.ndarray]:
    result = page.result
    shown = result.noisy if result.estimate is None else result.estimate
    for window in _windows(page.size):
        rows = window[0]
        below = labels[rows.start : rows.stop + 1]  # one row more: outlines look down
        band = pixels_of(shown, window, np.uint8, grey=False)
        yield overlay.mix(band, below, description.palette)
    yield key


def _windows(size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    height, width = size
    for top in range(0, height, BAND):
        yield slice(top, min(top + BAND, height)), slice(0, width)


RASTERS: Mapping[str, Any] = {
    "denoised": _denoised,
    "labels": _labels,
    "noisy": _noisy,
    "overlay": _overlay,
}
