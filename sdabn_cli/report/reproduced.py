"""The report of a reproduced table: the paper's figures beside those measured here, and claims."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sdabn_cli.report.content import (
    BarChart,
    Block,
    Cell,
    Claim,
    Claims,
    Column,
    Gallery,
    LineChart,
    Page,
    Section,
    Series,
    Table,
)
from sdabn_cli.report.figures import MINUS
from sdabn_cli.report.measured import COLUMNS, CURVES, protocol_words
from sdabn_cli.report.words import (
    DATASETS,
    METRICS,
    cited,
    compared,
    counted,
    figures_of,
    protocol_of,
    systems,
)

#: Tables whose rows lie along an axis, and its name.
AXES = {"table3": "units", "table6": "units", "figure2": "sigma"}

#: Labels of such rows: "SDB x 2", "sigma = 30".
ALONG = re.compile(r"(?P<series>.+?) (?:x|=) (?P<place>\d+)")

TONES = {"holds": "good", "contradicted": "bad", "open": "open"}


def page(
    told: Mapping[str, Any],
    galleries: Mapping[str, Gallery],
    *,
    command: str,
    versions: Mapping[str, str],
    device: str,
) -> Page:
    """Put together the report of a reproduction.

    Args:
        told: What ``sdabn reproduce --json`` prints.
        galleries: Pictures by the noise.
        command: Command line that made it.
        versions: Of what it was made with.
        device: What it was measured on.
    """
    notes = [_protocol_note(told)]
    sections = [
        Section(
            each["noise"],
            [
                _table(told, each, notes),
                _systems(each),
                *_curves(told, each),
                *_classes(each, notes),
            ],
        )
        for each in told["tables"]
    ]
    if told["claims"]:
        note = "Differences are better minus worse, with 95 % confidence intervals."
        found = [_claim(each) for each in told["claims"]]
        claims = Claims(found, [note, told["intervals"], *notes])
        sections.append(Section("Claims", [claims]))
    sections += [Section(f"Images, {noise}", [shown]) for noise, shown in galleries.items()]
    return Page(
        title=f"{told['table']}: {told['caption']}",
        summary=f"{told['table']} of the paper, reproduced on {told['dataset']}: "
        f"{counted(told['images'], 'image')}, {counted(told['seeds'], 'seed')}.",
        sections=sections,
        command=command,
        versions=versions,
        facts={"device": device},
    )


def _protocol_note(told: Mapping[str, Any]) -> str:
    seeds = f"mean over {told['seeds']} seeds; " if told["seeds"] > 1 else ""
    images = f"{counted(told['images'], 'image')} of {told['dataset']}"
    return (
        f"Protocol: {seeds}{images}; {protocol_words(protocol_of(told))}. "
        f"Figures of the paper are those of {DATASETS[told['paper_dataset']]}, by its own protocol."
    )


def _table(told: Mapping[str, Any], each: Mapping[str, Any], notes: Sequence[str]) -> Table:
    rows = each["rows"]
    present = [
        (key, whose)
        for key in COLUMNS
        for whose in ("here", "paper")
        if any(key in figures_of(row, whose) for row in rows)
    ]
    columns: list[str | Column] = [""]
    columns += [
        Column(f"{COLUMNS[key].name}, {whose}", COLUMNS[key].digits) for key, whose in present
    ]
    cells: list[list[Cell]] = [
        [row["label"], *(figures_of(row, whose).get(key) for key, whose in present)] for row in rows
    ]
    if all(row["parameters"] for row in rows):
        columns[1:1] = [Column(f"Parameters, {whose}", 0) for whose in ("here", "paper")]
        for row, line in zip(rows, cells, strict=True):
            line[1:1] = [row["parameters"]["here"], row["parameters"]["paper"]]
    return Table(told["caption"], columns, cells, [f"Noise: {each['noise']}.", *notes])


def _systems(each: Mapping[str, Any]) -> Table:
    """What was trained for a table."""
    heads, cells = systems(each)
    return Table("What was trained", heads, cells)


def _classes(each: Mapping[str, Any], notes: Sequence[str]) -> list[Block]:
    """IoU of every class by every segmenter of the table."""
    rows = [row for row in each["rows"] if row["class_iou"]]
    if not rows:
        return []
    names = [row["label"] for row in rows]
    groups = [(name, [row["class_iou"][name] for row in rows]) for name in rows[0]["class_iou"]]
    return [BarChart("IoU of every class", "%", names, groups, 100, 1, notes)]


def _curves(told: Mapping[str, Any], each: Mapping[str, Any]) -> list[Block]:
    """PSNR and mIoU along the rows of tables that have an axis, here and in the paper."""
    if told["table"] not in AXES:
        return []
    axis = AXES[told["table"]]
    charts: list[Block] = []
    for key, span in CURVES.items():
        if lines := _lines(each["rows"], key):
            metric, series = METRICS[key], _series(lines, axis)
            charts.append(LineChart(f"{metric.name} over {axis}", axis, metric.unit, series, span))
    return charts


def _lines(
    rows: Sequence[Mapping[str, Any]], key: str
) -> dict[tuple[str, str], list[tuple[float, float | None]]]:
    """Points of a figure by what a row's label begins with, and whose figure it is."""
    lines: dict[tuple[str, str], list[tuple[float, float | None]]] = {}
    for row in rows:
        place = ALONG.fullmatch(row["label"])
        for whose in ("here", "paper"):
            if place and key in (figures := figures_of(row, whose)):
                point = (float(place["place"]), figures[key])
                lines.setdefault((place["series"], whose), []).append(point)
    return lines


def _series(
    lines: Mapping[tuple[str, str], Sequence[tuple[float, float | None]]], axis: str
) -> list[Series]:
    """Curves, of which the paper's has the colour of the one here that it belongs to."""
    styles = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in lines))}
    return [
        Series(
            whose if name == axis else f"{name}, {whose}",
            points,
            dashed=whose == "paper",
            style=styles[name],
        )
        for (name, whose), points in lines.items()
    ]


def _claim(each: Mapping[str, Any]) -> Claim:
    quotes = "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
    details = [cited(each, quotes=quotes)]
    details += [
        f"{compared(comparison, minus=MINUS)}: {comparison['verdict']}"
        for comparison in each["comparisons"]
    ]
    details += [each["remark"]] if each["remark"] else []
    return Claim(
        f"{each['claim']} ({each['noise']})", each["verdict"], TONES[each["verdict"]], details
    )
