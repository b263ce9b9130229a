"""Image files: the one place that reads them, and that converts integers to [0, 1].

``tiff`` reads TIFF files, Pillow all others but PNG files of 16 bits, which it would cut to 8.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sdabn_cli import tiff
from sdabn_cli.encoding import Raster, png_writer
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import Writer
from sdabn_cli.pixels import (
    Picture,
    Turn,
    fitting_profile,
    from_unit,
    to_uint8,
    to_unit,
    too_large,
    turn_of,
)

__all__ = [
    "MAX_PIXELS", "SUFFIXES", "Picture", "count_pages", "from_unit", "image_writer",
    "labels_writer", "page_size",
    "read_image", "read_labels", "read_picture", "read_size", "to_uint8",
    "to_unit",
]  # fmt: skip

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}

#: Larger images are refused before they are decoded.
MAX_PIXELS = 100_000_000

#: Formats that Pillow may open; some others would start programs. GIF to say what is wrong with it.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")

#: What the decoders raise for damaged files.
DAMAGES = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error)

# The limit here takes its place: it is checked first, and an option raises it.
Image.MAX_IMAGE_PIXELS = None


def count_pages(path: Path, *, max_pixels: int = MAX_PIXELS) -> int:
    """Count the pages of a file by its header: those of a TIFF, 1 for other files.

    Raises:
        SdabnError: If the file is missing, may not be read, is damaged, not an image or an
            animation, or if a page has more than ``max_pixels`` pixels.
    """
    if _is_tiff(path):
        return tiff.count(path, max_pixels)
    with _opened(path, max_pixels):
        return 1


def read_picture(
    path: Path, page: int = 0, *, max_pixels: int = MAX_PIXELS, spool: Path | None = None
) -> Picture:
    """Read a page of an image file as it is: grey stays grey, 16 bits and alpha are kept.

    Palettes and CMYK become RGB; fewer than 8 bits become 8; EXIF turns are applied.

    Args:
        path: Image file.
        page: Number of the page, from 0.
        max_pixels: Largest number of pixels that is decoded.
        spool: Directory for temporary files. TIFF pages are decoded into them segment by segment,
            and the picture's arrays are ``tiff.Spooled``.

    Returns:
        The picture.

    Raises:
        SdabnError: As ``count_pages``, or if there is no such page, or its values are of another
            type, not finite, or floats far outside [0, 1].
    """
    if _is_tiff(path):
        return tiff.read(path, page, max_pixels, spool)
    if page != 0:
        raise SdabnError(f"{path} has no page {page}.", "It has one page, number 0.")
    with _opened(path, max_pixels) as image:
        turn, icc = _turn(image), image.info.get("icc_profile")
        array = _decode_deep(path) if _png_depth(path) == 16 else _decode(image, path)
    array = np.ascontiguousarray(turn.array(array))
    pixels, alpha = _split(array)
    return Picture(pixels, alpha, fitting_profile(icc, 1 if pixels.ndim == 2 else 3))


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image as RGB.

    Grey images become three equal channels, an alpha channel is left out, EXIF turns are applied.

    Args:
        path: Image file.
        max_pixels: Largest number of pixels that is decoded.

    Returns:
        uint8 or uint16 array (H, W, 3).

    Raises:
        SdabnError: As ``read_size``, or if the values are of another type.
    """
    _require_one(path, max_pixels)
    pixels = np.asarray(read_picture(path, max_pixels=max_pixels).pixels)
    if pixels.dtype.kind == "f":
        raise SdabnError(f"{path} holds {pixels.dtype} values.", "8- and 16-bit images are read.")
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def read_labels(path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a label image: one class id a pixel, palette images included.

    Returns:
        uint8 array (H, W).

    Raises:
        SdabnError: As ``read_size``, or if it is not a single-channel 8-bit image.
    """
    read_size(path, max_pixels=max_pixels)
    with _reading(path):
        # From a stream: Pillow maps a path into memory, and then mixes up a turned TIFF's sides.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            mode = image.mode
            array = np.asarray(ImageOps.exif_transpose(image))
    if mode not in ("L", "P") or array.ndim != 2:
        raise SdabnError(
            f"The label image {path} is of the mode {mode}.",
            "A label image has one channel of 8-bit class ids (grey or palette PNG).",
        )
    return array


def read_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the height and width that an image has once it is turned, from its header alone.

    Raises:
        SdabnError: As ``count_pages``, or if the file has several pages.
    """
    _require_one(path, max_pixels)
    if _is_tiff(path):
        return tiff.size(path, 0, max_pixels)
    with _opened(path, max_pixels) as image:
        return _turn(image).size(image.height, image.width)


def page_size(path: Path, page: int, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the height and width of a page once it is turned, from its header alone.

    Raises:
        SdabnError: As ``count_pages``, or if there is no such page.
    """
    if _is_tiff(path):
        return tiff.size(path, page, max_pixels)
    return read_size(path, max_pixels=max_pixels)


def _require_one(path: Path, max_pixels: int) -> None:
    pages = tiff.count(path, max_pixels) if _is_tiff(path) else 1
    if pages > 1:
        raise SdabnError(f"{path} holds {pages} pages.", "One image a file is read here.")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong which file it is, and how."""
    try:
        yield
    except PermissionError as error:
        raise SdabnError(f"{path} cannot be read: {error.strerror}.") from error
    except UnidentifiedImageError as error:
        raise SdabnError(
            f"{path} is not an image, or not of a kind that is read.",
            f"Read are {', '.join(sorted(s[1:] for s in SUFFIXES))}.",
        ) from error
    except DAMAGES as error:
        raise SdabnError(f"{path} is damaged: {error}.") from error


def _head(path: Path) -> bytes:
    with _reading(path):
        if not path.is_file():
            raise SdabnError(f"There is no file {path}.")
        with path.open("rb") as file:
            return file.read(32)


def _is_tiff(path: Path) -> bool:
    return _head(path).startswith(tiff.MAGIC)


def _png_depth(path: Path) -> int:
    """Bits a sample of a PNG file; 0 for other files."""
    head = _head(path)
    return head[24] if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) > 24 else 0


@contextlib.contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open a file that is no TIFF; nothing is decoded before its size is known to be allowed."""
    _head(path)
    with _reading(path), Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > max_pixels:
            raise too_large(path, image.height, image.width, max_pixels)
        frames = _count_frames(image)
        if frames > 1:
            raise SdabnError(
                f"{path} is an animation of {frames} frames.",
                "Save its frames as images, or as the pages of a TIFF.",
            )
        yield image


def _count_frames(image: Image.Image) -> int:
    # An MPO is a photograph with its preview or its depth: the first one is the image.
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def _turn(image: Image.Image) -> Turn:
    # The getexif of a PNG would decode the pixels to look behind them.
    return turn_of(Image.Image.getexif(image).get(ExifTags.Base.Orientation))


def _decode_deep(path: Path) -> np.ndarray:
    """Decode a PNG of 16 bits: uint16 (H, W), or (H, W, C) with 2, 3 or 4 channels."""
    import imagecodecs

    array = imagecodecs.png_decode(path.read_bytes())
    return array.astype(np.uint16, copy=False)


def _decode(image: Image.Image, path: Path) -> np.ndarray:
    """Decode 8-bit colours: uint8 (H, W), or (H, W, C) with 2, 3 or 4 channels."""
    # Taken before decoding, which some plug-ins forget it by.
    key = image.info.get("transparency")
    if image.mode in ("P", "PA"):
        # A single colour or an alpha for each: both are applied by the conversion.
        return np.asarray(image.convert("RGB" if key is None and image.mode == "P" else "RGBA"))
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        mode = "L" if image.mode == "1" else "RGB"
        array = np.asarray(image.convert(mode))
    else:
        array = np.asarray(image)
    return array if key is None or image.mode in ("LA", "RGBA") else _keyed(array, key, image, path)


def _keyed(
    array: np.ndarray, key: int | tuple[int, ...], image: Image.Image, path: Path
) -> np.ndarray:
    """Give an alpha channel to pixels of which one colour is transparent."""
    depth = _png_depth(path)
    if depth in (2, 4):  # Pillow scales the pixels to 8 bits but not the colour
        key = int(key) * 255 // (2**depth - 1)
    equal = array == np.asarray(key)
    clear = equal.all(axis=2) if array.ndim == 3 else equal
    return np.dstack([array, np.where(clear, 0, 255).astype(np.uint8)])


def _split(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Separate alpha from the colours, and drop the axis of a single channel."""
    if array.ndim == 2:
        return array, None
    colours = array[..., 0] if array.shape[2] < 3 else array[..., :3]
    alpha = np.ascontiguousarray(array[..., -1]) if array.shape[2] in (2, 4) else None
    return np.ascontiguousarray(colours), alpha


def image_writer(array: np.ndarray) -> Writer:
    """Writer of an RGB uint8 array (H, W, 3) as PNG."""
    return png_writer(Raster(array.shape, array.dtype, [array]))


def labels_writer(labels: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> Writer:
    """Writer of class ids (H, W) as a palette PNG: the pixel values are the ids."""
    ids = labels.astype(np.uint8)
    return png_writer(Raster(ids.shape, ids.dtype, [ids], palette))
