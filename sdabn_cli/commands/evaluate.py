"""``sdabn evaluate``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from sdabn_cli import DEFAULT_MODEL
from sdabn_cli.commands import TRAIN, app, command_line
from sdabn_cli.commands.options import (
    MODEL_HELP,
    DataRoot,
    Device,
    DryRun,
    Json,
    Precision,
    ReportImages,
    ReportPath,
    Seed,
    Units,
    check_report_images,
)
from sdabn_cli.commands.pinning import pinned


@app.command("evaluate", rich_help_panel=TRAIN)
def evaluate_model(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Option(help="Data set plug-in, such as camvid or scenes.")],
    model: Annotated[
        str | None, typer.Option(help=f"{MODEL_HELP} Default: street.", show_default=False)
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run directory, instead of a model.", show_default=False)
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            help="With --run: end the cascade in this stage; s0 is the clean segmenter alone.",
            show_default=False,
        ),
    ] = None,
    data: DataRoot = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "val",
    noise: Annotated[
        str | None,
        typer.Option(
            help="Noise plug-in, such as gaussian:sigma=50, or none; what the model was trained on "
            "by default.",
            show_default=False,
        ),
    ] = None,
    units: Units = None,
    limit: Annotated[
        int | None, typer.Option(help="Use this many images, evenly spaced.", min=1)
    ] = None,
    seed: Seed = 0,
    protocol: Annotated[
        str,
        typer.Option(
            help="How to measure: default, paper (as the released experiment does: absent classes "
            "count as 0) or file (clipped, no border left out of PSNR)."
        ),
    ] = "default",
    device: Device = "auto",
    precision: Precision = "auto",
    report: ReportPath = None,
    report_images: ReportImages = "6",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Measure every unit of a cascade on a labelled data set."""
    from sdabn_cli.api.evaluating import evaluate
    from sdabn_cli.api.reporting import ReportNotWritten
    from sdabn_cli.console import emit
    from sdabn_cli.report.album import wanted_of

    check_report_images(ctx, report)
    name = _name(model, run, stage)
    measure = partial(
        evaluate,
        name,
        dataset=dataset,
        data=data,
        split=split,
        noise=noise,
        units=units,
        stage=stage,
        limit=limit,
        seed=seed,
        protocol=protocol,
        device=device,
        precision=precision,
        progress=True,
        report=report,
        report_images=wanted_of(report_images),
        command=command_line(ctx),
        dry_run=dry_run,
    )
    failed = None
    try:
        measured = measure()
    except ReportNotWritten as error:  # what was measured is shown all the same
        measured, failed = error.measured, error
    if json:
        emit(measured)
    show = _show_plan if dry_run else _show
    show(measured, f"{name} on {dataset}/{split}", alone=stage == "s0")
    if failed:
        raise failed


def _name(model: str | None, run: Path | None, stage: str | None) -> str | Path:
    """Name of the model to measure, or of the run directory that holds one."""
    from sdabn_cli.errors import SdabnError

    if model and run:
        raise SdabnError("--model and --run exclude each other.", "Give one of them.")
    if stage and not run:
        raise SdabnError("--stage needs --run.", "A model has whole units only: use --units.")
    if run and not run.is_dir():
        raise SdabnError(f"There is no run directory {run}.", "Train one with: sdabn cascade")
    return run or pinned(model or DEFAULT_MODEL)


def _show_plan(measured: dict[str, Any], title: str, *, alone: bool) -> None:
    """Say what would be measured and written."""
    from sdabn_cli.console import say

    units = "s0" if alone else f"{len(measured['units'])} units"
    say(f"Would measure {title}: {units}")
    say(_protocol(measured))
    if "report" in measured:
        say(f"Would write {measured['report']}")


def _show(measured: dict[str, Any], title: str, *, alone: bool) -> None:
    """Show the figures; the clean segmenter s0, measured alone, is no unit."""
    from sdabn_cli.console import say, show_table
    from sdabn_cli.report.words import METRICS

    def cells(figures: dict[str, Any]) -> list[str]:
        return [metric.written(figures.get(key)) for key, metric in METRICS.items()]

    rows = []
    if measured["noisy"]:
        rows.append(["noisy image", *cells(measured["noisy"])])
    for unit in measured["units"]:
        name = "s0" if alone else f"unit {unit['unit']}"
        rows.append([name, *cells(unit)])
    show_table(title, ["", *(metric.heading for metric in METRICS.values())], rows)
    say(_protocol(measured))
    if "report" in measured:
        say(f"Report: {measured['report']}")


def _protocol(measured: dict[str, Any]) -> str:
    from sdabn_cli.report.words import counted, protocol_line

    return protocol_line(measured["protocol"], counted(measured["images"], "image"))
