"""Put the weights of a narrow network into a wide one, so that it goes on from what that one knows.

Reference:
    Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016,
    https://arxiv.org/abs/1511.05641. They copy channels and share their weights out; here the new
    channels keep their random weights, and what reads them begins at zero, so that none are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

#: Of a convolution: widths of the parts that its outputs consist of, and its inputs.
Parts = tuple[Sequence[int], Sequence[int]]


@torch.no_grad()
def widen(
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    parts: Mapping[str, Parts],
    given_parts: Mapping[str, Parts],
) -> None:
    """Put a narrow network's weights into a wide one's.

    Args:
        own: State dict of the wide network; changed.
        given: State dict of the narrow one, with the same names.
        parts: Of the wide network's convolutions, by the names of their modules; those of all
            others must be of the same shape in both networks.
        given_parts: The same of the narrow one.

    Raises:
        ValueError: If a part is narrower than the given one, or something else differs.
    """
    for name, tensor in own.items():
        module = name.rpartition(".")[0]
        if module not in parts:
            _require(name, given[name], tensor.shape)
            tensor.copy_(given[name])
            continue
        rows, columns = (
            _places(few, many) for few, many in zip(given_parts[module], parts[module], strict=True)
        )
        sizes = (len(rows), len(columns), *tensor.shape[2:])[: tensor.dim()]
        _require(name, given[name], sizes)
        if tensor.dim() > 1:
            tensor[rows] = 0
            tensor[torch.tensor(rows)[:, None], torch.tensor(columns)] = given[name].to(tensor)
        else:
            tensor[rows] = given[name].to(tensor)


def _places(few: Sequence[int], many: Sequence[int]) -> list[int]:
    """Where the channels of narrow parts lie among those of wide ones."""
    if len(few) != len(many) or any(a > b for a, b in zip(few, many, strict=True)):
        given, own = ("+".join(map(str, parts)) for parts in (few, many))
        raise ValueError(f"parts of {given} channels do not fit into those of {own}")
    places, start = [], 0
    for narrow, wide in zip(few, many, strict=True):
        places += range(start, start + narrow)
        start += wide
    return places


def _require(name: str, given: Tensor, shape: Sequence[int]) -> None:
    if tuple(given.shape) != tuple(shape):
        found, expected = ("x".join(map(str, each)) for each in (given.shape, shape))
        raise ValueError(f"{name} is of {found} where {expected} was expected")
