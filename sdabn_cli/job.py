"""What the stages of a training share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sdabn_cli.contracts import Dataset, NoiseModel
from sdabn_cli.data import DecodedCache
from sdabn_cli.device import Compute
from sdabn_cli.recipe import Recipe
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage


class Watcher(Protocol):
    """Whoever shows a training to a person."""

    def warn(self, message: str) -> None:
        """Something went wrong that the training can live with."""

    def start(self, stage: Stage, *, step: int, steps: int) -> None:
        """A stage begins, or goes on, at a step."""

    def advance(self, step: int, figures: dict[str, float] | None) -> None:
        """A step is done; figures come with every logged one."""

    def validating(self, done: int, images: int) -> None:
        """A validation has measured some of its images."""

    def validated(self, step: int, figures: dict[str, float]) -> None:
        """A validation is done."""

    def ended_early(self, step: int, best_step: int) -> None:
        """Patience ends the stage: nothing was better than an earlier step."""

    def finish(self, stage: Stage, seconds: float) -> None:
        """The stage is finished."""


@dataclass(frozen=True)
class Training:
    """Everything that the stages of a run share.

    Attributes:
        recipe: The resolved recipe.
        run: Where everything is written.
        train: Training split, decoded as far as memory allows.
        validation: Validation split.
        noise: The recipe's noise.
        compute: Device, precision and processes.
        watcher: Shows progress.
    """

    recipe: Recipe
    run: Run
    train: DecodedCache
    validation: Dataset
    noise: NoiseModel
    compute: Compute
    watcher: Watcher

    def noise_of(self, stage: Stage) -> NoiseModel | None:
        """Noise that a stage sees; None for the clean stage s0."""
        return None if stage.is_clean else self.noise
