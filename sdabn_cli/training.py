"""Algorithm 1: train the stages of a cascade one after the other, each with its prefix frozen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sdabn_cli import data, evaluation, model, networks, registry
from sdabn_cli.cascade import Cascade, Frozen, Unit, segment, strengthen
from sdabn_cli.contracts import Dataset, NoiseModel
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError
from sdabn_cli.losses import denoising_loss, segmentation_loss
from sdabn_cli.metrics import Protocol as MetricProtocol
from sdabn_cli.randomness import seed_from
from sdabn_cli.recipe import DenoiseSettings, Recipe, SegmentSettings
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage, stages


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
        """Open the data of a recipe, check every label and claim the run directory.

        Raises:
            SdabnError: If the directory is another recipe's, or the data is missing or wrong;
                nothing has been written then.
        """
        run.check_recipe(recipe)
        check_plugins(recipe)
        splits = (recipe.data.train_split, recipe.data.validation_split)
        train, validation = (data.open_split(recipe.data, split) for split in splits)
        for split in (train, validation):
            data.check_labels(split)
        training = cls(recipe, run, train, validation, compute, watcher)
        run.write_recipe(recipe)
        return training


def check_plugins(recipe: Recipe) -> None:
    """Make sure that every plug-in a recipe names is there and accepts its options.

    Raises:
        SdabnError: With the nearest match.
    """
    chosen = [("segmenter", recipe.segmenter), ("denoiser", recipe.denoiser),
              ("noise", recipe.noise), ("dataset", recipe.data.dataset)]  # fmt: skip
    for kind, choice in chosen:
        plugin = registry.find(kind, choice.name)
        registry.check_options(plugin, plugin.load(), choice.options)


def train_cascade(training: Training) -> None:
    """Train every stage of Algorithm 1 that is not finished, in order."""
    for stage in stages(training.recipe.units):
        if training.run.stage(stage).status != "finished":
            train_stage(training, stage)
        if stage.kind == "denoise":
            write_model(training.run, training.recipe, training.train, units=stage.index)


def train_stage(training: Training, stage: Stage) -> None:
    """Train one stage from where it was stopped, or from its beginning.

    Raises:
        SdabnError: If an earlier stage is missing, or the loss is no longer a number.
    """
    require_earlier(training.run, stage)
    settings = training.recipe.for_stage(stage)
    network = training.compute.place(starting_network(training, stage))
    prefix = training.compute.place(frozen_prefix(training, stage))
    optimizer = build_optimizer(network, settings)
    step, seconds = _resume(training, stage, network, optimizer)
    training.watcher.start(stage, step=step, steps=settings.steps)
    loop = _Loop(training, stage, settings, network, prefix, optimizer, step, seconds)
    loop.run()
    training.run.stage(stage).finish(networks.weights_of(network))
    training.watcher.finish(stage, loop.seconds)


@dataclass
class _Loop:
    """The one training loop, for both kinds of stage."""

    training: Training
    stage: Stage
    settings: SegmentSettings | DenoiseSettings
    network: nn.Module
    prefix: Frozen
    optimizer: torch.optim.Optimizer
    step: int
    seconds: float
    """Time spent on this stage, earlier starts included."""

    def run(self) -> None:
        """Do the steps that are left: feed, optimise, log, validate, save."""
        task = task_of(self.stage, self.settings, self.prefix, self.training)
        last, began, logged = self.settings.steps, time.monotonic(), self.step
        before = self.seconds
        self.network.train()
        for batch in self._batches():
            loss = self._optimise(task, batch)
            self.step += 1
            self.seconds = before + time.monotonic() - began
            if self.step % self.settings.log_every == 0 or self.step == last:
                self._log(float(loss), self.step - logged)
                logged = self.step
            else:
                self.training.watcher.advance(self.step, None)
            if self.step == last or self._is_due(self.settings.validate_every):
                self._validate()
            if self.step < last and self._is_due(self.settings.save_every):
                self._save()

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _batches(self) -> torch.utils.data.DataLoader:
        recipe, settings = self.training.recipe, self.settings
        augmentation = data.Augmentation(
            settings.crop, settings.scale, settings.long_side, settings.flip, settings.turns
        )
        samples = data.TrainingSamples(
            self.training.train,
            augmentation,
            None if self.stage.is_clean else self.training.noise,
            key=(recipe.seed, self.stage.id),
            cache_mb=recipe.data.cache_mb,
        )
        return data.batches(
            samples,
            first_step=self.step,
            last_step=settings.steps,
            batch_size=settings.batch_size,
            workers=recipe.data.workers,
        )

    def _optimise(self, task: Task, batch: data.Sample) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, self.step)
        batch = data.Sample(*(self.training.compute.send(tensor) for tensor in batch))
        loss = task(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _log(self, loss: float, steps: int) -> None:
        if loss != loss or loss in (float("inf"), float("-inf")):
            raise SdabnError(
                f"The loss of {self.stage.id} is {loss} at step {self.step}.",
                "The last saved state is kept. Try a smaller learning rate: --set "
                f"{'segment' if self.stage.kind == 'seg' else 'denoise'}.learning_rate=...",
            )
        now = time.monotonic()
        rate = steps * self.settings.batch_size / max(now - self._last_log, 1e-9)
        self._last_log = now
        figures = {
            "loss": loss,
            "learning_rate": learning_rate(self.settings, self.step - 1),
            "images_per_second": rate,
        }
        self._directory.log({"step": self.step} | figures | {"seconds": self.seconds})
        self.training.watcher.advance(self.step, figures)

    def __post_init__(self) -> None:
        self._last_log = time.monotonic()
        self._directory = self.training.run.stage(self.stage)

    def _validate(self) -> None:
        self.network.eval()
        figures = validate(self.training, self.stage, self.network, self.prefix, self.settings)
        self.network.train()
        self._directory.log(
            {"step": self.step, "validation": figures, "seconds": self.seconds}
        )
        self.training.watcher.validated(self.step, figures)
        self._last_log = time.monotonic()

    def _save(self) -> None:
        self._directory.save_state(
            {
                "step": self.step,
                "seconds": self.seconds,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )


Task = Callable[[nn.Module, data.Sample], Tensor]
"""Maps the network in training and a batch to the loss."""


def task_of(
    stage: Stage,
    settings: SegmentSettings | DenoiseSettings,
    prefix: Frozen,
    training: Training,
) -> Task:
    """The stage's forward pass and loss; the prefix runs first, without gradients."""
    compute = training.compute
    weights = getattr(settings, "class_weights", None)
    class_weights = None if weights is None else torch.tensor(weights, device=compute.device)

    def segmentation_task(network: nn.Module, batch: data.Sample) -> Tensor:
        with compute.autocast():
            image, _ = stage_input(prefix, stage, batch)
            logits = segment(network, image)
        return segmentation_loss(logits, batch.labels, class_weights)

    def denoising_task(network: nn.Module, batch: data.Sample) -> Tensor:
        with compute.autocast():
            image, condition = stage_input(prefix, stage, batch)
            estimate = network(image, condition)
        return denoising_loss(estimate, batch.clean, settings.border)

    return segmentation_task if stage.kind == "seg" else denoising_task


