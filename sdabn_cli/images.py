"""Image files: the one place that reads and writes them, and that converts integers to [0, 1]."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from sdabn_cli.errors import SdabnError
from sdabn_cli.files import Writer

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}

#: Larger images are refused before they are decoded.
MAX_PIXELS = 100_000_000

#: EXIF orientations that swap height and width.
SIDEWAYS = (5, 6, 7, 8)

#: What the decoders raise for damaged files.
DAMAGES = (OSError, SyntaxError, ValueError, EOFError, struct.error)


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB.

    Grey images become three equal channels, an alpha channel is left out, EXIF turns are applied.

    Args:
        path: Image file.

    Returns:
        uint8 or uint16 array (H, W, 3).

    Raises:
        SdabnError: As ``read_size``, or if the values are of another type.
    """
    array = _decode(path)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise SdabnError(
            f"{path} has the shape {array.shape}.", "One grey or colour image a file is read."
        )
    if array.shape[2] < 3:  # grey, or grey with alpha
        array = np.repeat(array[..., :1], 3, axis=2)
    if array.dtype not in (np.uint8, np.uint16):
        raise SdabnError(f"{path} holds {array.dtype} values.", "8- and 16-bit images are read.")
    return np.ascontiguousarray(array[..., :3])


def read_labels(path: Path) -> np.ndarray:
    """Read a label image: one class id a pixel, palette images included.

    Returns:
        uint8 array (H, W).

    Raises:
        SdabnError: As ``read_size``, or if it is not a single-channel 8-bit image.
    """
    read_size(path)
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


def _decode(path: Path) -> np.ndarray:
    read_size(path)
    try:
        with Image.open(path) as image:
            mode = image.mode
        if mode.startswith(("I;16", "I;32")) or mode in ("I", "F"):
            return _decode_deep(path)
        # CMYK and palettes would come back as something other than the colours shown.
        convert = None if mode in ("L", "LA", "RGB", "RGBA") else "RGB"
        array = iio.imread(path, plugin="pillow", mode=convert, rotate=True, index=0)
    except DAMAGES as error:
        raise SdabnError(f"{path} is damaged: {error}.") from error
    return array


def _decode_deep(path: Path) -> np.ndarray:
    """Read a grey image of more than 8 bits as it is; converting it would clip it to white."""
    # From a stream: Pillow maps a path into memory, and then mixes up the sides of a turned TIFF.
    with path.open("rb") as file, Image.open(file) as image:
        array = np.asarray(ImageOps.exif_transpose(image))
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def read_size(path: Path) -> tuple[int, int]:
    """Read the height and width that an image has once it is turned, from its header alone.

    Raises:
        SdabnError: If the file is missing, may not be read, is too large, damaged or not an image,
            or holds more than one.
    """
    try:
        if not path.is_file():
            raise SdabnError(f"There is no file {path}.")
        with Image.open(path) as image:
            (width, height), frames = _size_as_shown(image), _count_frames(image)
    except PermissionError as error:
        raise SdabnError(f"{path} cannot be read: {error.strerror}.") from error
    except Image.DecompressionBombError as error:
        raise SdabnError(f"{path} is too large: {error}.") from error
    except UnidentifiedImageError as error:
        raise SdabnError(
            f"{path} is not an image, or not of a kind that is read.",
            f"Read are {', '.join(sorted(s[1:] for s in SUFFIXES))}.",
        ) from error
    except DAMAGES as error:
        raise SdabnError(f"{path} is damaged: {error}.") from error
    if width * height > MAX_PIXELS:
        raise SdabnError(
            f"{path} has {width} x {height} pixels.", f"Read are up to {MAX_PIXELS:,} pixels."
        )
    if frames > 1:
        raise SdabnError(f"{path} holds {frames} pages or frames.", "One image a file is read.")
    return height, width


def _size_as_shown(image: Image.Image) -> tuple[int, int]:
    # Some versions of Pillow give the size of a TIFF as stored, others as shown.
    stored = (
        (image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength])
        if isinstance(image, TiffImageFile)
        else image.size
    )
    # The getexif of a PNG would decode the pixels to look behind them.
    turn = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    return stored[::-1] if turn in SIDEWAYS else stored


def _count_frames(image: Image.Image) -> int:
    # An MPO is a photograph with its preview or its depth: the first one is the image.
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def to_unit(array: np.ndarray) -> np.ndarray:
    """Convert integers to float32 in [0, 1] by their type's full scale."""
    return array.astype(np.float32) / np.iinfo(array.dtype).max


def to_uint8(array: np.ndarray) -> np.ndarray:
    """Convert floats in [0, 1] to uint8: clipped first, then rounded."""
    return np.round(np.clip(array, 0.0, 1.0) * 255.0).astype(np.uint8)


def image_writer(array: np.ndarray) -> Writer:
    """Writer of an RGB uint8 array (H, W, 3) as PNG."""
    return lambda file: iio.imwrite(file, array, extension=".png")


def labels_writer(labels: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> Writer:
    """Writer of class ids (H, W) as a palette PNG: the pixel values are the ids."""
    image = Image.fromarray(labels.astype(np.uint8))
    colours = [value for colour in palette for value in colour]
    # A full palette: otherwise ids beyond it, such as 255, would be written as other ids.
    image.putpalette(colours + [0] * (768 - len(colours)))
    return lambda file: image.save(file, format="PNG")
