"""Charts as SVG within the page: shapes and texts alone, whose colours its style sheet gives.

Series differ in colour, marker and dashes, so that they can be told apart in print and by people
who do not see the colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as xml

from markupsafe import Markup

from sdabn_cli.console import printable
from sdabn_cli.report.content import BarChart, LineChart, Series
from sdabn_cli.report.figures import digits_of, is_known, ticks, written

#: Size of a chart in its own units; shown about as large on a telephone.
WIDTH, HEIGHT = 440, 270

#: Room above, right of and below the curves.
TOP, RIGHT, BOTTOM = 20, 18, 46

#: Width of a letter of an axis' numbers.
LETTER = 7

#: Charts of one curve with no more points than this have their figures beside them.
LABELLED = 8

#: Curves of more points than this are lines alone.
MARKED = 40

#: Whole numbers on the x axis are all written, up to this many.
COUNTED = 12

#: Colours and markers that the style sheet has; further series begin again.
STYLES = 8

#: Height of the bars of a group, and their distances, in pixels.
GROUP, LEAST_BAR, GAP = 18, 9, 2

MARKERS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z",  # circle
    "M-3.6,-3.6H3.6V3.6H-3.6Z",  # square
    "M0,-5L4.8,3.6H-4.8Z",  # triangle
    "M0,-5.4L5.4,0L0,5.4L-5.4,0Z",  # diamond
    "M0,5L4.8,-3.6H-4.8Z",  # triangle, upside down
    "M-5,-1.7H-1.7V-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5Z",  # plus
)


@dataclass(frozen=True)
class _Axis:
    """Where values lie along a line."""

    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 2)


def lines(chart: LineChart) -> Markup:
    """Draw a line chart; an empty text if no point of it has a figure."""
    points = [(x, y) for series in chart.series for x, y in series.points if is_known(y)]
    if not points:
        return Markup("")
    y_ticks = list(chart.ticks) or _y_ticks([y for _, y in points], chart.span)
    names = [written(float(value), digits_of(y_ticks)) for value in y_ticks]
    left = 12 + LETTER * max(map(len, names))
    across, x_ticks = _x_axis([x for x, _ in points], left)
    up = _Axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    root = _picture(chart)
    for value, name in zip(y_ticks, names, strict=True):
        _line(root, "grid", left, up.at(value), WIDTH - RIGHT, up.at(value))
        _text(root, name, left - 6, up.at(value) + 4, "end")
    for value in x_ticks:
        _line(
            root, "tick", across.at(value), HEIGHT - BOTTOM, across.at(value), HEIGHT - BOTTOM + 5
        )
        name = written(float(value), digits_of(x_ticks))
        _text(root, name, across.at(value), HEIGHT - BOTTOM + 19, "middle")
    _line(root, "axis", left, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM)
    _text(root, chart.x, (left + WIDTH - RIGHT) / 2, HEIGHT - 8, "middle", "label")
    for number, series in enumerate(chart.series):
        style = number if series.style is None else series.style
        _curve(root, series, style, across, up, labelled=len(chart.series) == 1)
    return _markup(root)


def _y_ticks(values: Sequence[float], span: float) -> list[float]:
    low, high = min(values), max(values)
    missing = max(span, 1e-6 * abs(high), 1e-9) - (high - low)
    if missing > 0:
        low, high = low - missing / 2, high + missing / 2
    return ticks(low, high)


def _x_axis(values: Sequence[float], left: float) -> tuple[_Axis, list[float]]:
    places = sorted(set(values))
    counted = len(places) <= COUNTED and all(float(x).is_integer() for x in places)
    low, high = places[0], places[-1]
    if low == high:
        low, high = low - 1, high + 1
    shown = places if counted else ticks(low, high)
    low, high = min(low, shown[0]), max(high, shown[-1])
    # Markers and their figures need room beside the axis.
    return _Axis(low, high, left + 22, WIDTH - RIGHT - 22), list(map(float, shown))


def _picture(chart: LineChart) -> xml.Element:
    root = xml.Element("svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    root.set("class", "chart")
    told = "; ".join(
        f"{series.name}: " + ", ".join(f"{written(y)} at {x:g}" for x, y in series.points)
        for series in chart.series
    )
    root.set("aria-label", printable(f"{chart.title}. {chart.y} over {chart.x}. {told}"))
    return root


def _curve(
    root: xml.Element, series: Series, style: int, across: _Axis, up: _Axis, *, labelled: bool
) -> None:
    group = xml.SubElement(root, "g")
    group.set("class", f"series s{style % STYLES}" + (" dashed" if series.dashed else ""))
    known = [(x, y) for x, y in series.points if is_known(y)]
    places = [(across.at(x), up.at(y)) for x, y in known]
    if len(places) > 1:
        xml.SubElement(group, "polyline", points=" ".join(f"{x},{y}" for x, y in places))
    if len(places) > MARKED:
        return
    for (x, y), (value_x, value) in zip(places, known, strict=True):
        marker = xml.SubElement(group, "path", d=MARKERS[style % len(MARKERS)])
        marker.set("transform", f"translate({x} {y})")
        title = f"{series.name}: {written(value)} at {value_x:g}"
        xml.SubElement(marker, "title").text = printable(title)
        if labelled and len(known) <= LABELLED:
            below = _is_low([place for _, place in places], places.index((x, y)))
            _text(root, written(float(value)), x, y + (18 if below else -9), "middle", "value")


def _is_low(heights: Sequence[float], number: int) -> bool:
    """Whether a curve lies above a point on both sides on average; heights count from above."""
    around = [*heights[max(0, number - 1) : number], *heights[number + 1 : number + 2]]
    return bool(around) and sum(around) / len(around) < heights[number]


def _line(root: xml.Element, name: str, x1: float, y1: float, x2: float, y2: float) -> None:
    line = xml.SubElement(root, "line", x1=str(x1), y1=str(y1), x2=str(x2), y2=str(y2))
    line.set("class", name)


def _text(
    root: xml.Element, text: str, x: float, y: float, anchor: str, name: str = "number"
) -> None:
    element = xml.SubElement(root, "text", x=str(x), y=str(y))
    element.set("text-anchor", anchor)
    element.set("class", name)
    element.text = printable(text)


def key(number: int, *, dashed: bool = False, bar: bool = False) -> Markup:
    """Draw what stands for a series in a legend."""
    root = xml.Element("svg", viewBox="0 0 28 14")
    root.set("class", "key")
    root.set("aria-hidden", "true")
    group = xml.SubElement(root, "g")
    group.set("class", f"series s{number % STYLES}" + (" dashed" if dashed else ""))
    if bar:
        xml.SubElement(group, "rect", x="2", y="2", width="24", height="10", rx="1")
    else:
        xml.SubElement(group, "polyline", points="0,7 28,7")
        marker = xml.SubElement(group, "path", d=MARKERS[number % len(MARKERS)])
        marker.set("transform", "translate(14 7)")
    return _markup(root)


def bar_ticks(chart: BarChart) -> list[float]:
    """Ticks of the axis that all bars of a chart share, from 0 on."""
    if chart.top is not None:
        return [chart.top * quarter / 4 for quarter in range(5)]
    known = [value for _, values in chart.groups for value in values if is_known(value)]
    return ticks(0, max([*known, 1e-9]), count=4)


def bars(chart: BarChart, values: Sequence[float | None]) -> Markup:
    """Draw the bars of one group; stretched to the width that there is."""
    marks = bar_ticks(chart)
    bar = max(LEAST_BAR, GROUP // len(values))
    height = len(values) * (bar + GAP) + 3 * GAP
    root = xml.Element("svg", viewBox=f"0 0 100 {height}", preserveAspectRatio="none")
    root.set("class", "bars")
    root.set("aria-hidden", "true")  # the figures stand beside them
    root.set("height", str(height))
    for mark in marks:
        x = round(100 * mark / marks[-1], 3)
        _line(root, "grid", x, 0, x, height)
    for number, value in enumerate(values):
        group = xml.SubElement(root, "g")
        group.set("class", f"series s{number % STYLES}")
        width = 100 * min(max(value, 0) / marks[-1], 1) if is_known(value) else 0
        top = 2 * GAP + number * (bar + GAP)
        xml.SubElement(group, "rect", x="0", y=str(top), width=f"{width:.3f}", height=str(bar))
    return _markup(root)


def swatch(colour: tuple[int, int, int]) -> Markup:
    """Draw the colour of a class."""
    root = xml.Element("svg", viewBox="0 0 14 14")
    root.set("class", "swatch")
    root.set("aria-hidden", "true")
    fill = "#{:02x}{:02x}{:02x}".format(*(int(channel) & 255 for channel in colour))
    xml.SubElement(root, "rect", width="14", height="14", rx="2", fill=fill)
    return _markup(root)


def _markup(root: xml.Element) -> Markup:
    # Texts are escaped by the serialiser.
    return Markup(xml.tostring(root, encoding="unicode"))
