"""Train what a table needs; what is there already is kept.

    RUN/seed0/clean-5f0c9e12/s0/           the clean segmenter, which all noises share
        gaussian-sigma-50/sdb/             a run directory a system
            measured/d3.json               figures of the cascade that ends in d3, image by image

Stages that two systems have in common are trained once and copied. ``data.json`` beside them says
which training data they have seen; trainings on other data are not taken for them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sdabn_cli import training
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_atomically
from sdabn_cli.job import Watcher
from sdabn_cli.recipe import Recipe
from sdabn_cli.reproduction.systems import FIRST, SYSTEMS, Point, changed
from sdabn_cli.runs import Run, StageDirectory
from sdabn_cli.schedule import Stage

CLEAN = Stage(0, "seg")

#: Which training data the stages below a directory have seen.
DATA = "data.json"

ELSEWHERE = (
    "Train all of it elsewhere: --run DIR. Or ask for what was trained here, with its --precision, "
    "and without --set, --recipe, --dataset and --data that change it."
)

Watching = Callable[[str], AbstractContextManager[Watcher]]
"""Gives whoever shows the training of a system, by its name."""


@dataclass(frozen=True)
class Campaign:
    """Systems trained on one data set, with one noise and one seed.

    Attributes:
        base: Recipe of the system ``sdb``; it names the data set and holds the seed.
        path: Directory of this seed.
    """

    base: Recipe
    path: Path

    @property
    def noise(self) -> str:
        """Noise of training and measuring, as ``name:options``."""
        return str(self.base.noise)

    def recipe_of(self, system: str) -> Recipe:
        """Recipe of a system."""
        return changed(self.base, SYSTEMS[system], self.noise)

    def run_of(self, system: str) -> Run:
        """Run directory of a system."""
        return Run(self.path / file_name(self.noise) / system)

    def stages(self, points: Iterable[Point]) -> dict[str, list[Stage]]:
        """Stages that points need, in order, by the system that trains or copies them."""
        needed: dict[str, set[Stage]] = {FIRST: set()}
        for point in points:
            shared = SYSTEMS[point.system].shares
            needed.setdefault(point.system, set()).update(point.needed)
            needed[FIRST].update(stage for stage in point.needed if stage.id in shared)
        return {system: sorted(found, key=order) for system, found in needed.items() if found}

    def missing(self, points: Iterable[Point]) -> list[tuple[str, Stage]]:
        """Stages that are not trained yet, in order, each once, with the system they belong to."""
        found: list[tuple[str, Stage]] = []
        for point in points:
            system = SYSTEMS[point.system]
            for stage in point.needed:
                owner = FIRST if stage.id in system.shares else point.system
                trained = self.run_of(owner).stage(stage).status == "finished"
                if owner == FIRST and stage == CLEAN and self._clean.status == "finished":
                    trained = True
                if stage.kind == "denoise" and not system.is_trained:
                    trained = True
                if not trained and (owner, stage) not in found:
                    found.append((owner, stage))
        return found

    def check(self, points: Iterable[Point], data: str) -> None:
        """Make sure that what is trained already is what this campaign would train.

        Args:
            points: What is asked for.
            data: Digest of the training data.

        Raises:
            SdabnError: If a run directory is another recipe's, with every key that differs, or if
                its stages have seen other data.
        """
        for system in self.stages(points):
            try:
                self.run_of(system).check_recipe(self.recipe_of(system))
            except SdabnError as error:
                raise SdabnError(error.problem, ELSEWHERE) from error
        for folder in self._folders:
            known = _read_data(folder)
            if known not in ("", data):
                raise SdabnError(
                    f"{folder} holds trainings on other data than {self._data_words}: its record "
                    f"{DATA} tells {known[:8]}, the data's digest is {data[:8]}.",
                    ELSEWHERE,
                )

    def train(
        self, points: Iterable[Point], data: str, compute: Compute, watching: Watching
    ) -> None:
        """Train what is missing.

        Args:
            points: What is asked for.
            data: Digest of the training data.
            compute: Device, precision and processes.
            watching: Gives whoever shows the trainings.

        Raises:
            SdabnError: As ``check``, ``training.opened`` and ``training.train_stage``.
            Stopped: At a signal, once the state is saved.
        """
        points = list(points)
        self.check(points, data)
        for system, stages in self.stages(points).items():
            self._train(system, stages, data, compute, watching)
        if compute.processes.is_main:
            self._record(data)

    def _train(
        self, system: str, stages: list[Stage], data: str, compute: Compute, watching: Watching
    ) -> None:
        run, shared = self.run_of(system), SYSTEMS[system].shares
        if all(run.stage(stage).status == "finished" for stage in stages):
            return
        recipe = self.recipe_of(system)
        with (
            watching(system) as watcher,
            training.opened(recipe, run, compute, watcher) as prepared,
        ):
            if compute.processes.is_main:
                self._record(data)
            for stage in stages:
                if compute.processes.is_main:
                    self._take(stage, system, shared)
                compute.processes.wait()
                training.train_stage(prepared, stage)
                if compute.processes.is_main and system == FIRST and stage == CLEAN:
                    copy_stage(run.stage(stage), self._clean)

    def _record(self, data: str) -> None:
        """Say which data the stages have seen; what older versions have trained says nothing."""
        text = json.dumps({"train": data})
        for folder in self._folders:
            if not _read_data(folder):
                write_atomically(folder / DATA, lambda file: file.write(text.encode()))

    @property
    def _folders(self) -> tuple[Path, Path]:
        """Directories whose stages have seen the same data."""
        return self._clean.path.parent, self.path / file_name(self.noise)

    @property
    def _data_words(self) -> str:
        data = self.base.data
        return f"{data.dataset}" + (f" in {data.root}" if data.root else "")

    def _take(self, stage: Stage, system: str, shared: tuple[str, ...]) -> None:
        """Copy a stage that has been trained elsewhere already."""
        place = self.run_of(system).stage(stage)
        if stage.id in shared:
            copy_stage(self.run_of(FIRST).stage(stage), place)
        elif system == FIRST and stage == CLEAN and place.status == "missing":
            copy_stage(self._clean, place)

    @property
    def _clean(self) -> StageDirectory:
        """The clean segmenter of all noises, in a directory named after what decides it."""
        recipe = self.base
        stage = recipe.for_stage(CLEAN)
        decisive = {
            "data": recipe.data.model_dump(mode="json", exclude={"root", "workers", "cache_mb"}),
            "segmenter": recipe.segmenter.model_dump(mode="json"),
            "precision": recipe.precision,
            # Where nothing is averaged, it is what was trained before there were averages.
            "stage": stage.model_dump(mode="json", exclude=set() if stage.ema else {"ema"}),
        }
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]
        return StageDirectory(self.path / f"clean-{digest}" / CLEAN.id)


def _read_data(folder: Path) -> str:
    """Digest of the training data that a directory's record tells; empty if there is none."""
    try:
        found = json.loads((folder / DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(found.get("train", "")) if isinstance(found, dict) else ""


def order(stage: Stage) -> tuple[int, bool]:
    """Sorts stages as Algorithm 1 trains them."""
    return stage.index, stage.kind == "denoise"


def file_name(text: str) -> str:
    """A text as the name of a file."""
    return re.sub(r"[^A-Za-z0-9.+]+", "-", text)


def copy_stage(source: StageDirectory, target: StageDirectory) -> None:
    """Copy a finished stage; its weights come last, for they say that it is finished."""
    if source.status != "finished" or target.status == "finished":
        return
    target.path.mkdir(parents=True, exist_ok=True)
    for path in source.path.glob("metrics.jsonl"):
        shutil.copyfile(path, target.path / path.name)
    content = source.weights.read_bytes()
    write_atomically(target.weights, lambda file: file.write(content))
