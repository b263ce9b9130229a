"""Noise ``poisson``: photon noise, the model of the paper's Table 6.

Reference:
    Xu et al., "Synergy Between Semantic Segmentation and Image Denoising via Alternate Boosting",
    https://arxiv.org/abs/2102.12095, section 4.6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Poisson:
    """y = P(peak * x) / peak: each 8-bit value is the expectation of its own pixel at peak 255.

    Values are counts, so they are discrete, and they are not clipped at white.
    """

    peak: float

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., H, W) in [0, 1] to a noisy one, at least 0."""
        # An expectation cannot be negative; a resized image may dip below 0.
        return torch.poisson(clean.clamp(min=0) * self.peak, generator=generator) / self.peak


def build(*, peak: float = 255.0) -> Poisson:
    """Build the noise model.

    Args:
        peak: Expected count of a white pixel, above 0; 255 is the paper's, smaller is noisier.

    Raises:
        ValueError: If the peak is not above 0.
    """
    if not 0 < peak < float("inf"):
        raise ValueError(f"peak must be a number above 0, not {peak}")
    return Poisson(peak)
