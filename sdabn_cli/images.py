"""Image files: the one place that finds out what they hold and decodes them."""

from __future__ import annotations

import struct
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from sdabn_cli import tiff
from sdabn_cli.errors import SdabnError
from sdabn_cli.picture import Picture, of_channels, upright

TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", *TIFF_SUFFIXES, ".webp"}

#: Larger images are refused before they are decoded.
MAX_PIXELS = 100_000_000

#: EXIF orientations that swap height and width.
SIDEWAYS = (5, 6, 7, 8)

#: What the decoders raise for damaged files.
DAMAGES = (OSError, SyntaxError, ValueError, EOFError, struct.error)

#: First bytes of PNG and of the kinds of TIFF.
PNG = b"\x89PNG\r\n\x1a\n"
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: Modes of Pillow that are taken as they are; what the others are converted to.
PLAIN = ("L", "LA", "RGB", "RGBA")
CONVERTED = {"1": "L", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}

# Our own check, made before anything is decoded, takes its place.
Image.MAX_IMAGE_PIXELS = None


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB, for training.

    Grey images become three equal channels, an alpha channel is left out, EXIF turns are applied.

    Args:
        path: Image file of one page.

    Returns:
        uint8 or uint16 array (H, W, 3).

    Raises:
        SdabnError: As ``read_size``, or if it has several pages or values of another type.
    """
    _require_one_page(path)
    pixels = np.asarray(read_picture(path).pixels)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SdabnError(f"{path} holds {pixels.dtype} values.", "8- and 16-bit images are read.")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels)


def read_labels(path: Path) -> np.ndarray:
    """Read a label image: one class id a pixel, palette images included.

    Returns:
        uint8 array (H, W).

    Raises:
        SdabnError: As ``read_size``, or if it is not a single-channel 8-bit image.
    """
    read_size(path)
    _require_one_page(path)
    try:
        with Image.open(path) as image:
            mode = image.mode
            array = np.asarray(image)
    except DAMAGES as error:
        raise SdabnError(f"{path} is damaged: {error}.") from error
    if mode not in ("L", "P") or array.ndim != 2:
        raise SdabnError(
            f"The label image {path} is of the mode {mode}.",
            "A label image has one channel of 8-bit class ids (grey or palette PNG).",
        )
    return array


def read_picture(
    path: Path, page: int = 0, *, max_pixels: int = MAX_PIXELS, spool: Path | None = None
) -> Picture:
    """Read a page of an image file as it is: grey stays grey, 16 bits stay 16 bits.

    Palettes, CMYK and other kinds of colour become RGB, fewer than 8 bits become 8, and an image
    stored turned is turned upright.

    Args:
        path: Image file.
        page: Number of the page of a TIFF, from 0.
        max_pixels: Larger images are refused before they are decoded.
        spool: See ``tiff.read``; used for TIFFs alone.

    Raises:
        SdabnError: As ``read_size``, or if the page is of a kind that is not read.
    """
    read_size(path, max_pixels=max_pixels)
    if _is_tiff(path):
        return tiff.read(path, page, spool)
    try:
        return _read_deep_png(path) if _png_bits(path) == 16 else _read_plain(path)
    except DAMAGES as error:
        raise SdabnError(f"{path} is damaged: {error}.") from error


def count_pages(path: Path, *, max_pixels: int = MAX_PIXELS) -> int:
    """Number of pages of an image file, from its headers; more than one in TIFFs alone.

    Raises:
        SdabnError: As ``read_size``, for any page.
    """
    read_size(path, max_pixels=max_pixels)
    if not _is_tiff(path):
        return 1
    sizes = tiff.sizes(path)
    for size in sizes:
        _require_small(path, size, max_pixels)
    return len(sizes)


def read_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the height and width that an image (or its first page) has once it is upright.

    Only the header is read.

    Raises:
        SdabnError: If the file is missing, may not be read, is too large, damaged or not an image,
            or is animated.
    """
    try:
        if not path.is_file():
            raise SdabnError(f"There is no file {path}.")
        if _is_tiff(path):
            size, frames = tiff.sizes(path)[0], 1
        else:
            with Image.open(path) as image:
                size, frames = _size_as_shown(image), _count_frames(image)
    except PermissionError as error:
        raise SdabnError(f"{path} cannot be read: {error.strerror}.") from error
    except UnidentifiedImageError as error:
        raise SdabnError(
            f"{path} is not an image, or not of a kind that is read.",
            f"Read are {', '.join(sorted(s[1:] for s in SUFFIXES))}.",
        ) from error
    except DAMAGES as error:
        raise SdabnError(f"{path} is damaged: {error}.") from error
    _require_small(path, size, max_pixels)
    if frames > 1:
        raise SdabnError(f"{path} is animated: it holds {frames} frames.", "Save them as images.")
    return size


def _require_small(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    height, width = size
    if height * width > max_pixels:
        raise SdabnError(
            f"{path} has {width} x {height} pixels, and up to {max_pixels:,} are read.",
            f"If it is meant to be that large: --max-pixels {height * width}",
        )


def _require_one_page(path: Path) -> None:
    if _is_tiff(path) and (pages := count_pages(path)) > 1:
        raise SdabnError(f"{path} holds {pages} pages.", "One image a file is read here.")


def _is_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in TIFFS
    except FileNotFoundError as error:
        raise SdabnError(f"There is no file {path}.") from error
    except PermissionError as error:
        raise SdabnError(f"{path} cannot be read: {error.strerror}.") from error


def _png_bits(path: Path) -> int | None:
    """Bits a channel of a PNG; None for other files."""
    with path.open("rb") as file:
        header = file.read(26)
    return header[24] if header[:8] == PNG and len(header) == 26 else None


def _read_deep_png(path: Path) -> Picture:
    """Read 16-bit PNG, which Pillow and imageio cut to 8 bits where it has colours."""
    import imagecodecs

    with Image.open(path) as image:
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    try:
        array = imagecodecs.png_decode(path.read_bytes())
    except RuntimeError as error:
        raise ValueError(error) from error
    return of_channels(upright(array, orientation))


def _read_plain(path: Path) -> Picture:
    with Image.open(path) as image:
        mode, icc = image.mode, image.info.get("icc_profile")
        transparent = "transparency" in image.info
    if mode in ("I", "F") or mode.startswith(("I;", "F;")):
        raise SdabnError(f"{path} holds values of the mode {mode}.", "Save it as PNG or TIFF.")
    wanted = CONVERTED.get(mode, mode if mode in PLAIN else "RGB")
    if transparent and wanted in ("L", "RGB"):
        wanted = "LA" if wanted == "L" else "RGBA"
    convert = None if wanted == mode else wanted
    array = iio.imread(path, plugin="pillow", mode=convert, rotate=True, index=0)
    return of_channels(array, icc if mode in (*PLAIN, "P") else None)


def _size_as_shown(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    # The getexif of a PNG would decode the pixels to look behind them.
    turn = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    return (width, height) if turn in SIDEWAYS else (height, width)


def _count_frames(image: Image.Image) -> int:
    # An MPO is a photograph with its preview or its depth: the first one is the image.
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
