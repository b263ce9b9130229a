"""Adding noise: an independent one to every colour, or one to a grey image."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from sdabn_cli.contracts import NoiseModel


def add_noise(
    noise: NoiseModel | None, clean: Tensor, random: Generator, *, grey: bool | None = None
) -> Tensor:
    """Make a clean image noisy as the camera that took it would.

    A grey image is one channel written three times; so is what it was spoilt by. A noise model
    sees three colours, and its noise of the first becomes that of all.

    Args:
        noise: Noise model; None leaves the image as it is.
        clean: (..., 3, H, W) in [0, 1].
        random: Generator that decides.
        grey: Whether it is one, or part of one; None looks at its channels.

    Returns:
        The noisy image, of the same shape; of three equal channels where ``clean`` is grey.
    """
    if noise is None:
        return clean
    noisy = noise(clean, random)
    if grey is None:
        grey = is_grey(clean)
    return noisy[..., :1, :, :].expand_as(noisy).contiguous() if grey else noisy


def is_grey(image: Tensor) -> bool:
    """Whether the three channels of an image (..., 3, H, W) are the same."""
    # The first row of a coloured image tells, so all of it is rarely compared.
    return all(
        torch.equal(part[..., 0, :, :], part[..., other, :, :])
        for part in (image[..., :1, :], image)
        for other in (1, 2)
    )
