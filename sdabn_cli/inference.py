"""A model made ready to run on images: ``Runner`` gives the planes of what it finds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sdabn_cli import engines, memory
from sdabn_cli.cascade import condition_channels, stride_of
from sdabn_cli.device import Compute
from sdabn_cli.engines import Engine
from sdabn_cli.errors import Unsupported
from sdabn_cli.execution import Executor, OwnPlane
from sdabn_cli.logits import BAND, labels_of
from sdabn_cli.metrics import psnr
from sdabn_cli.model import Model
from sdabn_cli.planes import FramedPlane, MemoryPlane, Plane, TurnedPlane, Workspace, whole

Look = Callable[[Plane, Plane | None], object]
"""Shown the logits (K, H, W) and the estimate (3, H, W) of a unit."""

#: Pixels at the edge that PSNR leaves out, as everywhere in sdabn.
BORDER = 1

#: Outermost pixels of an estimate, replaced by their neighbours where the loss left them out: what
#: denoisers give there is arbitrary and would show as a frame.
FRAME = 1

#: Side of the small images that engines see when they make a network ready.
EXAMPLE = 64

#: Quarter turns and mirrors of the self-ensemble.
TURNS = [(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)]


@dataclass(frozen=True)
class Result:
    """What a model found in an image.

    Attributes:
        noisy: The network's input, (3, H, W), not clipped.
        estimate: The last one, (3, H, W), not clipped; None if no denoiser was run.
        labels: The last unit's class ids, uint8 (H, W).
        psnr: Of every unit's estimate, where the clean image is known; None without an estimate.
    """

    noisy: Plane
    estimate: Plane | None
    labels: Tensor
    psnr: list[float | None] = field(default_factory=list)


class Runner:
    """A model on a processor, ready for any number of images.

    Attributes:
        model: The model; its networks are those of the engine.
        compute: Device and precision.
        engine: What runs the networks.
        is_ensemble: Whether every image is run in eight orientations.

    Args:
        model: The model.
        compute: Device and precision.
        last_denoiser: Whether the last unit's denoiser is run; segmentation alone needs it not.
        engine: See ``engines.choose``; ``auto`` falls back to torch for a network that OpenVINO
            cannot run.
        images: How many images are to be run.
        budget: Bytes that this process may hold; None asks the machine.
        ensemble: Whether an image is run in all eight orientations and the results averaged.
        compiled: Whether torch compiles the networks first.

    Raises:
        SdabnError: If the engine that was asked for cannot be used.
    """

    def __init__(
        self,
        model: Model,
        compute: Compute,
        *,
        last_denoiser: bool = True,
        engine: str = "auto",
        images: int = 1,
        budget: int | None = None,
        ensemble: bool = False,
        compiled: bool = False,
    ) -> None:
        self.model = model
        self.compute = compute
        self.is_ensemble = ensemble
        if not last_denoiser:
            model.cascade.units[-1].denoiser = None
        if compute.device.type == "cpu":
            memory.keep_freed()
        self.engine = _prepare(model, compute, engine, images, compiled)
        self._executor = Executor(compute, self.engine.tile, budget)

    def workspace(self) -> Workspace:
        """A workspace for the planes of one image; closing it removes them."""
        return self._executor.workspace()

    @torch.inference_mode()
    def __call__(
        self,
        noisy: Plane | Tensor,
        workspace: Workspace,
        *,
        clean: Tensor | None = None,
        look: Look | None = None,
    ) -> Result:
        """Run the model on one image of any size.

        Args:
            noisy: (3, H, W), or a float32 tensor (1, 3, H, W).
            workspace: Holds the planes of the result, which live as long as it does.
            clean: The true image (1, 3, H, W), where it is known.
            look: Shown what ``units`` yields.

        Raises:
            SdabnError: If the model computes values that are no numbers, or the memory does not
                suffice.
        """
        plane = MemoryPlane(self.compute.upload(noisy)) if isinstance(noisy, Tensor) else noisy
        figures: list[float | None] = []
        for logits, estimate in self.units(plane, workspace):
            last = logits, estimate
            if look is not None:
                look(logits, estimate)
            if clean is not None:
                figures.append(_psnr(estimate, clean))
        return Result(plane, last[1], labels_of(last[0]), figures)

    def units(
        self, noisy: Plane, workspace: Workspace
    ) -> Iterator[tuple[Plane, FramedPlane | None]]:
        """Run unit after unit; planes can be read until the next unit is asked for.

        Args:
            noisy: (3, H, W).
            workspace: As in a call.

        Yields:
            Logits (K, H, W) and estimate (3, H, W) of every unit; the estimate is None without a
            denoiser. Of an ensemble: probabilities for logits, and the last unit's figures alone.
        """
        run = self._run_turned if self.is_ensemble else self._run
        described = self.model.description.units
        for unit, (logits, estimate) in zip(described, run(noisy, workspace), strict=True):
            frame = min(unit.denoiser.border, FRAME)
            yield logits, None if estimate is None else FramedPlane(estimate, frame)

    def _run(self, noisy: Plane, workspace: Workspace) -> Iterator[tuple[Plane, OwnPlane | None]]:
        yield from self._executor.run(self.model.cascade, noisy, workspace)

    def _run_turned(
        self, noisy: Plane, workspace: Workspace
    ) -> Iterator[tuple[Plane, OwnPlane | None]]:
        """The mean over all orientations; the units before the last give no estimate of theirs."""
        _, height, width = noisy.shape
        classes = len(self.model.description.classes)
        probabilities = workspace.plane((classes, height, width))
        estimate: OwnPlane | None = None
        for quarters, mirrored in TURNS:
            turned = TurnedPlane(noisy, quarters=quarters, mirrored=mirrored)
            with self._executor.workspace() as own:
                *_, last = self._executor.run(self.model.cascade, turned, own)
                _add_turned(last.logits, probabilities, turned, softmax=True)
                if last.estimate is not None:
                    estimate = estimate or workspace.plane((3, height, width))
                    _add_turned(last.estimate, estimate, turned)
        for _ in self.model.cascade.units[:-1]:
            yield probabilities, None
        yield probabilities, estimate


def _add_turned(
    found: Plane, total: OwnPlane, turned: TurnedPlane, *, softmax: bool = False
) -> None:
    """Add a share of what was found in a turned image, turned back, band by band."""
    _, height, width = turned.shape
    for top in range(0, height, BAND):
        window = (slice(top, min(top + BAND, height)), slice(0, width))
        values = found.read(window)
        values = values.softmax(1) if softmax else values
        total.add(turned.original(window), turned.turn_back(values) / len(TURNS))


def _psnr(estimate: Plane | None, clean: Tensor) -> float | None:
    return None if estimate is None else psnr(whole(estimate).cpu(), clean, border=BORDER)


def _prepare(model: Model, compute: Compute, name: str, images: int, compiled: bool) -> Engine:
    """Make every network of a model ready in the same engine."""
    engine = engines.choose(name, compute, images=images, compiled=compiled)
    units = list(model.cascade.units)
    try:
        prepared = [_prepare_unit(model, unit, engine) for unit in units]
    except Unsupported as error:
        if name != "auto":
            raise
        warnings.warn(f"{error.problem} torch runs this model.", stacklevel=2)
        engine = engines.TorchEngine(compute, compiled=compiled)
        prepared = [_prepare_unit(model, unit, engine) for unit in units]
    for unit, (segmenter, denoiser) in zip(units, prepared, strict=True):
        unit.segmenter, unit.denoiser = segmenter, denoiser
    return engine


def _prepare_unit(
    model: Model, unit: nn.Module, engine: Engine
) -> tuple[nn.Module, nn.Module | None]:
    stride = stride_of(unit.segmenter)
    image = torch.rand(1, 3, stride * -(-EXAMPLE // stride), stride * -(-EXAMPLE // stride))
    segmenter = engine.prepare(unit.segmenter, image)
    if unit.denoiser is None:
        return segmenter, None
    description = model.description
    channels = condition_channels(description.condition, len(description.classes))
    guides = [torch.rand(1, channels, *image.shape[-2:])] if channels else []
    if not guides and engine.name != "torch":
        raise Unsupported("OpenVINO runs denoisers with a condition only.")
    return segmenter, engine.prepare(unit.denoiser, image, *guides)