def stage_input(
    prefix: Frozen, stage: Stage, batch: data.Sample
) -> tuple[Tensor, Tensor | None]:
    """What the network in training sees: image and, for denoisers, the condition.

    On a CPU the prefix runs image by image: its maps then stay in the caches, which makes it
    several times faster than a whole batch. Frozen networks do not mix the images of a batch, so
    the result is the same.
    """
    size = 1 if batch.noisy.device.type == "cpu" else len(batch.noisy)
    parts = [
        _stage_input(prefix, stage, data.Sample(*part))
        for part in zip(*(tensor.split(size) for tensor in batch), strict=True)
    ]
    images, conditions = zip(*parts, strict=True)
    if len(parts) == 1:
        return images[0], conditions[0]
    return torch.cat(images), None if conditions[0] is None else torch.cat(conditions)


def _stage_input(
    prefix: Frozen, stage: Stage, batch: data.Sample
) -> tuple[Tensor, Tensor | None]:
    outputs = prefix(batch.noisy, truth=batch.labels)
    estimates = [output.estimate for output in outputs if output.estimate is not None]
    estimate = estimates[-1] if estimates else None
    if stage.kind == "seg":
        return (batch.noisy if estimate is None else estimate), None
    cascade = prefix.module
    condition = cascade.condition_from(outputs[-1].logits, batch.noisy, batch.labels)
    return strengthen(batch.noisy, estimate), condition


def require_earlier(run: Run, stage: Stage) -> None:
    """Make sure that every stage this one builds on is finished.

    Raises:
        SdabnError: Naming the first that is missing and the command that trains it.
    """
    for needed in [*([stage.starts_from] if stage.starts_from else []), *stage.prefix]:
        if run.stage(needed).status != "finished":
            earlier = Stage.parse(needed)
            raise SdabnError(
                f"Stage {stage.id} needs stage {needed}, which is "
                f"{'not finished' if run.stage(needed).status == 'started' else 'missing'} in "
                f"{run.path}.",
                f"Train it first: sdabn train-stage --index {earlier.index} --kind "
                f"{earlier.kind} --run {run.path}",
            )


