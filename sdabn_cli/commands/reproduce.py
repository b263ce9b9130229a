"""``sdabn reproduce``: the paper's tables, trained and measured here, beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdabn_cli.commands import TRAIN, app, command_line
from sdabn_cli.commands.options import (
    DataRoot,
    Device,
    DryRun,
    Json,
    Overrides,
    Precision,
    ReportImages,
    ReportPath,
)

if TYPE_CHECKING:
    from sdabn_cli.device import Compute
    from sdabn_cli.reproduction.reproducing import Plan

COLUMNS = {"psnr": "PSNR", "ssim": "SSIM", "miou": "mIoU", "pixel_accuracy": "pixel acc.",
           "mean_accuracy": "mean acc."}  # fmt: skip


@app.command(rich_help_panel=TRAIN)
def reproduce(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(help="table1 to table6, or figure2.")],
    dataset: Annotated[
        str, typer.Option(help="Data set plug-in: camvid, cityscapes, outdoorseg or scenes.")
    ] = "scenes",
    data: DataRoot = None,
    budget: Annotated[
        str, typer.Option(help="cpu (an hour or so a system) or full (the paper's settings).")
    ] = "cpu",
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe instead of the budget's.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(help="Noise instead of the table's own; repeatable.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Train this many times.", min=1)] = 1,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Directory of all trainings; runs/reproduce-DATASET-BUDGET by default.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave a system out, such as bm3d; repeatable.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Measure on this many images, evenly spaced.", min=1)
    ] = None,
    protocol: Annotated[str, typer.Option(help="default, paper or file.")] = "default",
    device: Device = "auto",
    precision: Precision = "auto",
    report: ReportPath = None,
    report_images: ReportImages = 6,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train what a table of the paper needs, measure it, and say which claims hold here.

    Stages that systems share are trained once; what was trained or measured before is kept.
    """
    from sdabn_cli.console import TrainingDisplay, emit, say
    from sdabn_cli.device import choose
    from sdabn_cli.report.page import check_target
    from sdabn_cli.reproduction import reproducing

    if report is not None:
        check_target(report)
    planned = reproducing.plan(
        table,
        dataset=dataset,
        data=data,
        budget=budget,
        recipe_name=recipe,
        overrides=overrides or (),
        noises=noise or (),
        seeds=seeds,
        run=run,
        protocol=protocol,
        limit=limit,
        without=without or (),
    )
    if dry_run:
        missing = planned.missing()
        if json:
            emit({"table": table, "missing": missing} | _told_of(report))
        for stage in missing:
            say(f"{stage['noise']}, seed {stage['seed']}: {stage['system']} {stage['stage']}, "
                f"{stage['steps']} steps")  # fmt: skip
        say(f"{len(missing)} stages are to be trained.")
        if report:
            say(f"Report: {report}")
        return
    compute = choose(device, precision)
    result = reproducing.reproduce(planned, compute, TrainingDisplay, _bar)
    if report:
        _write_report(report, planned, result, compute, report_images, command_line(ctx))
    if json:
        emit(result | _told_of(report))
    _show(result)
    if report:
        say(f"Report: {report}")


def _told_of(report: Path | None) -> dict[str, str]:
    return {"report": str(report)} if report else {}


def _write_report(
    path: Path, planned: Plan, result: dict[str, Any], compute: Compute, images: int, command: str
) -> None:
    """Run the systems on a few images more, and write what was found."""
    from sdabn_cli.model import versions
    from sdabn_cli.report.page import write
    from sdabn_cli.report.reproduced import page
    from sdabn_cli.reproduction.picturing import galleries

    shown = galleries(planned, compute, images)
    if compute.processes.is_main:
        made = page(result, shown, command=command, versions=versions(), device=str(compute))
        write(path, made)


@contextmanager
def _bar(title: str, images: int) -> Iterator[Callable[[], Any]]:
    """Counts images; several cascades are measured on each."""
    from sdabn_cli.console import progress

    with progress() as bar:
        task = bar.add_task("measuring", total=None, info=f"{title}, {images} images a cascade")
        yield lambda: bar.update(task, advance=1)


def _show(result: dict[str, Any]) -> None:
    from sdabn_cli.console import say, show_table

    for each in result["tables"]:
        metrics = [
            name
            for name in COLUMNS
            if any(name in _figures(row, "here") for row in each["rows"])
        ]  # fmt: skip
        parameters = any(row["parameters"] for row in each["rows"])
        heads = [f"{COLUMNS[name]} here (paper)" for name in metrics]
        columns = ["", *(["parameters"] if parameters else []), *heads]
        rows = [
            [row["label"], *([f"{row['parameters']:,}"] if parameters else []),
             *(_cell(row, name) for name in metrics)]
            for row in each["rows"]
        ]  # fmt: skip
        show_table(f"{result['table']}: {result['caption']}; {each['noise']}", columns, rows)
    protocol = ", ".join(f"{k} {v}" for k, v in result["protocol"].items() if k != "noise")
    say(f"{result['images']} images of {result['dataset']}, {result['seeds']} seed(s); {protocol}")
    for claim in result["claims"]:
        say(f"\n{claim['verdict'].upper()}: {claim['claim']} ({claim['noise']})")
        say(f'  "{claim["sentence"]}" (Sec. {claim["section"]})')
        for each in claim["comparisons"]:
            say(f"  {each['better']} - {each['worse']}: {_difference(each)}: {each['verdict']}")


def _difference(comparison: dict[str, Any]) -> str:
    """A measured difference with its interval and the paper's."""
    paper = "" if comparison["paper"] is None else f"; paper {comparison['paper']:+.2f}"
    if "mean" not in comparison:
        return f"not measured{paper}"
    unit = "dB" if comparison["metric"] == "psnr" else "% mIoU"
    low, high = comparison["low"], comparison["high"]
    return f"{comparison['mean']:+.2f} {unit} [{low:+.2f}, {high:+.2f}]{paper}"


def _figures(row: dict[str, Any], whose: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in ("denoised", "segmented"):
        found |= (row[part] or {}).get(whose) or {}
    return found


def _cell(row: dict[str, Any], name: str) -> str:
    here, paper = _figures(row, "here").get(name), _figures(row, "paper").get(name)
    digits = 4 if name == "ssim" else 2
    if here is None:
        return "-"
    return f"{here:.{digits}f}" + ("" if paper is None else f" ({paper:.{digits}f})")
