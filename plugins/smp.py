"""Segmenter and denoiser ``smp``: any network of segmentation-models-pytorch (MIT).

``smp:arch=Unet,encoder=resnet34`` names an architecture and an encoder as that library does;
encoders of timm have ``tu-`` in front of their names. As a denoiser the network gets the channels
of the condition beside those of the image.

Reference:
    https://github.com/qubvel-org/segmentation_models.pytorch
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdabn_plugins import smp_networks
from sdabn_plugins.residual import ImageShare, start_small

#: Stages of a denoiser's encoder. Noise is local: five came to 23.1 dB where three came to 23.0,
#: with 16 times the parameters.
SHALLOW = 3

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class SmpSegmenter(nn.Module):
    """An smp network that takes an image in [0, 1] and normalises it itself."""

    receptive_field = None

    def __init__(self, network: nn.Module, stride: int, in_channels: int) -> None:
        super().__init__()
        self.network = network
        self.stride = stride
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if in_channels == 3 else ((0.5,), (0.25,))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, 3, H, W) in [0, 1] to logits (N, K, H, W)."""
        return self.network((image - self.mean) / self.std)


class SmpDenoiser(nn.Module):
    """An smp network that takes image and condition and returns the estimate, at any size.

    Args:
        network: The network.
        stride: What its images must be multiples of.
        residual: Whether the network gives what is to be added to the image.
    """

    receptive_field = None

    def __init__(self, network: nn.Module, stride: int, *, residual: bool) -> None:
        super().__init__()
        self.network = network
        self.stride = stride
        self.share = ImageShare() if residual else None
        start_small(_last_convolution(network))

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        """Map an image (N, 3, H, W) and its condition (N, K, H, W) to the estimate (N, 3, H, W)."""
        height, width = image.shape[-2:]
        stacked = image if condition is None else torch.cat([image, condition], dim=1)
        padding = (0, -width % self.stride, 0, -height % self.stride)
        found = self.network(F.pad(stacked, padding, mode="replicate"))[..., :height, :width]
        return found if self.share is None else self.share(image) + found


def _last_convolution(network: nn.Module) -> nn.Conv2d:
    return [m for m in network.segmentation_head.modules() if isinstance(m, nn.Conv2d)][-1]


def build_segmenter(
    *,
    num_classes: int,
    in_channels: int = 3,
    arch: str = "Unet",
    encoder: str = "resnet34",
    depth: int | None = None,
) -> nn.Module:
    """Build an smp segmenter with random weights.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels of the image; three are normalised with ImageNet's statistics.
        arch: Architecture, such as Unet, FPN or DeepLabV3Plus.
        encoder: Encoder, such as resnet34, mit_b0 or tu-convnext_tiny.
        depth: Stages of the encoder, each half as large as the one before; the default is the
            architecture's own, 5 for most.

    Raises:
        ValueError: If there is no such architecture or encoder, or they do not fit.
    """
    fitted = smp_networks.create(
        arch, encoder, depths=[depth], in_channels=in_channels, classes=num_classes
    )
    # Nothing is removed: weights that the library itself has stored fit.
    smp_networks.freeze(fitted)
    return SmpSegmenter(fitted.network, fitted.trial.stride, in_channels)


def build_denoiser(
    *,
    condition_channels: int,
    in_channels: int = 3,
    arch: str = "Unet",
    encoder: str = "resnet18",
    depth: int | None = None,
    residual: bool = True,
) -> nn.Module:
    """Build an smp denoiser with random weights; the condition is concatenated to the image.

    Args:
        condition_channels: Channels of the condition; 0 for none.
        in_channels: Channels of the image and of the estimate.
        arch: Architecture, such as Unet, FPN or DeepLabV3Plus.
        encoder: Encoder, such as resnet34, mit_b0 or tu-convnext_tiny.
        depth: Stages of the encoder, each half as large as the one before; the default is 3, or the
            architecture's own number where that is impossible.
        residual: Whether the network finds what is to be added to a learned share of the image, or
            the estimate itself, for which its maps of half the size have to hold all that is fine.

    Raises:
        ValueError: If there is no such architecture or encoder, or they do not fit.
    """
    # A vision transformer has no stages of different sizes that could be left out.
    depths = [depth] if depth is not None or arch == "DPT" else [SHALLOW, None]
    channels = in_channels + condition_channels
    fitted = smp_networks.create(
        arch, encoder, depths=depths, in_channels=channels, classes=in_channels
    )
    smp_networks.remove_unused(fitted)
    smp_networks.freeze(fitted)
    return SmpDenoiser(fitted.network, fitted.trial.stride, residual=residual)


def options_from(config: Mapping[str, object]) -> dict[str, object] | None:
    """Options of the network that ``save_pretrained`` of this library has described.

    Args:
        config: Content of its ``config.json``; that of another library gives None.
    """
    found = {"arch": config.get("_model_class"), "encoder": config.get("encoder_name")}
    named = all(isinstance(v, str) and re.fullmatch(r"[\w.-]+", v) for v in found.values())
    return found if named else None


build_segmenter.options_from = build_denoiser.options_from = options_from
