"""A decoded image, and the only conversions between integers and [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Pixels(Protocol):
    """Values of an image in memory or in a file: a NumPy array, or ``tiff.Spooled``."""

    shape: tuple[int, ...]
    dtype: np.dtype
    ndim: int

    def __getitem__(self, window: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Picture:
    """One decoded page of an image file, as it is shown.

    Attributes:
        pixels: (H, W) grey or (H, W, 3) colour; uint8, uint16, or float32 nominally in [0, 1].
        alpha: (H, W) of the same type, or None.
        icc: Embedded colour profile, or None.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None


def of_channels(array: np.ndarray, icc: bytes | None = None) -> Picture:
    """A picture of an array (H, W) or (H, W, 1 to 4), whose last channel may be alpha."""
    if array.ndim == 2:
        return Picture(array, icc=icc)
    colours = array.shape[2] - (array.shape[2] in (2, 4))
    pixels = array[..., 0] if colours == 1 else array[..., :3]
    alpha = None if colours == array.shape[2] else np.ascontiguousarray(array[..., colours])
    return Picture(np.ascontiguousarray(pixels), alpha, icc)


#: What shows an image that was stored with an EXIF orientation as it was taken.
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def upright(array: np.ndarray, orientation: int | None) -> np.ndarray:
    """Turn and mirror an array (H, W, ...) as its EXIF orientation (1 to 8) says."""
    turn = TURNS.get(orientation or 1)
    return array if turn is None else np.ascontiguousarray(turn(array))


def to_unit(array: np.ndarray) -> np.ndarray:
    """Convert uint8 or uint16 to float32 in [0, 1]; float32 stays as it is."""
    if array.dtype == np.float32:
        return array
    return array.astype(np.float32) / np.iinfo(array.dtype).max


def from_unit(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Convert floats in [0, 1] to uint8 or uint16: clipped first, then rounded.

    To float32 nothing is clipped.
    """
    if np.dtype(dtype) == np.float32:
        return array.astype(np.float32)
    return np.round(np.clip(array, 0.0, 1.0) * np.iinfo(dtype).max).astype(dtype)


def to_uint8(array: np.ndarray) -> np.ndarray:
    """Convert floats in [0, 1] to uint8: clipped first, then rounded."""
    return from_unit(array, np.uint8)
