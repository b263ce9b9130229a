"""Memory of this process."""

from __future__ import annotations

import contextlib
import ctypes

#: Parameters of glibc's ``mallopt``, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

#: Up to this size glibc can take blocks from memory it already has.
LARGEST = 32 * 2**20

#: Freed memory at the end of the heap that is not given back to the system.
KEPT = 1 * 2**30


def keep_freed() -> None:
    """Let the C library reuse the memory of freed tensors.

    Otherwise it gives the memory of every larger tensor back to the system, which clears its pages
    before it hands them out again: a quarter of the time of a cascade on a processor. It does
    nothing where the C library is not glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_MMAP_THRESHOLD, LARGEST)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)
