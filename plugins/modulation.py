"""Spatial feature transforms: features scaled and shifted by maps computed from the condition.

Reference:
    Wang et al., "Recovering Realistic Texture in Image Super-resolution by Deep Spatial Feature
    Transform", CVPR 2018, https://arxiv.org/abs/1804.02815. Sizes as in Xu et al., "Synergy Between
    Semantic Segmentation and Image Denoising via Alternate Boosting",
    https://arxiv.org/abs/2102.12095.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

ENCODED_CHANNELS, HIDDEN_CHANNELS = 16, 32
LEAK = 0.1


class SpatialFeatureTransform(nn.Module):
    """Scale and shift features by maps computed from the encoded condition.

    F' = F * (gamma + 1) + beta, gamma and beta being two 1x1 convolutions deep.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = self._coefficients(channels)
        self.beta = self._coefficients(channels)

    @staticmethod
    def _coefficients(channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(ENCODED_CHANNELS, HIDDEN_CHANNELS, 1),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(HIDDEN_CHANNELS, channels, 1),
        )

    def forward(self, features: Tensor, encoded: Tensor) -> Tensor:
        """Map features (N, C, H, W) and the encoded condition (N, 16, H, W) to (N, C, H, W)."""
        return torch.addcmul(self.beta(encoded), features, self.gamma(encoded) + 1)


def condition_encoder(channels: int) -> nn.Sequential:
    """1x1 convolutions from a condition (N, K, H, W) to (N, 16, H, W).

    Args:
        channels: Channels K of the condition.
    """
    widths = [channels, 16, 32, 64, 32, ENCODED_CHANNELS]
    layers: list[nn.Module] = []
    for wide_in, wide_out in pairwise(widths):
        layers += [nn.Conv2d(wide_in, wide_out, 1), nn.LeakyReLU(LEAK, inplace=True)]
    return nn.Sequential(*layers[:-1])
