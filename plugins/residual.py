"""For denoisers that find what is to be added to the image instead of the estimate itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Standard deviation of the weights of a last layer at the start.
START = 0.001

#: How much faster the share is learned than a weight. Optimisers such as Adam move every parameter
#: by about the learning rate a step, and from 1 to 1/2 it is a long way.
SPEED = 10


class ImageShare(nn.Module):
    """The image times a learned number, at first 1.

    From the second unit on the image is the noisy one and an estimate added up, twice as bright;
    a fixed share of 1 would leave it to the network to take a whole image away.
    """

    def __init__(self) -> None:
        super().__init__()
        self.change = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        """Scale an image (N, 3, H, W)."""
        return image * (1 + SPEED * self.change)


def start_small(layer: nn.Conv2d) -> None:
    """Let the last layer add almost nothing at first, so that the first estimate is the image."""
    nn.init.normal_(layer.weight, std=START)
    nn.init.zeros_(layer.bias)
