"""Checks of denoisers: build(*, condition_channels, in_channels=3, <own options>) -> nn.Module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdabn_cli.cascade import stride_of
from sdabn_cli.errors import SdabnError
from sdabn_cli.testing import modules, reach
from sdabn_cli.testing.modules import SIDE
from sdabn_cli.testing.subject import NotApplicable, Subject, check_options, random, require

#: Channels of the condition, as many as there are classes.
CLASSES = 5


def _build(subject: Subject, channels: int = CLASSES, *, seed: int = 0) -> nn.Module:
    """Build it guided or, where it refuses every condition, unguided."""
    return subject.build(condition_channels=channels if _is_guided(subject) else 0, seed=seed)


def _is_guided(subject: Subject) -> bool:
    """Whether it takes a condition: with a ``ValueError`` it refuses one that it has no use for.

    Raises:
        SdabnError: If building fails in another way, or unguided as well.
    """
    try:
        subject.build(condition_channels=CLASSES)
    except SdabnError as error:
        if not isinstance(error.__cause__, ValueError):
            raise
        try:
            subject.build(condition_channels=0)
        except SdabnError:
            raise error from error.__cause__  # the first refusal says more
        return False
    return True


def _condition(image: Tensor, seed: int = 0) -> Tensor:
    """Probabilities (N, K, H, W), others for every image of a batch."""
    logits = [
        4 * random(1, CLASSES, *image.shape[-2:], seed=10 + seed + 100 * number)
        for number in range(len(image))
    ]
    return torch.softmax(torch.cat(logits), dim=1)


def _run(module: nn.Module, image: Tensor) -> Tensor:
    return module(image, _condition(image))


def it_builds_a_module_without_network(subject: Subject) -> None:
    """Nothing is downloaded, and torch's settings stay as they were."""
    modules.check_builds(lambda: _build(subject))


def unknown_options_are_refused(subject: Subject) -> None:
    """Every option is explicit, typed and has a default."""
    check_options(subject, condition_channels=CLASSES)


@torch.no_grad()
def images_of_any_size_give_a_finite_estimate(subject: Subject) -> None:
    """(N, 3, H, W) gives (N, 3, H, W), up to twice as bright from the second unit on."""
    module = _build(subject).eval()
    for height, width in ((SIDE, SIDE), (37, 53), (16, 97), (101, 64)):
        image = 2 * random(1, 3, height, width)
        modules.check_output(_run(module, image), tuple(image.shape), "the estimates")
    even = modules.even_image(SIDE, SIDE)
    modules.check_output(_run(module, even), tuple(even.shape), modules.of_even("the estimates"))


def train_mode_gives_a_finite_estimate(subject: Subject) -> None:
    """Dropout and batch norm change values, not what they are."""
    modules.check_train_mode(_build(subject), _run, 3, "the estimates")


@torch.no_grad()
def without_condition_channels_it_takes_none(subject: Subject) -> None:
    """condition_channels=0 builds the unguided denoiser, which is given None."""
    module = _build(subject, 0).eval()
    image = random(1, 3, 37, 53)
    modules.check_output(module(image, None), tuple(image.shape), "the estimates")


def the_condition_changes_the_estimate(subject: Subject) -> None:
    """Another segmentation of the same image gives another estimate."""
    if not _is_guided(subject):
        raise NotApplicable("it refuses every condition")
    image = random(2, 3, SIDE, SIDE)
    modules.check_matters(
        _build(subject),
        lambda module, *given: module(*given),
        lambda seed: (image, _condition(image, seed)),
        "condition changes the estimate",
    )


def the_image_changes_the_estimate(subject: Subject) -> None:
    """Another image gives another estimate."""
    condition = _condition(random(2, 3, SIDE, SIDE))
    modules.check_matters(
        _build(subject),
        lambda module, *given: module(*given),
        lambda seed: (random(2, 3, SIDE, SIDE, seed=seed), condition),
        "image changes the estimate",
    )


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """None is left out of the training."""
    modules.check_gradients(lambda seed: _build(subject, seed=seed), _run)


def batch_mates_do_not_matter(subject: Subject) -> None:
    """In eval mode each image is on its own."""
    modules.check_batch_mates(_build(subject), _run)


def its_input_is_left_alone(subject: Subject) -> None:
    """Image and condition are read, not written."""
    module = _build(subject).eval()
    modules.check_input_kept(module, _run)
    image, condition = random(1, 3, SIDE, SIDE), random(1, CLASSES, SIDE, SIDE, seed=3)
    with torch.no_grad():
        module(image, condition)
    kept = torch.equal(condition, random(1, CLASSES, SIDE, SIDE, seed=3))
    require(kept, "it writes to the condition it is given")


def its_weights_survive_safetensors(subject: Subject) -> None:
    """Saved and loaded weights give the same estimate."""
    modules.check_round_trip(_build(subject), _build(subject, seed=1), _run)


def it_runs_in_bfloat16(subject: Subject) -> None:
    """As training and inference do where the processor has it."""
    modules.check_bfloat16(_build(subject), _run)


def its_receptive_field_is_true(subject: Subject) -> None:
    """What it declares is what a gradient finds: tiles with that halo give the whole's result."""
    guided = CLASSES if _is_guided(subject) else 0

    def run(module: nn.Module, stacked: Tensor) -> Tensor:
        """Image and condition side by side, so that both are looked at."""
        return module(stacked[:, :3], stacked[:, 3:] if guided else None)

    module = _build(subject)
    declared = getattr(module, "stride", 1)
    require(
        isinstance(declared, tuple) or (isinstance(declared, int) and declared >= 1),
        f"stride is {declared!r}: parts of an image begin at multiples of it, a whole number",
    )
    stride = stride_of(module, default=1)
    reach.check_receptive_field(module, run, channels=3 + guided, stride=stride)
    reach.check_tiles(module, run, channels=3 + guided, stride=stride)


@torch.no_grad()
def halving_its_input_is_true(subject: Subject) -> None:
    """After ``halve_input`` it makes of an image what it made of half of it."""
    module = _build(subject).eval()
    if not hasattr(module, "halve_input"):
        raise NotApplicable("it has no method halve_input")
    image = random(1, 3, SIDE, SIDE)
    expected = _run(module, image)
    module.halve_input()
    estimate = _run(module, 2 * image)
    difference = float((estimate - expected).abs().max())
    require(
        modules.alike(estimate, expected),
        f"after halve_input its estimate of twice an image differs by {difference:.2g} from that "
        "of the image before",
    )


CHECKS = (
    it_builds_a_module_without_network,
    unknown_options_are_refused,
    images_of_any_size_give_a_finite_estimate,
    train_mode_gives_a_finite_estimate,
    without_condition_channels_it_takes_none,
    the_condition_changes_the_estimate,
    the_image_changes_the_estimate,
    every_parameter_gets_a_gradient,
    batch_mates_do_not_matter,
    its_input_is_left_alone,
    its_weights_survive_safetensors,
    it_runs_in_bfloat16,
    its_receptive_field_is_true,
    halving_its_input_is_true,
)
