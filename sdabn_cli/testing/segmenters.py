"""Checks of segmenters: build(*, num_classes, in_channels=3, <own options>) -> nn.Module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdabn_cli.cascade import segment, stride_of
from sdabn_cli.testing import modules, reach
from sdabn_cli.testing.modules import SIDE
from sdabn_cli.testing.subject import Subject, check_options, random, require

CLASSES = 5


def _build(subject: Subject, classes: int = CLASSES, *, seed: int = 0) -> nn.Module:
    return subject.build(num_classes=classes, seed=seed)


def it_builds_a_module_without_network(subject: Subject) -> None:
    """Nothing is downloaded, and torch's settings stay as they were."""
    modules.check_builds(lambda: _build(subject))


def unknown_options_are_refused(subject: Subject) -> None:
    """Every option is explicit, typed and has a default."""
    check_options(subject, num_classes=CLASSES)


def its_stride_is_a_number_of_pixels(subject: Subject) -> None:
    """Images arrive as multiples of the stride and must fit."""
    stride = getattr(_build(subject), "stride", 32)
    require(
        isinstance(stride, int) and 1 <= stride <= 1024,
        f"stride is {stride!r}: a number of pixels that height and width are multiples of",
    )


@torch.no_grad()
def images_of_any_size_give_finite_logits_a_class(subject: Subject) -> None:
    """(N, 3, H, W) gives (N, K, h, w), for the number of classes asked."""
    for classes in (2, CLASSES):
        module = _build(subject, classes).eval()
        stride = stride_of(module)
        for height, width in (
            (SIDE, SIDE),
            (stride, stride),
            (SIDE + 1, SIDE + 37),
            (3 * SIDE, 37),
        ):
            image = random(1, 3, height, width)
            padded = random(1, 3, -(-height // stride) * stride, -(-width // stride) * stride)
            raw = module(padded)
            require(
                isinstance(raw, Tensor) and raw.dim() == 4,
                f"it returns a {type(raw).__name__} instead of logits (N, K, h, w)",
            )
            modules.check_output(raw, (1, classes, *raw.shape[-2:]), "the logits")
            modules.check_output(segment(module, image), (1, classes, height, width), "the logits")
        even = modules.even_image(SIDE + 1, SIDE + 37)
        expected = (1, classes, *even.shape[-2:])
        modules.check_output(segment(module, even), expected, modules.of_even("the logits"))


def train_mode_gives_finite_logits_a_class(subject: Subject) -> None:
    """Dropout and batch norm change values, not what they are."""
    modules.check_train_mode(_build(subject), segment, CLASSES, "the logits")


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """None is left out of the training."""
    modules.check_gradients(lambda seed: _build(subject, seed=seed), segment)


def batch_mates_do_not_matter(subject: Subject) -> None:
    """In eval mode each image is on its own."""
    modules.check_batch_mates(_build(subject), segment)


def the_image_changes_the_logits(subject: Subject) -> None:
    """Another image gives other logits."""
    modules.check_matters(
        _build(subject),
        segment,
        lambda seed: (random(2, 3, SIDE, SIDE, seed=seed),),
        "image changes the logits",
    )


def its_input_is_left_alone(subject: Subject) -> None:
    """The image is read, not written."""
    modules.check_input_kept(_build(subject), segment)


def its_weights_survive_safetensors(subject: Subject) -> None:
    """Saved and loaded weights give the same logits."""
    modules.check_round_trip(_build(subject), _build(subject, seed=1), segment)


def it_runs_in_bfloat16(subject: Subject) -> None:
    """As training and inference do where the processor has it."""
    modules.check_bfloat16(_build(subject), segment)


def its_receptive_field_is_true(subject: Subject) -> None:
    """What it declares is what a gradient finds."""
    module = _build(subject)
    reach.check_receptive_field(module, segment, stride=stride_of(module))


CHECKS = (
    it_builds_a_module_without_network,
    unknown_options_are_refused,
    its_stride_is_a_number_of_pixels,
    images_of_any_size_give_finite_logits_a_class,
    train_mode_gives_finite_logits_a_class,
    the_image_changes_the_logits,
    every_parameter_gets_a_gradient,
    batch_mates_do_not_matter,
    its_input_is_left_alone,
    its_weights_survive_safetensors,
    it_runs_in_bfloat16,
    its_receptive_field_is_true,
)
