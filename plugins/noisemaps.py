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
    """Maps of the noise's strength: a local mean, and the least of the local means nearby.

    Noise is what is left of neighbouring pixels in the finest diagonal details, where images have
    little; see ``sdabn_cli.noiselevel``. Texture has some: the first map is right where there is
    none and follows noise that depends on brightness, the second finds a smooth place nearby.

    A camera makes noise soft, and neighbours alike: in the finest details it looks much weaker than
    it is. At a second scale, where every value is the mean of 2x2 pixels, most of it shows; both
    agree where noise is that of single pixels.

    Args:
        scales: Number of scales, each with two maps; the side of the squares doubles each time.

    Attributes:
        channels: Number of maps.
        reach: Pixels to each side that a map depends on.
    """

    def __init__(self, scales: int = 1) -> None:
        super().__init__()
        self.scales = scales
        self.channels = 2 * scales
        self.reach = 2**scales - 1 + max(WIDE, NARROW + SEARCH)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, C, H, W) in [0, 1] to (N, channels, H, W); 1 is a sigma of 25 of 255."""
        maps = []
        for scale in range(self.scales):
            strength = _strength(image, 2**scale)
            maps += [_mean(strength, WIDE), _least(_mean(strength, NARROW), SEARCH)]
        return torch.cat(maps, dim=1)


def _strength(image: Tensor, side: int) -> Tensor:
    """Diagonal details of squares of pixels, (N, 1, H, W), on the scale of the maps."""
    beyond = 2 * side - 1
    x = F.pad(image, (0, beyond, 0, beyond), mode="replicate")
    if side > 1:
        x = F.avg_pool2d(x, side, stride=1)
    a, b = x[..., :-side, :], x[..., side:, :]
    diagonal = a[..., :-side] - b[..., :-side] - a[..., side:] + b[..., side:]
    # Four independent values are added, so that the sum varies twice as much as one; a mean of
    # side x side independent pixels varies side times less than a pixel.
    strength = diagonal.abs().mean(dim=1, keepdim=True) * (255 * side / (2 * MEAN * UNIT))
    # The last ones look beyond the edge, where pixels are repeated and nothing differs: in their
    # place, the last that do not.
    rows, columns = (
        torch.arange(length, device=image.device).clamp(max=length - beyond - 1).clamp(min=0)
        for length in image.shape[-2:]
    )
    return strength[..., rows, :][..., columns]


def _mean(maps: Tensor, reach: int) -> Tensor:
    """Means over squares, as much as there is of them, one side after the other: costs less."""
    maps = _mean_along(maps, (2 * reach + 1, 1), (reach, 0))
    return _mean_along(maps, (1, 2 * reach + 1), (0, reach))


def _mean_along(maps: Tensor, sides: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    return F.avg_pool2d(maps, sides, stride=1, padding=padding, count_include_pad=False)


def _least(maps: Tensor, reach: int) -> Tensor:
    side = 2 * reach + 1
    along = F.max_pool2d(-maps, (side, 1), stride=1, padding=(reach, 0))
    return -F.max_pool2d(along, (1, side), stride=1, padding=(0, reach))
