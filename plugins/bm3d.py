"""Denoiser ``bm3d``: block matching and 3-D filtering, the classical denoiser; nothing to train.

Needs the package ``bm3d``, which is no part of sdabn: ``pip install "sdabn[bm3d]"``. Its licence
allows non-commercial use only; read it before you do.

Reference:
    Dabov et al., "Image Denoising by Sparse 3-D Transform-Domain Collaborative Filtering", IEEE
    Transactions on Image Processing 2007.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Tensor, nn

#: Sigma is given on the scale of 8-bit images.
FULL_SCALE = 255.0

#: Colours that ``bm3d_rgb`` works in, a row each: sum and differences of red, green and blue.
OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, -0.5], [0.25, -0.5, 0.25]])

#: A channel whose values differ by less is even: nothing but rounding is in it.
EVEN = 1e-6


class BM3D(nn.Module):
    """Denoises one image after the other on the CPU, for white Gaussian noise of a known sigma."""

    receptive_field = None

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        """Map a noisy image (N, 3, H, W) to the estimate (N, 3, H, W); the condition is None."""
        del condition
        pixels = image.detach().permute(0, 2, 3, 1).double().cpu().numpy()
        estimates = [_denoised(one, self.sigma / FULL_SCALE) for one in pixels]
        return torch.from_numpy(np.stack(estimates)).permute(0, 3, 1, 2).to(image)


def _denoised(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Denoise (H, W, 3) in [0, 1].

    ``bm3d_rgb`` divides by the range of each of its opponent colours and gives NaN where one is
    even, as the differences of a grey image are. The channels of such an image are denoised by
    themselves; an even one holds no noise and is returned as it is.
    """
    from bm3d import bm3d, bm3d_rgb

    if np.ptp(pixels @ OPPONENT.T, axis=(0, 1)).min() >= EVEN:
        return bm3d_rgb(pixels, sigma)
    channels = [pixels[..., number] for number in range(3)]
    return np.stack([one if np.ptp(one) < EVEN else bm3d(one, sigma) for one in channels], -1)


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
