"""Checks of models: a path, or a function without arguments that gives one."""

from __future__ import annotations

import torch

from sdabn_cli import model, registry
from sdabn_cli.testing.modules import check_output
from sdabn_cli.testing.subject import Subject, random, require, without_network


def it_names_a_directory_without_network(subject: Subject) -> None:
    """The weights come with the distribution."""
    with without_network():
        directory = registry.model_directory(subject.name)
    require(directory.is_dir(), f"it names {directory}, which is no directory")


def its_description_is_valid(subject: Subject) -> None:
    """``cascade.json`` can be read and says what the networks are."""
    description = model.read_description(registry.model_directory(subject.name))
    require(description.noise, "it does not say which noise it was trained on")


def its_weights_are_those_described(subject: Subject) -> None:
    """Every file is there and has the hash that the description says."""
    directory = registry.model_directory(subject.name)
    for unit in model.read_description(directory).units:
        for network in (unit.segmenter, unit.denoiser):
            path = directory / network.weights
            require(path.is_file(), f"{path} is missing")
            model.check_weights(directory, network)


@torch.no_grad()
def every_unit_runs_on_an_image_of_odd_size(subject: Subject) -> None:
    """Finite logits a class and a finite estimate, of the image's size."""
    loaded = model.load(subject.name)
    image = random(1, 3, 75, 101)
    classes = len(loaded.description.classes)
    truth = torch.zeros(1, 75, 101, dtype=torch.int64)
    for output in loaded.cascade.run(image, truth=truth):
        check_output(output.logits, (1, classes, 75, 101), "the logits")
        check_output(output.estimate, (1, 3, 75, 101), "the estimates")


CHECKS = (
    it_names_a_directory_without_network,
    its_description_is_valid,
    its_weights_are_those_described,
    every_unit_runs_on_an_image_of_odd_size,
)
