"""Denoiser ``bm3d``: block matching and 3-D filtering, the classical denoiser; nothing to train.

Needs the package ``bm3d``, which is no part of sdabn: ``pip install "sdabn[bm3d]"``. Its licence
allows non-commercial use only; read it before you do.

Reference:
    Dabov et al., "Image Denoising by Sparse 3-D Transform-Domain Collaborative Filtering", IEEE
    Transactions on Image Processing 2007.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor, nn

#: Sigma is given on the scale of 8-bit images.
FULL_SCALE = 255.0


class BM3D(nn.Module):
    """Denoises one image after the other on the CPU, for white Gaussian noise of a known sigma."""

    receptive_field = None

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        """Map a noisy image (N, 3, H, W) to the estimate (N, 3, H, W); the condition is None."""
        from bm3d import bm3d_rgb

        del condition
        estimates = [
            torch.from_numpy(
                bm3d_rgb(one.permute(1, 2, 0).double().cpu().numpy(), self.sigma / FULL_SCALE)
            ).permute(2, 0, 1)
            for one in image.detach()
        ]
        return torch.stack(estimates).to(image)


def build(*, condition_channels: int, in_channels: int = 3, sigma: float = 50.0) -> nn.Module:
    """Build the denoiser.

    Args:
        condition_channels: Must be 0: nothing guides it.
        in_channels: Channels of the image, 3.
        sigma: Standard deviation of the noise on the 0-255 scale, above 0.

    Raises:
        ValueError: If the package is not installed, there is a condition, or sigma is not above 0.
    """
    if importlib.util.find_spec("bm3d") is None:
        raise ValueError(
            'the package bm3d is not installed: pip install "sdabn[bm3d]" (non-commercial licence)'
        )
    if condition_channels or in_channels != 3:
        raise ValueError("it takes colour images and no condition: set the recipe's condition=none")
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, not {sigma}")
    return BM3D(sigma)
