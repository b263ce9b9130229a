"""``sdabn train-stage`` and ``sdabn cascade``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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


@app.command("train-stage", rich_help_panel=TRAIN)
def train_one_stage(
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
    from sdabn_cli.api.training import train_stage

    plan = train_stage(
        recipe,
        index=index,
        kind=kind,
        run=run,
        data=data,
        overrides=overrides or (),
        device=device,
        dry_run=dry_run,
        progress=True,
    )
    _report(plan, json)


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
    from sdabn_cli.api.training import train_cascade

    plan = train_cascade(
        recipe,
        units=units,
        run=run,
        data=data,
        overrides=overrides or (),
        device=device,
        dry_run=dry_run,
        progress=True,
    )
    _report(plan, json)


def _report(plan: dict[str, Any], as_json: bool) -> None:
    from sdabn_cli.console import emit, show_origins, show_table

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
            f"{s['steps']:,}",
        ]
        for s in plan["stages"]
    ]
    show_table(
        plan["run"], ["stage", "backbone", "parameters", "starts from", "status", "steps"], rows
    )
    show_origins(plan["stages"])
