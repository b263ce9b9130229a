"""Run directories: the recipe, a folder a stage, and the finished model.

RUN/recipe.yaml                          the resolved recipe
    classes.json                         names of the data set's classes
    s1/ metrics.jsonl                    a line per log step
        state.pt, state.previous.pt      while in training: the newest state and the one before
        weights.safetensors              once the stage is finished, and only then
        best.safetensors                 weights of the best validation, if not the last one
        last.safetensors                 weights of the last step, if the stage hands on the best
        pictures/, tensorboard/          to look at
    .lock                                held by the process that trains
    init/ *.safetensors, *.json          weights that the recipe gives, and where they came from
    model/ cascade.json, *.safetensors   all that running and evaluating need
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from sdabn_cli import (
    changes,
    given,
    journal,
    networks,
    origin,
    recipefiles,
    statefiles,
    states,
)
from sdabn_cli.description import DESCRIPTION
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import sweep, write_together
from sdabn_cli.recipe import Recipe
from sdabn_cli.schedule import Stage

RECIPE = "recipe.yaml"
CLASSES = "classes.json"
LOCK = ".lock"

#: As many keys of another recipe are told before the rest is counted.
FEW = 8

#: How long the lock is waited for, in seconds.
PATIENCE = 1.0

#: Characters of a path that messages show.
LONGEST_NAME = 200


def default_path(recipe_name: str) -> Path:
    """Where a training of that recipe goes unless told otherwise: ``runs/camvid-awgn50``."""
    stem = Path(recipe_name).stem if recipe_name.endswith((".yaml", ".yml")) else recipe_name
    return Path("runs") / stem.replace("/", "-")


def _unusable(path: Path, error: OSError | ValueError) -> SdabnError:
    """Too long a name, no permission, a null character."""
    reason = getattr(error, "strerror", None) or error
    return SdabnError(
        f"The run directory {str(path)[:LONGEST_NAME]!r} cannot be used: {reason}.",
        "Give another directory with --run.",
    )


class AnotherRecipe(SdabnError):
    """A run directory belongs to another recipe than the one asked for."""


class Run:
    """One run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stage(self, stage: Stage | str) -> StageDirectory:
        """Directory of a stage, whether it exists or not."""
        return StageDirectory(self.path / (stage if isinstance(stage, str) else stage.id))

    @property
    def model(self) -> Path:
        """Directory of the finished model."""
        return self.path / "model"

    def has_recipe(self) -> bool:
        """Whether a training was begun here.

        Raises:
            SdabnError: If the directory cannot be looked into.
        """
        try:
            return (self.path / RECIPE).is_file()
        except OSError as error:
            raise _unusable(self.path, error) from error

    def check_recipe(self, recipe: Recipe) -> None:
        """Make sure that this directory is empty or belongs to the recipe.

        Raises:
            AnotherRecipe: If it holds another recipe, with keys that differ.
            SdabnError: If it holds other files, or cannot be looked into.
        """
        try:
            self._check_recipe(recipe)
        except (OSError, ValueError) as error:
            raise _unusable(self.path, error) from error

    def _check_recipe(self, recipe: Recipe) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise SdabnError(f"{self.path} is a file, not a run directory.", "Give another --run.")
        if not self.has_recipe():
            names = {p.name for p in self.path.iterdir()} if self.path.is_dir() else set()
            # Classes alone may be those of a claim that was cut short; see ``check_classes``.
            if any(name[0] != "." for name in names - {CLASSES}):
                raise self._no_run()
            return
        old, new = given.by_content(self.read_recipe(), recipe, self.path)
        changed = changes.differences(old, new, self.begun())
        if changed:
            told = changed[:FEW] + [f"and {len(changed) - FEW} more"] * (len(changed) > FEW)
            raise AnotherRecipe(
                f"The run directory {self.path} belongs to another recipe:\n" + "\n".join(told),
                "Give another directory with --run; the run's own recipe is used without --recipe: "
                f"--run {self.path}",
            )

    def _no_run(self) -> SdabnError:
        return SdabnError(
            f"The directory {self.path} is not empty and holds no run ({RECIPE}).",
            "Give an empty or a new directory with --run.",
        )

    def lock(self) -> FileLock:
        """Keep other trainings out of this directory until the lock is released, or we die.

        Raises:
            SdabnError: If another process trains in it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(self.path, error) from error
        lock = FileLock(self.path / LOCK, is_singleton=True)
        try:
            # Whoever asks whether the run is in training holds the lock for an instant.
            lock.acquire(timeout=PATIENCE, poll_interval=0.05)
        except Timeout as error:
            raise SdabnError(
                f"Another process is training in the run directory {self.path}.",
                "Wait until it is done or stop it, or give another directory with --run.",
            ) from error
        return lock

    def read_classes(self) -> list[str] | None:
        """Classes of the run's data set; None before the first training.

        Raises:
            SdabnError: If the file is damaged.
        """
        path = self.path / CLASSES
        if not path.is_file():
            return None
        try:
            classes = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):  # neither JSON nor even text
            classes = None
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise SdabnError(
                f"{path} is damaged: it holds no list of classes.",
                "Remove it; the next training in the run writes it again.",
            )
        return classes

    def check_classes(self, classes: Sequence[str]) -> None:
        """Make sure that the data set still has the classes the run was started with.

        Raises:
            SdabnError: With both lists; or if there is no run, but a file of other classes.
        """
        own = self.read_classes()
        if own is None or own == list(classes):
            return
        if not (self.path / RECIPE).is_file():
            raise self._no_run()
        raise SdabnError(
            f"The run {self.path} was trained on the classes {', '.join(own)}; the data set "
            f"has {', '.join(classes)}.",
            "Give another directory with --run.",
        )

    def begun(self) -> list[Stage]:
        """Stages that are finished or have a state to go on from."""
        return [stage for stage in self._stages() if self.stage(stage).status != "missing"]

    def _stages(self) -> list[Stage]:
        """Stages that have a directory."""
        found = []
        for path in sorted(self.path.iterdir()):
            with contextlib.suppress(SdabnError):  # not a stage's directory
                found.append(Stage.parse(path.name))
        return found

    def tidy(self) -> None:
        """Remove what trainings that were killed have left half-written; call it under the lock."""
        sweep(self.path, RECIPE, CLASSES)
        sweep(self.model, DESCRIPTION, "*.safetensors")
        sweep(self.path / origin.FOLDER, "*.json", "*.safetensors")
        for stage in self._stages():
            self.stage(stage).tidy()

    def read_recipe(self) -> Recipe:
        """Read the recipe this run was started with.

        Raises:
            SdabnError: If there is none, or it is damaged.
        """
        path = self.path / RECIPE
        if not self.has_recipe():
            raise SdabnError(f"{self.path} is not a run directory: it holds no {RECIPE}.")
        return recipefiles.read_resolved(path)

    def claim(self, recipe: Recipe, classes: Sequence[str]) -> None:
        """Record recipe and classes; call ``check_recipe`` and ``check_classes`` first.

        The recipe takes its place first: a directory with it is a run, with classes or without.
        """
        text, names = recipefiles.dump(recipe), json.dumps(list(classes))
        write_together(
            {
                self.path / RECIPE: lambda file: file.write(text.encode()),
                self.path / CLASSES: lambda file: file.write(names.encode()),
            }
        )


class StageDirectory:
    """One stage of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights = path / "weights.safetensors"
        self._best = path / "best.safetensors"
        self._last = path / "last.safetensors"
        self._metrics = path / "metrics.jsonl"

    @property
    def status(self) -> str:
        """``finished``, ``started`` or ``missing``."""
        if self.weights.is_file():
            return "finished"
        return "started" if statefiles.existing(self.path) else "missing"

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Keep a training state; see ``states.save``."""
        states.save(self.path, state)

    def load_state(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Read the newest sound state, and a warning for each one that is damaged."""
        return states.load(self.path)

    def save_best(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Keep the weights of the best validation so far."""
        networks.save_weights(self._best, weights)

    def finish(self, last: Mapping[str, torch.Tensor], *, hand_on: str) -> None:
        """Write the finished weights and drop the training states.

        Args:
            last: Weights of the last step.
            hand_on: ``last``, or ``best`` for those that ``save_best`` kept, if there are any.
        """
        if hand_on == "best" and self._best.is_file():
            networks.save_weights(self._last, last)
            os.replace(self._best, self.weights)
        else:
            networks.save_weights(self.weights, last)
        states.drop(self.path)

    def tidy(self) -> None:
        """Remove half-written files, and states that a finished stage needs no more."""
        own = (self.weights, self._best, self._last, self._metrics)
        sweep(self.path, *statefiles.NAMES, *(path.name for path in own))
        sweep(self.path / "pictures", "*.png")
        if self.status == "finished":
            states.drop(self.path)

    def drop_best(self) -> None:
        """Forget the best weights: the last ones are no worse."""
        self._best.unlink(missing_ok=True)

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append a line to ``metrics.jsonl``.

        Raises:
            SdabnError: If it cannot be written, such as on a full disk.
        """
        journal.append(self._metrics, entry)

    def rewind_log(self, step: int) -> None:
        """Drop lines past a step: they belong to work that was lost and is done again."""
        journal.rewind(self._metrics, step)

    def read_log(self) -> list[dict[str, Any]]:
        """All lines of ``metrics.jsonl`` that can be read."""
        return journal.read(self._metrics)
