"""``sdabn export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdabn_cli.commands import TRAIN, app
from sdabn_cli.commands.options import DryRun, Json, Units


@app.command(rich_help_panel=TRAIN)
def export(
    run: Annotated[
        str, typer.Argument(metavar="MODEL", help="Run or model directory, or a model's name.")
    ],
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
    from sdabn_cli import export as exporting
    from sdabn_cli import model, sources
    from sdabn_cli.console import emit, say
    from sdabn_cli.errors import SdabnError, did_you_mean
    from sdabn_cli.inputs import check_output

    if format_ not in exporting.FORMATS:
        hint = did_you_mean(format_, exporting.FORMATS)
        raise SdabnError(f"There is no format {format_!r}.", hint)
    if half and format_ != "sdabn":
        raise SdabnError(f"--half does not go with --format {format_}.", "Leave it out.")
    description = sources.find(run, units=units).description
    check_output(output)
    if (output / model.DESCRIPTION).exists():
        raise SdabnError(f"{output} holds a model already.", "Give a new directory.")
    exporting.require(format_)
    told = {"model": str(output), "format": format_, "dry_run": dry_run}
    if format_ == "sdabn":
        told["networks"] = _copy(run, output, units, half, dry_run)
    elif not dry_run:
        told["differences"] = exporting.write(model.load(run, units=units), output, format_)
    if json:
        emit(told)
    what = f"{len(description.units[:units])} units to {output} ({format_})"
    say(f"{'Would write' if dry_run else 'Wrote'} {what}.")
    if "differences" in told:
        worst = ", ".join(f"{value:.1e}" for value in told["differences"])
        say(f"Against torch, on two sizes: {worst} of the range at most.")


def _copy(run: str, output: Path, units: int | None, half: bool, dry_run: bool) -> list[str]:
    """Copy the weights of the first units; returns the names of their files."""
    from sdabn_cli import model, networks, sources

    source = sources.find(run, units=units)
    source.fetch()
    description = source.description
    described = list(description.networks())
    for network in described:
        model.check_weights(source.directory, network)
    files = [network.weights for network in described]
    if not dry_run:
        loaded = {name: networks.read_weights(source.directory / name) for name in files}
        weights = {k: model.halve(v) if half else v for k, v in loaded.items()}
        model.save(output, description, weights)
    return files
