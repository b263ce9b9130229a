"""What the two kinds of stage compute for a batch: the frozen prefix, the network, the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from sdabn_cli.cascade import Frozen, segment, strengthen
from sdabn_cli.data import Sample
from sdabn_cli.device import Compute
from sdabn_cli.losses import (
    denoising_loss,
    labelled_weight,
    psnr_loss,
    segmentation_loss,
    semantic_loss,
)
from sdabn_cli.recipe import DenoiseSettings, SegmentSettings
from sdabn_cli.schedule import Stage

#: Pixels of a batch whose maps fit a processor's caches, roughly.
CACHED_PIXELS = 80_000


class Task(Protocol):
    """What a stage computes for a batch, or for a part of one."""

    def size(self, batch: Sample) -> Tensor:
        """What the loss of a batch is divided by; the sizes of its parts add up to it."""

    def loss(self, network: nn.Module, part: Sample, size: Tensor) -> Tensor:
        """Forward pass and loss of a part of a batch of that size; the prefix runs first."""


def task_of(
    stage: Stage,
    settings: SegmentSettings | DenoiseSettings,
    prefix: Frozen,
    compute: Compute,
    critic: nn.Module | None = None,
) -> Task:
    """The stage's forward pass and loss.

    Args:
        stage: The stage.
        settings: Its settings.
        prefix: Stages in front of it.
        compute: Device and precision.
        critic: Frozen clean segmenter that judges estimates, for ``semantic_weight``.
    """
    if isinstance(settings, SegmentSettings):
        return _Segmentation(stage, settings, prefix, compute)
    return _Denoising(stage, settings, prefix, compute, critic)


class _Segmentation:
    def __init__(
        self, stage: Stage, settings: SegmentSettings, prefix: Frozen, compute: Compute
    ) -> None:
        self._stage, self._prefix, self._compute = stage, prefix, compute
        weights = settings.class_weights
        self._weights = None if weights is None else torch.tensor(weights, device=compute.device)

    def size(self, batch: Sample) -> Tensor:
        return labelled_weight(batch.labels, self._weights)

    def loss(self, network: nn.Module, part: Sample, size: Tensor) -> Tensor:
        with self._compute.autocast():
            image, _ = stage_input(self._prefix, self._stage, part)
            logits = segment(network, image)
        return segmentation_loss(logits, part.labels, self._weights, size)


class _Denoising:
    def __init__(
        self,
        stage: Stage,
        settings: DenoiseSettings,
        prefix: Frozen,
        compute: Compute,
        critic: nn.Module | None,
    ) -> None:
        self._stage, self._prefix, self._compute = stage, prefix, compute
        self._border = settings.border
        self._judge = psnr_loss if settings.loss == "psnr" else denoising_loss
        self._critic, self._semantic_weight = critic, settings.semantic_weight

    def size(self, batch: Sample) -> Tensor:
        return torch.full((), float(len(batch.clean)), device=batch.clean.device)

    def loss(self, network: nn.Module, part: Sample, size: Tensor) -> Tensor:
        with self._compute.autocast():
            image, condition = stage_input(self._prefix, self._stage, part)
            estimate = network(image, condition)
            logits = None if self._critic is None else segment(self._critic, estimate)
        loss = self._judge(estimate, part.clean, self._border, size)
        if logits is None:
            return loss
        return loss + self._semantic_weight * semantic_loss(logits, part.labels, size)


def stage_input(prefix: Frozen, stage: Stage, batch: Sample) -> tuple[Tensor, Tensor | None]:
    """Run the prefix: what the network in training sees.

    On a CPU the prefix runs in parts of a batch whose maps stay in the caches, which makes it
    several times faster than a batch of large crops. Frozen networks do not mix the images of a
    batch, so the result is the same.

    Returns:
        The image (N, 3, H, W) and, for denoisers, the condition (N, K, H, W) or None.
    """
    size = len(batch.noisy)
    if batch.noisy.device.type == "cpu" and len(prefix.module.units) > 0:
        height, width = batch.noisy.shape[-2:]
        size = max(1, CACHED_PIXELS // (height * width))
    parts = [
        _stage_input(prefix, stage, Sample(*part))
        for part in zip(*(tensor.split(size) for tensor in batch), strict=True)
    ]
    images, conditions = zip(*parts, strict=True)
    return _joined(images), None if conditions[0] is None else _joined(conditions)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One batch of parts; one made in inference mode is copied, so that training may use it."""
    if len(parts) > 1:
        return torch.cat(tuple(parts))
    return parts[0].clone() if parts[0].is_inference() else parts[0]


def _stage_input(prefix: Frozen, stage: Stage, batch: Sample) -> tuple[Tensor, Tensor | None]:
    outputs = prefix(batch.noisy, truth=batch.labels)
    estimates = [output.estimate for output in outputs if output.estimate is not None]
    estimate = estimates[-1] if estimates else None
    if stage.kind == "seg":
        return (batch.noisy if estimate is None else estimate), None
    cascade = prefix.module
    logits = outputs[-1].logits if outputs else None
    condition = cascade.condition_from(logits, batch.noisy, batch.labels)
    return strengthen(batch.noisy, estimate), condition
