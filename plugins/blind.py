"""Noise ``blind``: another kind and another strength for every image, to train one model for all.

An image gets white Gaussian noise, a sensor's noise, soft noise, or that of a developed photograph,
each of random strength, or none; some get it in all colours alike, and some are then clipped and
rounded as files of 8 bits are.
One model that has seen all of it needs no one to tell it which noise a photograph has.

Reference:
    Zhang et al., "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising",
    IEEE Transactions on Image Processing 2017 (one network for a range of noises).
    Guo et al., "Toward Convolutional Blind Denoising of Real Photographs", CVPR 2019 (sensor noise
    and what the camera does to it).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sdabn_cli.contracts import NoiseModel
from sdabn_plugins import camera as photographs
from sdabn_plugins import correlated, gaussian, poisson_gaussian
from sdabn_plugins.ranges import Range, Storage


@dataclass(frozen=True)
class Blind:
    """Draws a kind of noise for every image, and whether it is stored in 8 bits."""

    sigma: str
    peak: str
    read: str
    width: Range
    sensor: float
    soft: float
    camera: float
    clean: float
    stored: float
    grey: float

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., 3, H, W) in [0, 1] to a noisy one."""
        if clean.dim() > 3:
            return torch.stack([self(image, generator) for image in clean])
        kind, stored = torch.rand(2, generator=generator).tolist()
        grey = self.grey > 0 and float(torch.rand((), generator=generator)) < self.grey
        noisy = clean
        if kind < 1 - self.clean:
            noise = self._kind(kind, clean, generator)
            noisy = _in_grey(noise, clean, generator) if grey else noise(clean, generator)
        return Storage(clip=True, quantize=True)(noisy) if stored < self.stored else noisy

    def _kind(self, drawn: float, clean: Tensor, generator: Generator) -> NoiseModel:
        if drawn < self.sensor:
            return poisson_gaussian.build(peak=self.peak, read=self.read)
        if drawn < self.sensor + self.soft:
            width = float(self.width.draw(clean, generator))
            return correlated.build(sigma=self.sigma, width=width)
        if drawn < self.sensor + self.soft + self.camera:
            return photographs.build()
        return gaussian.build(sigma=self.sigma)


def _in_grey(noise: NoiseModel, clean: Tensor, generator: Generator) -> Tensor:
    """Give all colours the noise that the image's grey would have."""
    level = clean.mean(0, keepdim=True)
    return clean + (noise(level.repeat(3, 1, 1), generator)[:1] - level)


def build(
    *,
    sigma: float | str = "0..55",
    peak: float | str = "20..1000",
    read: float | str = "0..10",
    width: float | str = "0.4..1.5",
    sensor: float = 0.25,
    soft: float = 0.15,
    camera: float = 0.0,
    clean: float = 0.0,
    stored: float = 0.5,
    grey: float = 0.0,
) -> Blind:
    """Build the noise model.

    Args:
        sigma: Standard deviation of white and of soft noise on the 0-255 scale, or a range.
        peak: Photons of a white pixel of the sensor, or a range.
        read: Standard deviation of the sensor's read noise on the 0-255 scale, or a range.
        width: How far soft noise reaches, in pixels: at least 0.1 and at most 20, or a range.
        sensor: Share of images with a sensor's noise.
        soft: Share of images with soft noise.
        camera: Share of images with the noise of a photograph, as ``camera`` makes it.
        clean: Share of images without noise, so that a denoiser learns to leave those alone; for
            training, since the PSNR of an image without noise is infinite. All others get white
            noise.
        stored: Share of images that are clipped and rounded to 8 bits.
        grey: Share of images whose noise is the same in all three colours, as film's grain is.

    Raises:
        ValueError: If an option is outside what is allowed.
    """
    shares = {
        "sensor": sensor,
        "soft": soft,
        "camera": camera,
        "clean": clean,
        "stored": stored,
        "grey": grey,
    }
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must be a share between 0 and 1, not {share}")
    total = sensor + soft + camera + clean
    if total > 1 + 1e-9:  # sums of decimals are not exact
        raise ValueError(
            f"sensor, soft, camera and clean must not exceed 1 together, not {total:g}"
        )
    widths = Range.parse(width, name="width", allowed="a number from 0.1 to 20", least=0.1)
    if widths.high > 20:
        raise ValueError(f"width must be a number from 0.1 to 20, or a range, not {width}")
    # What is wrong with a strength is said now, not at the first image.
    gaussian.build(sigma=sigma)
    poisson_gaussian.build(peak=peak, read=read)
    return Blind(
        str(sigma), str(peak), str(read), widths, sensor, soft, camera, clean, stored, grey
    )
