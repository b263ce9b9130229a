"""What stands in run directories: stages, best figures and what is left, read without torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sdabn_cli import journal, origin, recipefiles, statefiles
from sdabn_cli.errors import SdabnError
from sdabn_cli.recipe import Recipe
from sdabn_cli.schedule import Stage, stages
from sdabn_cli.statefiles import Progress

#: What a kind of stage is judged by; larger is better.
METRICS = {"seg": "miou", "denoise": "psnr"}

#: Runs are looked for this many folders below the one that is given: those of a reproduction lie in
#: RUN/seed0/NOISE/SYSTEM.
DEPTH = 4


def find(paths: Iterable[Path]) -> list[Path]:
    """Run directories among paths and in the folders below them, in order.

    Raises:
        SdabnError: If a path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise SdabnError(f"There is no directory {path}.", "Runs are made by: sdabn cascade")
        found += [run for run in _below(path, DEPTH) if run not in found]
    return found


def _below(path: Path, depth: int) -> Iterator[Path]:
    try:
        is_run = (path / "recipe.yaml").is_file()
        folders = sorted(path.iterdir()) if depth and not is_run and path.is_dir() else []
        folders = [each for each in folders if each.is_dir() and not each.name.startswith(".")]
    except PermissionError:  # somebody else's
        return
    if is_run:
        yield path
    for folder in folders:
        yield from _below(folder, depth - 1)


def describe(path: Path) -> dict[str, Any]:
    """Say where a run stands.

    Returns:
        ``{run, training, units, dataset, noise, segmenter, denoiser, model_units, stages,
        seconds_left}``; of a damaged run ``{run, damaged}`` with the reason. A stage is ``{id,
        status, step, steps, metric, best, best_step, last, seconds, seconds_left, init}``; figures
        that are not known are None. ``init`` says which file the stage's weights are from, or is
        None.
    """
    try:
        recipe = recipefiles.read_resolved(path / "recipe.yaml")
    except SdabnError as error:
        return {"run": str(path), "damaged": error.problem}
    busy = is_busy(path)
    rows = [_stage(path / stage.id, stage, recipe, busy) for stage in stages(recipe.units)]
    _estimate(rows)
    left = [row["seconds_left"] for row in rows]
    return {
        "run": str(path),
        "training": busy,
        "units": recipe.units,
        "dataset": str(recipe.data.dataset),
        "noise": str(recipe.noise),
        "segmenter": str(recipe.segmenter),
        "denoiser": str(recipe.denoiser),
        "model_units": _model_units(path / "model" / "cascade.json"),
        "stages": rows,
        "seconds_left": None if None in left else sum(left),
    }


def is_busy(path: Path) -> bool:
    """Whether a process trains in a run directory right now."""
    if not (path / ".lock").is_file():
        return False
    try:
        with FileLock(path / ".lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # not ours to lock
        return False


def _stage(folder: Path, stage: Stage, recipe: Recipe, busy: bool) -> dict[str, Any]:
    metric = METRICS[stage.kind]
    steps = recipe.steps(stage)
    found = origin.read(folder.parent, stage.kind) if recipe.network(stage.kind).init else None
    finished = (folder / "weights.safetensors").is_file()
    log = journal.read(folder / "metrics.jsonl")
    reached = _reached(folder, log, in_memory=finished or busy)
    log = [entry for entry in log if reached and entry["step"] <= reached.step]
    judged = [
        (figure, entry["step"])
        for entry in log
        if (figure := journal.figure(entry, "validation", metric)) is not None
    ]
    # The first of equal figures, as the training itself judges.
    best, best_step = max(judged, key=lambda pair: (pair[0], -pair[1]), default=(None, None))
    started = reached or statefiles.existing(folder)
    return {
        "id": stage.id,
        "status": "finished" if finished else "started" if started else "missing",
        # Weights alone, without log or state, say nothing of how they came about.
        "step": reached.step if reached else None if finished and steps else 0,
        "steps": steps,
        "metric": metric,
        "best": best,
        "best_step": best_step,
        "last": judged[-1][0] if judged else None,
        "seconds": reached.seconds if reached else 0.0,
        "seconds_left": 0.0 if finished else None,
        "init": found.describe(trained=steps > 0)
        if found and not recipe.starts_from(stage)
        else None,
        "seconds_a_step": _seconds_a_step(log, recipe.for_stage(stage).batch_size),
    }


def _reached(folder: Path, log: list[dict[str, Any]], *, in_memory: bool) -> Progress | None:
    """How far a stage is: its state's step, or the log's where none of it is lost.

    Args:
        folder: Of the stage.
        log: Its log.
        in_memory: Whether what was logged after the last state is not lost: the stage is finished,
            or in training right now.
    """
    found = [progress] if (progress := statefiles.progress(folder)) else []
    if in_memory and log:
        found.append(Progress(log[-1]["step"], journal.figure(log[-1], "seconds") or 0.0))
    return max(found, default=None)


def _seconds_a_step(log: list[dict[str, Any]], batch_size: int) -> float | None:
    rates = [rate for entry in log if (rate := journal.figure(entry, "images_per_second"))]
    return batch_size / statistics.median(rates) if rates else None


def _estimate(rows: list[dict[str, Any]]) -> None:
    """Fill in the time left, by the stage's own pace or that of the last one of its kind."""
    pace: dict[str, float] = {}
    for row in rows:
        own = row.pop("seconds_a_step")
        if own is not None:
            pace[row["metric"]] = own
        if row["seconds_left"] is None and row["metric"] in pace:
            row["seconds_left"] = (row["steps"] - row["step"]) * pace[row["metric"]]


def _model_units(path: Path) -> int:
    try:
        return len(json.loads(path.read_text(encoding="utf-8"))["units"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
