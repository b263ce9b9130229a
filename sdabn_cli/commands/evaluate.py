"""``sdabn evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdabn_cli.commands import TRAIN, app
from sdabn_cli.commands.options import DataRoot, Device, Json, Precision, Seed, Units

if TYPE_CHECKING:
    from sdabn_cli.cascade import Cascade
    from sdabn_cli.contracts import Dataset

COLUMNS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "miou": "mIoU (%)",
    "pixel_accuracy": "pixel acc. (%)",
    "mean_accuracy": "mean acc. (%)",
}


@app.command(rich_help_panel=TRAIN)
def evaluate(
    dataset: Annotated[str, typer.Option(help="Data set plug-in, such as camvid or scenes.")],
    model: Annotated[
        str | None, typer.Option(help="Model name or directory.", show_default=False)
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
            "count as 0) or file (clipped, no border left out)."
        ),
    ] = "default",
    device: Device = "auto",
    precision: Precision = "auto",
    json: Json = False,
) -> None:
    """Measure every unit of a cascade on a labelled data set."""
    from sdabn_cli import evaluation, registry
    from sdabn_cli.console import emit, progress
    from sdabn_cli.data import check_examples
    from sdabn_cli.datasets import open_split
    from sdabn_cli.device import choose
    from sdabn_cli.metrics import Protocol
    from sdabn_cli.recipe import DataSettings

    compute = choose(device, precision)
    opened = open_split(DataSettings(dataset=dataset, root=data), split)
    cascade, trained_on = _cascade(model, run, stage, units, opened)
    check_examples(opened)
    spec = None if noise == "none" else noise or trained_on
    noise_model = registry.build("noise", *registry.parse(spec)) if spec else None
    count = len(evaluation.pick(len(opened), limit))
    with progress() as bar:
        task = bar.add_task("images", total=count, info="")
        result = evaluation.evaluate(
            compute.place(cascade),
            opened,
            noise_model,
            protocol=Protocol.named(protocol, precision=compute.precision, noise=spec, seed=seed),
            compute=compute,
            limit=limit,
            advance=lambda: bar.update(task, advance=1),
        )
    if json:
        emit(
            result.as_dict()
            | {"dataset": dataset, "split": split, "stage": stage, "device": str(compute)}
        )
    _show(result, f"{run or model or 'street'} on {dataset}/{split}", alone=stage == "s0")


def _cascade(
    model_name: str | None,
    run: Path | None,
    stage: str | None,
    units: int | None,
    dataset: Dataset,
) -> tuple[Cascade, str | None]:
    """The cascade to measure and the noise it was trained on."""
    from sdabn_cli.errors import SdabnError

    if model_name and run:
        raise SdabnError("--model and --run exclude each other.", "Give one of them.")
    if stage and not run:
        raise SdabnError("--stage needs --run.", "A model has whole units only: use --units.")
    if stage and units:
        raise SdabnError("--stage and --units exclude each other.", "Give one of them.")
    if run and not run.is_dir():
        raise SdabnError(f"There is no run directory {run}.", "Train one with: sdabn cascade")
    if run and stage:
        return _cascade_of_stage(run, stage, dataset)
    from sdabn_cli import model

    loaded = model.load(str(run) if run else model_name or "street", units=units)
    _check_classes(loaded.description.classes, dataset)
    return loaded.cascade, loaded.description.noise


def _cascade_of_stage(run: Path, name: str, dataset: Dataset) -> tuple[Cascade, str | None]:
    from sdabn_cli.assembly import trained_cascade
    from sdabn_cli.runs import Run
    from sdabn_cli.schedule import Stage

    directory, stage = Run(run), Stage.parse(name)
    recipe = directory.read_recipe()
    if directory.read_classes():
        _check_classes(directory.read_classes(), dataset)
    cascade = trained_cascade(recipe, directory, stage, len(dataset.classes))
    return cascade, None if stage.is_clean else str(recipe.noise)


def _check_classes(trained: Any, dataset: Dataset) -> None:
    from sdabn_cli.errors import SdabnError

    if list(trained) != list(dataset.classes):
        raise SdabnError(
            f"The cascade was trained on {len(trained)} classes ({', '.join(trained)}), the data "
            f"set has {len(dataset.classes)} ({', '.join(dataset.classes)}).",
            "Evaluate on a data set of the same classes.",
        )


def _show(result: Any, title: str, *, alone: bool) -> None:
    """Show the figures; the clean segmenter s0, measured alone, is no unit."""
    from sdabn_cli.console import say, show_table

    rows = []
    if result.noisy:
        rows.append(["noisy image", *(_format(result.noisy.get(key), key) for key in COLUMNS)])
    for unit in result.units:
        name = "s0" if alone else f"unit {unit['unit']}"
        rows.append([name, *(_format(unit[key], key) for key in COLUMNS)])
    show_table(title, ["", *COLUMNS.values()], rows)
    protocol = result.protocol.as_dict()
    say(f"{result.images} images; " + ", ".join(f"{k} {v}" for k, v in protocol.items()))


def _format(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if key == "ssim" else f"{value:.2f}"
