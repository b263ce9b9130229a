"""Arrays in one block of memory that other processes map instead of copying it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

#: Every array begins at a multiple of this, in bytes.
ALIGNMENT = 64


class SharedArrays:
    """Arrays in one block of shared memory.

    torch hands such a block to a process that it starts as a name, whatever the start method.

    Args:
        arrays: What to share; it is copied.

    Raises:
        RuntimeError: If the system has not that much shared memory.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._layout: list[tuple[int, np.dtype, tuple[int, ...]]] = []
        size = 0
        for array in arrays:
            self._layout.append((size, array.dtype, array.shape))
            size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        self._block = torch.empty(size, dtype=torch.uint8).share_memory_()
        for view, array in zip(self.views(), arrays, strict=True):
            view[...] = array

    def views(self) -> list[np.ndarray]:
        """The arrays, as they lie in the block."""
        block = self._block.numpy()
        return [
            np.ndarray(shape, dtype, buffer=block, offset=offset)
            for offset, dtype, shape in self._layout
        ]
