"""Denoiser ``sft``: any denoiser that knows no condition, guided by spatial feature transforms.

``sft:denoiser=dncnn``, or with options of its own ``sft:denoiser=[dncnn:depth=17,width=48]``. The
denoiser is built without condition and left as it is, so its weights keep their names; what its
convolutions are given is modulated on the way in.

Reference:
    Wang et al., "Recovering Realistic Texture in Image Super-resolution by Deep Spatial Feature
    Transform", CVPR 2018, https://arxiv.org/abs/1804.02815.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdabn_cli.contracts import DenoiserBuilder
from sdabn_plugins.modulation import SpatialFeatureTransform, condition_encoder

#: Standard deviation of the last layers' weights at the start: the guided denoiser is nearly the
#: unguided one. With zeros it would be exactly that, but then no gradient would reach the layers
#: before them in the first step, and no condition would make a difference.
START = 0.001

#: Height and width of the image that the denoiser is tried out on: of different proportions than
#: square maps, such as those of pooling pyramids, and a multiple of usual strides.
TRIAL = (128, 192)

#: Pixels beyond the image, to each side, that maps of a denoiser with its own padding may hold.
WIDEST_BORDER = 64


class Guide:
    """The encoded condition of the images in work, at the sizes that features have."""

    def __init__(self) -> None:
        self._maps: dict[tuple[int, ...], Tensor] = {}
        self._encoded: Tensor | None = None

    def show(self, encoded: Tensor | None) -> None:
        """Guide by another encoded condition (N, 16, H, W); None ends the guiding."""
        self._encoded = encoded
        self._maps.clear()

    def at(self, features: Tensor) -> Tensor | None:
        """The encoded condition at the size of features (N, C, h, w); None where nothing guides."""
        if self._encoded is None:
            return None
        size = tuple(features.shape[-2:])
        if size not in self._maps:
            self._maps[size] = _fitted(self._encoded, features)
        return self._maps[size]


class Modulation:
    """A hook that modulates what a convolution is given."""

    def __init__(self, transform: SpatialFeatureTransform, guide: Guide) -> None:
        self.transform, self.guide = transform, guide

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Replace the features (N, C, h, w), the first of the inputs."""
        del module
        features, *others = inputs
        encoded = self.guide.at(features)
        return None if encoded is None else (self.transform(features, encoded), *others)


class GuidedDenoiser(nn.Module):
    """A denoiser whose features are modulated by the condition.

    Args:
        denoiser: Built without condition.
        condition_channels: Channels K of the condition.
        in_channels: Channels of the image.

    Raises:
        ValueError: If the denoiser has no features that could be modulated.
    """

    def __init__(self, denoiser: nn.Module, *, condition_channels: int, in_channels: int) -> None:
        super().__init__()
        stride = getattr(denoiser, "stride", 1)
        self.stride = stride if isinstance(stride, int) else 1
        convolutions, exact = _convolutions_of_features(denoiser, in_channels, self.stride)
        if not convolutions:
            raise ValueError(
                f"the denoiser {type(denoiser).__name__} has no convolution of features in the "
                "image's proportions that a condition could modulate"
            )
        # A condition that is resampled to maps of other sizes lies differently in every tile.
        self.receptive_field = getattr(denoiser, "receptive_field", None) if exact else None
        self.denoiser = denoiser
        self.encode = condition_encoder(condition_channels)
        self.transforms = nn.ModuleList(
            SpatialFeatureTransform(convolution.in_channels) for convolution in convolutions
        )
        self._guide = Guide()
        self._initialise()
        for convolution, transform in zip(convolutions, self.transforms, strict=True):
            convolution.register_forward_pre_hook(Modulation(transform, self._guide))

    def _initialise(self) -> None:
        for module in (*self.encode.modules(), *self.transforms.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        for transform in self.transforms:
            for layers in (transform.gamma, transform.beta):
                nn.init.normal_(layers[-1].weight, std=START)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Map an image (N, 3, H, W) and its condition (N, K, H, W) to the estimate (N, 3, H, W)."""
        height, width = image.shape[-2:]
        # Padded here, where the condition can be as well, and not inside the denoiser.
        padding = (0, -width % self.stride, 0, -height % self.stride)
        image, condition = (F.pad(x, padding, mode="replicate") for x in (image, condition))
        self._guide.show(self.encode(condition))
        try:
            return self.denoiser(image, None)[..., :height, :width]
        finally:
            self._guide.show(None)


def _fitted(encoded: Tensor, features: Tensor) -> Tensor:
    """The encoded condition at the size of features: the same, with a border, or resampled."""
    border = _border(features.shape, encoded.shape)
    if border is None:
        size = features.shape[-2:]
        return F.interpolate(encoded, size=size, mode="bilinear", align_corners=False)
    return F.pad(encoded, (border,) * 4, mode="replicate") if border else encoded


def _border(features: torch.Size, image: torch.Size) -> int | None:
    """Pixels that features reach beyond the image, equally to all sides; None for other sizes."""
    above, beside = (int(features[axis]) - int(image[axis]) for axis in (-2, -1))
    fits = above == beside and above % 2 == 0 and 0 <= above <= 2 * WIDEST_BORDER
    return above // 2 if fits else None


@torch.no_grad()
def _convolutions_of_features(
    denoiser: nn.Module, in_channels: int, stride: int
) -> tuple[list[nn.Module], bool]:
    """Try a denoiser out to find what can be modulated.

    Left out are convolutions of the image itself, those of maps without places (channel attention,
    pooling pyramids), and those that are never used.

    Returns:
        The convolutions in the order of their use, and whether all of their maps lie pixel on pixel
        with the image.
    """
    size = [-(-side // stride) * stride for side in TRIAL]
    image = torch.zeros(1, in_channels, *size)
    seen: dict[nn.Module, torch.Size] = {}

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.setdefault(module, inputs[0].shape)

    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    found = [module for module in denoiser.modules() if isinstance(module, kinds)]
    hooks = [module.register_forward_pre_hook(look) for module in found]
    modes = {module: module.training for module in denoiser.modules()}
    try:
        denoiser.eval()(image, None)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    borders = {
        module: _border(shape, image.shape)
        for module, shape in seen.items()
        if len(shape) == 4 and shape[0] == 1 and shape[1] > in_channels
    }
    placed = [
        module
        for module, border in borders.items()
        if border is not None or seen[module][-2] * size[1] == seen[module][-1] * size[0]
    ]
    return placed, all(borders[module] is not None for module in placed)


def build(
    *, condition_channels: int, in_channels: int = 3, denoiser: DenoiserBuilder = "dncnn"
) -> nn.Module:
    """Build a denoiser without condition, and guide it.

    Args:
        condition_channels: Channels of the condition; 0 gives the unguided denoiser itself.
        in_channels: Channels of the image.
        denoiser: Denoiser plug-in that is guided, by name or as ``[name:option=value,…]``.

    Raises:
        ValueError: If the denoiser has no features that could be modulated.
    """
    unguided = denoiser(condition_channels=0, in_channels=in_channels)
    if condition_channels == 0:
        return unguided
    return GuidedDenoiser(unguided, condition_channels=condition_channels, in_channels=in_channels)
