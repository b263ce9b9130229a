"""Noise ``poisson``: photon noise, the model of the paper's Table 6.

Reference:
    Xu et al., "Synergy Between Semantic Segmentation and Image Denoising via Alternate Boosting",
    https://arxiv.org/abs/2102.12095, section 4.6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sdabn_plugins.ranges import FEWEST_PHOTONS, LARGEST, Storage


@dataclass(frozen=True)
class Poisson:
    """y = P(peak * x) / peak: each 8-bit value is the expectation of its own pixel at peak 255.

    Values are counts, so they are discrete, and they are not clipped at white unless asked.
    """

    peak: float
    storage: Storage

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., 3, H, W) in [0, 1] to a noisy one, at least 0."""
        # An expectation cannot be negative; a resized image may dip below 0.
        counts = torch.poisson(clean.clamp(min=0) * self.peak, generator=generator)
        return self.storage(counts / self.peak)


def build(*, peak: float = 255.0, clip: bool = False, quantize: bool = False) -> Poisson:
    """Build the noise model.

    Args:
        peak: Expected count of a white pixel, at least 0.001; 255 is the paper's, smaller is
            noisier.
        clip: Clip the noisy image to [0, 1].
        quantize: Round it to 8 bits.

    Raises:
        ValueError: If the peak is not such a number.
    """
    if not FEWEST_PHOTONS <= peak <= LARGEST:
        raise ValueError(
            f"peak must be a number above 0, not {peak}: from {FEWEST_PHOTONS} to {LARGEST:.0e}"
        )
    return Poisson(peak, Storage(clip, quantize))
