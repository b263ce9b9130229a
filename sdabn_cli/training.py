"""Algorithm 1: train the stages of a cascade one after the other, each with its prefix frozen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from sdabn_cli import data, datasets, initial, memory, networks, probing, registry
from sdabn_cli.assembly import (
    ensure_model,
    frozen_prefix,
    require,
    require_earlier,
    trained_network,
)
from sdabn_cli.cascade import condition_channels
from sdabn_cli.contracts import Dataset
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError, Stopped
from sdabn_cli.job import Training, Watcher
from sdabn_cli.loop import StageLoop
from sdabn_cli.plan import check_noise, check_plugins
from sdabn_cli.randomness import seed_from
from sdabn_cli.recipe import Recipe
from sdabn_cli.runs import Run
from sdabn_cli.schedule import KINDS, Stage, stages
from sdabn_cli.stopping import Signals
from sdabn_cli.tensorboard import require_tensorboard
from sdabn_cli.validation import Validation


@contextlib.contextmanager
def opened(recipe: Recipe, run: Run, compute: Compute, watcher: Watcher) -> Iterator[Training]:
    """Open the data of a recipe, check every example and claim the run directory.

    No other process can train in the directory until the context is left.

    Raises:
        SdabnError: If the directory is another recipe's or in use, or the data is missing or
            wrong; nothing has been written then.
    """
    if compute.device.type == "cpu":
        memory.keep_freed(in_training=True)
    training = check(recipe, run, compute, watcher)
    processes = compute.processes
    processes.wait()  # until every process has found the data right
    with run.lock() if processes.is_main else contextlib.nullcontext():
        if processes.is_main:
            run.check_recipe(recipe)  # again: another training may have begun meanwhile
            run.claim(recipe, training.train.dataset.classes)
            run.tidy()
            initial.bring(recipe, run, training.train.dataset.classes)
        processes.wait()
        yield training


def check(recipe: Recipe, run: Run, compute: Compute, watcher: Watcher) -> Training:
    """Make sure that a training can begin, and read its data.

    Raises:
        SdabnError: As ``opened``.
    """
    run.check_recipe(recipe)
    check_plugins(recipe)
    check_noise(recipe)
    if recipe.tensorboard:
        require_tensorboard()
    for stage in stages(recipe.units):
        settings = recipe.for_stage(stage)
        compute.processes.share(settings.batch_size, settings.accumulate)
    train = datasets.open_training(recipe.data)
    validation = datasets.open_split(recipe.data, recipe.data.validation_split)
    run.check_classes(train.classes)
    check_class_weights(recipe, train)
    for found in initial.check(recipe, run, train.classes).values():
        for note in found.notes:
            watcher.warn(f"{found.path}: {note}.")
    decoded = data.DecodedCache(train, recipe.data.cache_mb)
    decoded.fill(shared=recipe.data.workers > 0)
    data.check_examples(validation)
    try_networks(recipe, len(train.classes))
    if isinstance(train[0].image, Path) and train[0].image == validation[0].image:
        watcher.warn("The training and the validation split hold the same images.")
    if recipe.cuda_graphs and compute.device.type == "cuda" and compute.processes.count > 1:
        watcher.warn("Steps of several processes are not recorded (cuda_graphs).")
    noise = registry.build("noise", recipe.noise.name, recipe.noise.options)
    return Training(recipe, run, decoded, validation, noise, compute, watcher)


def try_networks(recipe: Recipe, num_classes: int) -> None:
    """Build both networks of a recipe and try them, before anything is written.

    Raises:
        SdabnError: If one cannot be built, fails or gives what it must not.
    """
    segmenter, denoiser = (
        networks.for_kind(recipe, kind, num_classes=num_classes) for kind in KINDS
    )
    probing.try_segmenter(
        segmenter, recipe.segmenter.name, num_classes=num_classes, train_mode=True
    )
    channels = condition_channels(recipe.condition, num_classes)
    probing.try_denoiser(
        denoiser, recipe.denoiser.name, condition_channels=channels, train_mode=True
    )


def check_class_weights(recipe: Recipe, dataset: Dataset) -> None:
    """Make sure that there is a weight a class, in every stage that has weights.

    Raises:
        SdabnError: With both numbers.
    """
    settings = {"segment": recipe.segment} | {
        f"stages.{name}": recipe.for_stage(Stage.parse(name)) for name in recipe.stages
    }
    for place, stage_settings in settings.items():
        weights = getattr(stage_settings, "class_weights", None)
        if weights is not None and len(weights) != len(dataset.classes):
            raise SdabnError(
                f"{place}.class_weights has {len(weights)} numbers, the data set "
                f"{len(dataset.classes)} classes.",
                "Give one weight a class, or null for equal ones.",
            )


def train_cascade(training: Training) -> None:
    """Train every stage of Algorithm 1 that is not finished, in order."""
    for stage in stages(training.recipe.units):
        train_stage(training, stage)


def train_stage(training: Training, stage: Stage) -> None:
    """Train one stage from where it was stopped; a finished one is kept.

    Raises:
        SdabnError: If an earlier stage is missing, or the loss is no longer a number.
        Stopped: At a signal, once the state is saved.
    """
    recipe, run, compute = training.recipe, training.run, training.compute
    classes = training.train.dataset.classes
    if run.stage(stage).status != "finished":
        require_earlier(recipe, run, stage)
        network = compute.place(starting_network(training, stage))
        no_steps = recipe.for_stage(stage).steps == 0
        if no_steps or not any(parameter.requires_grad for parameter in network.parameters()):
            _finish_untrained(training, stage, network)
            if no_steps:
                measure(training, stage)
            else:
                training.watcher.finish(stage, 0.0)
            return
        prefix = compute.place(frozen_prefix(recipe, run, stage, len(classes)))
        critic = critic_of(training, stage)
        loop = StageLoop(training, stage, network, prefix, critic)
        loop.resume()
        loop.run()
        if compute.processes.is_main:
            loop.finish()
        training.watcher.finish(stage, loop.seconds)
    elif recipe.is_given(stage) or recipe.for_stage(stage).steps == 0:
        measure(training, stage)
    compute.processes.wait()
    if compute.processes.is_main:
        ensure_model(run, recipe, training.train.dataset)


def measure(training: Training, stage: Stage) -> None:
    """Validate weights that were not trained here, once.

    That weights of the user's own fit says nothing about the order of their classes, or about the
    images they know; and those of an earlier stage have not seen this one's images.
    """
    directory, classes = training.run.stage(stage), training.train.dataset.classes
    if any("validation" in entry for entry in directory.read_log()):
        return
    began, compute = time.perf_counter(), training.compute
    network = trained_network(training.recipe, training.run, stage, len(classes))
    prefix = compute.place(frozen_prefix(training.recipe, training.run, stage, len(classes)))
    training.watcher.start(stage, step=0, steps=0)
    validation = Validation(training, stage, compute.place(network), prefix)
    with Signals(insist=compute.processes.count == 1) as signals:
        figures = validation.run(0, interrupt=lambda: _obey(signals, stage))
        seconds = time.perf_counter() - began
        if compute.processes.is_main:
            directory.log({"step": 0, "validation": figures, "seconds": seconds})
        training.watcher.validated(0, figures)
        training.watcher.finish(stage, seconds)
        _obey(signals, stage)  # one behind the last image counts before another stage begins


def _obey(signals: Signals, stage: Stage) -> None:
    if signals.received:
        raise Stopped(
            f"Stopped while {stage.id} was validated. The same command goes on from there.",
            signals.received,
        )


def _finish_untrained(training: Training, stage: Stage, network: nn.Module) -> None:
    """Finish a stage that stays as it starts: with no steps, or with nothing to train."""
    if training.compute.processes.is_main:
        directory = training.run.stage(stage)
        directory.finish(networks.weights_of(network), hand_on="last")
        ensure_model(training.run, training.recipe, training.train.dataset)
    training.compute.processes.wait()


def critic_of(training: Training, stage: Stage) -> nn.Module | None:
    """The clean segmenter that judges a denoiser's estimates, where its settings ask for one.

    Raises:
        SdabnError: If s0 is not trained yet.
    """
    settings = training.recipe.for_stage(stage)
    if not getattr(settings, "semantic_weight", 0):
        return None
    require(training.run, stage, ["s0"])
    classes = len(training.train.dataset.classes)
    critic = trained_network(training.recipe, training.run, Stage(0, "seg"), classes)
    return training.compute.place(critic.requires_grad_(False).eval())


def starting_network(training: Training, stage: Stage) -> nn.Module:
    """Build a stage's network.

    S_i starts from S_{i-1}, or from S_1 where the recipe asks for it; D_i and s0 from random
    weights of their own or from those that the recipe gives, D_i also from D_{i-1} on request.
    """
    recipe = training.recipe
    torch.manual_seed(seed_from(recipe.seed, stage.id, "initial weights"))
    classes = training.train.dataset.classes
    network = networks.for_kind(recipe, stage.kind, num_classes=len(classes))
    earlier = recipe.starts_from(stage)
    if earlier:
        networks.load_weights(network, training.run.stage(earlier).weights)
        # The image of D_1 is one image, that of D_2 the sum of two.
        if stage.id == "d2" and hasattr(network, "halve_input"):
            network.halve_input()
    else:
        initial.start(network, recipe, training.run, stage.kind)
    return network
