"""Run a model on image files and write what it finds."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sdabn_cli import engines, files, images, memory, overlay
from sdabn_cli.cascade import condition_channels, stride_of
from sdabn_cli.contracts import NoiseModel
from sdabn_cli.device import Compute
from sdabn_cli.engines import Engine
from sdabn_cli.errors import SdabnError, Unsupported
from sdabn_cli.inputs import Job
from sdabn_cli.metrics import psnr
from sdabn_cli.model import Model
from sdabn_cli.randomness import generator

#: Pixels at the edge that PSNR leaves out, as everywhere in sdabn.
BORDER = 1

#: Outermost pixels of an estimate, replaced by their neighbours: the loss leaves them out, so
#: what denoisers give there is arbitrary and would show as a frame.
FRAME = 1

#: Side of the small images that engines see when they make a network ready.
EXAMPLE = 64


@dataclass(frozen=True)
class Result:
    """What a model found in an image, on the CPU.

    Attributes:
        noisy: The network's input, float32 (1, 3, H, W), not clipped.
        estimates: Every unit's, float32 (1, 3, H, W), not clipped; None where no denoiser was run.
        labels: The last unit's class ids, uint8 (H, W).
    """

    noisy: Tensor
    estimates: list[Tensor | None]
    labels: np.ndarray

    @property
    def denoised(self) -> np.ndarray | None:
        """The last estimate, uint8 (H, W, 3); None if no denoiser was run."""
        computed = [estimate for estimate in self.estimates if estimate is not None]
        return _to_picture(computed[-1]) if computed else None


def _to_picture(image: Tensor) -> np.ndarray:
    return images.to_uint8(image[0].permute(1, 2, 0).numpy())


class Runner:
    """A model on a processor, ready for any number of images.

    Args:
        model: The model.
        compute: Device and precision.
        last_denoiser: Whether the last unit's denoiser is run; segmentation alone needs it not.
        engine: See ``engines.choose``; ``auto`` falls back to torch for a network that OpenVINO
            cannot run.
        images: How many images are to be run.

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
    ) -> None:
        self.model = model
        self.compute = compute
        if not last_denoiser:
            model.cascade.units[-1].denoiser = None
        if compute.device.type == "cpu":
            memory.keep_freed()
        self.engine = _prepare(model, compute, engine, images)

    @torch.inference_mode()
    def __call__(self, noisy: Tensor) -> Result:
        """Run the model on one image, float32 (1, 3, H, W), of any size.

        Raises:
            SdabnError: If the model computes values that are not numbers.
        """
        estimates: list[Tensor | None] = []
        with self.compute.autocast():
            for logits, estimate in self.model.cascade.run(self.compute.send(noisy)):
                _require_finite(logits, estimate)
                # Only the ids are kept: logits are the largest tensors of all.
                labels = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
                estimates.append(
                    None if estimate is None else _without_frame(estimate.float().cpu())
                )
        return Result(noisy, estimates, labels)


def _prepare(model: Model, compute: Compute, name: str, images: int) -> Engine:
    """Make every network of a model ready in the same engine."""
    engine = engines.choose(name, compute, images=images)
    units = list(model.cascade.units)
    try:
        prepared = [_prepare_unit(model, unit, engine) for unit in units]
    except Unsupported as error:
        if name != "auto":
            raise
        warnings.warn(f"{error.problem} torch runs this model.", stacklevel=2)
        engine = engines.TorchEngine(compute)
        prepared = [_prepare_unit(model, unit, engine) for unit in units]
    for unit, (segmenter, denoiser) in zip(units, prepared, strict=True):
        unit.segmenter, unit.denoiser = segmenter, denoiser
    model.cascade.tile = engine.tile
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


def _without_frame(estimate: Tensor) -> Tensor:
    if min(estimate.shape[-2:]) <= 2 * FRAME:
        return estimate
    inside = estimate[..., FRAME:-FRAME, FRAME:-FRAME]
    return F.pad(inside, (FRAME,) * 4, mode="replicate")


def _require_finite(*computed: Tensor | None) -> None:
    if not all(bool(part.isfinite().all()) for part in computed if part is not None):
        raise SdabnError(
            "The model computed values that are not numbers.", "Try --precision float32."
        )


@dataclass
class Report:
    """What became of every image.

    Attributes:
        done: input, outputs, seconds and, with added noise, psnr of each one.
        failed: input and error of the others.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)


def process(
    jobs: Sequence[Job],
    runner: Runner,
    *,
    products: Sequence[str],
    noise: NoiseModel | None,
    seed: int,
    advance: Callable[[Job], object] = lambda job: None,
) -> Report:
    """Run images one after the other; one that fails does not stop the others.

    Args:
        jobs: The images and where their results go.
        runner: The model.
        products: Which of ``inputs.PRODUCTS`` to write.
        noise: Added to the images first, which are then taken as clean.
        seed: Of the noise; each image's depends on it and on its place in the list.
        advance: Called after every image.
    """
    report = Report()
    for number, job in enumerate(jobs):
        try:
            random = generator(seed, "run", number)
            report.done.append(_process_one(job, runner, products, noise, random))
        except SdabnError as error:
            report.failed.append({"input": str(job.image), "error": str(error)})
        except Exception as error:  # a network or noise of anyone's must not stop the others
            reason = f"{job.image}: the model failed: {type(error).__name__}: {error}"
            report.failed.append({"input": str(job.image), "error": reason})
        advance(job)
    return report


def _process_one(
    job: Job, runner: Runner, products: Sequence[str], noise: NoiseModel | None, random: Generator
) -> dict[str, Any]:
    began = time.perf_counter()
    clean = _load(job.image)
    try:
        result = runner(clean if noise is None else noise(clean, random))
    except SdabnError as error:
        raise SdabnError(f"{job.image}: {error.problem}", error.hint) from error
    entry: dict[str, Any] = {"input": str(job.image)}
    if noise is not None:
        entry["psnr"] = _psnr(result, clean)
    entry["outputs"] = _write(job, result, products, runner.model)
    return entry | {"seconds": time.perf_counter() - began}


def _load(path: Path) -> Tensor:
    """Read an image as float32 (1, 3, H, W) in [0, 1]."""
    unit = images.to_unit(images.read_image(path))
    return torch.from_numpy(unit).permute(2, 0, 1)[None].contiguous()


def _psnr(result: Result, clean: Tensor) -> dict[str, Any]:
    return {
        "noisy": psnr(result.noisy, clean, border=BORDER),
        "units": [
            None if estimate is None else psnr(estimate, clean, border=BORDER)
            for estimate in result.estimates
        ],
    }


def _write(job: Job, result: Result, products: Sequence[str], model: Model) -> dict[str, str]:
    """Write every picture; all of them are on disk before the first is put in its place."""
    description = model.description
    palette = description.palette
    base = result.denoised if result.denoised is not None else _to_picture(result.noisy)
    make: dict[str, Callable[[], files.Writer]] = {
        "denoised": lambda: images.image_writer(base),
        "labels": lambda: images.labels_writer(result.labels, palette),
        "noisy": lambda: images.image_writer(_to_picture(result.noisy)),
        "overlay": lambda: images.image_writer(
            overlay.draw(base, result.labels, description.classes, palette)
        ),
    }
    paths = {product: job.output(product) for product in products}
    files.write_together({path: make[product]() for product, path in paths.items()})
    return {product: str(path) for product, path in paths.items()}
