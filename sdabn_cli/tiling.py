"""Run a denoiser in tiles that overlap by its receptive field: exact, and bounded in memory.

Every output pixel sees exactly what it would see in the whole image, so the result is the same up
to rounding. The maps of a small tile stay in a processor's caches, which makes a CPU several times
faster.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def denoise(
    denoiser: nn.Module, image: Tensor, condition: Tensor | None, *, tile: int | None
) -> Tensor:
    """Run a denoiser on the whole image or, where that is exact, tile by tile.

    Args:
        denoiser: A module that follows ``contracts.Denoiser``. Without a declared
            ``receptive_field`` (or with None, a global one) it gets the whole image.
        image: (N, 3, H, W).
        condition: (N, K, H, W), or None.
        tile: Side of a tile; None runs the whole image. Must be None where gradients are needed.

    Returns:
        Estimate (N, 3, H, W).
    """
    halo = getattr(denoiser, "receptive_field", None)
    height, width = image.shape[-2:]
    if tile is None or halo is None or max(height, width) <= tile:
        return denoiser(image, condition)
    estimate = torch.empty_like(image)
    for rows in _spans(height, tile):
        for columns in _spans(width, tile):
            top, left = _with_halo(rows, height, halo), _with_halo(columns, width, halo)
            for number in range(len(image)):
                window = (slice(number, number + 1), slice(None), top, left)
                result = denoiser(image[window], None if condition is None else condition[window])
                estimate[number, :, rows, columns] = result[
                    0,
                    :,
                    rows.start - top.start : rows.stop - top.start,
                    columns.start - left.start : columns.stop - left.start,
                ]
    return estimate


def _spans(length: int, tile: int) -> Iterator[slice]:
    """Cut a length into equal parts no longer than a tile."""
    count = -(-length // tile)
    for number in range(count):
        yield slice(length * number // count, length * (number + 1) // count)


def _with_halo(span: slice, length: int, halo: int) -> slice:
    return slice(max(0, span.start - halo), min(length, span.stop + halo))
