"""Noise ``camera``: what is left of a sensor's noise in a developed photograph.

Interpolated colours make neighbours alike, and colours as well; a camera's own denoising takes the
fine part away and leaves blotches. So the noise has a fine and a coarse part, both behind Gaussian
filters, and colours share some of it. Its strength is the same at every brightness, which is a
simplification: that of photons grows as the root of the light, which a tone curve of about its
0.45th power takes back, but a camera does more than that.

In ten photographs of PolyU (every sixth pair) neighbours correlate by 0.4 to 0.85, pixels four
apart by 0.1 to 0.5, colours by 0.3 to 0.86, with a deviation of 2 to 6. The ranges here were
chosen to hold most of that.

Reference:
    Xu et al., "Real-world Noisy Image Denoising: A New Benchmark",
    https://arxiv.org/abs/1804.02603 (the photographs).
    Park et al., "A Case for Denoising Before Demosaicking Color Filter Array Data", Asilomar
    Conference 2009 (demosaicking correlates the noise of neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sdabn_plugins.correlated import FULL_SCALE, soft
from sdabn_plugins.ranges import Range, Storage


@dataclass(frozen=True)
class Camera:
    """Adds the sum of a fine and a coarse soft noise, of other strength and kind in every image."""

    sigma: Range
    width: Range
    coarse: Range
    coarse_width: Range
    grey: Range
    storage: Storage

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., 3, H, W) in [0, 1] to a noisy one."""
        if clean.dim() > 3:
            return torch.stack([self(image, generator) for image in clean])
        ranges = (self.sigma, self.width, self.coarse, self.coarse_width, self.grey)
        sigma, width, coarse, coarse_width, grey = (
            float(each.draw(clean, generator)) for each in ranges
        )
        fine = _coloured(clean, width, grey, generator)
        blotches = _coloured(clean, coarse_width, grey, generator)
        noise = (1 - coarse) ** 0.5 * fine + coarse**0.5 * blotches
        return self.storage(clean + sigma / FULL_SCALE * noise)


def _coloured(clean: Tensor, width: float, grey: float, generator: Generator) -> Tensor:
    """Soft noise of deviation 1 whose colours correlate by ``grey``."""
    common, own = soft(clean[:1], width, generator), soft(clean, width, generator)
    return grey**0.5 * common + (1 - grey) ** 0.5 * own


def build(
    *,
    sigma: float | str = "1..15",
    width: float | str = "0.4..1.2",
    coarse: float | str = "0..0.6",
    coarse_width: float | str = "1.5..4",
    grey: float | str = "0.2..0.9",
    clip: bool = False,
    quantize: bool = False,
) -> Camera:
    """Build the noise model.

    Args:
        sigma: Standard deviation on the 0-255 scale, or a range.
        width: Deviation of the filter of the fine part, in pixels from 0.1 to 20, or a range.
        coarse: Share of the variance that is the coarse part's, from 0 to 1, or a range.
        coarse_width: Deviation of the coarse part's filter, in pixels from 0.1 to 20, or a range.
        grey: Correlation of two colours, from 0 to 1, or a range.
        clip: Clip the noisy image to [0, 1].
        quantize: Round it to 8 bits.

    Raises:
        ValueError: If an option is outside what is allowed.
    """
    strength = Range.parse(
        sigma, name="sigma", allowed="a number of at least 0 on the 0-255 scale", least=0
    )
    widths = (
        _between("width", width, 0.1, 20),
        _between("coarse_width", coarse_width, 0.1, 20),
    )
    shares = _between("coarse", coarse, 0, 1), _between("grey", grey, 0, 1)
    return Camera(strength, widths[0], shares[0], widths[1], shares[1], Storage(clip, quantize))


def _between(name: str, value: float | str, least: float, most: float) -> Range:
    allowed = f"a number from {least:g} to {most:g}"
    found = Range.parse(value, name=name, allowed=allowed, least=least)
    if found.high > most:
        raise ValueError(f"{name} must be {allowed}, or a range, not {value}")
    return found
