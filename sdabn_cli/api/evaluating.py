"""Measure a model, or a stage of a run, by the names of what is measured and on what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdabn_cli import DEFAULT_MODEL, evaluation, registry, sources
from sdabn_cli import device as devices
from sdabn_cli.api.checking import checked
from sdabn_cli.api.loaded import LoadedModel
from sdabn_cli.api.reporting import Reporting, command_of
from sdabn_cli.assembly import trained_cascade
from sdabn_cli.cascade import Cascade
from sdabn_cli.console import progress as progress_bar
from sdabn_cli.contracts import Dataset
from sdabn_cli.data import check_examples
from sdabn_cli.datasets import check_root, open_split
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError
from sdabn_cli.metrics import Protocol
from sdabn_cli.model import load_from
from sdabn_cli.recipe import DataSettings
from sdabn_cli.report.album import IMAGES
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage


@checked(limit=1, report_images=0)
def evaluate(
    model: LoadedModel | str | Path = DEFAULT_MODEL,
    *,
    dataset: str,
    data: str | Path | None = None,
    split: str = "val",
    noise: str | None = None,
    units: int | None = None,
    stage: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    protocol: str = "default",
    device: str = "auto",
    precision: str = "auto",
    progress: bool = False,
    report: str | Path | None = None,
    report_images: int | Sequence[str] = IMAGES,
    command: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Measure every unit of a cascade on a labelled data set.

    Args:
        model: A loaded model, whose networks are measured where and as they are; or the name of
            one, as of ``load``.
        dataset: Data set plug-in, such as ``camvid`` or ``scenes``, with its options.
        data: Directory of the data set.
        split: Split of the data set.
        noise: Noise plug-in, such as ``gaussian:sigma=50``, or ``none``; by default what the model
            was trained on.
        units: Use the first units only.
        stage: If the model is a run directory: end the cascade in this stage; ``s0`` is the clean
            segmenter alone.
        limit: Use this many images, evenly spaced.
        seed: Of the noise.
        protocol: How to measure: ``default``, ``paper`` or ``file``, see ``metrics.PROTOCOLS``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        progress: Show a bar on stderr.
        report: Write a report for people, one HTML file, to this path.
        report_images: How many images it shows, evenly spaced, or their names.
        command: What it says made it; by default the command line that does the same.
        dry_run: Only say what would be measured and written.

    Returns:
        What ``sdabn evaluate --json`` prints: units, noisy, images, protocol, model, dataset,
        split, stage and device, and the report's path if one was asked for.

    Raises:
        SdabnError: If a name or a value is wrong, the data is missing or wrong, the classes are
            not those of the model, or the report cannot be written.
    """
    reporting = Reporting(report, report_images)
    compute = _compute(model, device, precision)
    asked = DataSettings(dataset=dataset, root=data)
    check_root(data, asked.dataset.name)
    opened = open_split(asked, split)
    name, cascade, trained_on = _cascade(model, units, stage, opened)
    check_examples(opened)
    spec = None if noise == "none" else noise or trained_on
    noise_model = registry.build("noise", *registry.parse(spec)) if spec else None
    how = Protocol.named(protocol, precision=compute.precision, noise=spec, seed=seed)
    told = {"model": name, "dataset": dataset, "split": split, "stage": stage}
    told |= {"device": str(compute)} | reporting.told
    indices = evaluation.pick(len(opened), limit)
    look = reporting.looker(opened, how, indices, alone=stage == "s0")
    if dry_run:
        planned = [{"unit": number + 1} for number in range(len(cascade.units))]
        return {"units": planned, "images": len(indices), "protocol": how.as_dict()} | told
    with progress_bar(show=progress) as bar:
        task = bar.add_task("images", total=len(indices), info="")
        result = evaluation.evaluate(
            compute.place(cascade),
            opened,
            noise_model,
            protocol=how,
            compute=compute,
            limit=limit,
            advance=lambda: bar.update(task, advance=1),
            look=look,
        )
    measured = result.as_dict() | told
    given = {"data": data, "limit": limit, "protocol": protocol}
    given |= {"device": device, "precision": precision}
    command = command or command_of(measured, **given)
    reporting.write(measured, opened, command, compute.processes)
    return measured


def _compute(given: LoadedModel | str | Path, device: str, precision: str) -> Compute:
    if not isinstance(given, LoadedModel):
        return devices.choose(device, precision)
    if (device, precision) != ("auto", "auto"):
        raise SdabnError(
            f"The model {given.name} is loaded already, on {given.compute}.",
            "Leave out device and precision, or give the model's name.",
        )
    return given.compute


def _cascade(
    given: LoadedModel | str | Path, units: int | None, stage: str | None, dataset: Dataset
) -> tuple[str, Cascade, str | None]:
    """Name of what is measured, its cascade, and the noise it was trained on."""
    if stage and units:
        raise SdabnError("--stage and --units exclude each other.", "Give one of them.")
    if isinstance(given, LoadedModel):
        if stage or units:
            raise SdabnError(
                "A loaded model is measured as it is, without units or stage.",
                "Give units to load; for a stage, give the run directory.",
            )
        _check_classes(given.classes, dataset)
        return given.name, given.cascade, given.noise
    if stage:
        return (str(given), *_cascade_of_stage(Path(given), stage, dataset))
    source = sources.find(given, units=units)
    loaded = load_from(source)
    _check_classes(loaded.description.classes, dataset)
    return source.name, loaded.cascade, loaded.description.noise


def _cascade_of_stage(run: Path, name: str, dataset: Dataset) -> tuple[Cascade, str | None]:
    directory, stage = Run(run), Stage.parse(name)
    recipe = directory.read_recipe()
    if directory.read_classes():
        _check_classes(directory.read_classes(), dataset)
    cascade = trained_cascade(recipe, directory, stage, len(dataset.classes))
    return cascade, None if stage.is_clean else str(recipe.noise)


def _check_classes(trained: Sequence[str] | None, dataset: Dataset) -> None:
    if list(trained or ()) != list(dataset.classes):
        raise SdabnError(
            f"The cascade was trained on {len(trained or ())} classes "
            f"({', '.join(trained or ())}), the data set has {len(dataset.classes)} "
            f"({', '.join(dataset.classes)}).",
            "Evaluate on a data set of the same classes.",
        )
