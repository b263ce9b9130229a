"""Train what a table needs; what is there already is kept.

    RUN/seed0/clean-5f0c9e12/s0/           the clean segmenter, which all noises share
        gaussian-sigma-50/sdb/             a run directory a system
            measured/d3.json               figures of the cascade that ends in d3, image by image

Stages that two systems have in common are trained once and copied.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sdabn_cli import training
from sdabn_cli.device import Compute
from sdabn_cli.files import write_atomically
from sdabn_cli.job import Watcher
from sdabn_cli.recipe import Recipe
from sdabn_cli.reproduction.systems import SYSTEMS, Point, changed
from sdabn_cli.runs import Run, StageDirectory
from sdabn_cli.schedule import Stage

#: The system whose stages others share.
FIRST = "sdb"

CLEAN = Stage(0, "seg")


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

    def missing(self, points: Iterable[Point]) -> list[tuple[str, Stage]]:
        """Stages that are not trained yet, in order, each once, with the system they belong to."""
        found: list[tuple[str, Stage]] = []
        for point in points:
            for stage in point.needed:
                owner = FIRST if stage.id in SYSTEMS[point.system].shares else point.system
                trained = self.run_of(owner).stage(stage).status == "finished"
                if owner == FIRST and stage == CLEAN and self._clean.status == "finished":
                    trained = True
                if not trained and (owner, stage) not in found:
                    found.append((owner, stage))
        return found

    def train(self, points: Iterable[Point], compute: Compute, watcher: Watcher) -> None:
        """Train what is missing.

        Raises:
            SdabnError: As ``training.opened`` and ``training.train_stage``.
            Stopped: At a signal, once the state is saved.
        """
        needed: dict[str, set[Stage]] = {FIRST: set()}
        for point in points:
            shared = SYSTEMS[point.system].shares
            for stage in point.needed:
                needed.setdefault(point.system, set()).add(stage)
                if stage.id in shared:
                    needed[FIRST].add(stage)
        for system, stages in needed.items():
            self._train(system, sorted(stages, key=order), compute, watcher)

    def _train(self, system: str, stages: list[Stage], compute: Compute, watcher: Watcher) -> None:
        run, shared = self.run_of(system), SYSTEMS[system].shares
        if all(run.stage(stage).status == "finished" for stage in stages):
            return
        with training.opened(self.recipe_of(system), run, compute, watcher) as prepared:
            for stage in stages:
                if compute.processes.is_main:
                    self._take(stage, system, shared)
                compute.processes.wait()
                training.train_stage(prepared, stage)
                if compute.processes.is_main and system == FIRST and stage == CLEAN:
                    copy_stage(run.stage(stage), self._clean)

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
        decisive = {
            "data": recipe.data.model_dump(mode="json", exclude={"root", "workers", "cache_mb"}),
            "segmenter": recipe.segmenter.model_dump(mode="json"),
            "precision": recipe.precision,
            "stage": recipe.for_stage(CLEAN).model_dump(mode="json"),
        }
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]
        return StageDirectory(self.path / f"clean-{digest}" / CLEAN.id)


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
