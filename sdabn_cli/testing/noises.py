"""Checks of noises: build(*, <own options>) -> callable (clean, generator) -> noisy."""

from __future__ import annotations

import pickle

import torch
from torch import Tensor

from sdabn_cli.randomness import generator
from sdabn_cli.testing.subject import (
    Subject,
    check_options,
    random,
    require,
    without_network,
)


def _noisy(subject: Subject, clean: Tensor, *, key: int = 0) -> Tensor:
    return subject.build()(clean, generator("contract", key))


def it_builds_without_network(subject: Subject) -> None:
    """Nothing is downloaded, and torch's settings stay as they were."""
    with without_network():
        require(callable(subject.build()), "what it builds cannot be called")


def unknown_options_are_refused(subject: Subject) -> None:
    """Every option is explicit, typed and has a default."""
    check_options(subject)


def noisy_images_have_the_shape_and_type_of_clean_ones(subject: Subject) -> None:
    """Images of any size, single or in batches, also slightly outside [0, 1]."""
    for shape in ((3, 37, 53), (3, 16, 16), (2, 3, 24, 31)):
        noisy = _noisy(subject, 1.02 * random(*shape) - 0.01)
        require(isinstance(noisy, Tensor), f"it returns a {type(noisy).__name__}, not a tensor")
        require(
            tuple(noisy.shape) == shape, f"a clean {shape} becomes a noisy {tuple(noisy.shape)}"
        )
        require(noisy.dtype == torch.float32, f"the noisy image is {noisy.dtype}, not float32")
        require(noisy.isfinite().all(), "the noisy image is not finite")


def black_and_white_images_stay_finite(subject: Subject) -> None:
    """Nothing divides by the brightness."""
    for value in (0.0, 1.0):
        noisy = _noisy(subject, torch.full((3, 24, 24), value))
        require(noisy.isfinite().all(), f"an image of {value} becomes one that is not finite")


def the_generator_decides_everything(subject: Subject) -> None:
    """The same state gives the same noise, and torch's own state is neither used nor moved."""
    clean = random(3, 32, 32)
    before = torch.get_rng_state()
    first = _noisy(subject, clean)
    require(torch.equal(torch.get_rng_state(), before), "it moves torch's global random state")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(77)
        again = _noisy(subject, clean)
    require(torch.equal(first, again), "the same generator state gives another noise")


def the_clean_image_is_left_alone(subject: Subject) -> None:
    """It is the target of the training."""
    clean = random(3, 32, 32)
    _noisy(subject, clean)
    require(torch.equal(clean, random(3, 32, 32)), "it writes to the clean image")


def it_changes_the_image(subject: Subject) -> None:
    """Noise that does nothing is a mistake."""
    clean = random(3, 32, 32)
    require(not torch.equal(_noisy(subject, clean), clean), "the noisy image equals the clean one")


def it_travels_to_loader_processes(subject: Subject) -> None:
    """Where processes are spawned, the noise model is sent to them by pickle."""
    model = subject.build()
    try:
        sent = pickle.dumps(model)
    except Exception as error:
        raise AssertionError(f"it cannot be pickled: {error}") from error
    clean = random(3, 32, 32)
    arrived = pickle.loads(sent)(clean, generator("contract", 0))
    require(torch.equal(arrived, _noisy(subject, clean)), "after pickling it makes another noise")


CHECKS = (
    it_builds_without_network,
    unknown_options_are_refused,
    noisy_images_have_the_shape_and_type_of_clean_ones,
    black_and_white_images_stay_finite,
    the_generator_decides_everything,
    the_clean_image_is_left_alone,
    it_changes_the_image,
    it_travels_to_loader_processes,
)
