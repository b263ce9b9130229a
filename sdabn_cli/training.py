"""Algorithm 1: train the stages of a cascade one after the other, each with its prefix frozen."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from sdabn_cli import data, evaluation, metrics, networks, registry
from sdabn_cli.assembly import ensure_model, frozen_prefix, require_earlier, with_network
from sdabn_cli.cascade import Frozen
from sdabn_cli.contracts import Dataset, NoiseModel
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError
from sdabn_cli.optimization import build_optimizer, learning_rate
from sdabn_cli.plan import check_plugins
from sdabn_cli.randomness import seed_from
from sdabn_cli.recipe import Recipe
from sdabn_cli.runs import Run
from sdabn_cli.schedule import KINDS, Stage, stages
from sdabn_cli.tasks import task_of


class Watcher(Protocol):
    """Whoever shows a training to a person."""

    def warn(self, message: str) -> None:
        """Something went wrong that the training can live with."""

    def start(self, stage: Stage, *, step: int, steps: int) -> None:
        """A stage begins, or goes on, at a step."""

    def advance(self, step: int, figures: dict[str, float] | None) -> None:
        """A step is done; figures come with every logged one."""

    def validated(self, step: int, figures: dict[str, float]) -> None:
        """A validation is done."""

    def finish(self, stage: Stage, seconds: float) -> None:
        """The stage is finished."""


@dataclass
class Training:
    """Everything that the stages of a run share.

    Attributes:
        recipe: The resolved recipe.
        run: Where everything is written.
        train: Training split.
        validation: Validation split.
        compute: Device and precision.
        watcher: Shows progress.
    """

    recipe: Recipe
    run: Run
    train: Dataset
    validation: Dataset
    compute: Compute
    watcher: Watcher
    noise: NoiseModel = field(init=False)

    def __post_init__(self) -> None:
        noise = self.recipe.noise
        self.noise = registry.build("noise", noise.name, noise.options)

    @classmethod
    def open(cls, recipe: Recipe, run: Run, compute: Compute, watcher: Watcher) -> Training:
        """Open the data of a recipe, check every example and claim the run directory.

        Raises:
            SdabnError: If the directory is another recipe's, or the data is missing or wrong;
                nothing has been written then.
        """
        run.check_recipe(recipe)
        check_plugins(recipe)
        splits = (recipe.data.train_split, recipe.data.validation_split)
        train, validation = (data.open_split(recipe.data, split) for split in splits)
        run.check_classes(train.classes)
        check_class_weights(recipe, train)
        for split in (train, validation):
            data.check_examples(split)
        for kind in KINDS:  # a network that cannot be built is found before anything is written
            networks.for_kind(recipe, kind, num_classes=len(train.classes))
        if isinstance(train[0].image, Path) and train[0].image == validation[0].image:
            watcher.warn("The training and the validation split hold the same images.")
        training = cls(recipe, run, train, validation, compute, watcher)
        run.claim(recipe, train.classes)
        return training


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
    """
    recipe, run, compute = training.recipe, training.run, training.compute
    if run.stage(stage).status != "finished":
        require_earlier(run, stage)
        network = compute.place(starting_network(training, stage))
        prefix = compute.place(frozen_prefix(recipe, run, stage, len(training.train.classes)))
        loop = StageLoop(training, stage, network, prefix)
        loop.resume()
        loop.run()
        run.stage(stage).finish(networks.weights_of(network))
        training.watcher.finish(stage, loop.seconds)
    ensure_model(run, recipe, training.train)


def starting_network(training: Training, stage: Stage) -> nn.Module:
    """Build a stage's network: S_i from S_{i-1}, D_i and s0 from random weights of their own."""
    recipe = training.recipe
    torch.manual_seed(seed_from(recipe.seed, stage.id, "initial weights"))
    network = networks.for_kind(recipe, stage.kind, num_classes=len(training.train.classes))
    if stage.starts_from:
        networks.load_weights(network, training.run.stage(stage.starts_from).weights)
    return network


