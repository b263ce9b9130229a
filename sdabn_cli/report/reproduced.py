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
from sdabn_cli.report.figures import MINUS, is_known, ticks_alike
from sdabn_cli.report.measured import COLUMNS, CURVES
from sdabn_cli.report.words import (
    METRICS,
    below,
    cited,
    compared,
    counted,
    figures_of,
    recipe,
    systems,
)

#: Tables whose rows lie along an axis, and its name.
AXES = {"table3": "units", "table6": "units", "figure2": "sigma"}

#: Labels of such rows: "SDB x 2", "sigma = 30".
ALONG = re.compile(r"(?P<series>.+?) (?:x|=) (?P<place>\d+)")

#: Whose figures stand beside each other, as titles say it.
WHOSE = {"here": "here", "paper": "in the paper"}

#: Charts of this run and of the paper have one scale unless a range is so many times the other.
ALIKE = 4

SAME_SCALE = "Both charts have the same scale: equal gains are equally high."
OTHER_SCALE = "Each chart has a scale of its own: gains cannot be compared by their height."

Lines = dict[str, list[tuple[float, float]]]
"""Points of curves by their names."""

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
    notes = [below(told)]
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
        Column(f"{COLUMNS[key].name}, {whose}", COLUMNS[key].digits, as_printed=whose == "paper")
        for key, whose in present
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
    return Table("What was trained", heads, cells, [recipe(each)])


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
    return [chart for key in CURVES for chart in _pair(each["rows"], key, AXES[told["table"]])]


def _pair(rows: Sequence[Mapping[str, Any]], key: str, axis: str) -> list[LineChart]:
    """A figure here and in the paper, each with a chart of its own: they may lie far apart.

    Equal gains are equally high in both, unless those of one could not be seen then.
    """
    drawn = {whose: lines for whose in WHOSE if (lines := _lines(rows, key, whose))}
    if not drawn:
        return []
    ranges = [_range(lines) for lines in drawn.values()]
    extents = [max(CURVES[key], high - low) for low, high in ranges]
    alike = max(extents) <= ALIKE * min(extents)
    scales = ticks_alike(ranges, least=CURVES[key]) if alike else [()] * len(drawn)
    note = SAME_SCALE if alike else OTHER_SCALE
    return [
        LineChart(
            _title(key, axis, whose, lines),
            axis,
            METRICS[key].unit,
            _series(lines, rows, axis, whose),
            span=CURVES[key],
            ticks=scale,
            notes=[note] if len(drawn) > 1 else [],
        )
        for (whose, lines), scale in zip(drawn.items(), scales, strict=True)
    ]


def _title(key: str, axis: str, whose: str, lines: Lines) -> str:
    """What a chart shows; with a single curve, whose name no legend tells, of what."""
    name, *others = lines
    of = "" if others or name == axis else f" of {name}"
    return f"{METRICS[key].name}{of} over {axis}, {WHOSE[whose]}"


def _lines(rows: Sequence[Mapping[str, Any]], key: str, whose: str) -> Lines:
    """Known points of a figure by what a row's label begins with; curves of one are left out."""
    found: Lines = {}
    for row in rows:
        place, figure = ALONG.fullmatch(row["label"]), figures_of(row, whose).get(key)
        if place and is_known(figure):
            found.setdefault(place["series"], []).append((float(place["place"]), figure))
    return {name: points for name, points in found.items() if len(points) > 1}


def _range(lines: Lines) -> tuple[float, float]:
    figures = [figure for points in lines.values() for _, figure in points]
    return min(figures), max(figures)


def _series(lines: Lines, rows: Sequence[Mapping[str, Any]], axis: str, whose: str) -> list[Series]:
    """Curves, each with the colour that its rows have in every chart of the table."""
    places = (ALONG.fullmatch(row["label"]) for row in rows)
    styles = list(dict.fromkeys(place["series"] for place in places if place))
    return [
        Series(whose if name == axis else name, points, whose == "paper", styles.index(name))
        for name, points in lines.items()
    ]


def _claim(each: Mapping[str, Any]) -> Claim:
    quotes = "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
    details = [cited(each, quotes=quotes)]
    details += [
        f"{comparison['verdict']}: {compared(comparison, minus=MINUS)}"
        for comparison in each["comparisons"]
    ]
    details += [each["remark"]] if each["remark"] else []
    return Claim(
        f"{each['claim']} ({each['noise']})", each["verdict"], TONES[each["verdict"]], details
    )
