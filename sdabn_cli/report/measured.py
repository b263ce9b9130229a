"""The report of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdabn_cli.contracts import Dataset
from sdabn_cli.report import layers
from sdabn_cli.report.album import Album
from sdabn_cli.report.content import (
    BarChart,
    Block,
    Column,
    Gallery,
    LineChart,
    Page,
    Section,
    Series,
    Table,
)
from sdabn_cli.report.figures import is_known
from sdabn_cli.report.words import METRICS, counted, protocol_line

#: Columns of figures.
COLUMNS = {key: Column(metric.heading, metric.digits) for key, metric in METRICS.items()}

#: What has curves: the least extent of the axis; less is no difference to look at.
CURVES = {"psnr": 0.5, "miou": 5.0}


def page(
    measured: Mapping[str, Any],
    dataset: Dataset,
    album: Album,
    *,
    command: str,
    versions: Mapping[str, str],
) -> Page:
    """Put together the report of one evaluation.

    Args:
        measured: What ``api.evaluate`` gives.
        dataset: What it was measured on.
        album: Pictures of some images, made by ``looking.compare``.
        command: Command line that made it.
        versions: Of what it was made with.
    """
    place = f"{measured['dataset']}/{measured['split']}"
    noise = measured["protocol"]["noise"]
    count = len(measured["units"])
    what = "s0 alone" if measured["stage"] == "s0" else f"{count} unit{'s' * (count > 1)}"
    return Page(
        title=f"{measured['model']} on {place}",
        summary=f"Evaluation of {what} on {measured['images']} images, "
        + (f"made noisy with {noise}." if noise else "as they are, without added noise."),
        sections=sections(measured, dataset, album),
        command=command,
        versions=versions,
        facts={"device": measured["device"]},
    )


def sections(measured: Mapping[str, Any], dataset: Dataset, album: Album) -> list[Section]:
    """Figures, classes and pictures of an evaluation, for a report of more than that."""
    notes = [protocol_note(measured)]
    found = [Section("Figures", [table(measured), *curves(measured["units"])])]
    if any(unit["class_iou"] for unit in measured["units"]):
        found.append(Section("Classes", [class_bars(measured, notes)]))
    if shown := gallery(dataset, album):
        found.append(Section("Images", [shown]))
    return found


def protocol_note(measured: Mapping[str, Any]) -> str:
    """How an evaluation was measured, in one line."""
    place = f"{measured['dataset']}/{measured['split']}"
    images = f"{counted(measured['images'], 'image')} of {place}"
    return f"{protocol_line(measured['protocol'], images)}."


def table(measured: Mapping[str, Any]) -> Table:
    """Every unit's figures, and those of the noisy images."""
    rows = [[_name(unit, measured), *(unit[key] for key in COLUMNS)] for unit in measured["units"]]
    if measured["noisy"]:
        rows.insert(0, ["noisy image", *(measured["noisy"].get(key) for key in COLUMNS)])
    notes = [protocol_note(measured)]
    return Table("Every unit", ["", *COLUMNS.values()], rows, notes)


def _name(unit: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    return "s0" if measured["stage"] == "s0" else f"unit {unit['unit']}"


def curves(units: Sequence[Mapping[str, Any]]) -> list[Block]:
    """PSNR and mIoU over units, where there are several."""
    found = (curve(key, [(unit["unit"], unit[key]) for unit in units]) for key in CURVES)
    return [chart for chart in found if chart is not None]


def curve(key: str, points: Sequence[tuple[float, float | None]]) -> LineChart | None:
    """A figure over units; None with less than two points to draw.

    Args:
        key: One of ``CURVES``.
        points: Number of a unit and its figure.
    """
    if len([value for _, value in points if is_known(value)]) < 2:
        return None
    metric = METRICS[key]
    lines = [Series(metric.name, points)]
    return LineChart(f"{metric.name} over units", "unit", metric.unit, lines, CURVES[key])


def class_bars(measured: Mapping[str, Any], notes: Sequence[str]) -> BarChart:
    """IoU of every class by every unit that segments."""
    units = [unit for unit in measured["units"] if unit["class_iou"]]
    groups = [(name, [unit["class_iou"][name] for unit in units]) for name in units[0]["class_iou"]]
    names = [_name(unit, measured) for unit in units]
    return BarChart("IoU of every class", "%", names, groups, 100, 1, notes)


def gallery(dataset: Dataset, album: Album) -> Gallery | None:
    """The pictures of an album, if there are any."""
    comparisons = album.comparisons()
    if not comparisons:
        return None
    legend = [*zip(dataset.classes, dataset.palette, strict=True), ("no label", layers.NO_LABEL)]
    return Gallery(comparisons, legend, picture_notes(album))


def picture_notes(album: Album) -> list[str]:
    """What pictures can and cannot show."""
    notes = [
        "Pictures are for looking: clipped, 8 bits, large ones JPEG of quality "
        f"{layers.QUALITY}, at most {layers.MAX_SIDE} pixels wide and high; figures come from "
        "the images themselves."
    ]
    if album.left_out:
        notes.append(f"{album.left_out} more images had no room in this file.")
    return notes
