"""Headers of TIFF files: what a page holds, bounded before anything of it is decoded."""

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
from sdabn_cli.pixels import Turn, too_large, turn_of
from sdabn_cli.tiffcolour import Colours, colours_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

#: How TIFF and BigTIFF files begin.
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: Compressions of plain bytes, whose decoders are told how much to expect:
#: none, CCITT, LZW, deflate, PackBits, LZMA, zstd.
OF_BYTES = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000)

#: Compressions whose segments are images with a header of their own: JPEG; JPEG 2000 and WebP.
OF_JPEGS = (7, 33007, 34892)
OF_IMAGES = (*OF_JPEGS, 33003, 33004, 33005, 34712, 50001)

# Its warnings would otherwise be printed; what they are about is refused here with the file's name.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@contextlib.contextmanager
def opened(path: Path) -> Iterator[TiffFile]:
    """Open a TIFF, and say of whatever goes wrong with it which file it is.

    Raises:
        SdabnError: If the file is damaged or of a kind that cannot be decoded.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except (SdabnError, PermissionError, MemoryError):
        raise
    except (NotImplementedError, ImportError) as error:
        raise SdabnError(
            f"{path} cannot be decoded: {error}.",
            "Newer versions of imagecodecs may; or save it uncompressed or with deflate.",
        ) from error
    except Exception as error:  # what the decoders raise for damaged files has no common class
        raise SdabnError(f"{path} is damaged: {error}.") from error


@dataclass(frozen=True)
class Layout:
    """A page by its header.

    Args:
        page: Its tags.
        size: Height and width as stored.
        turn: How it is turned to be shown.
        colours: What its values mean.
    """

    page: TiffPage
    size: tuple[int, int]
    turn: Turn
    colours: Colours


def describe(path: Path, file: TiffFile, number: int, max_pixels: int) -> Layout:
    """Read the header of a page.

    Args:
        path: File, for error messages.
        file: The file, open.
        number: Number of the page, from 0.
        max_pixels: Largest number of pixels that is decoded.

    Raises:
        SdabnError: If there is no such page, it is too large, incomplete or of a kind that is not
            read.
    """
    page = _page(path, file, number)
    _require_size(path, page, max_pixels)
    _require_kind(path, page)
    _require_whole(path, file, page)
    stored = (page.imagelength, page.imagewidth)
    return Layout(page, stored, turn_of(page.tags.valueof(274)), colours_of(path, page))


def _page(path: Path, file: TiffFile, number: int) -> TiffPage:
    try:
        if number >= 0:
            return file.pages[number]
    except IndexError:
        pass
    if not file.pages:
        raise SdabnError(f"{path} is damaged: it has no page.")
    raise SdabnError(f"{path} has no page {number}.", f"Its pages are 0 to {len(file.pages) - 1}.")


def require_end(path: Path, file: TiffFile) -> None:
    """Require that no page follows the last one: tifffile leaves out those it does not find.

    Raises:
        SdabnError: If one does.
    """
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


def require_segment(path: Path, page: TiffPage, data: bytes) -> None:
    """Look into the header of an image in a segment, which could announce far more than fits.

    Raises:
        SdabnError: If it does.
    """
    if page.compression not in OF_IMAGES:
        return
    announced = _jpeg_size(data) if page.compression in OF_JPEGS else _image_size(data)
    if announced is None:
        raise SdabnError(f"{path} is damaged: the header of a strip or tile cannot be read.")
    width, height = announced
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


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Largest width and height of all frames of a JPEG of any depth; Pillow reads 8 bits alone."""
    sizes: list[tuple[int, int]] = []
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 9 <= len(data):
        marker, length = struct.unpack(">BH", data[position + 1 : position + 4])
        if marker == 0xDA:  # the pixels, in which any bytes may follow
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            sizes.append((width, height))
        # Bytes that fill and markers without content have no length.
        alone = marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9
        position += 1 if alone else 2 + length
    return (max(w for w, _ in sizes), max(h for _, h in sizes)) if sizes else None


def _image_size(data: bytes) -> tuple[int, int] | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG2000", "WEBP")) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, struct.error):
        return None
