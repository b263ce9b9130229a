"""What the checks of segmenters and denoisers share."""

from __future__ import annotations

from collections.abc import Callable

import safetensors.torch
import torch
from torch import Tensor, nn

from sdabn_cli.errors import fault
from sdabn_cli.networks import weights_of
from sdabn_cli.testing.subject import (
    ContractError,
    NotApplicable,
    random,
    require,
    without_network,
)

#: Runs a network on an image (N, 3, H, W) the way the cascade does.
Run = Callable[[nn.Module, Tensor], Tensor]

#: Height and width of ordinary test images: multiples of every stride in use.
SIDE = 64

#: Rounding may differ by this share of the largest value between batches, and beyond a receptive
#: field where an algorithm transforms whole blocks (Winograd, FFT).
TOLERANCE = 1e-4


#: What an input changes at least, as a share of the largest value; rounding changes less.
IGNORED = 1e-6


def check_builds(build: Callable[[], nn.Module]) -> nn.Module:
    """It builds a module, without network, and leaves torch's settings alone."""
    with without_network():
        module = build()
    require(isinstance(module, nn.Module), f"it built a {type(module).__name__}, not an nn.Module")
    return module


def check_output(output: object, expected: tuple[int, ...], what: str) -> Tensor:
    """An output is a finite tensor of the expected shape."""
    require(isinstance(output, Tensor), f"{what} are a {type(output).__name__}, not a tensor")
    require(
        tuple(output.shape) == expected, f"{what} have the shape {tuple(output.shape)}: {expected}"
    )
    require(output.isfinite().all(), f"{what} are not finite for an image of shape {expected}")
    return output


def even_image(height: int, width: int) -> Tensor:
    """An evenly grey image (1, 3, H, W): whoever divides by its spread divides by nothing."""
    return torch.full((1, 3, height, width), 0.5)


def of_even(what: str) -> str:
    """What an even image gives, for messages."""
    return f"{what} of an evenly grey image"


@torch.no_grad()
def check_train_mode(module: nn.Module, run: Run, channels: int, what: str) -> None:
    """In train mode as well, a batch gives a finite result of the right shape.

    Args:
        module: The network.
        run: Runs it.
        channels: Channels of its result.
        what: What they are, for messages.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise NotApplicable("it has nothing to train")
    try:
        output = run(module.train(), random(2, 3, SIDE, SIDE))
    except BaseException as error:
        raise ContractError(f"it fails in train mode: {fault(error)}") from error
    check_output(output, (2, channels, SIDE, SIDE), f"in train mode {what}")


@torch.no_grad()
def check_matters(module: nn.Module, given: Callable[[nn.Module, int], Tensor], what: str) -> None:
    """Two inputs that differ give different results, in eval mode or else in train mode.

    In eval mode batch norm takes statistics that no training has set yet: what a deep network of
    random weights lets through may fade below rounding there, but not by those of its batch.

    Args:
        module: The network.
        given: Its result for the first or the second input, by the number 1 or 2.
        what: What differs and what it should change, for the message.
    """
    for mode in (False, True):
        results = []
        for number in (1, 2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the same units are dropped
                results.append(given(module.train(mode), number))
        difference = float((results[0] - results[1]).abs().max())
        scale = float(results[0].abs().max())
        if difference > IGNORED * scale:
            return
    raise ContractError(f"another {what} by {difference:.2g} of {scale:.2g}: it is ignored")


def check_gradients(module: nn.Module, run: Run) -> None:
    """In training every parameter gets a finite gradient."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise NotApplicable("it has nothing to train")
    module.train()
    output = run(module, random(2, 3, SIDE, SIDE))
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    (output * weights).sum().backward()
    missing = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    require(not missing, f"{len(missing)} parameters get no gradient, the first is {missing[:1]}")
    wild = [n for n, p in module.named_parameters() if p.grad is not None and not finite(p.grad)]
    require(not wild, f"{len(wild)} gradients are not finite, the first is that of {wild[:1]}")


def finite(tensor: Tensor) -> bool:
    """Whether every value is a number."""
    return bool(tensor.isfinite().all())


@torch.no_grad()
def check_batch_mates(module: nn.Module, run: Run) -> None:
    """In eval mode an image's result is the same whatever else is in the batch, and repeatable."""
    module.eval()
    one, other = random(1, 3, SIDE, SIDE, seed=1), random(1, 3, SIDE, SIDE, seed=2) * 0.3
    alone = run(module, one)
    again, together = run(module, one), run(module, torch.cat([one, other]))[:1]
    require(_alike(again, alone), "the same image gives another result (dropout?)")
    difference = float((alone - together).abs().max())
    require(
        _alike(together, alone),
        f"an image's result changes by {difference:.3g} of {float(alone.abs().max()):.3g} with the "
        "other image of the batch",
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two results are equal up to rounding, which threads may change."""
    scale = max(float(other.abs().max()), 1e-6)
    return float((one - other).abs().max()) <= TOLERANCE * scale


@torch.no_grad()
def check_input_kept(module: nn.Module, run: Run) -> None:
    """The image is not written to: the cascade uses it again."""
    image = random(1, 3, SIDE, SIDE)
    run(module.eval(), image)
    require(torch.equal(image, random(1, 3, SIDE, SIDE)), "it writes to the image it is given")


@torch.no_grad()
def check_round_trip(module: nn.Module, other: nn.Module, run: Run) -> None:
    """Weights saved as safetensors and loaded into another module give the same result.

    Args:
        module: The network.
        other: The same, built from other random numbers.
        run: Runs it.
    """
    image = random(2, 3, SIDE, SIDE)
    run(module.train(), image)  # moves batch-norm statistics, which must be kept as well
    saved = safetensors.torch.load(safetensors.torch.save(weights_of(module)))
    other.load_state_dict(saved)
    same = _alike(run(module.eval(), image), run(other.eval(), image))
    require(same, "a new module with the saved weights gives another result: is all in state_dict?")


@torch.no_grad()
def check_bfloat16(module: nn.Module, run: Run) -> None:
    """It runs under bfloat16 autocast, as it is trained and run where the processor has it."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(module.eval(), random(1, 3, SIDE, SIDE))
    require(finite(output), "the result is not finite in bfloat16")


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
