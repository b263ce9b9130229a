"""Denoiser ``ddfn``: the dilated dense fusion network, modulated by the condition; the paper's D.

Reference:
    Xu et al., "Synergy Between Semantic Segmentation and Image Denoising via Alternate Boosting",
    https://arxiv.org/abs/2102.12095, Fig. 3. DDFN: Chen et al., "Real-world Image Denoising with
    Deep Boosting", TPAMI 2019.

Built with ``condition_channels=0`` it is the plain DDFN (60,784 parameters), the paper's D_0; with
19 channels it has 114,176. What is not the paper's is an option: ``width``, ``margin``, ``gate``,
``noise_maps``, and ``unshuffle``, which is what FFDNet does to be fast: Zhang et al., "FFDNet:
Toward a Fast and Flexible Solution for CNN-Based Image Denoising", TIP 2018,
https://arxiv.org/abs/1710.04026.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdabn_plugins.ddfn_parts import parts_of
from sdabn_plugins.modulation import SpatialFeatureTransform, condition_encoder
from sdabn_plugins.noisemaps import NoiseMaps
from sdabn_plugins.residual import ImageShare
from sdabn_plugins.widening import widen


class MultiScaleFeatures(nn.Module):
    """Plain and dilated convolutions in both orders, a quarter of the features each."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        quarter = width // 4
        self.plain = _conv3(in_channels, quarter, dilation=1)
        self.dilated = _conv3(in_channels, quarter, dilation=2)
        self.plain_after_dilated = _conv3(quarter, quarter, dilation=1)
        self.dilated_after_plain = _conv3(quarter, quarter, dilation=2)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, C, H, W) to features (N, width, H, W), at least 0."""
        a = F.relu_(self.plain(image))
        b = F.relu_(self.dilated(image))
        c = F.relu_(self.plain_after_dilated(b))
        d = F.relu_(self.dilated_after_plain(a))
        return torch.cat([a, b, c, d], dim=1)


class FusionBlock(nn.Module):
    """One dense block: adds channels computed from the (modulated) features before it."""

    def __init__(self, channels: int, width: int, *, conditioned: bool) -> None:
        super().__init__()
        growth = width // 4
        self.modulate = SpatialFeatureTransform(channels) if conditioned else None
        self.squeeze = nn.Conv2d(channels, width, 1)
        self.plain = _conv3(width, growth, dilation=1)
        self.dilated_after_plain = _conv3(growth, growth // 2, dilation=2)
        self.dilated = _conv3(width, growth, dilation=2)
        self.plain_after_dilated = _conv3(growth, growth // 2, dilation=1)
        self.fuse = nn.Conv2d(3 * growth, growth, 1)

    def forward(self, features: Tensor, encoded: Tensor | None) -> Tensor:
        """Map features (N, C, H, W) to (N, C + width / 4, H, W)."""
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
        width: Channels of the first features; every block adds a quarter as many.
        margin: Pixels that are repeated at every edge in front of the first layer, and cut off
            behind the last.
        gate: Whether what the network makes is mixed with the image, pixel by pixel.
        unshuffle: Side of the squares of pixels that are one position of the features.
        noise_maps: Whether the condition also tells how noisy the image is around every pixel.
        noise_scales: Number of scales that it is measured at.
    """

    def __init__(
        self,
        *,
        condition_channels: int,
        in_channels: int,
        blocks: int,
        width: int = 32,
        margin: int = 0,
        gate: bool = False,
        unshuffle: int = 1,
        noise_maps: bool = False,
        noise_scales: int = 1,
    ) -> None:
        super().__init__()
        self.width = width
        self.margin = margin
        self.stride = unshuffle
        self.noise_maps = NoiseMaps(noise_scales) if noise_maps else None
        self.condition_channels = condition_channels
        if self.noise_maps is not None:
            condition_channels += self.noise_maps.channels
        conditioned = condition_channels > 0
        # Three positions for the features and three for every block; a pixel at one end of its
        # square is further from the other end of the furthest one.
        self.receptive_field = 3 * (blocks + 1) * unshuffle + unshuffle - 1
        if self.noise_maps is not None:
            self.receptive_field += self.noise_maps.reach
        pixels = in_channels * unshuffle**2
        self.features = MultiScaleFeatures(pixels, width)
        self.encode = condition_encoder(condition_channels) if conditioned else None
        self.blocks = nn.ModuleList(
            FusionBlock(width + width // 4 * k, width, conditioned=conditioned)
            for k in range(blocks)
        )
        channels = width + width // 4 * blocks
        self.modulate = SpatialFeatureTransform(channels) if conditioned else None
        self.reconstruct = nn.Conv2d(channels, pixels, 1, bias=False)
        self.gate = Gate(channels, pixels) if gate else None
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
        height, width = image.shape[-2:]
        if self.noise_maps is not None:
            maps = self.noise_maps(image)
            condition = maps if condition is None else torch.cat([condition, maps], dim=1)
        image = F.pixel_unshuffle(self._widened(image), self.stride)
        encoded = None
        if self.encode is not None:
            encoded = self.encode(F.avg_pool2d(self._widened(condition), self.stride))
        features = self.features(image)
        for block in self.blocks:
            features = block(features, encoded)
        if self.modulate is not None:
            features = self.modulate(features, encoded)
        estimate = self.reconstruct(features)
        if self.gate is not None:
            estimate = self.gate(image, estimate, features)
        estimate = F.pixel_shuffle(estimate, self.stride)
        top = left = self.margin
        return estimate[..., top : top + height, left : left + width]

    @torch.no_grad()
    def halve_input(self) -> None:
        """Make of every image what was made of half of it; see ``contracts.Denoiser``."""
        for convolution in (self.features.plain, self.features.dilated):
            convolution.weight.mul_(0.5)
        if self.noise_maps is not None:
            self.encode[0].weight[:, -self.noise_maps.channels :].mul_(0.5)
        if self.gate is not None:
            self.gate.share.halve()

    def widen_from(self, weights: Mapping[str, Tensor]) -> None:
        """Become what a DDFN of fewer channels or noise maps is; see ``contracts.Denoiser``."""
        width = 4 * len(weights["features.plain.bias"])
        guides = weights["encode.0.weight"].shape[1] if self.encode is not None else 0
        pixels = self.features.plain.in_channels
        own, given = (parts_of(each, len(self.blocks), pixels) for each in (self.width, width))
        if self.noise_maps is not None:
            outputs, condition = [self.encode[0].out_channels], self.condition_channels
            if guides - condition not in (2, 4, 6):
                raise ValueError(
                    f"encode.0.weight takes {guides} channels, which are not {condition} of the "
                    "condition and two noise maps a scale"
                )
            own["encode.0"] = (outputs, [condition, self.noise_maps.channels])
            given["encode.0"] = (outputs, [condition, guides - condition])
        widen(self.state_dict(), weights, own, given)

    def _widened(self, maps: Tensor) -> Tensor:
        """Repeat the edges: the margin, and what whole squares of pixels need below and right."""
        if self.margin == 0 and self.stride == 1:
            return maps
        margin, (height, width) = self.margin, maps.shape[-2:]
        below, right = (-(side + 2 * margin) % self.stride for side in (height, width))
        padding = (margin, margin + right, margin, margin + below)
        return F.pad(maps, padding, mode="replicate")


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
    width: int = 32,
    margin: int = 0,
    gate: bool = False,
    unshuffle: int = 1,
    noise_maps: bool = False,
    noise_scales: int = 1,
) -> nn.Module:
    """Build a DDFN denoiser with random weights.

    The loss leaves the outermost pixels out (``denoise.border``), so that nothing teaches a network
    what to make of them, and they come out badly. With a ``margin`` as wide, added when all is
    trained, those pixels are repeated ones, which nobody sees; the weights are the same. Whoever
    trains with a margin sets ``denoise.border`` to 0: there is no padding left to leave out.

    The paper's DDFN makes the whole image anew, and loses detail where there is little noise. With
    a ``gate``, 292 parameters more, it learns how much of the given image stays in each pixel.

    The paper's DDFN works on every pixel. With ``unshuffle=2`` the four pixels of a square are the
    channels of one position, as in FFDNet: the network, with about as many parameters, runs about
    four times as fast and sees twice as far. With it a ``margin`` is best a multiple of it.

    The paper's DDFN has to find out by itself how noisy an image is, which takes long to learn
    where noise is of every strength. With ``noise_maps`` two maps of the strength, measured in the
    image, are further channels of the condition. They measure noise of single pixels, and take the
    soft noise of a photograph for far less than it is; two more, ``noise_scales=2``, show most of
    it.

    Args:
        condition_channels: Channels of the condition; 0 builds the plain DDFN.
        in_channels: Channels of the image.
        blocks: Number of fusion blocks, at least 1; 8 is the paper's.
        width: Channels of the first features, a multiple of 8; 32 is the paper's.
        margin: Pixels repeated at every edge, from 0, the paper's, to 8.
        gate: Whether the image itself may stay, weighted for every pixel.
        unshuffle: Side of the squares of pixels that share a position, from 1, the paper's, to 4.
        noise_maps: Whether maps of the noise's strength are part of the condition.
        noise_scales: Number of scales that these maps are made at, from 1 to 3, two maps each.

    Raises:
        ValueError: If ``blocks`` is below 1, ``width`` no multiple of 8, ``margin`` not from 0 to
            8, ``unshuffle`` not from 1 to 4, ``noise_scales`` not from 1 to 3, or more than 1
            without ``noise_maps``.
    """
    if blocks < 1:
        raise ValueError(f"blocks must be at least 1, not {blocks}")
    if width < 8 or width % 8:
        raise ValueError(f"width must be a multiple of 8, not {width}")
    if not 0 <= margin <= 8:
        raise ValueError(f"margin must be from 0 to 8, not {margin}")
    if not 1 <= unshuffle <= 4:
        raise ValueError(f"unshuffle must be from 1 to 4, not {unshuffle}")
    if not 1 <= noise_scales <= 3:
        raise ValueError(f"noise_scales must be from 1 to 3, not {noise_scales}")
    if noise_scales > 1 and not noise_maps:
        raise ValueError("noise_scales are those of noise maps: set noise_maps=true as well")
    return DDFN(
        condition_channels=condition_channels,
        in_channels=in_channels,
        blocks=blocks,
        width=width,
        margin=margin,
        gate=gate,
        unshuffle=unshuffle,
        noise_maps=noise_maps,
        noise_scales=noise_scales,
    )
