"""Segmenter and denoiser ``smp``: any network of segmentation-models-pytorch (MIT).

``smp:arch=Unet,encoder=resnet34`` names an architecture and an encoder as that library does. As a
denoiser the network gets the condition's channels beside the image's and returns the estimate.

Reference:
    https://github.com/qubvel-org/segmentation_models.pytorch
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: A multiple of every encoder's output stride.
STRIDE = 32


class SmpSegmenter(nn.Module):
    """An smp network that takes an image in [0, 1] and normalises it itself."""

    stride = STRIDE
    receptive_field = None

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, 3, H, W) in [0, 1] to logits (N, K, h, w)."""
        return self.network((image - self.mean) / self.std)


class SmpDenoiser(nn.Module):
    """An smp network that takes image and condition and returns the estimate, at any size."""

    receptive_field = None

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        """Map an image (N, 3, H, W) and its condition (N, K, H, W) to the estimate (N, 3, H, W)."""
        height, width = image.shape[-2:]
        stacked = image if condition is None else torch.cat([image, condition], dim=1)
        padding = (0, -width % STRIDE, 0, -height % STRIDE)
        estimate = self.network(F.pad(stacked, padding, mode="replicate"))
        return estimate[..., :height, :width]


def build_segmenter(
    *, num_classes: int, in_channels: int = 3, arch: str = "Unet", encoder: str = "resnet34"
) -> nn.Module:
    """Build an smp segmenter with random weights.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels of the image, 3.
        arch: Architecture, such as Unet, FPN or DeepLabV3Plus.
        encoder: Encoder, such as resnet34, mit_b0 or tu-convnext_tiny.

    Raises:
        ValueError: If there is no such architecture or encoder.
    """
    return SmpSegmenter(_create(arch, encoder, in_channels=in_channels, classes=num_classes))


def build_denoiser(
    *, condition_channels: int, in_channels: int = 3, arch: str = "Unet", encoder: str = "resnet18"
) -> nn.Module:
    """Build an smp denoiser with random weights; the condition is concatenated to the image.

    Args:
        condition_channels: Channels of the condition; 0 for none.
        in_channels: Channels of the image and of the estimate.
        arch: Architecture, such as Unet, FPN or DeepLabV3Plus.
        encoder: Encoder, such as resnet34, mit_b0 or tu-convnext_tiny.

    Raises:
        ValueError: If there is no such architecture or encoder.
    """
    channels = in_channels + condition_channels
    return SmpDenoiser(_create(arch, encoder, in_channels=channels, classes=in_channels))


def options_from(config: Mapping[str, object]) -> dict[str, object] | None:
    """Options of the network that ``save_pretrained`` of this library has described.

    Args:
        config: Content of its ``config.json``; that of another library gives None.
    """
    found = {"arch": config.get("_model_class"), "encoder": config.get("encoder_name")}
    named = all(isinstance(v, str) and re.fullmatch(r"[\w.-]+", v) for v in found.values())
    return found if named else None


build_segmenter.options_from = build_denoiser.options_from = options_from


def _create(arch: str, encoder: str, *, in_channels: int, classes: int) -> nn.Module:
    archs = sorted(n for n in dir(smp) if isinstance(getattr(smp, n), type))
    _check("arch", arch, archs)
    if not encoder.startswith("tu-"):  # those are timm's, which checks them itself
        _check("encoder", encoder, smp.encoders.get_encoder_names())
    elif ":" in encoder:  # timm would read files or a hub, and models come from strangers as well
        raise ValueError(f"encoder {encoder!r} names a place; allowed are timm's own networks")
    try:
        return smp.create_model(
            arch, encoder, encoder_weights=None, in_channels=in_channels, classes=classes
        )
    except RuntimeError as error:  # timm's answer to a name it does not know
        raise ValueError(f"encoder {encoder!r} cannot be built for {arch}: {error}") from error


def _check(option: str, value: str, allowed: list[str]) -> None:
    if value not in allowed:
        nearest = get_close_matches(value, allowed, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"allowed: {', '.join(allowed)}"
        raise ValueError(f"there is no {option} {value!r}; {hint}")
