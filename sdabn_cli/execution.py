"""Run a cascade on one image of any size: what fits the memory as a whole, the rest in tiles.

The equations are those of ``cascade``; here they are computed window by window. A denoiser that
declares its receptive field is exact in tiles, and small tiles stay in a processor's caches. A
segmenter sees the whole image where the memory allows it, and blended tiles otherwise.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdabn_cli import memory, tiling
from sdabn_cli.cascade import Cascade, strengthen, stride_of
from sdabn_cli.device import Compute
from sdabn_cli.errors import NotFinite, SdabnError
from sdabn_cli.logits import Guide, Logits
from sdabn_cli.planes import DiskPlane, MemoryPlane, Plane, Window, Workspace

#: Overlap of tiles that are blended, in pixels.
OVERLAP = 128

#: Least side of a tile; a network that does not fit the memory with it does not fit at all.
SMALLEST = 64

#: How many times larger tiles of denoisers with a stride are at most.
LARGER = 4

#: Side of the tiles of networks that do not fit as a whole, if the memory allows that. A fixed one,
#: so that more free memory does not change the result.
SIDE = 1536

#: Side of the example that a network's need of memory is measured with.
EXAMPLE = 128

#: What allocators and libraries take on top of the tensors that a network holds at once.
MARGIN = 1.5

#: Least need that is believed, in bytes a pixel: what other engines than torch hold is not seen.
LEAST_NEED = 250

#: Images of fewer pixels are taken to fit without measuring.
SMALL = 2_000_000

#: Shares of the free memory that the planes of an image, and a network on it, may take.
PLANES, NETWORK = 0.35, 0.4

OwnPlane = MemoryPlane | DiskPlane
Result = TypeVar("Result")


class UnitPlanes(NamedTuple):
    """What one unit computes, as planes.

    Attributes:
        logits: Segmentation before softmax, (K, H, W); None without a segmenter.
        estimate: Denoised image (3, H, W), not clipped; None without a denoiser.
    """

    logits: Logits | None
    estimate: OwnPlane | None


@dataclass
class Executor:
    """Runs cascades within a memory budget.

    Attributes:
        compute: Device and precision.
        tile: Side of the tiles of denoisers that are exact in tiles, in strides of theirs up to
            ``LARGER``; halved where it does not fit.
        budget: Bytes that this process may hold; None asks the machine.
    """

    compute: Compute
    tile: int
    budget: int | None = None

    def workspace(self) -> Workspace:
        """A workspace for the planes of one image."""
        places = [("cpu", PLANES * self._free())]
        if self.compute.device.type == "cuda":
            places.insert(0, (str(self.compute.device), PLANES * self._free_on_gpu()))
        return Workspace(places)

    @torch.inference_mode()
    def run(
        self,
        cascade: Cascade,
        noisy: Plane,
        workspace: Workspace,
        *,
        truth: Tensor | None = None,
        keep: bool = False,
    ) -> Iterator[UnitPlanes]:
        """Run unit after unit on one image.

        Args:
            cascade: In eval mode, prepared for the device.
            noisy: Observed image, (3, H, W).
            workspace: Where the planes of the units are made.
            truth: Labels (1, H, W), read only where the condition is ``truth``.
            keep: Whether planes stay readable after the next unit is asked for; the last unit's do
                as long as the workspace lives.

        Raises:
            NotFinite: If a network computes values that are no numbers.
            SdabnError: If it does not fit the memory.
        """
        estimate: OwnPlane | None = None
        for number, unit in enumerate(cascade.units, start=1):
            seen = noisy if estimate is None else estimate
            logits, plane = None, None
            if unit.segmenter is not None:
                logits, plane = self._segment(unit.segmenter, seen, workspace)
            if unit.denoiser is None:
                yield UnitPlanes(logits, None)
                return
            guide = Guide(cascade, logits, noisy, truth)
            previous = estimate
            estimate = self._denoise(unit.denoiser, noisy, previous, guide, workspace)
            yield UnitPlanes(logits, estimate)
            if not keep and plane is not None and number < len(cascade.units):
                workspace.release(plane)
            if not keep and previous is not None:
                workspace.release(previous)

    def _segment(
        self, segmenter: nn.Module, image: Plane, workspace: Workspace
    ) -> tuple[Logits, OwnPlane]:
        stride = stride_of(segmenter)
        channels, *size = image.shape
        padded = [-(-length // stride) * stride for length in size]
        edge = -(-EXAMPLE // stride) * stride
        largest = self._largest(segmenter, padded[0] * padded[1], (channels,), edge)
        side = max(padded) if largest is None else min(SIDE, math.isqrt(largest))
        least = -(-SMALLEST // stride) * stride

        def attempt(side: int) -> tuple[Logits, OwnPlane]:
            return self._segment_in_tiles(segmenter, image, padded, side, workspace)

        return self._retry(max(side // stride * stride, least), least, attempt)[0]

    def _segment_in_tiles(
        self,
        segmenter: nn.Module,
        image: Plane,
        padded: list[int],
        side: int,
        workspace: Workspace,
    ) -> tuple[Logits, OwnPlane]:
        """Segment in blended tiles; an image no larger than one of them is one."""
        plane: OwnPlane | None = None
        scale, step = 1, stride_of(segmenter)
        overlap = min(OVERLAP, side // 2)
        with self.compute.autocast(), contextlib.ExitStack() as filled:
            for window, weights in tiling.blended(*padded, side=side, overlap=overlap, step=step):
                seen = self.compute.send(_read_padded(image, window))
                logits, scale = _at_own_scale(segmenter(seen), seen, step)
                if plane is None:
                    shape = (logits.shape[1], *(n // scale for n in padded))
                    plane = filled.enter_context(workspace.filling(shape))
                place = tuple(slice(s.start // scale, s.stop // scale) for s in window)
                if logits.shape[1:] == plane.shape:
                    plane.write((place[0], place[1]), logits)
                else:
                    share = F.avg_pool2d(weights[None, None], scale)
                    plane.add((place[0], place[1]), logits * share.to(logits.device))
        assert plane is not None
        return Logits(plane, scale, (image.shape[1], image.shape[2])), plane

    def _denoise(
        self,
        denoiser: nn.Module,
        noisy: Plane,
        previous: Plane | None,
        guide: Guide,
        workspace: Workspace,
    ) -> OwnPlane:
        def look(window: Window) -> Tensor:
            seen = self.compute.send(noisy.read(window))
            before = None if previous is None else self.compute.send(previous.read(window))
            condition = guide.read(window)
            given = None if condition is None else self.compute.send(condition)
            with self.compute.autocast():
                return _finite(denoiser(strengthen(seen, before), given).float())

        halo = getattr(denoiser, "receptive_field", None)
        if halo is not None:
            step = stride_of(denoiser, default=1)
            # What works at every other pixel needs a quarter of the memory.
            larger = min(step, LARGER)

            def attempt(side: int) -> OwnPlane:
                with workspace.filling(noisy.shape) as estimate:
                    return _in_tiles(look, estimate, max(side, step), halo, step)

            estimate, side = self._retry(self.tile * larger, SMALLEST, attempt)
            self.tile = side // larger
            return estimate
        _, height, width = noisy.shape
        largest = self._largest(denoiser, height * width, (3, guide.channels), EXAMPLE)
        side = max(height, width) if largest is None else min(SIDE, math.isqrt(largest))

        def attempt_blended(side: int) -> OwnPlane:
            with workspace.filling(noisy.shape) as estimate:
                return _in_blended_tiles(look, estimate, side)

        return self._retry(max(side, SMALLEST), SMALLEST, attempt_blended)[0]

    def _largest(
        self, network: nn.Module, pixels: int, channels: tuple[int, ...], side: int
    ) -> int | None:
        """Pixels that a network can be given at once; None if the whole image is fine."""
        if pixels <= SMALL:
            return None
        examples = [torch.zeros(1, n, side, side) if n else None for n in channels]
        with self.compute.autocast():
            need = memory.bytes_per_pixel(
                network, *(None if e is None else self.compute.send(e) for e in examples)
            )
        on_gpu = self.compute.device.type == "cuda"
        free = self._free_on_gpu() if on_gpu else self._free()
        largest = int(NETWORK * free / (MARGIN * max(need, LEAST_NEED)))
        return None if pixels <= largest else largest

    def _free(self) -> float:
        """Bytes that may still be taken; a tenth of the budget in any case."""
        total = memory.budget() if self.budget is None else self.budget
        return max(total - memory.resident(), total / 10)

    def _free_on_gpu(self) -> float:
        return float(torch.cuda.mem_get_info(self.compute.device)[0])

    def _retry(self, side: int, least: int, attempt: Callable[[int], Result]) -> tuple[Result, int]:
        """Try with smaller tiles while the memory does not suffice; a failed try leaves nothing.

        Returns:
            The result and the side that it was made with.

        Raises:
            SdabnError: If the smallest tile does not fit either.
        """
        while True:
            try:
                return attempt(side), side
            except (RuntimeError, MemoryError) as error:
                if not memory.ran_out(error):
                    raise
                if side <= least:
                    raise SdabnError(
                        f"There is too little memory for tiles of {side} pixels.",
                        "Use --device cpu, or a smaller model.",
                    ) from error
            side = max(least, side // 2 // least * least)
            if self.compute.device.type == "cuda":
                torch.cuda.empty_cache()


def _in_tiles(
    look: Callable[[Window], Tensor], estimate: OwnPlane, side: int, halo: int, step: int
) -> OwnPlane:
    """Fill an estimate with tiles that see a halo."""
    _, height, width = estimate.shape
    for tile in tiling.tiles(height, width, side=side, halo=halo, step=step):
        estimate.write(tile.window, look(tile.seen)[(..., *tile.inside)])
    return estimate


def _in_blended_tiles(look: Callable[[Window], Tensor], estimate: OwnPlane, side: int) -> OwnPlane:
    """Fill an estimate with tiles that overlap."""
    _, height, width = estimate.shape
    overlap = min(OVERLAP, side // 2)
    for window, weights in tiling.blended(height, width, side=side, overlap=overlap, step=1):
        values = look(window)
        estimate.add(window, values * weights.to(values.device))
    return estimate


def _read_padded(image: Plane, window: Window) -> Tensor:
    """Read a window that may reach over the lower and right edge, which is repeated."""
    spans = [
        slice(span.start, min(span.stop, length))
        for span, length in zip(window, image.shape[1:], strict=True)
    ]
    values = image.read((spans[0], spans[1]))
    below, right = (span.stop - part.stop for span, part in zip(window, spans, strict=True))
    return F.pad(values, (0, right, 0, below), mode="replicate") if below or right else values


def _at_own_scale(logits: Tensor, image: Tensor, step: int) -> tuple[Tensor, int]:
    """Logits as float32 and the pixels each stands for; upsampled where those are no whole ones."""
    logits = _finite(logits.float())
    scale = image.shape[-1] // logits.shape[-1]
    size = [scale * length for length in logits.shape[-2:]]
    if scale and step % scale == 0 and size == list(image.shape[-2:]):
        return logits, scale
    return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False), 1


def _finite(values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise NotFinite(
            "The model computed values that are not numbers.", "Try --precision float32."
        )
    return values
