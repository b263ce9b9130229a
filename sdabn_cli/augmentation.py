"""Augmentation: random crops of an image and its labels, scaled, mirrored and turned alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sdabn_cli.labels import IGNORED
from sdabn_cli.pixels import to_unit
from sdabn_cli.recipe import StageSettings

#: How much stronger colours become at most.
MOST_SATURATED = 3.0


@dataclass(frozen=True)
class Augmentation:
    """How crops are cut and varied.

    Attributes:
        crop: Height and width of a crop.
        scale: Range of the random scale.
        long_side: Long side of an image before that scale; None keeps the image's own.
        flip: Mirror left to right at random.
        turns: Also mirror top to bottom and turn by 90 degrees; needs a square crop.
        colour: Vary brightness, contrast and the gain of every channel by up to this share.
        recolour: Share of the crops that get colours of any hue and strength.
        grey: Share of the crops that become grey.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    long_side: int | None = None
    flip: bool = True
    turns: bool = False
    colour: float = 0.0
    recolour: float = 0.0
    grey: float = 0.0

    @classmethod
    def of(cls, settings: StageSettings) -> Augmentation:
        """The augmentation of a stage."""
        return cls(
            settings.crop,
            settings.scale,
            settings.long_side,
            settings.flip,
            settings.turns,
            settings.colour,
            settings.recolour,
            settings.grey,
        )


def augment(
    image: np.ndarray, labels: np.ndarray, augmentation: Augmentation, random: Generator
) -> tuple[Tensor, Tensor]:
    """Cut a random crop, scale, mirror and turn it.

    The window is cut before anything is converted or resized, so the cost is that of the crop.

    Args:
        image: uint8 or uint16 (H, W, 3).
        labels: uint8 (H, W).
        augmentation: What is allowed.
        random: Generator that decides.

    Returns:
        The clean crop, float32 (3, h, w) in [0, 1], and its labels, int64 (h, w). Where the scaled
        image is smaller than the crop its edge is repeated and the labels are ``IGNORED``.
    """
    scale = _draw_scale(image.shape[:2], augmentation, random)
    wanted = [max(1, round(side / scale)) for side in augmentation.crop]
    window = tuple(
        _draw_window(have, want, random) for have, want in zip(image.shape[:2], wanted, strict=True)
    )
    clean = torch.from_numpy(to_unit(image[window])).permute(2, 0, 1)
    target = torch.from_numpy(labels[window].astype(np.int64))
    size = [
        side if part == want else min(side, max(1, round(part * scale)))
        for side, part, want in zip(augmentation.crop, target.shape, wanted, strict=True)
    ]
    clean, target = _resize(clean, target, size)
    clean, target = _pad(clean, target, augmentation.crop)
    clean, target = _mirror_and_turn(clean, target, augmentation, random)
    if augmentation.colour:
        clean = _vary_colour(clean, augmentation.colour, random)
    if augmentation.recolour and float(torch.rand((), generator=random)) < augmentation.recolour:
        clean = _recolour(clean, random)
    if augmentation.grey and float(torch.rand((), generator=random)) < augmentation.grey:
        clean = clean.mean(0, keepdim=True).repeat(3, 1, 1)
    return clean, target


def _draw_scale(size: tuple[int, ...], augmentation: Augmentation, random: Generator) -> float:
    low, high = augmentation.scale
    scale = low + (high - low) * float(torch.rand((), generator=random))
    return scale * (augmentation.long_side / max(size) if augmentation.long_side else 1.0)


def _draw_window(have: int, want: int, random: Generator) -> slice:
    start = int(torch.randint(0, max(have - want, 0) + 1, (), generator=random))
    return slice(start, start + min(have, want))


def _resize(clean: Tensor, target: Tensor, size: list[int]) -> tuple[Tensor, Tensor]:
    if list(target.shape) == size:
        return clean, target
    resized = F.interpolate(clean[None], size=size, mode="bilinear", antialias=True)[0]
    labels = F.interpolate(target[None, None].float(), size=size, mode="nearest-exact")[0, 0]
    return resized, labels.long()


def _pad(clean: Tensor, target: Tensor, crop: tuple[int, int]) -> tuple[Tensor, Tensor]:
    below, right = crop[0] - target.shape[0], crop[1] - target.shape[1]
    if not below and not right:
        return clean, target
    clean = F.pad(clean[None], (0, right, 0, below), mode="replicate")[0]
    return clean, F.pad(target, (0, right, 0, below), value=IGNORED)


def _mirror_and_turn(
    clean: Tensor, target: Tensor, augmentation: Augmentation, random: Generator
) -> tuple[Tensor, Tensor]:
    mirror, upside_down, quarter = torch.randint(0, 2, (3,), generator=random).tolist()
    if augmentation.flip and mirror:
        clean, target = clean.flip(-1), target.flip(-1)
    if augmentation.turns and upside_down:
        clean, target = clean.flip(-2), target.flip(-2)
    if augmentation.turns and quarter:
        clean, target = clean.transpose(-1, -2), target.transpose(-1, -2)
    return clean.contiguous(), target.contiguous()


def _vary_colour(clean: Tensor, share: float, random: Generator) -> Tensor:
    """Change brightness, contrast around the mean, and the three channels' gains (half as much).

    The result is clipped to [0, 1], as the exposure of a camera clips it.
    """
    brightness, contrast, *gains = (2 * torch.rand(5, generator=random) - 1).tolist()
    gain = 1 + share * (brightness + 0.5 * torch.tensor(gains).view(3, 1, 1))
    mean = clean.mean()
    return (((clean - mean) * (1 + share * contrast) + mean) * gain).clamp(0, 1)


def _recolour(clean: Tensor, random: Generator) -> Tensor:
    """Exchange channels, make colours up to ``MOST_SATURATED`` times as strong, and tint it all.

    Where a data set has few strong colours, such as street scenes under an English sky, a denoiser
    that has seen nothing else changes those of yellow wood.
    """
    clean = clean[torch.randperm(3, generator=random)]
    saturation, tint = torch.rand(2, generator=random).tolist()
    grey = clean.mean(0, keepdim=True)
    coloured = grey + MOST_SATURATED * saturation * (clean - grey)
    gains = torch.rand(3, 1, 1, generator=random) ** (2 * tint)  # often near 0: pure colours
    return (coloured * gains / gains.max()).clamp(0, 1)
