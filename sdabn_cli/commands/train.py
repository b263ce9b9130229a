"""``sdabn train-stage`` and ``sdabn cascade``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdabn_cli.commands import TRAIN, app
from sdabn_cli.commands.options import (
    DataRoot,
    Device,
    DryRun,
    Json,
    Overrides,
    RecipeName,
    RunPath,
)

if TYPE_CHECKING:
    from sdabn_cli.recipe import Recipe
    from sdabn_cli.runs import Run
    from sdabn_cli.schedule import Stage


@app.command("train-stage", rich_help_panel=TRAIN)
def train_stage(
    index: Annotated[int, typer.Option(help="Unit, from 1; 0 is the clean segmenter s0.")],
    kind: Annotated[str, typer.Option(help="seg or denoise.")],
    recipe: RecipeName = None,
    run: RunPath = None,
    data: DataRoot = None,
    overrides: Overrides = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train one stage with its prefix frozen; goes on where it was stopped."""
    from sdabn_cli.schedule import Stage

    stage = Stage(index, kind)
    settings, directory = _settings(recipe, run, data, overrides, None)
    from sdabn_cli.assembly import require_earlier

    require_earlier(settings, directory, stage)
    if not dry_run:
        _train(settings, directory, device, [stage])
    _report(settings, directory, [stage], json)


@app.command(rich_help_panel=TRAIN)
def cascade(
    recipe: RecipeName = None,
    units: Annotated[
        int | None, typer.Option(help="Units to train; the recipe's by default.", min=1)
    ] = None,
    run: RunPath = None,
    data: DataRoot = None,
    overrides: Overrides = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train a cascade by Algorithm 1: s0, s1, d1, s2, d2, ...; finished stages are kept."""
    from sdabn_cli.schedule import stages

    settings, directory = _settings(recipe, run, data, overrides, units)
    todo = stages(settings.units)
    if not dry_run:
        _train(settings, directory, device, None)
    _report(settings, directory, todo, json)


def _settings(
    recipe: str | None,
    run: Path | None,
    data: Path | None,
    overrides: list[str] | None,
    units: int | None,
) -> tuple[Recipe, Run]:
    from sdabn_cli import recipe as recipes
    from sdabn_cli.runs import RECIPE, Run, default_path

    if recipe is None:
        own = run / RECIPE if run else None
        recipe = str(own) if own and own.is_file() else recipes.DEFAULT_RECIPE
    settings = recipes.load(recipe, overrides or (), units=units, data__root=data and str(data))
    directory = Run(run or default_path(recipe))
    directory.check_recipe(settings)
    return settings, directory


def _train(recipe: Recipe, run: Run, device: str, stages: list[Stage] | None) -> None:
    from sdabn_cli import training
    from sdabn_cli.console import TrainingDisplay, say
    from sdabn_cli.device import choose

    compute = choose(device, recipe.precision)
    say(f"{run.path}: {compute}")
    with TrainingDisplay() as display, training.opened(recipe, run, compute, display) as prepared:
        if stages is None:
            training.train_cascade(prepared)
            return
        for stage in stages:
            training.train_stage(prepared, stage)


def _report(recipe: Recipe, run: Run, stages: list[Stage], as_json: bool) -> None:
    from sdabn_cli.console import emit, show_origins, show_table
    from sdabn_cli.plan import describe

    plan = describe(recipe, run, stages)
    if as_json:
        emit(plan)
        return
    rows: list[list[Any]] = [
        [
            s["id"],
            s["backbone"],
            f"{s['parameters']:,}",
            s["starts_from"] or (Path(s["init"]["path"]).name if s["init"] else "-"),
            s["status"],
        ]
        for s in plan["stages"]
    ]
    show_table(str(run.path), ["stage", "backbone", "parameters", "starts from", "status"], rows)
    show_origins(plan["stages"])
