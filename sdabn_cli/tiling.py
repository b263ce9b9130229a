"""Where the tiles of an image lie: side by side with a halo, or overlapping and blended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sdabn_cli.planes import Window


class Tile(NamedTuple):
    """A tile and what a network must see of its surroundings to get it right.

    Attributes:
        window: Where the tile lies in the image.
        seen: The tile with its halo, cut off at the image's edges.
        inside: Where the tile lies in what is seen.
    """

    window: Window
    seen: Window
    inside: Window


def tiles(height: int, width: int, *, side: int, halo: int = 0, step: int = 1) -> Iterator[Tile]:
    """Cut an image into tiles of about equal size, side by side.

    A network that looks ``halo`` pixels around itself gives for every tile exactly what it would
    give for the whole image.

    Args:
        height: Of the image.
        width: Of the image.
        side: Largest side of a tile, at least ``step``.
        halo: Pixels that are seen around a tile, or up to ``step`` more.
        step: What all tiles, and what is seen of them, begin at multiples of.
    """
    halo = -(-halo // step) * step
    for rows in _spans(height, side, step):
        for columns in _spans(width, side, step):
            top, left = _with_halo(rows, height, halo), _with_halo(columns, width, halo)
            yield Tile((rows, columns), (top, left), (_from(rows, top), _from(columns, left)))


class Blended(NamedTuple):
    """A tile that overlaps its neighbours.

    Attributes:
        window: Where it lies.
        weights: (h, w); those of all tiles add up to 1 in every pixel.
    """

    window: Window
    weights: Tensor


def blended(height: int, width: int, *, side: int, overlap: int, step: int) -> Iterator[Blended]:
    """Cut an image into tiles that overlap, for networks that see more than a halo.

    Tiles begin at fixed places, counted from the upper left corner, so that a part of an image that
    begins at such a place is cut as the image is.

    Args:
        height: Of the image, a multiple of ``step``.
        width: Likewise.
        side: Side of a tile, a multiple of ``step``; smaller images are one tile.
        overlap: Pixels shared with the next tile, under half of ``side``.
        step: What all tiles begin and end at multiples of.
    """
    rows = _overlapping(height, side, overlap, step)
    columns = _overlapping(width, side, overlap, step)
    for row, vertical in rows:
        for column, horizontal in columns:
            yield Blended((row, column), vertical[:, None] * horizontal[None, :])


def _overlapping(length: int, side: int, overlap: int, step: int) -> list[tuple[slice, Tensor]]:
    """Spans along one side with weights that add up to 1 in every pixel."""
    advance = max(step, (side - overlap) // step * step)
    starts = [0]
    while starts[-1] + side < length:
        # The last one ends at the edge, with more overlap.
        starts.append(min(starts[-1] + advance, length - side))
    spans = [slice(start, min(start + side, length)) for start in starts]
    ramps = [_ramp(span, length, overlap) for span in spans]
    total = torch.zeros(length)
    for span, ramp in zip(spans, ramps, strict=True):
        total[span] += ramp
    return [(span, ramp / total[span]) for span, ramp in zip(spans, ramps, strict=True)]


def _ramp(span: slice, length: int, overlap: int) -> Tensor:
    """Weights that rise and fall linearly over the overlap, but not at the image's edges."""
    size = span.stop - span.start
    position = torch.arange(size) + 0.5
    rise = position if span.start > 0 else torch.full((size,), float(size))
    fall = size - position if span.stop < length else torch.full((size,), float(size))
    return (torch.minimum(rise, fall) / max(overlap, 1)).clamp(max=1.0)


def _spans(length: int, side: int, step: int) -> list[slice]:
    """Cut a length into about equal parts no longer than a side, at multiples of a step."""
    steps = -(-length // step)
    count = -(-steps // (side // step))
    cuts = [steps * number // count * step for number in range(count)]
    return [slice(start, stop) for start, stop in zip(cuts, [*cuts[1:], length], strict=True)]


def _with_halo(span: slice, length: int, halo: int) -> slice:
    return slice(max(0, span.start - halo), min(length, span.stop + halo))


def _from(span: slice, seen: slice) -> slice:
    return slice(span.start - seen.start, span.stop - seen.start)
