"""Train what a table needs; what is there already is kept.

    RUN/seed0/clean-5f0c9e12/s0/           the clean segmenter, which all noises share
        gaussian-sigma-50/sdb/             a run directory a system
            measured/d3-7b1c20aa.json      figures of the cascade that ends in d3, image by image

Stages that two systems have in common are trained once and copied, or put into a larger network,
and stay what they are: what is trained anew takes their place, unless something was trained upon
them. ``data.json`` beside them says which data they have seen; trainings on other data are not
taken for them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sdabn_cli import networks, training
from sdabn_cli.changes import decisive_settings, obeys_validation
from sdabn_cli.choices import Settings
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_atomically
from sdabn_cli.job import Training, Watcher
from sdabn_cli.recipe import Recipe, StageSettings
from sdabn_cli.reproduction import copies
from sdabn_cli.reproduction.copies import Copy, Holder
from sdabn_cli.reproduction.systems import FIRST, SYSTEMS, Point, System, changed, order
from sdabn_cli.runs import AnotherRecipe, Run, StageDirectory
from sdabn_cli.schedule import Stage

CLEAN = Stage(0, "seg")

#: Which data the stages below a directory have seen: digests by split, that of ``val`` only where
#: a stage obeys its validations.
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
        own: What was set for single systems alone, by system and dotted key.
    """

    base: Recipe
    path: Path
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def noise(self) -> str:
        """Noise of training and measuring, as ``name:options``."""
        return str(self.base.noise)

    def recipe_of(self, system: str) -> Recipe:
        """Recipe of a system."""
        return changed(self.base, SYSTEMS[system], self.noise, self.own.get(system))

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
        """Stages that are not trained yet with this noise, in order, each once, by their system."""
        return [
            (name, stage)
            for name, stages in self.stages(points).items()
            for stage in stages
            if self._is_missing(SYSTEMS[name], stage)
        ]

    def _is_missing(self, system: System, stage: Stage) -> bool:
        if stage.id in system.shares or not system.trains(stage):
            return False  # it is the first system's, or there is nothing to train
        if system.name == FIRST and stage == CLEAN and self.clean.status == "finished":
            return False
        return self.run_of(system.name).stage(stage).status != "finished"

    def check(self, points: Iterable[Point], data: Mapping[str, str]) -> None:
        """Make sure that what is trained already is what this campaign would train.

        Args:
            points: What is asked for.
            data: Digests of the splits ``train`` and ``val``.

        Raises:
            SdabnError: If a run directory is another recipe's, with keys that differ, if its
                weights are damaged, its stages have seen other data, or were trained upon copies
                of what is another stage by now.
        """
        for system, stages in self.stages(points).items():
            try:
                self.run_of(system).check_recipe(self.recipe_of(system))
            except AnotherRecipe as error:
                raise SdabnError(error.problem, ELSEWHERE) from error
            self._check_weights(system, stages)
            self._outdated(system, stages)
        for folder, decisive in self._seen(data, self._begun()).items():
            known = _read_data(folder)
            for split, digest in decisive.items():
                if known.get(split, digest) != digest:
                    raise SdabnError(
                        f"{folder} holds trainings on other data than {self._data_words}: its "
                        f"record {DATA} tells {split} {known[split][:8]}, the digest of the data "
                        f"is {digest[:8]}.",
                        ELSEWHERE,
                    )

    def train(
        self,
        points: Iterable[Point],
        data: Mapping[str, str],
        compute: Compute,
        watching: Watching,
    ) -> None:
        """Train what is missing.

        Args:
            points: What is asked for.
            data: Digests of the splits ``train`` and ``val``.
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
            self._record(data, self._begun())

    def _train(
        self,
        system: str,
        stages: list[Stage],
        data: Mapping[str, str],
        compute: Compute,
        watching: Watching,
    ) -> None:
        run, is_main = self.run_of(system), compute.processes.is_main
        outdated = self._outdated(system, stages)
        if is_main and system == FIRST and CLEAN in stages:
            self._offer(run.stage(CLEAN))
        if not outdated and all(run.stage(stage).status == "finished" for stage in stages):
            return
        recipe = self.recipe_of(system)
        with (
            watching(system) as watcher,
            training.opened(recipe, run, compute, watcher) as prepared,
        ):
            if is_main:
                awaited = [recipe.for_stage(s) for s in stages if SYSTEMS[system].trains(s)]
                self._record(data, [*self._begun(), *awaited])
            for stage in stages:
                if is_main:
                    self._take(system, stage, prepared)
                compute.processes.wait()
                training.train_stage(prepared, stage)
                if is_main and system == FIRST and stage == CLEAN:
                    self._offer(run.stage(stage))
                    self._take(system, stage, prepared)  # another noise's may be there meanwhile
            compute.processes.wait()

    def _record(self, data: Mapping[str, str], settings: list[StageSettings]) -> None:
        """Say which data the stages have seen; what older versions have trained says nothing.

        Call ``check`` first: what a record says otherwise, no stage has seen.
        """
        for folder, decisive in self._seen(data, settings).items():
            known = _read_data(folder)
            if not decisive.items() <= known.items():
                text = json.dumps(known | decisive)
                write_atomically(folder / DATA, lambda file, text=text: file.write(text.encode()))

    def _begun(self) -> list[StageSettings]:
        """Settings of the stages that are trained or begun with this noise, in every system."""
        found: list[StageSettings] = []
        for system in SYSTEMS.values():
            run = self.run_of(system.name)
            # What cannot be read is refused where its own system is asked for.
            with contextlib.suppress(SdabnError, OSError):
                if run.has_recipe():
                    recipe = run.read_recipe()
                    found += [recipe.for_stage(s) for s in run.begun() if system.trains(s)]
        return found

    def _seen(
        self, data: Mapping[str, str], settings: list[StageSettings]
    ) -> dict[Path, dict[str, str]]:
        """Directories of stages, with the digests of the splits that decide their weights.

        Args:
            data: Digests of the splits ``train`` and ``val``.
            settings: Those of the stages with this noise.
        """
        deciding = {
            self.clean.path.parent: [self.base.for_stage(CLEAN)],
            self.path / file_name(self.noise): settings,
        }
        return {
            folder: {
                split: digest
                for split, digest in data.items()
                if split == "train" or any(map(obeys_validation, several))
            }
            for folder, several in deciding.items()
        }

    @property
    def _data_words(self) -> str:
        data = self.base.data
        return f"{data.dataset}" + (f" in {data.root}" if data.root else "")

    def _copy(self, system: str, stage: Stage) -> Copy | None:
        """What a stage of a system takes over; None for a stage of its own."""
        target, shares = self.run_of(system).stage(stage), stage.id in SYSTEMS[system].shares
        if stage == CLEAN and (system == FIRST or (shares and self.clean.status == "finished")):
            source = self.clean
        elif shares:
            source = self.run_of(FIRST).stage(stage)
        else:
            return None
        places = SYSTEMS[system].places
        return Holder(source, target, places) if places else Copy(source, target)

    def _check_weights(self, system: str, stages: Iterable[Stage]) -> None:
        """Refuse weights that are cut off, before copies are compared and anything is trained."""
        run = self.run_of(system)
        for stage in stages:
            copy = self._copy(system, stage)
            if isinstance(copy, Holder):
                continue  # which looks into its weights itself
            if (system, stage) == (FIRST, CLEAN):
                _check_whole(self.clean, ())
            if run.stage(stage).status != "finished":
                continue
            taken = copy is not None and copy.source.status == "finished"
            upon = () if taken else self._trained_upon(system, stage)
            _check_whole(run.stage(stage), [run.stage(later) for later in upon])

    def _trained_upon(self, system: str, stage: Stage) -> list[Stage]:
        """Stages that a system has trained or begun upon one of its stages."""
        own = [s for s in self.run_of(system).begun() if SYSTEMS[system].trains(s)
               and self._copy(system, s) is None]  # fmt: skip
        return copies.trained_upon(stage, self.recipe_of(system), own)

    def _outdated(self, system: str, stages: Iterable[Stage]) -> list[Stage]:
        """Copies of what was trained anew since, upon which nothing was trained.

        Raises:
            SdabnError: If something was.
        """
        found = []
        for stage in stages:
            copy = self._copy(system, stage)
            if copy is None or not copy.is_outdated:
                continue
            if upon := self._trained_upon(system, stage):
                raise copy.outdated(upon)
            found.append(stage)
        return found

    def _offer(self, clean: StageDirectory) -> None:
        """Make a clean segmenter that of all noises, where there is none yet."""
        if clean.status == "finished" and self.clean.status != "finished":
            Copy(clean, self.clean).take()

    def _take(self, system: str, stage: Stage, prepared: Training) -> None:
        """Take over a stage that has been trained elsewhere already."""
        copy = self._copy(system, stage)
        if copy is None or not copy.is_due:
            return
        is_outdated = copy.is_outdated
        copy.take(partial(training.starting_network, prepared, stage))
        if is_outdated:
            prepared.watcher.warn(copy.replaced)

    @property
    def clean(self) -> StageDirectory:
        """The clean segmenter of all noises, in a directory named after what decides it.

        Settings that have their defaults are left out, so that the name stays as it is when
        another version knows more of them.
        """
        recipe = self.base
        decisive = decisive_settings(recipe, CLEAN)
        told = {
            "data": _told(recipe.data, exclude={"root", "workers", "cache_mb"}),
            "segmenter": _told(recipe.segmenter),
            "precision": recipe.precision,
            "stage": _told(recipe.for_stage(CLEAN), include=set(decisive)),
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
        return StageDirectory(self.path / f"clean-{digest}" / CLEAN.id)


def _check_whole(directory: StageDirectory, upon: Iterable[StageDirectory]) -> None:
    """Refuse a finished stage whose weights are cut off.

    Args:
        directory: Of the stage.
        upon: Those that were trained upon it.
    """
    if directory.status != "finished":
        return
    try:
        networks.check_weights(directory.weights)
    except SdabnError as error:
        folders = " and ".join(str(each.path) for each in (directory, *upon))
        raise SdabnError(
            error.problem, f"Remove {folders}; what is not there is trained or copied anew."
        ) from error


def _told(settings: Settings, **which: set[str]) -> dict[str, Any]:
    """Settings that differ from their defaults, as plain values."""
    return settings.model_dump(mode="json", exclude_defaults=True, **which)


def _read_data(folder: Path) -> dict[str, str]:
    """Digests by split that a directory's record tells; empty if there is none."""
    try:
        found = json.loads((folder / DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {split: digest for split, digest in pairs if isinstance(digest, str)}


def file_name(text: str) -> str:
    """A text as the name of a file."""
    return re.sub(r"[^A-Za-z0-9.+]+", "-", text)
