"""How far a network sees: what it declares, what a gradient finds, what tiles show."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdabn_cli.testing.modules import SIDE, TOLERANCE, Run, alike
from sdabn_cli.testing.subject import ContractError, NotApplicable, random, require


def check_receptive_field(
    module: nn.Module, run: Run, *, channels: int = 3, stride: int = 1
) -> None:
    """No pixel further away than the declared receptive field reaches the middle of the result.

    Args:
        module: The network.
        run: Runs it.
        channels: Channels of its input.
        stride: Pixels after which its phases repeat; several of them are looked at.
    """
    reach = getattr(module, "receptive_field", None)
    if reach is None:
        raise NotApplicable("it declares no receptive field: it may see the whole image")
    require(
        isinstance(reach, int) and reach >= 0,
        f"receptive_field is {reach!r}: a number of pixels to each side, or None",
    )
    # Whole strides, with room outside the field.
    side = -(-(2 * (reach + stride) + 33) // SIDE) * SIDE
    for phase in sorted({*range(0, stride, max(1, stride // 8)), stride - 1}):
        _check_reach(module, run, random(1, channels, side, side), side // 2 + phase, reach)


def _check_reach(module: nn.Module, run: Run, image: Tensor, middle: int, reach: int) -> None:
    """What reaches one pixel of the result, on the diagonal, lies within the declared field."""
    image = image.requires_grad_(True)
    output = run(module.eval(), image)
    weights = torch.randn(output.shape[1], generator=torch.Generator().manual_seed(2))
    (output[0, :, middle, middle] * weights).sum().backward()
    influence = image.grad[0].abs().amax(0)
    near = slice(middle - reach, middle + reach + 1)
    inside = float(influence[near, near].max())
    influence[near, near] = 0
    far = float(influence.max())
    if far > TOLERANCE * 0.01 * inside:
        rows, columns = (influence > TOLERANCE * 0.01 * inside).nonzero(as_tuple=True)
        seen = int(torch.maximum((rows - middle).abs(), (columns - middle).abs()).max())
        raise ContractError(
            f"receptive_field is {reach}, but pixels {seen} away change the result: tiles would "
            "show seams"
        )


@torch.no_grad()
def check_tiles(module: nn.Module, run: Run, *, channels: int = 3, stride: int = 1) -> None:
    """A part of an image, cut anywhere with the declared field around it, gives the same result.

    Anywhere is at multiples of the stride.

    Pooling sees no further than its window, but where its windows lie depends on the cut.

    Args:
        module: The network; it declares its receptive field.
        run: Runs it.
        channels: Channels of its input.
        stride: What every part begins at a multiple of.
    """
    reach, side = -(-module.receptive_field // stride) * stride, SIDE // 2
    image = random(1, channels, *(2 * reach + side + room * stride for room in (24, 16)))
    whole = run(module.eval(), image)
    for top, left in ((5, 3), (10, 7), (12, 14)):
        top, left = top * stride, left * stride
        part = run(module, image[..., top : top + side + 2 * reach, left : left + side + 2 * reach])
        inner = part[..., reach : reach + side, reach : reach + side]
        rows = slice(top + reach, top + reach + side)
        expected = whole[..., rows, left + reach : left + reach + side]
        difference = float((inner - expected).abs().max())
        require(
            alike(inner, expected),
            f"cut at {top}, {left}, with {reach} pixels around it, a part differs by "
            f"{difference:.2g} of {float(expected.abs().max()):.2g} from the whole: tiles would "
            "show seams. Declare receptive_field = None",
        )
