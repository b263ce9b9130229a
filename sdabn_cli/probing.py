"""Try a network on a small image before it is trusted with a training or with pictures.

A plug-in of a third party may give the wrong shape or no numbers; said at once, with its name, that
is a message, and hours later a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from sdabn_cli import registry
from sdabn_cli.cascade import stride_of
from sdabn_cli.contracts import NoiseModel
from sdabn_cli.errors import SdabnError, fault
from sdabn_cli.randomness import generator

#: What a network is switched to: by ``module.eval()`` or by ``module.train()``.
Mode = Literal["eval", "train"]

#: Side of the image, at least: a segmenter's stride may ask for more.
SIDE = 64

#: Height and width that are multiples of nothing, for what must take any size.
ODD = (61, 45)


def try_segmenter(
    module: nn.Module, name: str, *, num_classes: int, train_mode: bool = False
) -> None:
    """Make sure that a segmenter gives finite logits a class.

    Args:
        module: The segmenter; its mode and its buffers stay as they are.
        name: Name of its plug-in, for messages.
        num_classes: Number of classes K.
        train_mode: Try it in train mode as well, where it has anything to train.

    Raises:
        SdabnError: If it fails or gives anything but (N, K, h, w), naming its distribution.
    """
    stride = stride_of(module)
    side = -(-SIDE // stride) * stride
    for mode in _modes(module, train_mode):
        image = _image(mode, side, side)
        logits = _result(module, "segmenter", name, mode, image)
        shape = tuple(logits.shape)
        if len(shape) != 4 or shape[:2] != (len(image), num_classes):
            raise _wrong("segmenter", name, f"gives logits {shape} for {num_classes} classes; "
                         f"({len(image)}, {num_classes}, h, w) is needed", mode)  # fmt: skip
        _require_finite(logits, "segmenter", name, mode)


def try_denoiser(
    module: nn.Module, name: str, *, condition_channels: int, train_mode: bool = False
) -> None:
    """Make sure that a denoiser gives a finite estimate of the image's size.

    Args:
        module: The denoiser; its mode and its buffers stay as they are.
        name: Name of its plug-in, for messages.
        condition_channels: Channels of its condition; 0 for none.
        train_mode: Try it in train mode as well, where it has anything to train.

    Raises:
        SdabnError: If it fails or gives anything but (N, 3, H, W), naming its distribution.
    """
    for mode, size in product(_modes(module, train_mode), ((SIDE, SIDE), ODD)):
        image = _image(mode, *size)
        condition = torch.zeros(len(image), condition_channels, *size)
        inputs = (image, condition if condition_channels else None)
        estimate = _result(module, "denoiser", name, mode, *inputs)
        if estimate.shape != image.shape:
            raise _wrong("denoiser", name, f"gives an estimate {tuple(estimate.shape)} for an "
                         f"image {tuple(image.shape)}; both must have the same shape",
                         mode)  # fmt: skip
        _require_finite(estimate, "denoiser", name, mode)


def try_noise(model: NoiseModel, name: str) -> None:
    """Make sure that a noise gives a noisy image of the clean one's shape and type.

    Args:
        model: The noise model.
        name: Name of its plug-in, for messages.

    Raises:
        SdabnError: If it fails or gives anything else, naming its distribution.
    """
    clean = torch.full((3, *ODD), 0.5)
    try:
        noisy = model(clean, generator("trial"))
    except BaseException as error:
        raise _wrong("noise", name, f"fails: {fault(error)}") from error
    if not isinstance(noisy, Tensor):
        raise _wrong("noise", name, f"gives a {type(noisy).__name__} instead of a tensor")
    if noisy.shape != clean.shape or noisy.dtype != clean.dtype:
        raise _wrong("noise", name, f"gives {noisy.dtype} {tuple(noisy.shape)} for a clean image "
                     f"{clean.dtype} {tuple(clean.shape)}; both must be alike")  # fmt: skip
    _require_finite(noisy, "noise", name)


def _modes(module: nn.Module, train_mode: bool) -> Sequence[Mode]:
    trainable = any(parameter.requires_grad for parameter in module.parameters())
    return ("eval", "train") if train_mode and trainable else ("eval",)


def _image(mode: Mode, height: int, width: int) -> Tensor:
    """An evenly grey image or, for train mode, two of noise, as batch norm needs them."""
    if mode == "eval":
        return torch.full((1, 3, height, width), 0.5)
    return torch.rand(2, 3, height, width, generator=generator("trial"))


@torch.no_grad()
def _result(module: nn.Module, kind: str, name: str, mode: Mode, *inputs: Tensor | None) -> Tensor:
    training = module.training
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        with torch.random.fork_rng(devices=[]):  # dropout draws from it
            result = module.train(mode == "train")(*inputs)
    except BaseException as error:
        shown = [tuple(tensor.shape) for tensor in inputs if tensor is not None]
        raise _wrong(kind, name, f"fails on inputs {shown}: {fault(error)}", mode) from error
    finally:
        module.train(training)
        for buffer, before in kept:
            buffer.copy_(before)
    if not isinstance(result, Tensor):
        raise _wrong(kind, name, f"gives a {type(result).__name__} instead of a tensor", mode)
    return result


def _require_finite(result: Tensor, kind: str, name: str, mode: Mode = "eval") -> None:
    if not bool(result.isfinite().all()):
        shown = "an evenly grey image" if mode == "eval" else "images of noise"
        raise _wrong(kind, name, f"gives values that are not finite for {shown}", mode)


def _wrong(kind: str, name: str, what: str, mode: Mode = "eval") -> SdabnError:
    owner = registry.find(kind, name).distribution
    when = ", in train mode," if mode == "train" else ""
    return SdabnError(
        f"The {kind} plug-in {name!r} of {owner}{when} {what}.",
        f"Its author can see more with: sdabn plugins check {name} --kind {kind}",
    )
