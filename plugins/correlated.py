"""Noise ``correlated``: Gaussian noise whose neighbouring pixels are alike.

Cameras interpolate colours and shrink images, so noise in developed photographs is soft.

Reference:
    Park et al., "A Case for Denoising Before Demosaicking Color Filter Array Data", Asilomar
    Conference 2009 (demosaicking correlates the noise of neighbours).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sdabn_plugins.ranges import Range, Storage

#: Sigma is given on the scale of 8-bit images.
FULL_SCALE = 255.0

#: The filter reaches this many widths to each side.
REACH = 4


@dataclass(frozen=True)
class Correlated:
    """White noise behind a Gaussian filter of deviation ``width``, scaled to deviation sigma.

    At a distance of d pixels the noise correlates as its filter, taken at whole pixels, does with
    itself moved by d: neighbours by 0.01 at a width of 0.3, by 0.26 at 0.5, by 0.78 at 1. From a
    width of 0.8 on that is exp(-d^2 / (4 width^2)), to within 0.005.
    """

    sigma: Range
    width: float
    storage: Storage

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., 3, H, W) in [0, 1] to a noisy one."""
        sigma = self.sigma.draw(clean, generator, unit=FULL_SCALE)
        return self.storage(clean + sigma * soft(clean, self.width, generator))


def soft(image: Tensor, width: float, generator: Generator) -> Tensor:
    """White noise of deviation 1 in the shape of an image (..., C, H, W), behind the filter."""
    reach = math.ceil(REACH * width)
    height, columns = image.shape[-2:]
    # Noise around the image, so that its edge has the statistics of its middle.
    size = (*image.shape[:-2], height + 2 * reach, columns + 2 * reach)
    noise = torch.randn(size, generator=generator, dtype=image.dtype)
    # A kernel of norm 1 keeps the variance.
    places = torch.arange(-reach, reach + 1, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (places / width) ** 2)
    kernel = kernel / kernel.norm()
    noise = noise.flatten(0, -3).unsqueeze(1)
    noise = F.conv2d(F.conv2d(noise, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return noise.reshape(image.shape)


def build(
    *, sigma: float | str = 25.0, width: float = 1.0, clip: bool = False, quantize: bool = False
) -> Correlated:
    """Build the noise model.

    Args:
        sigma: Standard deviation on the 0-255 scale, or a range such as 0..55.
        width: Standard deviation of the filter in pixels, above 0 and at most 20.
        clip: Clip the noisy image to [0, 1].
        quantize: Round it to 8 bits.

    Raises:
        ValueError: If an option is outside what is allowed.
    """
    if not 0 < width <= 20:
        raise ValueError(f"width must be a number of pixels above 0 and at most 20, not {width}")
    allowed = "a number of at least 0 on the 0-255 scale"
    range_ = Range.parse(sigma, name="sigma", allowed=allowed, least=0)
    return Correlated(range_, width, Storage(clip, quantize))
