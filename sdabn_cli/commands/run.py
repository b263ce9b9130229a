"""``sdabn run``, ``sdabn denoise`` and ``sdabn segment``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdabn_cli import DEFAULT_MODEL
from sdabn_cli.commands import USE, app, command_line
from sdabn_cli.commands.options import (
    MODEL_HELP,
    Device,
    DryRun,
    Engine,
    Json,
    Precision,
    ReportImages,
    ReportPath,
    Seed,
    Units,
    check_report_images,
)
from sdabn_cli.commands.pinning import pinned

if TYPE_CHECKING:
    from sdabn_cli.api import LoadedModel
    from sdabn_cli.inference import Runner
    from sdabn_cli.inputs import Job
    from sdabn_cli.pipeline import Options, Report
    from sdabn_cli.report.album import Album

Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT", help="Image files, folders and globs.")
]
ModelName = Annotated[str, typer.Option("--model", help=MODEL_HELP)]
Output = Annotated[Path, typer.Option("--output", "-o", help="Directory of the results.")]
AddNoise = Annotated[
    str | None,
    typer.Option(
        "--add-noise",
        metavar="NOISE",
        help="Take the images as clean, add this noise first and report PSNR: gaussian:sigma=50",
        show_default=False,
    ),
]
SelfEnsemble = Annotated[
    bool,
    typer.Option(
        "--self-ensemble", help="Run 8 mirrored and turned copies and average: 8 times slower."
    ),
]
Sigma = Annotated[
    str,
    typer.Option(
        metavar="auto|VALUE",
        help="Noise of the images on the 0-255 scale; auto estimates and reports it.",
    ),
]
Memory = Annotated[
    str, typer.Option(help="Memory to keep to, such as 3GB; auto: most of what is free.")
]
MaxPixels = Annotated[
    int, typer.Option(help="Refuse images of more pixels, before they are decoded.", min=1)
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Pass over images whose results are all there.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the networks first (engine torch).")
]

DEFAULT_OUTPUT = Path("sdabn-output")


def _register(name: str, products: tuple[str, ...], text: str) -> None:
    """Register one of the three commands, which differ in what they write alone."""

    @app.command(name, help=text, rich_help_panel=USE)
    def command(
        ctx: typer.Context,
        inputs: Inputs,
        units: Units = None,
        model: ModelName = DEFAULT_MODEL,
        output: Output = DEFAULT_OUTPUT,
        add_noise: AddNoise = None,
        seed: Seed = 0,
        device: Device = "auto",
        precision: Precision = "auto",
        engine: Engine = "auto",
        compile_: Compile = False,
        self_ensemble: SelfEnsemble = False,
        sigma: Sigma = "auto",
        memory: Memory = "auto",
        max_pixels: MaxPixels = 100_000_000,
        skip_existing: SkipExisting = False,
        report: ReportPath = None,
        report_images: ReportImages = "6",
        dry_run: DryRun = False,
        json: Json = False,
    ) -> None:
        from sdabn_cli import registry
        from sdabn_cli.console import emit
        from sdabn_cli.errors import SdabnError
        from sdabn_cli.inputs import check_output, collect, unfinished

        jobs = collect(inputs, output)
        noise = registry.build("noise", *registry.parse(add_noise)) if add_noise else None
        wanted = [*products, "noisy"] if add_noise else list(products)
        check_output(output)
        skipped = [] if not skip_existing else jobs
        jobs = unfinished(jobs, wanted) if skip_existing else jobs
        skipped = [str(job.image) for job in skipped if job not in jobs]

        from sdabn_cli import noiselevel
        from sdabn_cli.api.loading import Loading
        from sdabn_cli.pipeline import Options
        from sdabn_cli.report.album import Album, wanted_of
        from sdabn_cli.report.page import check_target

        check_report_images(ctx, report)
        model = pinned(model)
        loading = Loading(
            model,
            units=units,
            device=device,
            precision=precision,
            engine=engine,
            memory=memory,
            compiled=compile_,
            images=len(jobs),
            segment_only="denoised" not in products,
            self_ensemble=self_ensemble,
        )
        if report is not None:
            check_target(report)
        album = Album(wanted_of(report_images)) if report else None
        if album:
            names = {job.number: job.image.name for job in jobs}
            album.expect(list(names), names.__getitem__, [Path(name).name for name in skipped])
        options = Options(wanted, noise, seed, noiselevel.parse(sigma), max_pixels, album)
        if dry_run or not jobs:
            _show_plan(jobs, wanted, model, skipped, report, json)
            return
        loaded = loading.load()
        found = _process(jobs, loaded.runner, options)
        told, failed = _told(found, loaded, skipped), None
        if report and album and found.done:
            given = {"noise": add_noise, "seed": seed, "sigma": options.sigma}
            try:
                told |= _write_report(report, told | given, loaded, album, command_line(ctx))
            except SdabnError as error:  # the images are there all the same
                failed = error
        if json and found.done:
            emit(told)
        _show(found, add_noise, skipped, None if failed else report)
        if failed:
            raise failed


_register(
    "run",
    ("denoised", "labels", "overlay"),
    "Denoise and segment images: writes the denoised image, a label map and an overlay.",
)
_register("denoise", ("denoised",), "Denoise images: writes the denoised image alone.")
_register("segment", ("labels", "overlay"), "Segment images: writes a label map and an overlay.")


def _process(jobs: list[Job], runner: Runner, options: Options) -> Report:
    from sdabn_cli.console import progress
    from sdabn_cli.pipeline import process

    with progress() as bar:
        task = bar.add_task("images", total=len(jobs), info="")
        return process(
            jobs,
            runner,
            options,
            advance=lambda job: bar.update(task, advance=1, info=job.image.name),
        )


def _told(report: Report, model: LoadedModel, skipped: list[str]) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "images": report.done,
        "failed": report.failed,
        "skipped": skipped,
        "warnings": report.warnings,
        "model": model.name,
        "units": len(model),
        "device": str(model.compute),
        "engine": model.engine,
    }


def _write_report(
    path: Path, told: dict[str, Any], model: LoadedModel, album: Album, command: str
) -> dict[str, str]:
    """Write the report, and give what ``--json`` tells of it."""
    from sdabn_cli.model import versions
    from sdabn_cli.report.page import write
    from sdabn_cli.report.processed import page

    write(path, page(told, model.description, album, command=command, versions=versions()))
    return {"report": str(path)}


def _show_plan(
    jobs: list[Job],
    products: list[str],
    model_name: str,
    skipped: list[str],
    report: Path | None,
    as_json: bool,
) -> None:
    from sdabn_cli.console import emit, say

    planned = [
        {"input": str(job.image), "outputs": {p: str(job.output(p)) for p in products}}
        for job in jobs
    ]
    if as_json:
        told = {"images": planned, "failed": [], "skipped": skipped, "warnings": []}
        named = {"report": str(report)} if report and jobs else {}
        emit(told | {"model": model_name} | named)
        return
    _say_skipped(skipped)
    for entry in planned:
        say(f"{entry['input']} -> " + ", ".join(entry["outputs"].values()))
    if report:
        say(f"Report: {report}" if jobs else "No report: there is nothing to run.")


def _say_skipped(skipped: list[str]) -> None:
    from sdabn_cli.console import say

    if skipped:
        say(f"{len(skipped)} images have their results already.")


def _show(report: Report, add_noise: str | None, skipped: list[str], written: Path | None) -> None:
    """Tell people what was written; exit 1 if some images failed, 2 if all did."""
    from sdabn_cli.console import say, show_table, warn
    from sdabn_cli.errors import SdabnError

    if not report.done:
        raise SdabnError("\n".join(entry["error"] for entry in report.failed))
    _say_skipped(skipped)
    for entry in report.done:
        known = math.isfinite(entry["sigma"])
        noise = f"  sigma {entry['sigma']:.1f}" if known else ""
        say(f"{entry['input']}  {entry['seconds']:.1f} s{noise}")
        for product, path in entry["outputs"].items():
            say(f"  {product:<9} {path}")
        if add_noise:
            figures = [("noisy image", entry["psnr"]["noisy"])]
            figures += [(f"unit {i}", v) for i, v in enumerate(entry["psnr"]["units"], start=1)]
            rows = [[name, f"{value:.2f}"] for name, value in figures if value is not None]
            show_table(f"Against the clean image ({add_noise})", ["", "PSNR (dB)"], rows)
    if written:
        say(f"Report: {written}")
    for message in report.warnings:
        warn(message)
    for entry in report.failed:
        warn(entry["error"])
    if report.failed:
        say(f"{len(report.failed)} of {len(report.failed) + len(report.done)} images failed.")
        raise typer.Exit(1)
