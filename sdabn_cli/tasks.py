"""What the two kinds of stage compute for a batch: the frozen prefix, the network, the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sdabn_cli.cascade import Frozen, segment, strengthen
from sdabn_cli.data import Sample
from sdabn_cli.device import Compute
from sdabn_cli.losses import denoising_loss, segmentation_loss
from sdabn_cli.recipe import DenoiseSettings, SegmentSettings
from sdabn_cli.schedule import Stage

Task = Callable[[nn.Module, Sample], Tensor]
"""Maps the network in training and a batch to the loss."""


def task_of(
    stage: Stage,
    settings: SegmentSettings | DenoiseSettings,
    prefix: Frozen,
    compute: Compute,
) -> Task:
    """The stage's forward pass and loss; the prefix runs first, without gradients."""
    return (_segmentation if stage.kind == "seg" else _denoising)(stage, settings, prefix, compute)


def _segmentation(
    stage: Stage, settings: SegmentSettings, prefix: Frozen, compute: Compute
) -> Task:
    weights = settings.class_weights
    class_weights = None if weights is None else torch.tensor(weights, device=compute.device)

    def task(network: nn.Module, batch: Sample) -> Tensor:
        with compute.autocast():
            image, _ = stage_input(prefix, stage, batch)
            logits = segment(network, image)
        return segmentation_loss(logits, batch.labels, class_weights)

    return task


def _denoising(stage: Stage, settings: DenoiseSettings, prefix: Frozen, compute: Compute) -> Task:
    def task(network: nn.Module, batch: Sample) -> Tensor:
        with compute.autocast():
            image, condition = stage_input(prefix, stage, batch)
            estimate = network(image, condition)
        return denoising_loss(estimate, batch.clean, settings.border)

    return task


def stage_input(prefix: Frozen, stage: Stage, batch: Sample) -> tuple[Tensor, Tensor | None]:
    """Run the prefix: what the network in training sees.

    On a CPU the prefix runs image by image: its maps then stay in the caches, which makes it
    several times faster than a whole batch. Frozen networks do not mix the images of a batch, so
    the result is the same.

    Returns:
        The image (N, 3, H, W) and, for denoisers, the condition (N, K, H, W) or None.
    """
    one_by_one = batch.noisy.device.type == "cpu" and len(prefix.module.units) > 0
    size = 1 if one_by_one else len(batch.noisy)
    parts = [
        _stage_input(prefix, stage, Sample(*part))
        for part in zip(*(tensor.split(size) for tensor in batch), strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    images, conditions = zip(*parts, strict=True)
    return torch.cat(images), None if conditions[0] is None else torch.cat(conditions)


def _stage_input(prefix: Frozen, stage: Stage, batch: Sample) -> tuple[Tensor, Tensor | None]:
    outputs = prefix(batch.noisy, truth=batch.labels)
    estimates = [output.estimate for output in outputs if output.estimate is not None]
    estimate = estimates[-1] if estimates else None
    if stage.kind == "seg":
        return (batch.noisy if estimate is None else estimate), None
    cascade = prefix.module
    condition = cascade.condition_from(outputs[-1].logits, batch.noisy, batch.labels)
    return strengthen(batch.noisy, estimate), condition
