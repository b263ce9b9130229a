"""Noise ``poisson_gaussian``: a camera's sensor, photon noise and the noise of reading it out.

Reference:
    Foi et al., "Practical Poissonian-Gaussian Noise Modeling and Fitting for Single-Image
    Raw-Data", IEEE Transactions on Image Processing 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sdabn_plugins.ranges import FEWEST_PHOTONS, Range, Storage

#: The read noise is given on the scale of 8-bit images.
FULL_SCALE = 255.0


@dataclass(frozen=True)
class PoissonGaussian:
    """y = P(peak * x) / peak + read / 255 * n: variance x / peak + (read / 255)^2."""

    peak: Range
    read: Range
    storage: Storage

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., 3, H, W) in [0, 1] to a noisy one."""
        peak = self.peak.draw(clean, generator, logarithmic=True)
        read = self.read.draw(clean, generator, unit=FULL_SCALE)
        # An expectation cannot be negative; a resized image may dip below 0.
        photons = torch.poisson(clean.clamp(min=0) * peak, generator=generator) / peak
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        return self.storage(photons + read * noise)


def build(
    *,
    peak: float | str = 100.0,
    read: float | str = 5.0,
    clip: bool = False,
    quantize: bool = False,
) -> PoissonGaussian:
    """Build the noise model.

    Args:
        peak: Photons of a white pixel, at least 0.001, or a range such as 20..1000 (drawn on a
            logarithmic scale).
        read: Standard deviation of the read noise on the 0-255 scale, or a range.
        clip: Clip the noisy image to [0, 1].
        quantize: Round it to 8 bits.

    Raises:
        ValueError: If an option is neither such a number nor a range of them.
    """
    return PoissonGaussian(
        Range.parse(
            peak,
            name="peak",
            allowed=f"a number above 0 (at least {FEWEST_PHOTONS})",
            least=FEWEST_PHOTONS,
        ),
        Range.parse(
            read, name="read", allowed="a number of at least 0 on the 0-255 scale", least=0
        ),
        Storage(clip, quantize),
    )
