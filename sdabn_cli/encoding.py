"""Writing images: PNG as a whole, TIFF band by band."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import imageio.v3 as iio
import numpy as np
from PIL import Image

from sdabn_cli.errors import SdabnError
from sdabn_cli.files import Writer

#: Side of the tiles of a TIFF.
TILE = 256

#: TIFFs above this size in bytes, uncompressed, need the larger format.
BIG = 2_000_000_000

Palette = Sequence[tuple[int, int, int]]


@dataclass(frozen=True)
class Raster:
    """A picture to be written, as bands of rows from top to bottom.

    Attributes:
        shape: (H, W) grey or class ids, (H, W, 2) grey and alpha, (H, W, 3) or (H, W, 4).
        dtype: uint8, uint16 or float32.
        bands: Arrays (h, W, ...) whose heights add up to H.
        palette: Colours of class ids, or None.
        icc: Colour profile, or None.
    """

    shape: tuple[int, ...]
    dtype: Any
    bands: Iterable[np.ndarray]
    palette: Palette | None = None
    icc: bytes | None = None


def png_writer(raster: Raster) -> Writer:
    """Writer of a picture as PNG; only 8-bit ones keep their colour profile.

    Raises:
        SdabnError: When it writes floats.
    """

    def write(file: IO[bytes]) -> None:
        array = np.concatenate([np.asarray(band) for band in raster.bands])
        if raster.palette is not None:
            labels_writer(array, raster.palette)(file)
        elif array.dtype == np.uint8:
            profile = {"icc_profile": raster.icc} if raster.icc else {}
            mode = None if array.ndim == 2 else {2: "LA", 3: "RGB", 4: "RGBA"}[array.shape[2]]
            iio.imwrite(file, array, extension=".png", plugin="pillow", mode=mode, **profile)
        elif array.dtype == np.uint16:
            import imagecodecs

            file.write(imagecodecs.png_encode(np.ascontiguousarray(array)))
        else:
            raise SdabnError(f"PNG holds no {array.dtype} values.", "TIFF does.")

    return write


def tiff_writer(rasters: Iterable[Raster]) -> Writer:
    """Writer of pictures as the pages of a TIFF; a band or two of one page are in memory."""

    def write(file: IO[bytes]) -> None:
        import tifffile

        pages = list(rasters)
        size = sum(int(np.prod(page.shape)) * np.dtype(page.dtype).itemsize for page in pages)
        with tifffile.TiffWriter(file, bigtiff=size > BIG) as tiff:
            for page in pages:
                tiff.write(_tiles(page), **_description(page))

    return write


def _description(page: Raster) -> dict[str, Any]:
    """How tifffile is told what a page is."""
    channels = page.shape[2] if len(page.shape) == 3 else 1
    told: dict[str, Any] = {
        "shape": page.shape,
        "dtype": page.dtype,
        "tile": (TILE, TILE),
        "compression": "zlib",
        "photometric": "rgb" if channels >= 3 else "minisblack",
        "metadata": None,
    }
    if channels > 1:
        told["planarconfig"] = "contig"
    if channels in (2, 4):
        told["extrasamples"] = ["unassalpha"]
    if page.palette is not None:
        told |= {"photometric": "palette", "colormap": _colormap(page.palette)}
    if page.icc:
        told["iccprofile"] = page.icc
    return told


def _colormap(palette: Palette) -> np.ndarray:
    colours = np.zeros((3, 256), np.uint16)
    colours[:, : len(palette)] = np.asarray(palette, np.uint16).T * 257
    return colours


def _tiles(page: Raster) -> Iterator[np.ndarray]:
    """Tiles from left to right and top to bottom; those at the edges are filled with zeros."""
    for band in _bands_of(page.bands, TILE):
        for left in range(0, page.shape[1], TILE):
            part = band[:, left : left + TILE]
            missing = [(0, TILE - part.shape[0]), (0, TILE - part.shape[1])]
            yield np.pad(part, missing + [(0, 0)] * (part.ndim - 2)).astype(page.dtype)


def _bands_of(bands: Iterable[np.ndarray], height: int) -> Iterator[np.ndarray]:
    """Cut bands of any heights into bands of one height; the last one may be lower."""
    waiting: list[np.ndarray] = []
    rows = 0
    for band in bands:
        waiting.append(band)
        rows += len(band)
        while rows >= height:
            joined = np.concatenate(waiting)
            yield joined[:height]
            waiting, rows = [joined[height:]], rows - height
    if rows:
        yield np.concatenate(waiting)


def image_writer(array: np.ndarray) -> Writer:
    """Writer of an RGB uint8 array (H, W, 3) as PNG."""
    return lambda file: iio.imwrite(file, array, extension=".png")


def labels_writer(labels: np.ndarray, palette: Palette) -> Writer:
    """Writer of class ids (H, W) as a palette PNG: the pixel values are the ids."""
    image = Image.fromarray(labels.astype(np.uint8))
    colours = [value for colour in palette for value in colour]
    # A full palette: otherwise ids beyond it, such as 255, would be written as other ids.
    image.putpalette(colours + [0] * (768 - len(colours)))
    return lambda file: image.save(file, format="PNG")
