"""Image files: the one place that reads and writes them, and that converts integers to [0, 1]."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageOps

from sdabn_cli.errors import SdabnError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}

#: Larger images are refused before they are decoded.
MAX_PIXELS = 100_000_000


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB.

    Grey images become three equal channels, an alpha channel is left out, EXIF turns are applied.

    Args:
        path: Image file.

    Returns:
        uint8 or uint16 array (H, W, 3).

    Raises:
        SdabnError: If the file is missing, too large, damaged or not an image.
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
        SdabnError: If the file is not a readable single-channel 8-bit image.
    """
    _check_size(path)
    try:
        with Image.open(path) as image:
            mode = image.mode
            array = np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise SdabnError(f"{path} is damaged: {error}.") from error
    if mode not in ("L", "P") or array.ndim != 2:
        raise SdabnError(
            f"The label image {path} is of the mode {mode}.",
            "A label image has one channel of 8-bit class ids (grey or palette PNG).",
        )
    return array


def _decode(path: Path) -> np.ndarray:
    _check_size(path)
    try:
        with Image.open(path) as image:
            mode = image.mode
        if mode.startswith(("I;16", "I;32")) or mode in ("I", "F"):
            return _decode_deep(path)
        # CMYK and palettes would come back as something other than the colours shown.
        convert = None if mode in ("L", "LA", "RGB", "RGBA") else "RGB"
        array = iio.imread(path, plugin="pillow", mode=convert, rotate=True, index=0)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise SdabnError(f"{path} is damaged: {error}.", "Nothing was written for it.") from error
    return array


def _decode_deep(path: Path) -> np.ndarray:
    """Read a grey image of more than 8 bits as it is; converting it would clip it to white."""
    with Image.open(path) as image:
        array = np.asarray(ImageOps.exif_transpose(image))
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise SdabnError(f"There is no file {path}.")
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise SdabnError(f"{path} is too large: {error}.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise SdabnError(
            f"{path} is not an image, or not of a kind that is read.",
            f"Read are {', '.join(sorted(s[1:] for s in SUFFIXES))}.",
        ) from error
    if width * height > MAX_PIXELS:
        raise SdabnError(
            f"{path} has {width} x {height} pixels.", f"Read are up to {MAX_PIXELS:,} pixels."
        )


def to_unit(array: np.ndarray) -> np.ndarray:
    """Convert integers to float32 in [0, 1] by their type's full scale."""
    return array.astype(np.float32) / np.iinfo(array.dtype).max


def to_uint8(array: np.ndarray) -> np.ndarray:
    """Convert floats in [0, 1] to uint8: clipped first, then rounded."""
    return np.round(np.clip(array, 0.0, 1.0) * 255.0).astype(np.uint8)


Writer = Callable[[IO[bytes]], object]
"""Writes a file's content to a stream."""


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


def write_image(path: Path, array: np.ndarray) -> None:
    """Write an RGB uint8 array (H, W, 3), in one piece or not at all."""
    write_together({path: image_writer(array)})


def write_labels(path: Path, labels: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> None:
    """Write class ids (H, W) as a palette PNG, in one piece or not at all."""
    write_together({path: labels_writer(labels, palette)})


def write_atomically(path: Path, write: Writer) -> None:
    """Write a file in one piece or not at all.

    Raises:
        SdabnError: If the directory cannot be written to.
    """
    write_together({path: write})


def write_together(files: Mapping[Path, Writer]) -> None:
    """Write files to temporary ones beside them, then put all of them in their places.

    Raises:
        SdabnError: If one cannot be written; then none of them is there.
    """
    ready: dict[Path, Path] = {}
    path = Path()
    try:
        for path, write in files.items():
            if path.is_dir():
                raise SdabnError(f"{path} cannot be written: it is a directory.")
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=f".{path.name}.", delete=False
            ) as file:
                ready[path] = Path(file.name)
                write(file)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in ready.items():
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    except OSError as error:
        raise SdabnError(f"{path} cannot be written: {error}.") from error
    finally:
        for temporary in ready.values():
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
