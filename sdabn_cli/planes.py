"""Images that are read and written window by window, in memory or on disk.

A plane is one image (1, C, H, W). Small ones are tensors; those that a memory budget has no room
for are files, opened anew for every window so that what was read does not stay in memory.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdabn_cli.errors import SdabnError

Window = tuple[slice, slice]
"""Rows and columns, with their starts and stops given."""


class Plane(Protocol):
    """An image of a size that is read window by window.

    Attributes:
        shape: (C, H, W).
    """

    shape: tuple[int, int, int]

    def read(self, window: Window) -> Tensor:
        """Values of a window inside the image, (1, C, h, w)."""


class WritablePlane(Plane, Protocol):
    """A plane that is filled window by window."""

    def write(self, window: Window, values: Tensor) -> None:
        """Put values (1, C, h, w) into a window."""

    def add(self, window: Window, values: Tensor) -> None:
        """Add values (1, C, h, w) to a window; a plane begins with zeros."""


class MemoryPlane:
    """A plane in memory, on any device.

    Args:
        values: (1, C, H, W); used, not copied.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.shape = tuple(values.shape[1:])

    def read(self, window: Window) -> Tensor:
        """View of a window; see ``Plane``."""
        return self.values[(..., *window)]

    def write(self, window: Window, values: Tensor) -> None:
        """See ``WritablePlane``."""
        self.values[(..., *window)] = values.to(self.values.device)

    def add(self, window: Window, values: Tensor) -> None:
        """See ``WritablePlane``."""
        self.values[(..., *window)] += values.to(self.values.device)


class DiskPlane:
    """A plane in a file without any header, which is removed with its directory."""

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        self.shape = shape
        self._path = path
        self._dtype = torch.empty(0, dtype=dtype).numpy().dtype
        with path.open("wb") as file:
            # A sparse file: it reads as zeros and takes no room before it is written.
            file.truncate(int(np.prod(shape)) * self._dtype.itemsize)

    def read(self, window: Window) -> Tensor:
        """See ``Plane``."""
        return torch.from_numpy(np.array(self._open("r")[(slice(None), *window)]))[None]

    def write(self, window: Window, values: Tensor) -> None:
        """See ``WritablePlane``."""
        self._open("r+")[(slice(None), *window)] = values[0].cpu().numpy()

    def add(self, window: Window, values: Tensor) -> None:
        """See ``WritablePlane``."""
        self._open("r+")[(slice(None), *window)] += values[0].cpu().numpy()

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def _open(self, mode: str) -> np.memmap:
        return np.memmap(self._path, self._dtype, mode, shape=self.shape)


class Workspace:
    """Makes planes in memory while they fit a budget, and on disk after that.

    Used as a context; what is on disk is removed at its end.

    Args:
        places: Devices and the bytes that planes may hold there, the fastest first; what finds no
            place goes to disk.
    """

    def __init__(self, places: Sequence[tuple[str, float]]) -> None:
        # "cuda" is the same place as "cuda:0".
        self._left = {str(torch.empty(0, device=name).device): size for name, size in places}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what is on disk."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def folder(self) -> Path:
        """Directory for temporary files of the image, made when it is first asked for."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sdabn-", ignore_cleanup_errors=True)
        return Path(self._folder.name)

    def plane(
        self, shape: tuple[int, int, int], dtype: torch.dtype = torch.float32
    ) -> MemoryPlane | DiskPlane:
        """Make a plane of zeros.

        Raises:
            SdabnError: If the disk has no room for it.
        """
        size = int(np.prod(shape)) * torch.empty(0, dtype=dtype).element_size()
        for device, left in self._left.items():
            if size <= left:
                self._left[device] -= size
                return MemoryPlane(torch.zeros(1, *shape, dtype=dtype, device=device))
        self._count += 1
        path = self.folder / f"{self._count}.raw"
        _require_room(path.parent, size)
        return DiskPlane(path, shape, dtype)

    @contextlib.contextmanager
    def filling(self, shape: tuple[int, int, int]) -> Iterator[MemoryPlane | DiskPlane]:
        """Make a plane that is taken back if what fills it fails."""
        plane = self.plane(shape)
        try:
            yield plane
        except BaseException:
            self.release(plane)
            raise

    def release(self, plane: MemoryPlane | DiskPlane) -> None:
        """Take a plane back that nothing will read any more."""
        if isinstance(plane, MemoryPlane):
            self._left[str(plane.values.device)] += plane.values.nbytes
        else:
            plane.remove()


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise SdabnError(
            f"The image needs {size / 1e9:.1f} GB of temporary files, but {folder} has room for "
            f"{free / 1e9:.1f} GB.",
            "Set TMPDIR to a directory with more room, or allow more --memory.",
        )


class TurnedPlane:
    """A plane mirrored and turned by quarters, as it is looked at.

    Args:
        plane: The plane.
        quarters: Turns by 90 degrees, 0 to 3, counter-clockwise.
        mirrored: Whether it is mirrored left to right first.
    """

    def __init__(self, plane: Plane, *, quarters: int, mirrored: bool) -> None:
        self._plane, self._quarters, self._mirrored = plane, quarters, mirrored
        channels, height, width = plane.shape
        self.shape = (channels, width, height) if quarters % 2 else plane.shape

    def read(self, window: Window) -> Tensor:
        """See ``Plane``."""
        return self.turn(self._plane.read(self.original(window)))

    def turn(self, values: Tensor) -> Tensor:
        """Mirror and turn values (..., h, w)."""
        values = values.flip(-1) if self._mirrored else values
        return torch.rot90(values, self._quarters, (-2, -1))

    def turn_back(self, values: Tensor) -> Tensor:
        """The inverse of ``turn``."""
        values = torch.rot90(values, -self._quarters, (-2, -1))
        return values.flip(-1) if self._mirrored else values

    def original(self, window: Window) -> Window:
        """Where a window of the turned image lies in the original."""
        rows, columns = window
        height, width = self.shape[1:]
        for _ in range(self._quarters):  # undo one turn: (r, c) was (c, height - 1 - r)
            rows, columns = columns, slice(height - rows.stop, height - rows.start)
            height, width = width, height
        if self._mirrored:
            columns = slice(width - columns.stop, width - columns.start)
        return rows, columns


class FramedPlane:
    """A plane whose outermost pixels are their neighbours' values.

    Args:
        plane: The plane.
        frame: Width of what is replaced; images too small for it stay as they are.
    """

    def __init__(self, plane: Plane, frame: int) -> None:
        self.shape = plane.shape
        self._plane = plane
        self._frame = frame if min(plane.shape[1:]) > 2 * frame else 0

    def read(self, window: Window) -> Tensor:
        """See ``Plane``."""
        inner, padding = [], []
        for span, length in zip(window, self.shape[1:], strict=True):
            low, high = self._frame, length - self._frame
            start = min(max(span.start, low), high - 1)
            stop = max(min(span.stop, high), low + 1)
            inner.append(slice(start, stop))
            padding.append((max(0, start - span.start), max(0, span.stop - stop)))
        values = self._plane.read((inner[0], inner[1]))
        (above, below), (left, right) = padding
        if not (above or below or left or right):
            return values
        padded = F.pad(values.float(), (left, right, above, below), mode="replicate")
        return padded[..., : window[0].stop - window[0].start, : window[1].stop - window[1].start]


def whole(plane: Plane) -> Tensor:
    """All of a plane, (1, C, H, W)."""
    _, height, width = plane.shape
    return plane.read((slice(0, height), slice(0, width)))
