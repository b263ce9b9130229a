"""Noise ``gaussian``: additive white Gaussian noise (AWGN), of one strength or blind.

``gaussian:sigma=25`` is neither clipped nor quantised. ``gaussian:sigma=0..55`` draws sigma anew
for every image, as blind denoisers are trained.

Reference:
    Zhang et al., "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising",
    IEEE Transactions on Image Processing 2017 (blind training with sigma in [0, 55]).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sdabn_plugins.ranges import Range, Storage

#: Sigma is given on the scale of 8-bit images; this is the one place that converts it.
FULL_SCALE = 255.0


@dataclass(frozen=True)
class Gaussian:
    """y = x + sigma / 255 * n, n standard normal."""

    sigma: Range
    storage: Storage

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., 3, H, W) in [0, 1] to a noisy one."""
        sigma = self.sigma.draw(clean, generator, unit=FULL_SCALE)
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        return self.storage(clean + sigma * noise)


def build(*, sigma: float | str = 50.0, clip: bool = False, quantize: bool = False) -> Gaussian:
    """Build the noise model.

    Args:
        sigma: Standard deviation on the 0-255 scale, at least 0, or a range such as 0..55.
        clip: Clip the noisy image to [0, 1].
        quantize: Round it to 8 bits.

    Raises:
        ValueError: If sigma is negative, not finite or not a range.
    """
    allowed = "a number of at least 0 on the 0-255 scale"
    range_ = Range.parse(sigma, name="sigma", allowed=allowed, least=0)
    return Gaussian(range_, Storage(clip, quantize))
