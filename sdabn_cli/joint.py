"""Segmenter ``joint``: segmenters and denoisers of a cascade as one network, trained as one.

The paper's ablation: the structure of S1 D1 S2 with the segmentation loss alone, so that neither
the first segmentation nor the estimate in between has a meaning of its own.

Reference:
    Xu et al., "Synergy Between Semantic Segmentation and Image Denoising via Alternate Boosting",
    https://arxiv.org/abs/2102.12095, Sec. 4.5.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from sdabn_cli.cascade import Cascade, Unit, stride_of
from sdabn_cli.contracts import DenoiserBuilder, SegmenterBuilder


class Joint(nn.Module):
    """A cascade that ends in a segmenter, as a segmenter."""

    receptive_field = None

    def __init__(self, cascade: Cascade) -> None:
        super().__init__()
        self.cascade = cascade
        self.stride = math.lcm(*(stride_of(unit.segmenter) for unit in cascade.units))

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, 3, H, W) in [0, 1] to logits (N, K, H, W)."""
        return self.cascade(image)[-1].logits


def build(
    *,
    num_classes: int,
    in_channels: int = 3,
    segmenters: int = 2,
    segmenter: SegmenterBuilder = "hrnet",
    denoiser: DenoiserBuilder = "ddfn",
    condition_form: Literal["probabilities", "logits"] = "probabilities",
) -> nn.Module:
    """Build the network with random weights.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels of the image, 3.
        segmenters: Number of segmenters, at least 2, with a denoiser between any two.
        segmenter: Plug-in of the segmenters, by name or as ``[name:option=value,…]``.
        denoiser: Plug-in of the denoisers, likewise.
        condition_form: Whether the segmentation before a denoiser guides it as probabilities or as
            logits.

    Raises:
        ValueError: If there are fewer than two segmenters, or other than 3 channels.
        SdabnError: If a plug-in cannot be built.
    """
    if segmenters < 2:
        raise ValueError(f"segmenters must be at least 2, not {segmenters}")
    if in_channels != 3:
        raise ValueError(f"in_channels must be 3, not {in_channels}")
    units = [
        Unit(segmenter(num_classes=num_classes), denoiser(condition_channels=num_classes))
        for _ in range(segmenters - 1)
    ]
    last = Unit(segmenter(num_classes=num_classes))
    return Joint(Cascade([*units, last], form=condition_form))