def starting_network(training: Training, stage: Stage) -> nn.Module:
    """Build a stage's network: S_i from S_{i-1}, D_i and s0 from random weights of their own."""
    torch.manual_seed(seed_from(training.recipe.seed, stage.id, "initial weights"))
    network = networks.for_kind(
        training.recipe, stage.kind, num_classes=len(training.train.classes)
    )
    if stage.starts_from:
        networks.load_weights(network, training.run.stage(stage.starts_from).weights)
    return network


def trained_network(training: Training, stage_id: str) -> nn.Module:
    """Build the network of a finished stage with its weights."""
    stage = Stage.parse(stage_id)
    network = networks.for_kind(
        training.recipe, stage.kind, num_classes=len(training.train.classes)
    )
    networks.load_weights(network, training.run.stage(stage).weights)
    return network


def frozen_prefix(training: Training, stage: Stage) -> Frozen:
    """The stages in front of this one, as a cascade that nothing can train."""
    ids = stage.prefix
    loaded = {id_: trained_network(training, id_) for id_ in ids}
    units = [Unit(loaded[s], loaded.get(f"d{s[1:]}")) for s in ids if s.startswith("s")]
    recipe = training.recipe
    return Frozen(Cascade(units, condition=recipe.condition, form=recipe.condition_form))


def with_network(prefix: Frozen, stage: Stage, network: nn.Module) -> Cascade:
    """The prefix and the network in training behind it, as one cascade."""
    cascade: Cascade = prefix.module
    units = list(cascade.units)
    if stage.kind == "seg":
        units.append(Unit(network))
    else:
        units[-1] = Unit(units[-1].segmenter, network)
    return Cascade(units, condition=cascade.condition, form=cascade.form)


def build_optimizer(
    network: nn.Module, settings: SegmentSettings | DenoiseSettings
) -> torch.optim.Optimizer:
    """SGD with momentum, Adam or AdamW, as the settings say."""
    common = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), momentum=settings.momentum, **common)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(network.parameters(), **common)


def learning_rate(settings: SegmentSettings | DenoiseSettings, step: int) -> float:
    """Polynomial decay from the first to the final rate, after a linear warm-up.

    Args:
        settings: The stage's.
        step: From 0 to ``steps`` - 1.
    """
    left = (1 - step / settings.steps) ** settings.power
    rate = settings.final_learning_rate + left * (
        settings.learning_rate - settings.final_learning_rate
    )
    return rate * min(1.0, (step + 1) / (settings.warmup_steps + 1))


def validate(
    training: Training,
    stage: Stage,
    network: nn.Module,
    prefix: Frozen,
    settings: SegmentSettings | DenoiseSettings,
) -> dict[str, float]:
    """mIoU and pixel accuracy of a segmenter, PSNR of a denoiser, on the validation split."""
    noise = None if stage.is_clean else training.noise
    protocol = MetricProtocol(
        noise=None if stage.is_clean else str(training.recipe.noise), seed=training.recipe.seed
    )
    result = evaluation.evaluate(
        with_network(prefix, stage, network),
        training.validation,
        noise,
        protocol=protocol,
        compute=training.compute,
        limit=settings.validation_images,
        with_ssim=False,
    )
    last = result.units[-1]
    keys = ("miou", "pixel_accuracy") if stage.kind == "seg" else ("psnr",)
    return {key: last[key] for key in keys} | {"images": result.images}


def _resume(
    training: Training, stage: Stage, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Load the newest state, if there is one, and return its step and seconds."""
    directory = training.run.stage(stage)
    state, warnings = directory.load_state()
    for warning in warnings:
        training.watcher.warn(warning)
    if state is None:
        directory.rewind_log(0)
        return 0, 0.0
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    directory.rewind_log(state["step"])
    return state["step"], state["seconds"]


def write_model(run: Run, recipe: Recipe, dataset: Dataset, *, units: int) -> None:
    """Write the first units of a run as a model, ready to use."""

    def network(stage_id: str, plugin: Any) -> model.Network:
        weights = f"{stage_id}.safetensors"
        return model.Network(
            plugin=plugin.name, options=plugin.options, weights=weights, sha256="0" * 64
        )

    described = [
        model.UnitDescription(
            segmenter=network(f"s{i}", recipe.segmenter),
            denoiser=network(f"d{i}", recipe.denoiser),
        )
        for i in range(1, units + 1)
    ]
    description = model.Description(
        units=described,
        classes=list(dataset.classes),
        palette=list(dataset.palette),
        condition=recipe.condition,
        condition_form=recipe.condition_form,
        noise=str(recipe.noise),
        distributions=model.versions(),
    )
    ids = [id_ for i in range(1, units + 1) for id_ in (f"s{i}", f"d{i}")]
    weights = {
        f"{id_}.safetensors": networks.read_weights(run.stage(id_).weights) for id_ in ids
    }
    model.save(run.model, description, weights)
