"""Try a network on a small image before it is trusted with a training or with pictures.

A plug-in of a third party may give the wrong shape or no numbers; said at once, with its name, that
is a message, and hours later a traceback.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdabn_cli import registry
from sdabn_cli.cascade import stride_of
from sdabn_cli.contracts import NoiseModel
from sdabn_cli.errors import SdabnError
from sdabn_cli.randomness import generator

#: Side of the image, at least: a segmenter's stride may ask for more.
SIDE = 64

#: Height and width that are multiples of nothing, for what must take any size.
ODD = (61, 45)


@torch.inference_mode()
def try_segmenter(module: nn.Module, name: str, *, num_classes: int) -> None:
    """Make sure that a segmenter gives finite logits a class.

    Args:
        module: The segmenter, put into eval mode and back.
        name: Name of its plug-in, for messages.
        num_classes: Number of classes K.

    Raises:
        SdabnError: If it fails or gives anything but (N, K, h, w), naming its distribution.
    """
    stride = stride_of(module)
    side = -(-SIDE // stride) * stride
    logits = _result(module, "segmenter", name, torch.full((1, 3, side, side), 0.5))
    shape = tuple(logits.shape)
    if len(shape) != 4 or shape[:2] != (1, num_classes):
        raise _wrong("segmenter", name, f"gives logits {shape} for {num_classes} classes; "
                     f"(1, {num_classes}, h, w) is needed")  # fmt: skip
    _require_finite(logits, "segmenter", name)


@torch.inference_mode()
def try_denoiser(module: nn.Module, name: str, *, condition_channels: int) -> None:
    """Make sure that a denoiser gives a finite estimate of the image's size.

    Args:
        module: The denoiser, put into eval mode and back.
        name: Name of its plug-in, for messages.
        condition_channels: Channels of its condition; 0 for none.

    Raises:
        SdabnError: If it fails or gives anything but (N, 3, H, W), naming its distribution.
    """
    for size in ((SIDE, SIDE), ODD):
        image = torch.full((1, 3, *size), 0.5)
        condition = torch.zeros(1, condition_channels, *size) if condition_channels else None
        estimate = _result(module, "denoiser", name, image, condition)
        if estimate.shape != image.shape:
            raise _wrong("denoiser", name, f"gives an estimate {tuple(estimate.shape)} for an "
                         f"image {tuple(image.shape)}; both must have the same shape")  # fmt: skip
        _require_finite(estimate, "denoiser", name)


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
    except (Exception, SystemExit) as error:
        raise _wrong("noise", name, f"fails: {type(error).__name__}: {error}") from error
    if not isinstance(noisy, Tensor):
        raise _wrong("noise", name, f"gives a {type(noisy).__name__} instead of a tensor")
    if noisy.shape != clean.shape or noisy.dtype != clean.dtype:
        raise _wrong("noise", name, f"gives {noisy.dtype} {tuple(noisy.shape)} for a clean image "
                     f"{clean.dtype} {tuple(clean.shape)}; both must be alike")  # fmt: skip
    _require_finite(noisy, "noise", name)


def _result(module: nn.Module, kind: str, name: str, *inputs: Tensor | None) -> Tensor:
    training = module.training
    try:
        result = module.eval()(*inputs)
    except (Exception, SystemExit) as error:
        shown = [tuple(tensor.shape) for tensor in inputs if tensor is not None]
        raise _wrong(
            kind, name, f"fails on inputs {shown}: {type(error).__name__}: {error}"
        ) from error
    finally:
        module.train(training)
    if not isinstance(result, Tensor):
        raise _wrong(kind, name, f"gives a {type(result).__name__} instead of a tensor")
    return result


def _require_finite(result: Tensor, kind: str, name: str) -> None:
    if not bool(result.isfinite().all()):
        raise _wrong(kind, name, "gives values that are not finite for an evenly grey image")


def _wrong(kind: str, name: str, what: str) -> SdabnError:
    owner = registry.find(kind, name).distribution
    return SdabnError(
        f"The {kind} plug-in {name!r} of {owner} {what}.",
        f"Its author can see more with: sdabn plugins check {name} --kind {kind}",
    )
