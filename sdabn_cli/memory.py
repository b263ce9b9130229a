"""Memory: how much a run may use, how much a network needs, how freed memory is kept."""

from __future__ import annotations

import contextlib
import ctypes
import re
import weakref
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdabn_cli.errors import SdabnError

#: Parameters of glibc's ``mallopt``, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4

#: Blocks that glibc may take from the system one by one, unless it is told otherwise.
MMAPS = 65536

#: Up to this size glibc can take blocks from memory it already has.
LARGEST = 32 * 2**20

#: Freed memory at the end of the heap that is not given back to the system.
KEPT = 256 * 2**20

#: The same in a training, whose steps free as much as they need again: as much as can be told.
KEPT_IN_TRAINING = 2**31 - 1

#: Share of the free memory that a run takes if it is not told.
SHARE = 0.6

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}

#: What allocators and libraries say when there is not enough.
SAID = ("can't allocate memory", "ALLOC_FAILED")

#: Least memory that a run can be told to keep to; torch and its libraries alone take half of it.
LEAST = 2**30


def keep_freed(*, in_training: bool = False) -> None:
    """Let the C library reuse the memory of freed tensors.

    Otherwise it gives the memory of every larger tensor back to the system, which clears its pages
    before it hands them out again: a quarter of the time of a cascade on a processor. It does
    nothing where the C library is not glibc.

    Args:
        in_training: Keep blocks above 32 MB, too, which every step needs again. What only runs
            networks gives those back, so that it keeps to what memory it may use.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_MMAP_THRESHOLD, LARGEST)
        library.mallopt(M_MMAP_MAX, 0 if in_training else MMAPS)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_IN_TRAINING if in_training else KEPT)


def budget(text: str = "auto") -> int:
    """Bytes that this process may hold.

    Args:
        text: ``auto`` (what it holds already and 60 % of what is free), or a size such as ``3GB``.

    Raises:
        SdabnError: If it is no size, or less than 1 GB.
    """
    if text.strip().lower() == "auto":
        return resident() + int(SHARE * available())
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise SdabnError(f"{text!r} is no size of memory.", "Write it as 3GB or 1500MB, or auto.")
    size = int(float(match[1]) * UNITS[match[2].upper()])
    if size < LEAST:
        raise SdabnError(f"--memory {text} is too little.", "Allowed are auto, and 1GB or more.")
    return size


def available() -> int:
    """Bytes that are free on this machine, or in this container."""
    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit ("max")
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    return max(free, 0)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return psutil.Process().memory_info().rss


class _Peak(TorchDispatchMode):
    """Follows the tensors that operations make, and how much they hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        del types
        result = function(*arguments, **(named or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def bytes_per_pixel(network: nn.Module, *inputs: Tensor | None) -> float:
    """Bytes that a network holds at once for every pixel of its input.

    It is run once on a small example, so no plug-in has to declare anything.

    Args:
        network: On any device, in eval mode.
        inputs: A small example, (1, C, h, w) each, of the same size; the first is no None.
    """
    with torch.no_grad(), _Peak() as peak:
        network(*inputs)
    return peak.most / (inputs[0].shape[-2] * inputs[0].shape[-1])


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in SAID)
