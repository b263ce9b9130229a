"""Which processor computes, and in which precision."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from sdabn_cli import processes
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.processes import Processes

#: Flags in /proc/cpuinfo of processors that multiply bfloat16 themselves; others only emulate it.
NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


#: Small enough for a processor's caches, large enough that the halo costs little.
CPU_TILES = {torch.float32: 260, torch.bfloat16: 480}

#: Large enough to occupy a GPU, small enough for its memory.
CUDA_TILE = 1024


@dataclass(frozen=True)
class Compute:
    """Where and how networks run.

    Attributes:
        device: Torch device.
        dtype: bfloat16 under autocast, or float32.
        processes: This process among those that share the work.
    """

    device: torch.device
    dtype: torch.dtype
    processes: Processes = field(default_factory=Processes)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Context in which networks run in the chosen precision."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def place(self, module: nn.Module) -> nn.Module:
        """Move a network to the device, channels last: several times faster for convolutions."""
        return module.to(self.device, memory_format=torch.channels_last)

    def send(self, tensor: Tensor) -> Tensor:
        """Move a batch to the device; images (N, C, H, W) become channels last."""
        tensor = tensor.to(self.device, non_blocking=True)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    def upload(self, image: Tensor) -> Tensor:
        """Move a whole image (1, C, H, W) to the device, from pinned memory to a GPU."""
        if self.device.type != "cuda":
            return image
        return image.pin_memory().to(self.device, non_blocking=True)

    @property
    def precision(self) -> str:
        """``float32`` or ``bfloat16``."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def tile(self) -> int:
        """Side in pixels of the tiles that whole images are denoised in."""
        return CPU_TILES[self.dtype] if self.device.type == "cpu" else CUDA_TILE

    def __str__(self) -> str:
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"CPU, {torch.get_num_threads()} threads"
        )
        count = self.processes.count
        return f"{name}, {self.precision}" + (f", {count} processes" if count > 1 else "")


def choose(device: str = "auto", precision: str = "auto") -> Compute:
    """Choose processor and precision.

    Args:
        device: ``auto`` (CUDA where present), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (bfloat16 where the processor has it), ``float32`` or ``bfloat16``.

    Raises:
        SdabnError: If the device is unknown or absent.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise SdabnError(
            f"There is no device {device!r}.", "Allowed: auto, cpu, cuda, cuda:N."
        ) from error
    if chosen.type not in ("cpu", "cuda"):
        raise SdabnError(f"There is no device {device!r}.", "Allowed: auto, cpu, cuda, cuda:N.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise SdabnError(
            f"The device {device!r} is not present: torch sees {torch.cuda.device_count()} CUDA "
            "devices.",
            "Use --device cpu, or --device auto.",
        )
    chosen = _own_device(chosen)
    if precision not in ("auto", "float32", "bfloat16"):
        raise SdabnError(
            f"There is no precision {precision!r}.",
            did_you_mean(precision, ("auto", "float32", "bfloat16")),
        )
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(chosen) else "float32"
    return Compute(chosen, getattr(torch, precision), processes.of(chosen))


def _own_device(device: torch.device) -> torch.device:
    """The GPU that belongs to this process, where several processes were launched."""
    if not processes.were_launched() or device.type != "cuda":
        return device
    if device.index is not None:
        raise SdabnError(
            f"{device} is one GPU, but several processes were launched.",
            "Use --device cuda: every process of a machine takes its own.",
        )
    if processes.local_index() >= torch.cuda.device_count():
        raise SdabnError(
            f"There are more processes than GPUs on this machine ({torch.cuda.device_count()}).",
            "Launch one process a GPU: torchrun --nproc-per-node gpu",
        )
    return torch.device("cuda", processes.local_index())


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.is_file() else []
    return not NATIVE_BFLOAT16.isdisjoint(flags)
