"""Batch norm over the batch of all processes.

Batch norm in every process by itself would see a part of the batch alone, and the result would
depend on the number of processes. torch synchronises it on GPUs only, so processors get the same
computation here, written with differentiable sums over the processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient of every summand is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        del ctx
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """``BatchNorm2d`` whose training statistics are those of all processes' images together."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return _normalise(self, input) if _is_shared(self) else super().forward(input)


class SynchronizedBatchNormAct2d(BatchNormAct2d):
    """The same for timm's batch norm with an activation behind it."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W) and activate."""
        if not _is_shared(self):
            return super().forward(input)
        return self.act(self.drop(_normalise(self, input)))


#: What each kind of batch norm becomes on a processor.
SYNCHRONIZED = {
    nn.BatchNorm2d: SynchronizedBatchNorm2d,
    BatchNormAct2d: SynchronizedBatchNormAct2d,
}


def synchronized(network: nn.Module, device: torch.device) -> nn.Module:
    """Make every batch norm of a network see the batches of all processes.

    Args:
        network: Any network; its state keeps its names.
        device: Where it will train.
    """
    if device.type == "cuda":
        return convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) in SYNCHRONIZED:
            module.__class__ = SYNCHRONIZED[type(module)]
    return network


def _is_shared(module: nn.BatchNorm2d) -> bool:
    return module.training and dist.is_initialized()


def _normalise(module: nn.BatchNorm2d, input: Tensor) -> Tensor:
    # In single precision at least, as ``BatchNorm2d`` does.
    values = input.to(torch.promote_types(input.dtype, torch.float32))
    channels = input.shape[1]
    # Sums in double precision: the variance is a difference of two large numbers.
    exact = values.double()
    count = exact.new_tensor([values.numel() / channels])
    sums = _Sum.apply(torch.cat([exact.sum((0, 2, 3)), exact.square().sum((0, 2, 3)), count]))
    mean = sums[:channels] / sums[-1]
    variance = (sums[channels:-1] / sums[-1] - mean.square()).clamp(min=0)
    _follow(module, mean.detach(), variance.detach(), float(sums[-1].detach()))
    weight = torch.rsqrt(variance + module.eps).to(values.dtype)
    if module.affine:
        weight = weight * module.weight
    shift = -mean.to(values.dtype) * weight
    if module.affine:
        shift = shift + module.bias
    normalised = values * weight.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
    return normalised.to(input.dtype)


def _follow(module: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: float) -> None:
    """Move the running statistics, as ``BatchNorm2d`` does."""
    if module.running_mean is None or module.running_var is None:
        return
    module.num_batches_tracked += 1
    factor = module.momentum
    if factor is None:
        factor = 1 / float(module.num_batches_tracked)
    unbiased = variance * count / max(count - 1, 1)
    module.running_mean.lerp_(mean.to(module.running_mean.dtype), factor)
    module.running_var.lerp_(unbiased.to(module.running_var.dtype), factor)
