"""Noise ``speckle``: multiplicative noise, as of coherent imaging (radar, ultrasound, laser).

Reference:
    Lee, "Digital Image Enhancement and Noise Filtering by Use of Local Statistics", IEEE
    Transactions on Pattern Analysis and Machine Intelligence 1980 (multiplicative model).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sdabn_plugins.ranges import Range, Storage

#: Sigma is given on the scale of 8-bit images: the deviation at a white pixel.
FULL_SCALE = 255.0


@dataclass(frozen=True)
class Speckle:
    """y = x * (1 + sigma / 255 * n), n standard normal: black stays black."""

    sigma: Range
    storage: Storage

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., 3, H, W) in [0, 1] to a noisy one."""
        sigma = self.sigma.draw(clean, generator, unit=FULL_SCALE)
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        return self.storage(clean * (1 + sigma * noise))


def build(*, sigma: float | str = 50.0, clip: bool = False, quantize: bool = False) -> Speckle:
    """Build the noise model.

    Args:
        sigma: Standard deviation at a white pixel on the 0-255 scale, or a range such as 0..55.
        clip: Clip the noisy image to [0, 1].
        quantize: Round it to 8 bits.

    Raises:
        ValueError: If sigma is neither a number of at least 0 nor a range of them.
    """
    allowed = "a number of at least 0 on the 0-255 scale"
    range_ = Range.parse(sigma, name="sigma", allowed=allowed, least=0)
    return Speckle(range_, Storage(clip, quantize))
