"""``sdabn run``, ``sdabn denoise`` and ``sdabn segment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sdabn_cli.commands import USE, app
from sdabn_cli.commands.options import Device, DryRun, Json, Precision, Seed, Units

Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help="Image files, folders and globs.")
]
ModelName = Annotated[
    str, typer.Option("--model", help="Name of a model, or a model or run directory.")
]
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

DEFAULT_MODEL = "street"
DEFAULT_OUTPUT = Path("sdabn-output")


@app.command(rich_help_panel=USE)
def run(
    inputs: Inputs,
    units: Units = None,
    model: ModelName = DEFAULT_MODEL,
    output: Output = DEFAULT_OUTPUT,
    add_noise: AddNoise = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Denoise and segment images: writes the denoised image, a label map and an overlay."""
    products = ["denoised", "labels", "overlay"]
    _process(
        products, inputs, units, model, output, add_noise, seed, device, precision, dry_run, json
    )


@app.command(rich_help_panel=USE)
def denoise(
    inputs: Inputs,
    units: Units = None,
    model: ModelName = DEFAULT_MODEL,
    output: Output = DEFAULT_OUTPUT,
    add_noise: AddNoise = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Denoise images: the first half of [bold]sdabn run[/bold]."""
    _process(
        ["denoised"],
        inputs,
        units,
        model,
        output,
        add_noise,
        seed,
        device,
        precision,
        dry_run,
        json,
    )


@app.command(rich_help_panel=USE)
def segment(
    inputs: Inputs,
    units: Units = None,
    model: ModelName = DEFAULT_MODEL,
    output: Output = DEFAULT_OUTPUT,
    add_noise: AddNoise = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Segment images: the second half of [bold]sdabn run[/bold]."""
    _process(
        ["labels", "overlay"],
        inputs,
        units,
        model,
        output,
        add_noise,
        seed,
        device,
        precision,
        dry_run,
        json,
    )


def _process(
    products: list[str],
    inputs: list[str],
    units: int | None,
    model_name: str,
    output: Path,
    add_noise: str | None,
    seed: int,
    device: str,
    precision: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    from sdabn_cli import registry
    from sdabn_cli.console import emit, progress
    from sdabn_cli.errors import SdabnError
    from sdabn_cli.inputs import collect

    jobs = collect(inputs, output)
    noise = None
    if add_noise is not None:
        noise = registry.build("noise", *registry.parse(add_noise))
        products = [*products, "noisy"]
    if output.exists() and not output.is_dir():
        raise SdabnError(f"{output} is a file, not a directory.", "Give another --output.")

    from sdabn_cli import inference, model
    from sdabn_cli.device import choose

    model.find(model_name, units=units)
    compute = choose(device, precision)
    if dry_run:
        _show_plan(jobs, products, model_name, as_json)
        return
    loaded = model.load(model_name, units=units)
    runner = inference.Runner(loaded, compute, last_denoiser="denoised" in products)
    with progress() as bar:
        task = bar.add_task("images", total=len(jobs), info="")
        report = inference.process(
            jobs, runner, products=products, noise=noise, seed=seed,
            advance=lambda job: bar.update(task, advance=1, info=job.image.name),
        )  # fmt: skip
    if len(report.failed) == len(jobs):
        raise SdabnError("\n".join(entry["error"] for entry in report.failed))
    if as_json:
        emit({"images": report.done, "failed": report.failed, "model": model_name,
              "units": len(loaded), "device": str(compute)})  # fmt: skip
    _show(report, add_noise)
    if report.failed:
        raise typer.Exit(1)


def _show_plan(jobs: list[Any], products: list[str], model_name: str, as_json: bool) -> None:
    from sdabn_cli.console import emit, say

    planned = [
        {"input": str(job.image), "outputs": {p: str(job.output(p)) for p in products}}
        for job in jobs
    ]
    if as_json:
        emit({"images": planned, "model": model_name})
        return
    for entry in planned:
        say(f"{entry['input']} -> " + ", ".join(entry["outputs"].values()))


def _show(report: Any, add_noise: str | None) -> None:
    from sdabn_cli.console import say, show_table, warn

    for entry in report.done:
        say(f"{entry['input']}  {entry['seconds']:.1f} s")
        for product, path in entry["outputs"].items():
            say(f"  {product:<9} {path}")
        if add_noise:
            figures = [("noisy image", entry["psnr"]["noisy"])]
            figures += [(f"unit {i}", v) for i, v in enumerate(entry["psnr"]["units"], start=1)]
            rows = [[name, f"{value:.2f}"] for name, value in figures if value is not None]
            show_table(f"Against the clean image ({add_noise})", ["", "PSNR (dB)"], rows)
    for entry in report.failed:
        warn(entry["error"])
    if report.failed:
        say(f"{len(report.failed)} of {len(report.failed) + len(report.done)} images failed.")
