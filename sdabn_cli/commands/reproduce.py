"""``sdabn reproduce``: the paper's tables, trained and measured here, beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdabn_cli.commands import TRAIN, app, command_line
from sdabn_cli.commands.options import (
    DataRoot,
    Device,
    DryRun,
    Json,
    Precision,
    ReportImages,
    ReportPath,
    check_report_images,
)

if TYPE_CHECKING:
    from sdabn_cli.report.album import Wanted
    from sdabn_cli.reproduction.planning import Plan


@app.command(rich_help_panel=TRAIN)
def reproduce(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(help="table1 to table6, or figure2.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set plug-in: camvid, cityscapes, outdoorseg or scenes; that of --recipe, or "
            "scenes, by default.",
            show_default=False,
        ),
    ] = None,
    data: DataRoot = None,
    budget: Annotated[
        str,
        typer.Option(
            help="cpu (hours) or full (days on a GPU): which recipe of the data set and the table."
        ),
    ] = "cpu",
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe instead of the budget's.", show_default=False),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one key of the recipe; repeatable. Of one system alone: "
            "dms:denoise.semantic_weight=W, plus:segmenter=NAME.",
        ),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(help="Noise instead of the table's own; repeatable.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Train this many times.", min=1)] = 1,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Directory of all trainings; runs/reproduce-DATASET-BUDGET by default, or "
            "runs/reproduce-DATASET-BUDGET-TABLE where the table has a recipe of its own.",
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
    markdown: Annotated[
        Path | None,
        typer.Option(
            help="Put table and claims into this file, in the place of an earlier call's.",
            show_default=False,
        ),
    ] = None,
    report: ReportPath = None,
    report_images: ReportImages = "6",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train what a table of the paper needs, measure it, and say which claims hold here.

    Stages that systems share are trained once; what was trained or measured before is kept.
    """
    from sdabn_cli.console import TrainingDisplay, emit, say
    from sdabn_cli.report.album import wanted_of
    from sdabn_cli.report.page import check_target
    from sdabn_cli.reproduction import markdown as pages
    from sdabn_cli.reproduction import picturing, planning, reproducing

    check_report_images(ctx, report)
    if report is not None:
        check_target(report)
    with _stoppable():
        planned = planning.plan(
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
            device=device,
            precision=precision,
        )
        wanted = wanted_of(report_images)
        if report is not None:
            picturing.chosen(planned, wanted)
        if markdown is not None:
            pages.check_target(markdown, planned.table.name, planned.dataset)
        if dry_run:
            _show_plan(planned, report, markdown, as_json=json)
            return
        result = reproducing.reproduce(planned, TrainingDisplay, _bar)
        if json:
            emit(result | _told_of(report, markdown))
        _show(result)  # first: a file that cannot be written takes nothing away
        if markdown is not None and planned.compute.processes.is_main:
            pages.put(markdown, result, command_line(ctx))
            say(f"Markdown: {markdown}")
        if report:
            _write_report(report, planned, result, wanted, command_line(ctx))
            say(f"Report: {report}")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Say what is kept at Ctrl-C or SIGTERM; trainings save their state and say so themselves."""
    from sdabn_cli.console import say
    from sdabn_cli.stopping import terminable

    with terminable() as terminated:
        try:
            yield
        except KeyboardInterrupt as error:
            say("Stopped. What is trained and measured is kept: the same command goes on "
                "from there.")  # fmt: skip
            raise typer.Exit(128 + (SIGTERM if terminated() else SIGINT)) from error


def _show_plan(planned: Plan, report: Path | None, markdown: Path | None, *, as_json: bool) -> None:
    from sdabn_cli.console import emit, say
    from sdabn_cli.reproduction import wording

    missing = planned.missing()
    told = _told_of(report, markdown)
    if as_json:
        recipes = {"recipes": planned.recipes, "settings": list(planned.settings)}
        emit({"table": planned.table.name, **recipes, "missing": missing} | told)
    for stage in missing:
        say(f"{stage['noise']}, seed {stage['seed']}: {stage['system']} {stage['stage']}, "
            f"{stage['steps']} steps")  # fmt: skip
    verb = "is" if len(missing) == 1 else "are"
    by = ", ".join(dict.fromkeys(planned.recipes.values()))
    say(f"{wording.counted(len(missing), 'stage')} {verb} to be trained by the recipe {by}.")
    for what, path in told.items():
        say(f"{what.capitalize()}: {path}")


def _told_of(report: Path | None, markdown: Path | None) -> dict[str, str]:
    """The files that are written, for JSON."""
    files = {"markdown": markdown, "report": report}
    return {what: str(path) for what, path in files.items() if path}


def _write_report(
    path: Path, planned: Plan, result: dict[str, Any], images: Wanted, command: str
) -> None:
    """Run the systems on a few images more, and write what was found."""
    from sdabn_cli.model import versions
    from sdabn_cli.report.page import write
    from sdabn_cli.report.reproduced import page
    from sdabn_cli.reproduction.picturing import galleries

    compute = planned.compute
    shown = galleries(planned, images)
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
    from sdabn_cli.reproduction import wording

    for each in result["tables"]:
        title = f"{result['table']}: {result['caption']}; {each['noise']}"
        show_table(title, *wording.table(each["rows"]))
        say(wording.below(result))
        show_table("What was trained", *wording.systems(each))
        say(wording.recipe(each))
    for claim in result["claims"]:
        say(f"\n{claim['verdict'].upper()}: {claim['claim']} ({claim['noise']})")
        say(f"  {wording.cited(claim)}")
        for each in claim["comparisons"]:
            say(f"  {each['verdict']}: {wording.compared(each)}")
        if claim["remark"]:
            say(f"  {claim['remark']}")
    if result["claims"]:
        say(f"\n{result['intervals']}")
