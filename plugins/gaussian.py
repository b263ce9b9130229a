"""Noise ``gaussian``: additive white Gaussian noise (AWGN), neither clipped nor quantised."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

#: Sigma is given on the scale of 8-bit images; this is the one place that converts it.
FULL_SCALE = 255.0


@dataclass(frozen=True)
class Gaussian:
    """y = x + sigma / 255 * n, n standard normal."""

    sigma: float

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., H, W) in [0, 1] to a noisy one, not clipped."""
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        return clean + (self.sigma / FULL_SCALE) * noise


def build(*, sigma: float = 50.0) -> Gaussian:
    """Build the noise model.

    Args:
        sigma: Standard deviation on the 0-255 scale, at least 0.

    Raises:
        ValueError: If sigma is negative or not finite.
    """
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma must be a number of at least 0 on the 0-255 scale, not {sigma}")
    return Gaussian(sigma)
