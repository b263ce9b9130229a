"""TIFF files, page by page and segment by segment: strips or tiles, of any size.

Every image directory is a page. What a page holds is bounded by its header before it is decoded,
and every segment by the header of its own before it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdabn_cli.pixels import Canvas, Picture, Spooled, fitting_profile
from sdabn_cli.tiffheader import (
    MAGIC,
    OF_JPEGS,
    Layout,
    describe,
    opened,
    require_end,
    require_segment,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

__all__ = ["MAGIC", "Spooled", "count", "read", "size"]

#: Bytes of a band of rows where a file allows any.
BAND = 1 << 20


def count(path: Path, max_pixels: int) -> int:
    """Number of pages.

    Raises:
        SdabnError: If the file is damaged, or a page is larger than ``max_pixels`` or of a kind
            that is not read.
    """
    with opened(path) as file:
        pages = len(file.pages)
        for number in range(pages):
            describe(path, file, number, max_pixels)
        require_end(path, file)
        return pages


def size(path: Path, page: int, max_pixels: int) -> tuple[int, int]:
    """Height and width of a page as it is shown, from its header alone.

    Raises:
        SdabnError: As ``count``.
    """
    with opened(path) as file:
        layout = describe(path, file, page, max_pixels)
        return layout.turn.size(*layout.size)


def read(path: Path, page: int, max_pixels: int, spool: Path | None) -> Picture:
    """Decode a page.

    Args:
        path: TIFF file.
        page: Number of the page, from 0.
        max_pixels: Largest number of pixels that is decoded.
        spool: Directory for the decoded values: memory then holds a segment at a time, or a band of
            rows where the values are not compressed.

    Raises:
        SdabnError: As ``count``, or if floats are not finite or far outside [0, 1].
    """
    with opened(path) as file:
        layout = describe(path, file, page, max_pixels)
        colours, shown = layout.colours, layout.turn.size(*layout.size)
        pixels = Canvas((*shown, 3) if colours.channels == 3 else shown, colours.dtype, spool)
        alpha = Canvas(shown, colours.dtype, spool) if colours.alpha else None
        for block, row, column in _blocks(path, file, layout, spool):
            _place(layout, colours.convert(block), (row, column), pixels, alpha)
        icc = file.pages[page].tags.valueof(34675)
        return Picture(
            pixels.finish(),
            alpha.finish() if alpha else None,
            fitting_profile(bytes(icc) if icc else None, colours.channels),
        )


Block = tuple[np.ndarray, int, int]
"""Stored values (h, w, samples), and the row and column of their upper left corner."""


def _blocks(path: Path, file: TiffFile, layout: Layout, spool: Path | None) -> Iterator[Block]:
    """All values of a page, with all samples of a pixel together."""
    page = layout.page
    if page.planarconfig != 2 or page.samplesperpixel == 1:
        for block, _, row, column in _segments(path, file, layout):
            yield block, row, column
        return
    canvases = [Canvas(layout.size, page.dtype, spool) for _ in range(page.samplesperpixel)]
    for block, plane, row, column in _segments(path, file, layout):
        canvases[plane].put(block[..., 0], row, column)
    planes = [canvas.finish() for canvas in canvases]
    for rows in _bands(page):
        yield np.stack([plane[rows, :] for plane in planes], axis=2), rows.start, 0
    for plane in planes:
        if isinstance(plane, Spooled):
            plane.path.unlink()


def _bands(page: TiffPage) -> Iterator[slice]:
    row = page.imagewidth * page.samplesperpixel * page.dtype.itemsize
    height = max(1, BAND // row)
    for start in range(0, page.imagelength, height):
        yield slice(start, min(start + height, page.imagelength))


def _segments(
    path: Path, file: TiffFile, layout: Layout
) -> Iterator[tuple[np.ndarray, int, int, int]]:
    """Decode strips and tiles: values (h, w, samples), plane, row, column."""
    page = layout.page
    if _is_raw(page):
        yield from _raw_bands(path, file, page)
        return
    arguments: dict[str, object] = {}
    if page.compression in OF_JPEGS:
        arguments = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    for index in range(int(np.prod(page.chunked))):
        data = _bytes_of(path, file, page, index)
        values, (plane, _, row, column, _), shape = page.decode(data, index, **arguments)
        if values is None:  # a segment that was left out
            values = np.full(shape, page.nodata, page.dtype)
        height, width = layout.size
        yield values[0, : height - row, : width - column], plane, row, column


def _is_raw(page: TiffPage) -> bool:
    """Whether the values lie in the file as they are, one after the other."""
    plain = page.compression == 1 and page.predictor == 1 and page.fillorder == 1
    whole = page.bitspersample in (8, 16, 32, 64) and page.is_contiguous
    return bool(plain and whole and not page.is_tiled)


def _raw_bands(
    path: Path, file: TiffFile, page: TiffPage
) -> Iterator[tuple[np.ndarray, int, int, int]]:
    # Such a file is often a single strip, so decoding by strips would decode it as a whole.
    separate = page.planarconfig == 2 and page.samplesperpixel > 1
    planes, samples = (page.samplesperpixel, 1) if separate else (1, page.samplesperpixel)
    shape = (planes, page.imagelength, page.imagewidth, samples)
    stored = page.dtype.newbyteorder(file.byteorder)
    for plane in range(planes):
        for rows in _bands(page):
            mapped = np.memmap(path, stored, "r", page.dataoffsets[0], shape)
            yield mapped[plane, rows].astype(page.dtype), plane, rows.start, 0


def _bytes_of(path: Path, file: TiffFile, page: TiffPage, index: int) -> bytes | None:
    offset, length = page.dataoffsets[index], page.databytecounts[index]
    if offset == 0 or length == 0:
        return None
    file.filehandle.seek(offset)
    data = file.filehandle.read(length)
    require_segment(path, page, data)
    return data


def _place(
    layout: Layout,
    values: tuple[np.ndarray, np.ndarray | None],
    corner: tuple[int, int],
    pixels: Canvas,
    alpha: Canvas | None,
) -> None:
    colours, opacity = values
    row, column = layout.turn.corner(corner, colours.shape, layout.size)
    pixels.put(layout.turn.array(colours), row, column)
    if alpha is not None and opacity is not None:
        alpha.put(layout.turn.array(opacity), row, column)
