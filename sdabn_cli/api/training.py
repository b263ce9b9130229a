"""Train a stage or a cascade by the names of its recipe and its run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sdabn_cli import datasets, recipefiles, training
from sdabn_cli.api.checking import checked, texts_of
from sdabn_cli.assembly import require_earlier
from sdabn_cli.console import TrainingDisplay, say
from sdabn_cli.device import Compute, choose
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.job import Watcher
from sdabn_cli.plan import check_noise, check_plugins, describe
from sdabn_cli.recipe import Recipe
from sdabn_cli.runs import RECIPE, Run, default_path
from sdabn_cli.schedule import Stage, stages

Overrides = Mapping[str, Any] | Iterable[str]


@checked()
def train_stage(
    recipe: str | Path | None = None,
    *,
    index: int,
    kind: str,
    run: str | Path | None = None,
    data: str | Path | None = None,
    overrides: Overrides = (),
    device: str = "auto",
    dry_run: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Train one stage with its prefix frozen; it goes on where it was stopped.

    Args:
        recipe: Name of a recipe or path of a .yaml file; by default that of an existing run,
            otherwise ``scenes/quickstart``.
        index: Unit, from 1; 0 is the clean segmenter s0.
        kind: ``seg`` or ``denoise``.
        run: Run directory; ``runs/<recipe>`` by default.
        data: Directory of the data set.
        overrides: Keys of the recipe and their values, as ``{"segment.steps": 100}`` or
            ``["segment.steps=100"]``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dry_run: Only say what would be trained; data that was given is opened, noise tried.
        progress: Show on stderr what ``sdabn train-stage`` shows.

    Returns:
        What ``sdabn train-stage --json`` prints: ``{"stages": [...], "parameters", "run"}``.

    Raises:
        SdabnError: If a name or a value is wrong, an earlier stage is missing, the data is missing
            or wrong, another process trains in the run, or the loss is no longer a number.
        Stopped: At SIGINT or SIGTERM, once the training's state is saved.
    """
    stage = Stage(index, kind)
    settings, directory = _prepare(recipe, run, data, overrides, None, dry_run=dry_run)
    require_earlier(settings, directory, stage)
    compute = choose(device, settings.precision)
    if not dry_run:
        _train(settings, directory, compute, [stage], progress=progress)
    return describe(settings, directory, [stage])


@checked()
def train_cascade(
    recipe: str | Path | None = None,
    *,
    units: int | None = None,
    run: str | Path | None = None,
    data: str | Path | None = None,
    overrides: Overrides = (),
    device: str = "auto",
    dry_run: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Train a cascade by Algorithm 1: s0, s1, d1, s2, d2, ...; finished stages are kept.

    Args:
        recipe: As of ``train_stage``, and so are the others.
        units: Units to train; the recipe's by default.
        run: Run directory.
        data: Directory of the data set.
        overrides: Keys of the recipe and their values.
        device: Where to train.
        dry_run: Only say what would be trained; data that was given is opened, noise tried.
        progress: Show on stderr what ``sdabn cascade`` shows.

    Returns:
        What ``sdabn cascade --json`` prints; ``load`` takes its ``"run"``.

    Raises:
        SdabnError: As ``train_stage``.
        Stopped: As ``train_stage``.
    """
    texts = texts_of(overrides)
    settings, directory = _prepare(recipe, run, data, texts, units, dry_run=dry_run)
    todo = stages(settings.units)
    _check_stages(texts, todo)
    compute = choose(device, settings.precision)
    if not dry_run:
        _train(settings, directory, compute, todo, progress=progress)
    return describe(settings, directory, todo)


def _prepare(
    recipe: str | Path | None,
    run: str | Path | None,
    data: str | Path | None,
    overrides: Overrides,
    units: int | None,
    *,
    dry_run: bool,
) -> tuple[Recipe, Run]:
    """The resolved recipe, and the run directory that it may train in."""
    path = None if run is None else Path(run)
    if recipe is None:
        has_own = path is not None and Run(path).has_recipe()
        recipe = path / RECIPE if path and has_own else recipefiles.DEFAULT_RECIPE
    name = str(recipe)
    root = None if data is None else str(data)
    texts = texts_of(overrides)
    settings = recipefiles.load(name, texts, units=units, data__root=root)
    chosen = (settings.data.dataset, *settings.data.also)
    # Without --data a plan is told all the same, but of what draws its images.
    can_open = not datasets.reads_root(settings.data.dataset.name)
    # One that a recipe holds may be of the data set that was in place of this one.
    if root is not None or any(text.partition("=")[0].strip() == "data.root" for text in texts):
        datasets.check_root(settings.data.root, *(each.name for each in chosen))
        can_open = True
    directory = Run(path or default_path(name))
    directory.check_recipe(settings)
    if dry_run and can_open:  # a training opens them itself, behind what is checked here
        check_plugins(settings)
        check_noise(settings)
        training.check_class_weights(settings, datasets.open_training(settings.data))
        datasets.open_split(settings.data, settings.data.validation_split)
    return settings, directory


def _check_stages(overrides: Iterable[str], todo: list[Stage]) -> None:
    """Refuse settings of stages that are not trained; a recipe's file may have more units."""
    there = {stage.id for stage in todo}
    for override in overrides:
        group, _, rest = override.partition("=")[0].strip().partition(".")
        name = rest.partition(".")[0]
        if group == "stages" and name and name not in there:
            raise SdabnError(
                f"--set {override}: there is no stage {name} in a cascade of "
                f"{todo[-1].index} unit{'s' * (todo[-1].index > 1)}.",
                did_you_mean(name, there),
            )


def _train(
    recipe: Recipe, run: Run, compute: Compute, todo: list[Stage], *, progress: bool
) -> None:
    with _watcher(progress) as watcher:
        if progress:
            say(f"{run.path}: {compute}")
        with training.opened(recipe, run, compute, watcher) as prepared:
            for stage in todo:
                training.train_stage(prepared, stage)


@contextlib.contextmanager
def _watcher(progress: bool) -> Iterator[Watcher]:
    if not progress:
        yield Quiet()
        return
    with TrainingDisplay() as display:
        yield display


class Quiet:
    """Shows nothing of a training; what went wrong becomes a Python warning."""

    def warn(self, message: str) -> None:
        """See ``job.Watcher``."""
        warnings.warn(message, stacklevel=2)

    def start(self, stage: Stage, *, step: int, steps: int) -> None:
        """See ``job.Watcher``."""

    def advance(self, step: int, figures: dict[str, float] | None) -> None:
        """See ``job.Watcher``."""

    def validating(self, done: int, images: int) -> None:
        """See ``job.Watcher``."""

    def validated(self, step: int, figures: dict[str, float]) -> None:
        """See ``job.Watcher``."""

    def ended_early(self, step: int, best_step: int) -> None:
        """See ``job.Watcher``."""

    def finish(self, stage: Stage, seconds: float) -> None:
        """See ``job.Watcher``."""
