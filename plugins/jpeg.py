"""Noise ``jpeg``: the blocks and rings that JPEG compression leaves.

Reference:
    Wallace, "The JPEG Still Picture Compression Standard", Communications of the ACM 1991.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from sdabn_plugins.ranges import Range


@dataclass(frozen=True)
class Jpeg:
    """What is read back after saving as JPEG; clipped and quantised, as such files are."""

    quality: Range

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., 3, H, W) in [0, 1] to a compressed one."""
        qualities = self.quality.draw(clean, generator).flatten().round().int().tolist()
        single = clean.reshape(-1, *clean.shape[-3:])
        pairs = zip(single, qualities, strict=True)
        return torch.stack([_compressed(image, quality) for image, quality in pairs]).reshape(
            clean.shape
        )


def _compressed(image: Tensor, quality: int) -> Tensor:
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        pixels = np.asarray(opened.convert("RGB"), dtype=np.float32)
    return (torch.from_numpy(pixels) / 255).permute(2, 0, 1).to(image.dtype)


def build(*, quality: float | str = 30.0) -> Jpeg:
    """Build the noise model.

    Args:
        quality: 1 (worst) to 95, or a range such as 10..80.

    Raises:
        ValueError: If it is neither such a number nor a range of them.
    """
    allowed = "a number from 1 to 95"
    range_ = Range.parse(quality, name="quality", allowed=allowed, least=1)
    if range_.high > 95:
        raise ValueError(f"quality must be {allowed}, not {quality}")
    return Jpeg(range_)
