"""``sdabn export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdabn_cli.commands import TRAIN, app
from sdabn_cli.commands.options import DryRun, Json


@app.command(rich_help_panel=TRAIN)
def export(
    run: Annotated[Path, typer.Argument(help="Run or model directory.")],
    output: Annotated[Path, typer.Argument(help="Directory of the exported model.")],
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Copy a finished cascade out of its run, ready for --model."""
    from sdabn_cli import model, networks
    from sdabn_cli.console import emit, say
    from sdabn_cli.errors import SdabnError

    source = model.resolve(str(run))
    if (output / model.DESCRIPTION).exists():
        raise SdabnError(f"{output} holds a model already.", "Give a new directory.")
    description = model.read_description(source)
    described = [n for unit in description.units for n in (unit.segmenter, unit.denoiser)]
    for network in described:
        model.check_weights(source, network)
    files = [network.weights for network in described]
    if not dry_run:
        loaded = {name: networks.read_weights(source / name) for name in files}
        weights = {k: model.halve(v) if half else v for k, v in loaded.items()}
        model.save(output, description, weights)
    if json:
        emit({"model": str(output), "networks": files, "dry_run": dry_run})
    say(f"{'Would write' if dry_run else 'Wrote'} {len(files)} networks to {output}.")
