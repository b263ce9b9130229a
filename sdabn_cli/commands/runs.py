"""``sdabn runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sdabn_cli.commands import LOOK, app
from sdabn_cli.commands.options import Json

FOLDER = Path("runs")

#: Names and units of what stages are judged by.
SHOWN = {"miou": "{:.2f} % mIoU", "psnr": "{:.2f} dB"}


@app.command("runs", rich_help_panel=LOOK)
def list_runs(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Run directories, or folders of them; runs by default.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List trainings: their stages, best figures and what is left."""
    from sdabn_cli import overview
    from sdabn_cli.console import emit, say

    found = [] if not paths and not FOLDER.is_dir() else overview.find(paths or [FOLDER])
    described = [overview.describe(path) for path in found]
    if json:
        emit(described)
        return
    if not described:
        say("There are no runs yet. Train one with: sdabn cascade")
    for run in described:
        _show(run)


def _show(run: dict[str, Any]) -> None:
    from sdabn_cli.console import clock, say, show_origins, show_table, warn

    if "damaged" in run:
        warn(f"{run['run']} is damaged: {run['damaged']}")
        return
    rows = [
        [
            stage["id"],
            stage["status"],
            f"{'-' if stage['step'] is None else format(stage['step'], ',')} / {stage['steps']:,}",
            _figure(stage),
            clock(stage["seconds"]),
            "?" if stage["seconds_left"] is None else clock(stage["seconds_left"]),
        ]
        for stage in run["stages"]
    ]
    title = (
        f"{run['run']}: {run['dataset']}, {run['noise']}, {run['segmenter']} + {run['denoiser']}"
    )
    show_table(title, ["stage", "status", "step", "best", "time", "left"], rows)
    show_origins(run["stages"])
    left = run["seconds_left"]
    parts = [
        "in training now" if run["training"] else "",
        _model(run["model_units"]),
        "" if left == 0 else "time left unknown" if left is None else f"{clock(left)} left",
    ]
    say("  " + "; ".join(filter(None, parts)))


def _figure(stage: dict[str, Any]) -> str:
    if stage["best"] is None:
        return "-"
    return f"{SHOWN[stage['metric']].format(stage['best'])} at {stage['best_step']:,}"


def _model(units: int) -> str:
    return f"model of {units} unit{'' if units == 1 else 's'}" if units else "no model yet"
