"""Segmenter ``hrnet``: HRNetV2, the paper's S.

Reference:
    Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition",
    https://arxiv.org/abs/1908.07919. Backbone from timm (Apache-2.0).

The default variant is HRNetV2-W18-Small-v2 with 3,939,579 parameters at 19 classes. ``w22_plus`` is
wider (22 channels for 18) and deeper (4 and 3 modules for 3 and 2 in its last stages): 8,050,023
parameters, for the paper's S1+ of 8.00M, whose exact shape it does not tell.
"""

from __future__ import annotations

import copy
from typing import Literal

import timm
import torch
import torch.nn.functional as F
from timm.models import hrnet
from torch import Tensor, nn

Variant = Literal[
    "w18_small", "w18_small_v2", "w22_plus", "w18", "w30", "w32", "w40", "w44", "w48", "w64"
]  # fmt: skip

#: Modules of the third and fourth stage of ``w22_plus``.
DEEPER = {"stage3": 4, "stage4": 3}

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class HRNet(nn.Module):
    """HRNet trunk with the V2 head: all four resolutions, concatenated at stride 4.

    Args:
        variant: Width of the trunk, named as in timm.
        num_classes: Number of classes K.
        in_channels: Channels of the image; three are normalised with ImageNet's statistics.
    """

    stride = 32
    receptive_field = None

    def __init__(self, *, variant: str, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.trunk = _trunk(variant, in_channels)
        # The trunk's first map is the stride-2 stem, which the head does not use.
        channels = sum(self.trunk.feature_info.channels()[1:])
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, num_classes, 1),
        )
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if in_channels == 3 else ((0.5,), (0.25,))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, 3, H, W) in [0, 1] to logits (N, K, H/4, W/4)."""
        _, *maps = self.trunk((image - self.mean) / self.std)
        size = maps[0].shape[-2:]
        features = torch.cat(
            [maps[0]]
            + [F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps[1:]],
            dim=1,
        )
        return self.head(features)


def _trunk(variant: str, in_channels: int) -> nn.Module:
    """The five maps of an HRNet, at strides 2, 4, 8, 16 and 32."""
    given = {"feature_location": "", "in_chans": in_channels}
    if variant != "w22_plus":
        name = f"hrnet_{variant}"
        return timm.create_model(name, pretrained=False, features_only=True, **given)
    config = copy.deepcopy(hrnet.cfg_cls["hrnet_w18_small_v2"])
    for name in ("stage2", "stage3", "stage4"):
        stage = config[name]
        stage["num_channels"] = [22 * 2**branch for branch in range(stage["num_branches"])]
        stage["num_modules"] = DEEPER.get(name, stage["num_modules"])
    return hrnet.HighResolutionNetFeatures(config, **given)


def build(
    *, num_classes: int, in_channels: int = 3, variant: Variant = "w18_small_v2"
) -> nn.Module:
    """Build an HRNet segmenter with random weights.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels of the image.
        variant: Width of the trunk; ``w18_small_v2`` is the paper's S, ``w22_plus`` its S1+.
    """
    return HRNet(variant=variant, num_classes=num_classes, in_channels=in_channels)
