"""Denoiser ``nafnet``: a U-Net of blocks without nonlinear activations; guided by concatenation.

Reference:
    Chen et al., "Simple Baselines for Image Restoration", ECCV 2022,
    https://arxiv.org/abs/2204.04676, Fig. 2 and Sec. 4. Means over a window instead of the whole
    image: Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation",
    ECCV 2022, https://arxiv.org/abs/2112.04491.

The default is a small one. The paper's for SIDD are ``width=32`` and ``width=64`` with
``encoder=[2,2,4,8],middle=12,decoder=[2,2,2,2]``, those for GoPro with
``encoder=[1,1,1,28],middle=1,decoder=[1,1,1,1]``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdabn_plugins.residual import ImageShare, start_small

#: What the outputs of a block's halves are multiplied with at the start. The paper's is 0, which
#: leaves everything inside the blocks without a gradient in the first step.
START = 0.01


class ChannelNorm(nn.Module):
    """Layer norm over the channels of every pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SimpleGate(nn.Module):
    """Half of the channels times the other half: the only nonlinearity."""

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, 2C, H, W) to (N, C, H, W)."""
        one, other = features.chunk(2, dim=1)
        return one * other


class SimplifiedChannelAttention(nn.Module):
    """Channels times weights that a 1x1 convolution makes of their means.

    Args:
        channels: Number of channels C.
        window: Side of the square that the means are taken over; the whole map where that is
            smaller, as in training, so that a large image is treated as the crops were.
    """

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.weigh = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return features * self.weigh(self._means(features))

    def _means(self, features: Tensor) -> Tensor:
        # A traced graph has to decide by the sizes that it will meet, not by those of its example.
        traced = torch.jit.is_tracing()
        if not traced and max(features.shape[-2:]) <= self.window:
            return features.mean((2, 3), keepdim=True)
        means = _moving_mean(features.float(), self.window, dim=2)
        return _moving_mean(means, self.window, dim=3).to(features.dtype)


def _moving_mean(values: Tensor, window: int, dim: int) -> Tensor:
    """Means over windows along one axis; those at the ends are moved inside."""
    position = torch.arange(values.shape[dim], device=values.device)
    size = position[-1:] + 1
    last = (size - window).clamp(min=0)
    start = torch.minimum((position - window // 2).clamp(min=0), last)
    end = torch.minimum(start + window, size)
    sums = F.pad(values.transpose(dim, -1), (1, 0)).cumsum(-1)
    means = (sums[..., end] - sums[..., start]) / (end - start)
    return means.transpose(dim, -1)


class NAFBlock(nn.Module):
    """Attention over channels, then a pointwise network, both added to what comes in."""

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(
            ChannelNorm(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
            SimpleGate(),
            SimplifiedChannelAttention(channels, window),
            nn.Conv2d(channels, channels, 1),
        )
        self.transform = nn.Sequential(
            ChannelNorm(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            SimpleGate(),
            nn.Conv2d(channels, channels, 1),
        )
        self.beta = nn.Parameter(torch.full((1, channels, 1, 1), START))
        self.gamma = nn.Parameter(torch.full((1, channels, 1, 1), START))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        features = features + self.beta * self.attend(features)
        return features + self.gamma * self.transform(features)


class NAFNet(nn.Module):
    """U-Net of NAF blocks; estimate = a y + what the network adds.

    The paper's a is 1; here it is learned, see ``ImageShare``.

    Args:
        condition_channels: Channels K of the condition, which are stacked on the image's.
        in_channels: Channels of the image and of the estimate.
        width: Channels at full resolution; every level below has twice as many.
        encoder: Blocks of every level on the way down.
        middle: Blocks at the lowest resolution.
        decoder: Blocks of every level on the way up, from the lowest.
        window: Side in pixels of the image of the square that means are taken over.
    """

    receptive_field = None

    def __init__(
        self,
        *,
        condition_channels: int,
        in_channels: int,
        width: int,
        encoder: Sequence[int],
        middle: int,
        decoder: Sequence[int],
        window: int,
    ) -> None:
        super().__init__()
        self.stride = 2 ** len(encoder)
        widths = [width * 2**level for level in range(len(encoder) + 1)]
        windows = [max(1, window // 2**level) for level in range(len(encoder) + 1)]
        self.intro = nn.Conv2d(in_channels + condition_channels, width, 3, padding=1)
        self.encoders = nn.ModuleList(map(_blocks, encoder, widths, windows))
        self.downs = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in widths[:-1])
        self.middle = _blocks(middle, widths[-1], windows[-1])
        self.ups = nn.ModuleList(map(_up, widths[:0:-1]))
        self.decoders = nn.ModuleList(map(_blocks, decoder, widths[-2::-1], windows[-2::-1]))
        self.ending = nn.Conv2d(width, in_channels, 3, padding=1)
        self.share = ImageShare()
        start_small(self.ending)

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        """Map an image (N, 3, H, W) and its condition (N, K, H, W) to the estimate (N, 3, H, W)."""
        height, width = image.shape[-2:]
        stacked = image if condition is None else torch.cat([image, condition], dim=1)
        padding = (0, -width % self.stride, 0, -height % self.stride)
        added = self._network(F.pad(stacked, padding, mode="replicate"))
        return self.share(image) + added[..., :height, :width]

    def _network(self, stacked: Tensor) -> Tensor:
        features = self.intro(stacked)
        skipped = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            features = blocks(features)
            skipped.append(features)
            features = down(features)
        features = self.middle(features)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            features = blocks(up(features) + skipped.pop())
        return self.ending(features)


def _blocks(count: int, channels: int, window: int) -> nn.Sequential:
    return nn.Sequential(*(NAFBlock(channels, window) for _ in range(count)))


def _up(channels: int) -> nn.Sequential:
    """Half of the channels at twice the resolution."""
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2))


def build(
    *,
    condition_channels: int,
    in_channels: int = 3,
    width: int = 16,
    encoder: tuple[int, ...] = (1, 1, 1),
    middle: int = 2,
    decoder: tuple[int, ...] = (1, 1, 1),
    window: int = 256,
) -> nn.Module:
    """Build a NAFNet denoiser with random weights.

    Args:
        condition_channels: Channels of the condition; 0 for none.
        in_channels: Channels of the image.
        width: Channels at full resolution; every level below has twice as many.
        encoder: Blocks of every level on the way down.
        middle: Blocks at the lowest resolution.
        decoder: Blocks of every level on the way up, from the lowest; as many levels.
        window: Side in pixels of the square over which channel attention takes its means. Keep it
            above the crops of the training: what they are too small for is taken from all of them.

    Raises:
        ValueError: If a number is too small or the two ways differ in their levels.
    """
    for name, value in (("width", width), ("window", window)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if len(encoder) != len(decoder):
        raise ValueError(
            f"encoder and decoder must have the same number of levels, not {len(encoder)} and "
            f"{len(decoder)}"
        )
    if min([*encoder, middle, *decoder]) < 0:
        raise ValueError("encoder, middle and decoder must hold numbers of blocks, at least 0")
    return NAFNet(
        condition_channels=condition_channels,
        in_channels=in_channels,
        width=width,
        encoder=encoder,
        middle=middle,
        decoder=decoder,
        window=window,
    )
