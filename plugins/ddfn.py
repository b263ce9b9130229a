"""Denoiser ``ddfn``: the dilated dense fusion network, modulated by the condition; the paper's D.

Reference:
    Xu et al., "Synergy Between Semantic Segmentation and Image Denoising via Alternate Boosting",
    https://arxiv.org/abs/2102.12095, Fig. 3. DDFN: Chen et al., "Real-world Image Denoising with
    Deep Boosting", TPAMI 2019.

Built with ``condition_channels=0`` it is the plain DDFN (60,784 parameters), the paper's D_0; with
19 channels it has 114,176. What is not the paper's is an option: ``margin`` and ``gate``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdabn_plugins.modulation import SpatialFeatureTransform, condition_encoder
from sdabn_plugins.residual import ImageShare

BASE_CHANNELS = 32
GROWTH = 8


class MultiScaleFeatures(nn.Module):
    """Plain and dilated convolutions in both orders: 3 channels to 32."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.plain = _conv3(in_channels, 8, dilation=1)
        self.dilated = _conv3(in_channels, 8, dilation=2)
        self.plain_after_dilated = _conv3(8, 8, dilation=1)
        self.dilated_after_plain = _conv3(8, 8, dilation=2)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, 3, H, W) to features (N, 32, H, W), at least 0."""
        a = F.relu_(self.plain(image))
        b = F.relu_(self.dilated(image))
        c = F.relu_(self.plain_after_dilated(b))
        d = F.relu_(self.dilated_after_plain(a))
        return torch.cat([a, b, c, d], dim=1)


class FusionBlock(nn.Module):
    """One dense block: adds 8 channels computed from the (modulated) features before it."""

    def __init__(self, channels: int, *, conditioned: bool) -> None:
        super().__init__()
        self.modulate = SpatialFeatureTransform(channels) if conditioned else None
        self.squeeze = nn.Conv2d(channels, 32, 1)
        self.plain = _conv3(32, 8, dilation=1)
        self.dilated_after_plain = _conv3(8, 4, dilation=2)
        self.dilated = _conv3(32, 8, dilation=2)
        self.plain_after_dilated = _conv3(8, 4, dilation=1)
        self.fuse = nn.Conv2d(24, GROWTH, 1)

    def forward(self, features: Tensor, encoded: Tensor | None) -> Tensor:
        """Map features (N, C, H, W) to (N, C + 8, H, W)."""
        modulated = features if self.modulate is None else self.modulate(features, encoded)
        v = F.relu_(self.squeeze(modulated))
        p = F.relu_(self.plain(v))
        p_wide = F.relu_(self.dilated_after_plain(p))
        q = F.relu_(self.dilated(v))
        q_wide = F.relu_(self.plain_after_dilated(q))
        fused = F.relu_(self.fuse(torch.cat([p, p_wide, q, q_wide], dim=1)))
        return torch.cat([features, fused], dim=1)


class DDFN(nn.Module):
    """Dilated dense fusion network with optional spatial feature transforms.

    Args:
        condition_channels: Channels K of the condition; 0 leaves out its encoder and every SFT.
        in_channels: Channels of the image and of the estimate.
        blocks: Number of fusion blocks.
        margin: Pixels that are repeated at every edge in front of the first layer, and cut off
            behind the last.
        gate: Whether what the network makes is mixed with the image, pixel by pixel.
    """

    def __init__(
        self,
        *,
        condition_channels: int,
        in_channels: int,
        blocks: int,
        margin: int = 0,
        gate: bool = False,
    ) -> None:
        super().__init__()
        self.margin = margin
        conditioned = condition_channels > 0
        # Three pixels for the features and three for every block.
        self.receptive_field = 3 * (blocks + 1)
        self.features = MultiScaleFeatures(in_channels)
        self.encode = condition_encoder(condition_channels) if conditioned else None
        self.blocks = nn.ModuleList(
            FusionBlock(BASE_CHANNELS + GROWTH * k, conditioned=conditioned) for k in range(blocks)
        )
        channels = BASE_CHANNELS + GROWTH * blocks
        self.modulate = SpatialFeatureTransform(channels) if conditioned else None
        self.reconstruct = nn.Conv2d(channels, in_channels, 1, bias=False)
        self.gate = Gate(channels, in_channels) if gate else None
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.reconstruct.weight, std=0.001)
        if self.gate is not None:
            nn.init.zeros_(self.gate.openness.weight)

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        """Map an image (N, 3, H, W) and its condition (N, K, H, W) to the estimate (N, 3, H, W)."""
        if self.margin:
            image = self._widened(image)
            condition = None if self.encode is None else self._widened(condition)
        encoded = None if self.encode is None else self.encode(condition)
        features = self.features(image)
        for block in self.blocks:
            features = block(features, encoded)
        if self.modulate is not None:
            features = self.modulate(features, encoded)
        estimate = self.reconstruct(features)
        if self.gate is not None:
            estimate = self.gate(image, estimate, features)
        if self.margin:
            estimate = estimate[..., self.margin : -self.margin, self.margin : -self.margin]
        return estimate

    def _widened(self, maps: Tensor) -> Tensor:
        return F.pad(maps, (self.margin,) * 4, mode="replicate")


class Gate(nn.Module):
    """Mixes what a network makes with a learned share of its image, by weights for every pixel.

    A network that makes the whole image makes it a little worse than it was where there was hardly
    any noise. With the gate it can keep what needs nothing.
    """

    def __init__(self, channels: int, in_channels: int) -> None:
        super().__init__()
        self.openness = nn.Conv2d(channels, in_channels, 1)
        self.share = ImageShare()

    def forward(self, image: Tensor, made: Tensor, features: Tensor) -> Tensor:
        """Mix two images (N, 3, H, W) by features (N, C, H, W): all made where it is open."""
        kept = self.share(image)
        # Not torch.lerp: under autocast the three differ in their types.
        return kept + torch.sigmoid(self.openness(features)) * (made - kept)


def _conv3(in_channels: int, out_channels: int, *, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation)


def build(
    *,
    condition_channels: int,
    in_channels: int = 3,
    blocks: int = 8,
    margin: int = 0,
    gate: bool = False,
) -> nn.Module:
    """Build a DDFN denoiser with random weights.

    The loss leaves the outermost pixels out (``denoise.border``), so that nothing teaches a network
    what to make of them, and they come out badly. With a ``margin`` as wide, added when all is
    trained, those pixels are repeated ones, which nobody sees; the weights are the same. Whoever
    trains with a margin sets ``denoise.border`` to 0: there is no padding left to leave out.

    The paper's DDFN makes the whole image anew, and loses detail where there is little noise. With
    a ``gate``, 292 parameters more, it learns how much of the given image stays in each pixel.

    Args:
        condition_channels: Channels of the condition; 0 builds the plain DDFN.
        in_channels: Channels of the image.
        blocks: Number of fusion blocks, at least 1; 8 is the paper's.
        margin: Pixels repeated at every edge, from 0, the paper's, to 8.
        gate: Whether the image itself may stay, weighted for every pixel.

    Raises:
        ValueError: If ``blocks`` is below 1, or ``margin`` not from 0 to 8.
    """
    if blocks < 1:
        raise ValueError(f"blocks must be at least 1, not {blocks}")
    if not 0 <= margin <= 8:
        raise ValueError(f"margin must be from 0 to 8, not {margin}")
    return DDFN(
        condition_channels=condition_channels,
        in_channels=in_channels,
        blocks=blocks,
        margin=margin,
        gate=gate,
    )
