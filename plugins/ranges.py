"""Options that are a number or a range to draw from anew for every image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

#: Largest number of an option: far beyond any use, far from overflowing in single precision.
LARGEST = 1e9

#: Least number of photons of a white pixel; a single one is then a thousand times as bright.
FEWEST_PHOTONS = 1e-3


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; a fixed number where they are equal."""

    low: float
    high: float

    @classmethod
    def parse(cls, value: float | str, *, name: str, allowed: str, least: float) -> Range:
        """Read ``25`` or ``0..55``.

        Args:
            value: The option.
            name: Its name, for messages.
            allowed: What it may be, for messages.
            least: Smallest number that it may be; ``LARGEST`` is the largest.

        Raises:
            ValueError: If it is neither, or outside what is allowed.
        """
        ends = str(value).split("..")
        try:
            numbers = [float(end) for end in ends]
        except ValueError:
            numbers = []
        right = len(numbers) in (1, 2) and all(map(math.isfinite, numbers))
        if right and numbers[0] > numbers[-1] >= least:
            raise ValueError(f"{name} must go from the smaller to the larger number, not {value}")
        if not right or not least <= numbers[0] <= numbers[-1]:
            raise ValueError(f"{name} must be {allowed}, or a range such as 5..50, not {value}")
        if numbers[-1] > LARGEST:
            raise ValueError(f"{name} must be at most {LARGEST:.0e}, not {value}")
        return cls(numbers[0], numbers[-1])

    def draw(
        self, clean: Tensor, generator: Generator, *, unit: float = 1.0, logarithmic: bool = False
    ) -> Tensor:
        """Draw a number for every image.

        Args:
            clean: (..., C, H, W); every (C, H, W) is an image.
            generator: Not touched where the number is fixed.
            unit: What the number is divided by.
            logarithmic: Every factor is as likely as any other, instead of every difference.

        Returns:
            A tensor that multiplies with ``clean``, in its type.
        """
        shape = (*clean.shape[:-3], 1, 1, 1)
        if self.low == self.high:
            numbers = torch.full(shape, self.low, dtype=torch.float64)
        else:
            share = torch.rand(shape, generator=generator, dtype=torch.float64)
            factor = self.high / self.low if logarithmic else 1.0
            step = self.high - self.low
            numbers = self.low * factor**share if logarithmic else self.low + step * share
        return (numbers / unit).to(clean.dtype)


@dataclass(frozen=True)
class Storage:
    """What saving an image in 8 bits does to it: values are clipped and rounded.

    Attributes:
        clip: Clip to [0, 1].
        quantize: Round to multiples of 1 / 255.
    """

    clip: bool = False
    quantize: bool = False

    def __call__(self, image: Tensor) -> Tensor:
        """Map an image of any shape to what is read back."""
        image = image.clamp(0, 1) if self.clip else image
        return (image * 255).round() / 255 if self.quantize else image