class StageLoop:
    """The one training loop, for both kinds of stage.

    Args:
        training: What the stages share.
        stage: The stage to train.
        network: Its network, on the device.
        prefix: The frozen stages in front of it, on the device.

    Attributes:
        step: Optimiser steps done.
    """

    def __init__(
        self, training: Training, stage: Stage, network: nn.Module, prefix: Frozen
    ) -> None:
        self.step = 0
        self._training, self._stage = training, stage
        self._network, self._prefix = network, prefix
        self._settings = training.recipe.for_stage(stage)
        self._optimizer = build_optimizer(network, self._settings)
        self._task = task_of(stage, self._settings, prefix, training.compute)
        self._directory = training.run.stage(stage)
        self._began = self._lap = time.perf_counter()
        self._lap_step = 0
        self._lap_loss: Tensor | float = 0.0

    @property
    def seconds(self) -> float:
        """Time spent on this stage, earlier starts included."""
        return time.perf_counter() - self._began

    def resume(self) -> None:
        """Load the newest readable state, if there is one."""
        state, warnings = self._directory.load_state()
        for warning in warnings:
            self._training.watcher.warn(warning)
        if state is not None:
            self._network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.step = self._lap_step = state["step"]
            self._began -= state["seconds"]
        self._directory.rewind_log(self.step)

    def run(self) -> None:
        """Do the steps that are left: feed, optimise, log, validate, save."""
        settings, watcher = self._settings, self._training.watcher
        watcher.start(self._stage, step=self.step, steps=settings.steps)
        self._network.train()
        for batch in self._batches():
            self._lap_loss += self._optimise(batch)
            self.step += 1
            last = self.step == settings.steps
            if self._is_due(settings.save_every):
                self._require_finite_loss()
            figures = self._log() if last or self._is_due(settings.log_every) else None
            watcher.advance(self.step, figures)
            if last or self._is_due(settings.validate_every):
                watcher.validated(self.step, self._validate())
            if not last and self._is_due(settings.save_every):
                self._save()

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _batches(self) -> Iterator[data.Sample]:
        recipe, settings = self._training.recipe, self._settings
        samples = data.TrainingSamples(
            self._training.train,
            data.Augmentation(
                settings.crop, settings.scale, settings.long_side, settings.flip, settings.turns
            ),
            None if self._stage.is_clean else self._training.noise,
            key=(recipe.seed, self._stage.id),
            cache_mb=recipe.data.cache_mb,
        )
        return data.batches(
            samples,
            first_step=self.step,
            last_step=settings.steps,
            batch_size=settings.batch_size,
            workers=recipe.data.workers,
            pin_memory=self._training.compute.device.type == "cuda",
        )

    def _optimise(self, batch: data.Sample) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._settings, self.step)
        batch = data.Sample(*(self._training.compute.send(tensor) for tensor in batch))
        # Dropout follows from the step too, or a resumed run would differ.
        torch.manual_seed(seed_from(self._training.recipe.seed, self._stage.id, "step", self.step))
        try:
            loss = self._task(self._network, batch)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
        except (RuntimeError, ValueError, TypeError, IndexError) as error:  # anyone's network
            raise SdabnError(
                f"The network of {self._stage.id} failed at step {self.step + 1}: {error}",
                f"The batch is {tuple(batch.clean.shape)}; too little memory asks for a smaller "
                "batch_size or crop.",
            ) from error
        self._optimizer.step()
        return loss.detach()

    def _require_finite_loss(self) -> float:
        """Mean loss since the last log; one that is not a number must not reach a saved state."""
        mean = float(self._lap_loss) / (self.step - self._lap_step)
        if not math.isfinite(mean):
            group = "segment" if self._stage.kind == "seg" else "denoise"
            raise SdabnError(
                f"The loss of {self._stage.id} is {mean} at step {self.step}.",
                "The last saved state is kept. Remove the stage's directory and try a smaller "
                f"learning rate: --set stages.{self._stage.id}.learning_rate=... or "
                f"--set {group}.learning_rate=...",
            )
        return mean

    def _log(self) -> dict[str, float]:
        images = (self.step - self._lap_step) * self._settings.batch_size
        figures = {
            "loss": self._require_finite_loss(),
            "learning_rate": learning_rate(self._settings, self.step - 1),
            "images_per_second": images / max(time.perf_counter() - self._lap, 1e-9),
        }
        self._start_lap()
        self._directory.log({"step": self.step, **figures, "seconds": self.seconds})
        return figures

    def _start_lap(self) -> None:
        self._lap, self._lap_step, self._lap_loss = time.perf_counter(), self.step, 0.0

    def _validate(self) -> dict[str, float]:
        self._network.eval()
        figures = validate(self._training, self._stage, self._network, self._prefix)
        self._network.train()
        entry = {"step": self.step, "validation": figures, "seconds": self.seconds}
        self._directory.log(entry)
        self._start_lap()
        return figures

    def _save(self) -> None:
        self._directory.save_state(
            {
                "step": self.step,
                "seconds": self.seconds,
                "network": self._network.state_dict(),
                "optimizer": self._optimizer.state_dict(),
            }
        )


def validate(
    training: Training, stage: Stage, network: nn.Module, prefix: Frozen
) -> dict[str, float]:
    """Measure a stage on the validation split.

    Args:
        training: What the stages share.
        stage: The stage in training.
        network: Its network, in eval mode.
        prefix: The stages in front of it.

    Returns:
        mIoU and pixel accuracy (percent) of a segmenter, PSNR (dB) of a denoiser, and the number
        of images.
    """
    recipe = training.recipe
    cascade = with_network(prefix, stage, network)
    result = evaluation.evaluate(
        cascade,
        training.validation,
        None if stage.is_clean else training.noise,
        protocol=metrics.Protocol(
            precision=training.compute.precision,
            noise=None if stage.is_clean else str(recipe.noise),
            seed=recipe.seed,
        ),
        compute=training.compute,
        limit=recipe.for_stage(stage).validation_images,
        with_ssim=False,
    )
    keys = ("miou", "pixel_accuracy") if stage.kind == "seg" else ("psnr",)
    return {key: result.units[-1][key] for key in keys} | {"images": result.images}
