"""``sdabn export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdabn_cli.commands import TRAIN, app
from sdabn_cli.commands.options import MODEL_HELP, DryRun, Json, Units
from sdabn_cli.commands.pinning import pinned


@app.command(rich_help_panel=TRAIN)
def export(
    run: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    output: Annotated[Path, typer.Argument(help="Directory of the exported model.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="sdabn (ready for --model), onnx or openvino: one graph for other programs, "
            "checked against torch.",
        ),
    ] = "sdabn",
    units: Units = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store float16: half the size (format sdabn).")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Copy a finished cascade out of its run, for sdabn or for other programs."""
    from sdabn_cli.api.saving import save
    from sdabn_cli.console import emit, say

    told = save(pinned(run), output, format=format_, units=units, half=half, dry_run=dry_run)
    if json:
        emit(told)
    say(f"{'Would write' if dry_run else 'Wrote'} {told['units']} units to {output} ({format_}).")
    if "differences" in told:
        worst = ", ".join(f"{value:.1e}" for value in told["differences"])
        say(f"Against torch, on two sizes: {worst} of the range at most.")
