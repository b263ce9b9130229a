"""What the checks of segmenters and denoisers share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping

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
def check_matters(
    module: nn.Module,
    run: Callable[..., Tensor],
    inputs: Callable[[int], tuple[Tensor, ...]],
    what: str,
) -> None:
    """Two inputs that differ give different results in eval mode.

    Batch norm of a fresh network has statistics there that no training has set: what a deep one
    lets through may fade below rounding. So a difference that only double precision shows is
    enough where train mode, which takes the statistics of the batch, shows it plainly.

    Args:
        module: The network.
        run: Its result for inputs.
        inputs: The first or the second ones, by the number 1 or 2.
        what: What differs and what it should change, for the message.
    """

    def change(network: nn.Module, dtype: torch.dtype = torch.float32) -> tuple[float, float]:
        results = []
        for number in (1, 2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the same units are dropped
                results.append(run(network, *(tensor.to(dtype) for tensor in inputs(number))))
        return float((results[0] - results[1]).abs().max()), float(results[0].abs().max())

    difference, scale = change(module.eval())
    if difference > IGNORED * scale:
        return
    if change(copy.deepcopy(module).double(), torch.float64)[0] > 0:
        trained, size = change(module.train())
        if trained > IGNORED * size:
            return
    raise ContractError(f"another {what} by {difference:.2g} of {scale:.2g}: it is ignored")


#: Rounds of training after which every parameter has had a gradient. Some layers start from 0, and
#: keep gradients from those before them until they have moved.
ROUNDS = 4

#: Random starts; a few units of a layer may all be dead in one.
SEEDS = 3


def check_gradients(build: Callable[[int], nn.Module], run: Run) -> None:
    """In training every parameter gets a finite gradient, and no weight one of 0 for ever.

    Args:
        build: The network, from other random numbers for another seed.
        run: Runs it.
    """
    unmoved: set[str] | None = None
    for seed in range(SEEDS):
        found = _without_gradient(build(seed).train(), run)
        unmoved = found if unmoved is None else unmoved & found
        if not unmoved:
            return
    first = min(unmoved)
    raise ContractError(f"{len(unmoved)} weights have a gradient of 0 for ever, as {first!r}")


def _without_gradient(module: nn.Module, run: Run) -> set[str]:
    """Names of the weights whose gradient is 0 in every round.

    Biases are left out: batch norm behind a layer takes them away again, rightly for ever.
    """
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    if not trained:
        raise NotApplicable("it has nothing to train")
    unmoved = {n for n, p in trained.items() if p.dim() > 1}
    for number in range(ROUNDS):
        output = run(module, random(2, 3, SIDE, SIDE, seed=number))
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(number + 1))
        (output * weights).sum().backward()
        _check_gradients_are_there(trained)
        unmoved -= {n for n, p in trained.items() if p.grad.any()}
        if not unmoved:
            break
        _move(trained.values())
    return unmoved


def _check_gradients_are_there(trained: Mapping[str, nn.Parameter]) -> None:
    missing = [n for n, p in trained.items() if p.grad is None]
    require(not missing, f"{len(missing)} parameters get no gradient, the first is {missing[:1]}")
    wild = [n for n, p in trained.items() if not finite(p.grad)]
    require(not wild, f"{len(wild)} gradients are not finite, the first is that of {wild[:1]}")


@torch.no_grad()
def _move(parameters: Iterable[nn.Parameter]) -> None:
    """A small step, of the same length for every parameter that has a gradient."""
    for parameter in parameters:
        length = float(parameter.grad.abs().max())
        if length > 0:
            parameter -= 1e-3 / length * parameter.grad
        parameter.grad = None


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
    require(alike(again, alone), "the same image gives another result (dropout?)")
    difference = float((alone - together).abs().max())
    require(
        alike(together, alone),
        f"an image's result changes by {difference:.3g} of {float(alone.abs().max()):.3g} with the "
        "other image of the batch",
    )


def alike(one: Tensor, other: Tensor) -> bool:
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
    same = alike(run(module.eval(), image), run(other.eval(), image))
    require(same, "a new module with the saved weights gives another result: is all in state_dict?")


@torch.no_grad()
def check_bfloat16(module: nn.Module, run: Run) -> None:
    """It runs under bfloat16 autocast, as it is trained and run where the processor has it."""
    # Processors without it imitate it, a hundred times as slowly: half the side is enough.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(module.eval(), random(1, 3, SIDE // 2, SIDE // 2))
    require(finite(output), "the result is not finite in bfloat16")
