"""TIFF files, page by page and segment by segment: strips or tiles, of any size.

Every image directory is a page. What a page holds is bounded by its header before it is decoded,
and every segment by the header of its own before it is.
"""

from __future__ import annotations

import contextlib
import io
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdabn_cli.errors import SdabnError
from sdabn_cli.pixels import Canvas, Picture, Spooled, Turn, fitting_profile, turn_of
from sdabn_cli.tiffcolour import Colours, colours_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

__all__ = ["MAGIC", "Spooled", "count", "read", "size"]

#: How TIFF and BigTIFF files begin.
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: Compressions of plain bytes, whose decoders are told how much to expect:
#: none, CCITT, LZW, deflate, PackBits, LZMA, zstd.
OF_BYTES = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000)

#: Compressions whose segments are images with a header of their own: JPEG, JPEG 2000, WebP.
OF_IMAGES = (6, 7, 33003, 33004, 33005, 33007, 34712, 34892, 50001)

#: Bytes of a band of rows where a file allows any.
BAND = 1 << 20

# Its warnings would otherwise be printed; what they are about is refused here with the file's name.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def count(path: Path, max_pixels: int) -> int:
    """Number of pages.

    Raises:
        SdabnError: If the file is damaged, or a page is larger than ``max_pixels`` or of a kind
            that is not read.
    """
    with _opened(path) as file:
        pages = len(file.pages)
        for number in range(pages):
            _describe(path, file, number, max_pixels)
        _require_end(path, file)
        return pages


def size(path: Path, page: int, max_pixels: int) -> tuple[int, int]:
    """Height and width of a page as it is shown, from its header alone.

    Raises:
        SdabnError: As ``count``.
    """
    with _opened(path) as file:
        layout = _describe(path, file, page, max_pixels)
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
    with _opened(path) as file:
        layout = _describe(path, file, page, max_pixels)
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


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[TiffFile]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except (SdabnError, PermissionError, MemoryError):
        raise
    except Exception as error:  # what the decoders raise for damaged files has no common class
        raise SdabnError(f"{path} is damaged: {error}.") from error


@dataclass(frozen=True)
class _Layout:
    page: TiffPage
    size: tuple[int, int]  # as stored
    turn: Turn
    colours: Colours


def _describe(path: Path, file: TiffFile, number: int, max_pixels: int) -> _Layout:
    page = _page(path, file, number)
    _require_size(path, page, max_pixels)
    _require_kind(path, page)
    _require_whole(path, file, page)
    stored = (page.imagelength, page.imagewidth)
    return _Layout(page, stored, turn_of(page.tags.valueof(274)), colours_of(path, page))


def _page(path: Path, file: TiffFile, number: int) -> TiffPage:
    try:
        if number >= 0:
            return file.pages[number]
    except IndexError:
        pass
    if not file.pages:
        raise SdabnError(f"{path} is damaged: it has no page.")
    raise SdabnError(f"{path} has no page {number}.", f"Its pages are 0 to {len(file.pages) - 1}.")


def _require_end(path: Path, file: TiffFile) -> None:
    """Require that no page follows the last one: tifffile leaves out those it does not find."""
    tiff, handle = file.tiff, file.filehandle
    handle.seek(_page(path, file, max(0, len(file.pages) - 1)).offset)
    (tags,) = struct.unpack(tiff.tagnoformat, handle.read(tiff.tagnosize))
    handle.seek(tags * tiff.tagsize, 1)
    if any(handle.read(tiff.offsetsize)):
        raise SdabnError(f"{path} is damaged: the page behind its page {len(file.pages)} is lost.")


def _require_size(path: Path, page: TiffPage, max_pixels: int) -> None:
    height, width = page.imagelength, page.imagewidth
    if width * height > max_pixels:
        raise too_large(path, height, width, max_pixels)
    if page.is_tiled and page.tilelength * page.tilewidth > max(max_pixels, 1 << 20):
        raise SdabnError(
            f"{path} has tiles of {page.tilewidth} x {page.tilelength} pixels.",
            f"Read are tiles of up to {max_pixels:,} pixels.",
        )
    if height < 1 or width < 1 or page.imagedepth > 1 or page.tiledepth > 1:
        raise SdabnError(
            f"{path} has a page of {width} x {height} x {page.imagedepth} pixels.",
            "Flat pages of one pixel and more are read.",
        )


def too_large(path: Path, height: int, width: int, max_pixels: int) -> SdabnError:
    """The error of an image of too many pixels."""
    return SdabnError(
        f"{path} has {width} x {height} pixels.",
        f"Read are up to {max_pixels:,} pixels; --max-pixels raises the limit.",
    )


def _require_kind(path: Path, page: TiffPage) -> None:
    if page.compression not in OF_BYTES + OF_IMAGES:
        raise SdabnError(
            f"{path} is compressed by {getattr(page.compression, 'name', page.compression)}.",
            "Read are uncompressed, LZW, deflate, PackBits, CCITT, LZMA, zstd, JPEG, JPEG 2000 and "
            "WebP; save it with one of them.",
        )


def _require_whole(path: Path, file: TiffFile, page: TiffPage) -> None:
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) < int(np.prod(page.chunked)):
        raise SdabnError(f"{path} is damaged: strips or tiles are missing.")
    if max(offset + length for offset, length in segments) > file.filehandle.size:
        raise SdabnError(f"{path} is damaged: it ends before its pixels do.")
    images = (file.imagej_metadata or {}).get("images", 1) if file.is_imagej else 1
    if images > len(file.pages):  # ImageJ writes large stacks behind a single page
        raise SdabnError(
            f"{path} is an ImageJ stack of {images} images with {len(file.pages)} TIFF page(s).",
            "Save it as a TIFF with a page for every image.",
        )


Block = tuple[np.ndarray, int, int]
"""Stored values (h, w, samples), and the row and column of their upper left corner."""


def _blocks(path: Path, file: TiffFile, layout: _Layout, spool: Path | None) -> Iterator[Block]:
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
    path: Path, file: TiffFile, layout: _Layout
) -> Iterator[tuple[np.ndarray, int, int, int]]:
    """Decode strips and tiles: values (h, w, samples), plane, row, column."""
    page = layout.page
    if _is_raw(page):
        yield from _raw_bands(path, file, page)
        return
    arguments: dict[str, object] = {}
    if page.compression in (6, 7, 33007, 34892):
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
    if page.compression in OF_IMAGES:
        _require_segment(path, page, data)
    return data


def _require_segment(path: Path, page: TiffPage, data: bytes) -> None:
    """Look into the header of an image in a segment: it could announce far more than fits."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "JPEG2000", "WEBP")) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError):
        return  # the decoder says what is wrong with it
    length, across = (
        (page.tilelength, page.tilewidth)
        if page.is_tiled
        else (min(page.rowsperstrip, page.imagelength), page.imagewidth)
    )
    # Encoders round up to whole blocks of at most 32 pixels.
    if height > length + 32 or width > across + 32:
        raise SdabnError(
            f"{path} is damaged: a segment of {across} x {length} pixels holds {width} x {height}."
        )


def _place(
    layout: _Layout,
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
