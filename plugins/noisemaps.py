"""How noisy an image is around every pixel, measured in the image: maps that guide denoisers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Mean of the absolute value of a standard normal variable.
MEAN = 0.7979

#: What a map shows as 1, on the 0-255 scale.
UNIT = 25.0

#: Pixels to each side over which means are taken, for the first map and for the second; and how
#: far the second looks for the least of them.
WIDE, NARROW, SEARCH = 7, 4, 15


class NoiseMaps(nn.Module):
    """Two maps of the noise's strength: a local mean, and the least of the local means nearby.

    Noise is what is left of neighbouring pixels in the finest diagonal details, where images have
    little; see ``sdabn_cli.noiselevel``. Texture has some: the first map is right where there is
    none and follows noise that depends on brightness, the second finds a smooth place nearby.
    """

    CHANNELS = 2
    REACH = 1 + max(WIDE, NARROW + SEARCH)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, C, H, W) in [0, 1] to (N, 2, H, W); 1 is a sigma of 25 of 255."""
        x = F.pad(image, (0, 1, 0, 1), mode="replicate")
        diagonal = x[..., :-1, :-1] - x[..., 1:, :-1] - x[..., :-1, 1:] + x[..., 1:, 1:]
        # Four independent values are added, so that the sum varies twice as much as one.
        strength = diagonal.abs().mean(dim=1, keepdim=True) * (255 / (2 * MEAN * UNIT))
        return torch.cat([_mean(strength, WIDE), _least(_mean(strength, NARROW), SEARCH)], dim=1)


def _mean(maps: Tensor, reach: int) -> Tensor:
    """Means over squares, one side after the other, which costs less; the edge is repeated."""
    side = 2 * reach + 1
    padded = F.pad(maps, (reach,) * 4, mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, (side, 1), stride=1), (1, side), stride=1)


def _least(maps: Tensor, reach: int) -> Tensor:
    side = 2 * reach + 1
    padded = F.pad(-maps, (reach,) * 4, mode="replicate")
    return -F.max_pool2d(F.max_pool2d(padded, (side, 1), stride=1), (1, side), stride=1)
