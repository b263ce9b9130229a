"""Pictures in memory or in temporary files, their turns, their conversion to and from [0, 1]."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdabn_cli.errors import SdabnError


@dataclass(frozen=True)
class Spooled:
    """An array that lies in a temporary file.

    Args:
        path: Raw values, row after row.
        shape: (H, W) or (H, W, C).
        dtype: uint8, uint16 or float32.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, window: tuple[slice, ...] | slice) -> np.ndarray:
        """Read a window.

        Args:
            window: Slices of rows and columns.

        Returns:
            A new array.
        """
        # Mapped anew for each window: the pages read before do not stay in memory.
        return np.array(np.memmap(self.path, self.dtype, "r", shape=self.shape)[window])


@dataclass(frozen=True)
class Picture:
    """One decoded page of an image file; its arrays may be read-only.

    Args:
        pixels: (H, W) grey or (H, W, 3) RGB; uint8, uint16 or float32. Integers use their type's
            full scale, floats are meant to lie in [0, 1].
        alpha: (H, W) of the same type, not multiplied into the pixels; None without one.
        icc: Embedded colour profile of the pixels; None without one.
    """

    pixels: np.ndarray | Spooled
    alpha: np.ndarray | Spooled | None = None
    icc: bytes | None = None


def too_large(path: Path, height: int, width: int, max_pixels: int) -> SdabnError:
    """The error of an image of more pixels than are decoded."""
    return SdabnError(
        f"{path} has {width} x {height} pixels.",
        f"Read are up to {max_pixels:,} pixels; --max-pixels raises the limit.",
    )


def fitting_profile(icc: bytes | None, channels: int) -> bytes | None:
    """A colour profile, if it describes grey pixels (1 channel) or RGB pixels (3); else None.

    A profile of other colours, such as CMYK, says nothing about the pixels they became.
    """
    space = {1: b"GRAY", 3: b"RGB "}[channels]
    return icc if icc and icc[16:20] == space else None


def to_unit(array: np.ndarray) -> np.ndarray:
    """Convert integers to float32 in [0, 1] by their type's full scale; floats stay as they are."""
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    return np.divide(array, np.float32(np.iinfo(array.dtype).max), dtype=np.float32)


def from_unit(array: np.ndarray, dtype: np.typing.DTypeLike) -> np.ndarray:
    """Convert floats in [0, 1] to a type that files hold.

    Args:
        array: Floats of any shape.
        dtype: uint8 or uint16: clipped to [0, 1] first, then rounded. float32: values as they are.

    Returns:
        Array of that type.
    """
    if np.dtype(dtype).kind == "f":
        return array.astype(dtype, copy=False)
    return np.round(np.clip(array, 0.0, 1.0) * np.iinfo(dtype).max).astype(dtype)


def to_uint8(array: np.ndarray) -> np.ndarray:
    """Convert floats in [0, 1] to uint8: clipped first, then rounded."""
    return from_unit(array, np.uint8)


@dataclass(frozen=True)
class Turn:
    """How an image is turned before it is shown: first its sides are swapped, then it is mirrored.

    Args:
        swap: Rows become columns.
        rows: The rows are then reversed.
        columns: The columns are then reversed.
    """

    swap: bool = False
    rows: bool = False
    columns: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the turned image."""
        return (width, height) if self.swap else (height, width)

    def array(self, array: np.ndarray) -> np.ndarray:
        """A view of an array (H, W, ...) as it is shown."""
        shown = array.swapaxes(0, 1) if self.swap else array
        return shown[:: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def corner(
        self, corner: tuple[int, int], block: tuple[int, ...], image: tuple[int, int]
    ) -> tuple[int, int]:
        """Where the upper left corner of a turned block lies in the turned image.

        Args:
            corner: Row and column of the block in the stored image.
            block: Stored height and width of the block.
            image: Stored height and width of the image.
        """
        row, column = corner[::-1] if self.swap else corner
        height, width = self.size(block[0], block[1])
        image_height, image_width = self.size(*image)
        return (
            image_height - row - height if self.rows else row,
            image_width - column - width if self.columns else column,
        )


#: What the values of the EXIF and TIFF tag ``Orientation`` mean.
TURNS = {
    1: Turn(),
    2: Turn(columns=True),
    3: Turn(rows=True, columns=True),
    4: Turn(rows=True),
    5: Turn(swap=True),
    6: Turn(swap=True, columns=True),
    7: Turn(swap=True, rows=True, columns=True),
    8: Turn(swap=True, rows=True),
}


def turn_of(orientation: object) -> Turn:
    """The turn that a tag asks for; none where its value is unknown."""
    return TURNS.get(orientation, Turn()) if isinstance(orientation, int) else Turn()


class Canvas:
    """An array that is filled block by block, in memory or in a temporary file.

    Args:
        shape: (H, W) or (H, W, C).
        dtype: Type of the values.
        spool: Directory for the temporary file; None for an array in memory.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.typing.DTypeLike, spool: Path | None
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._array = np.zeros(shape, dtype) if spool is None else None
        if spool is not None:
            handle, name = tempfile.mkstemp(".raw", dir=spool)
            self._path = Path(name)
            # Written, not mapped: a full disk is then an error and not a signal that kills.
            self._file = os.fdopen(handle, "wb")
            self._file.truncate(int(np.prod(shape)) * self.dtype.itemsize)

    def put(self, block: np.ndarray, row: int, column: int) -> None:
        """Write a block (h, w[, C]) with its upper left corner at a row and a column.

        Raises:
            SdabnError: If the temporary file cannot be written.
        """
        if self._array is not None:
            self._array[row : row + block.shape[0], column : column + block.shape[1]] = block
            return
        try:
            self._write(np.ascontiguousarray(block, self.dtype), row, column)
        except OSError as error:
            raise _unwritten(self._path, error) from error

    def _write(self, block: np.ndarray, row: int, column: int) -> None:
        pixel = self.dtype.itemsize * int(np.prod(self.shape[2:]))
        # Whole rows lie one after the other in the file.
        parts = [block] if block.shape[1] == self.shape[1] else list(block)
        for number, part in enumerate(parts):
            self._file.seek(((row + number) * self.shape[1] + column) * pixel)
            self._file.write(part.data)

    def finish(self) -> np.ndarray | Spooled:
        """The array, once all blocks are written."""
        if self._array is not None:
            return self._array
        try:
            self._file.close()  # and written to the last byte
        except OSError as error:
            raise _unwritten(self._path, error) from error
        return Spooled(self._path, self.shape, self.dtype)


def _unwritten(path: Path, error: OSError) -> SdabnError:
    return SdabnError(
        f"The temporary file {path} cannot be written: {error.strerror}.",
        "It holds an image as it is decoded; make room there, or name another place in TMPDIR.",
    )
