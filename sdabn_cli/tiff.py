"""Reading TIFF: many pages, 16 bits, floats, tiles, and images larger than the memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sdabn_cli.errors import SdabnError
from sdabn_cli.picture import Picture, of_channels, upright

#: What tifffile and its decoders raise for damaged files.
DAMAGES = (ValueError, OSError, RuntimeError, KeyError, IndexError, TypeError, AssertionError)

#: Photometric interpretations that are read.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}

#: Those whose values are no colours yet.
INDIRECT = (PALETTE, CMYK)

#: Values of float images outside these ends are not on the scale of 0 to 1.
LEAST, MOST = -1.0, 4.0

ORIENTATION, ICC_PROFILE = 274, 34675


class Spooled:
    """Pixels in a file without any header, opened anew for every window.

    What was read therefore does not stay in memory.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self.ndim = len(shape)

    def __getitem__(self, window: Any) -> np.ndarray:
        return np.array(self.open("r")[window])

    def open(self, mode: str) -> np.memmap:
        """The whole as an array on disk."""
        return np.memmap(self.path, self.dtype, mode, shape=self.shape)


class _Channels:
    """Some channels of spooled pixels."""

    def __init__(self, pixels: Spooled, channels: slice | int) -> None:
        self._pixels, self._channels = pixels, channels
        colours = () if isinstance(channels, int) else (channels.stop - channels.start,)
        self.shape, self.dtype = (*pixels.shape[:2], *colours), pixels.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, window: Any) -> np.ndarray:
        return self._pixels[(*window, self._channels)]


def sizes(path: Path) -> list[tuple[int, int]]:
    """Height and width of every page as it is shown, from the headers alone.

    Raises:
        SdabnError: If the file is damaged or no TIFF.
    """
    with _opened(path) as pages:
        return [_size(page) for page in pages]


def _size(page: Any) -> tuple[int, int]:
    height, width = page.imagelength, page.imagewidth
    return (width, height) if _orientation(page) >= 5 else (height, width)


def read(path: Path, number: int, spool: Path | None = None) -> Picture:
    """Read a page.

    Args:
        path: TIFF file, whose size was checked.
        number: Of the page, from 0.
        spool: Directory of temporary files; the page is decoded into one of them, part by part, so
            that it is never in memory as a whole. A page stored turned is decoded at once.

    Raises:
        SdabnError: If it is damaged, or of a kind that is not read.
    """
    with _opened(path) as pages:
        page = pages[number]
        channels = _check(path, page)
        icc = None if page.photometric == CMYK else _tag(page, ICC_PROFILE)
        direct = _orientation(page) == 1 and page.photometric not in INDIRECT
        if spool is not None and direct:
            return _read_spooled(path, page, channels, spool / f"page-{number}.raw", icc)
        array = page.asarray()
        if page.planarconfig == 2 and array.ndim == 3:
            array = np.moveaxis(array, 0, -1)
        array = _converted(path, upright(array, _orientation(page)), page)
        return of_channels(array, icc)


def _read_spooled(path: Path, page: Any, channels: int, target: Path, icc: bytes | None) -> Picture:
    height, width = page.imagelength, page.imagewidth
    shape = (height, width, channels)
    pixels = Spooled(target, shape, _dtype(page))
    target.touch()
    with target.open("wb") as file:
        file.truncate(int(np.prod(shape)) * pixels.dtype.itemsize)
    for values, place, _ in page.segments():
        if values is None:  # a part that the file leaves out is black
            continue
        sample, depth, top, left, _ = place
        part = values.reshape(values.shape[-3:])[: height - top, : width - left]
        if depth or sample >= channels:
            continue
        part = _converted(path, part, page)
        window = (slice(top, top + part.shape[0]), slice(left, left + part.shape[1]))
        if page.planarconfig == 2:
            pixels.open("r+")[(*window, sample)] = part[..., 0]
        else:
            pixels.open("r+")[window] = part[..., :channels]
    colours = channels - (channels in (2, 4))
    alpha = None if colours == channels else _Channels(pixels, colours)
    return Picture(_Channels(pixels, 0 if colours == 1 else slice(0, 3)), alpha, icc)


@contextmanager
def _opened(path: Path) -> Iterator[list[Any]]:
    """The pages of a file, without smaller copies of others."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            pages = [page.aspage() for page in file.pages]
            yield [page for page in pages if not page.is_reduced] or pages
    except SdabnError:
        raise
    except PermissionError as error:
        raise SdabnError(f"{path} cannot be read: {error.strerror}.") from error
    except (tifffile.TiffFileError, *DAMAGES) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SdabnError(f"{path} is damaged, or no TIFF: {first}.") from error


def _tag(page: Any, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def _orientation(page: Any) -> int:
    value = _tag(page, ORIENTATION)
    return int(value) if value in range(1, 9) else 1


def _check(path: Path, page: Any) -> int:
    """Make sure that a page is of a kind that is read; returns its channels, alpha included."""
    if page.imagedepth > 1:
        raise SdabnError(f"{path} holds a volume.", "Two-dimensional pages are read.")
    if page.photometric not in CHANNELS or (page.photometric == CMYK and page.dtype != np.uint8):
        kind = getattr(page.photometric, "name", page.photometric)
        raise SdabnError(
            f"{path} is a TIFF of the kind {kind} ({page.dtype}).",
            "Grey, RGB and palette are read, and CMYK of 8 bits.",
        )
    colours = CHANNELS[page.photometric]
    extra = page.samplesperpixel - colours
    if extra not in (0, 1) or (extra and page.photometric in INDIRECT):
        raise SdabnError(
            f"{path} has {page.samplesperpixel} channels.",
            "Grey and RGB images are read, with or without alpha.",
        )
    _dtype(page, path)
    return colours + extra


def _dtype(page: Any, path: Path | None = None) -> np.dtype:
    """Type of the decoded values: uint8, uint16 or float32."""
    kind = np.dtype(page.dtype)
    if kind.kind == "f":
        return np.dtype(np.float32)
    if kind.kind == "b" or kind == np.uint8:
        return np.dtype(np.uint8)
    if kind == np.uint16:
        return kind
    raise SdabnError(
        f"{path} holds {kind} values.", "Read are 8 and 16 bits without a sign, and floats."
    )


def _converted(path: Path, array: np.ndarray, page: Any) -> np.ndarray:
    """Values on the full scale of their type, black at 0; palettes become colours."""
    if page.photometric == PALETTE:
        return (page.colormap.T[array] >> 8).astype(np.uint8)
    if page.photometric == CMYK:
        return np.asarray(Image.fromarray(array, "CMYK").convert("RGB"))
    if array.dtype.kind == "f":
        return _checked_floats(path, array.astype(np.float32))
    kind, bits = _dtype(page), int(page.bitspersample)
    array = array.astype(kind)
    if bits not in (8, 16):  # such as 1 or 12 bits
        array = np.round(array * (np.iinfo(kind).max / (2**bits - 1))).astype(kind)
    if page.photometric == WHITE_IS_ZERO:
        array = np.iinfo(kind).max - array
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _checked_floats(path: Path, array: np.ndarray) -> np.ndarray:
    if not np.isfinite(array).all():
        raise SdabnError(
            f"{path} holds values that are not numbers (NaN or infinite).",
            "Replace them before, for example by the median of their surroundings.",
        )
    if array.size and not (array.min() >= LEAST and array.max() <= MOST):
        raise SdabnError(
            f"{path} holds floats from {array.min():.4g} to {array.max():.4g}.",
            "Floats are read on the scale of 0 (black) to 1 (white): divide by the white value.",
        )
    return array
