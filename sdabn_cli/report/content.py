"""What a report holds, as plain data: tables, claims, charts, bars and pictures to compare.

Every text is shown as it is: names of files, classes and models may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Cell = str | int | float | None
"""Figures are rounded by their column; None and NaN are shown as a dash."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Column:
    """A column of figures, set right; columns of texts are given by their names alone.

    Attributes:
        name: Heading, with the unit.
        digits: After the decimal point.
        as_printed: Whether the figures are the paper's, with one digit more where it prints that.
    """

    name: str
    digits: int = 2
    as_printed: bool = False


@dataclass(frozen=True)
class Table:
    """Figures with their protocol.

    Attributes:
        caption: What the table shows.
        columns: Headings; a row has a cell for each.
        rows: The first cell of a row names it.
        notes: Printed below: how it was measured, what was left out.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str | Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Claim:
    """A claim and what became of it.

    Attributes:
        text: The claim.
        verdict: In words, such as "holds".
        tone: How the verdict is shown, beside its words.
        details: What it rests on, a line each.
    """

    text: str
    verdict: str
    tone: Literal["good", "bad", "open"]
    details: Sequence[str] = ()


@dataclass(frozen=True)
class Claims:
    """Claims with verdicts."""

    kind: ClassVar[str] = "claims"
    claims: Sequence[Claim]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: In the legend.
        points: (x, y); those without a finite y are left out.
        dashed: For lines to compare with, such as published figures.
        style: Number of its colour and marker, for lines that belong together; its place among
            the curves by default.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    dashed: bool = False
    style: int | None = None


@dataclass(frozen=True)
class LineChart:
    """Curves over a common axis.

    Attributes:
        title: What is shown.
        x, y: Names of the axes, with their units.
        series: The curves.
        span: Least extent of the y axis, so that differences of no weight look like it.
        ticks: Of the y axis, from its one end to the other; round numbers that enclose the curves
            by default.
        notes: Printed below.
    """

    kind: ClassVar[str] = "lines"
    title: str
    x: str
    y: str
    series: Sequence[Series]
    span: float = 0.0
    ticks: Sequence[float] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class BarChart:
    """Bars in groups, with their figures beside them.

    Attributes:
        title: What is shown.
        y: What the bars mean, with the unit.
        names: Of the bars of every group.
        groups: Name of a group and its figures, one for each of ``names``.
        top: End of the axis; by default a round number above the largest figure.
        digits: Of the figures, after the decimal point.
        notes: Printed below.
    """

    kind: ClassVar[str] = "bars"
    title: str
    y: str
    names: Sequence[str]
    groups: Sequence[tuple[str, Sequence[float | None]]]
    top: float | None = None
    digits: int = 1
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: Its words.
        tone: ``warning`` sets it apart.
    """

    kind: ClassVar[str] = "text"
    text: str
    tone: Literal["plain", "warning"] = "plain"


@dataclass(frozen=True)
class Layer:
    """A picture of a comparison, encoded; made by ``report.layers``.

    Attributes:
        name: Such as "unit 1: estimate".
        media: ``image/png`` or ``image/jpeg``.
        data: The file's bytes.
        width, height: In pixels; those of one comparison are of the same size.
        alt: What a person reads who does not see it.
        figure: What was measured of it, such as "26.13 dB"; may be empty.
    """

    name: str
    media: Literal["image/png", "image/jpeg"]
    data: bytes
    width: int
    height: int
    alt: str
    figure: str = ""


@dataclass(frozen=True)
class Comparison:
    """Pictures of the same scene, two of which are looked at across a divider.

    Attributes:
        title: Such as the image's name.
        layers: At least one.
        left, right: Numbers of the layers that are shown first.
        note: Said below.
    """

    title: str
    layers: Sequence[Layer]
    left: int = 0
    right: int = -1
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Comparisons with what the colours of their label maps mean.

    Attributes:
        comparisons: One an image.
        legend: Name and colour of every class; empty without label maps.
        notes: Printed below.
    """

    kind: ClassVar[str] = "gallery"
    comparisons: Sequence[Comparison]
    legend: Sequence[tuple[str, Colour]] = ()
    notes: Sequence[str] = ()


Block = Table | Claims | LineChart | BarChart | Text | Gallery


@dataclass(frozen=True)
class Section:
    """Part of a report; charts that follow each other stand side by side where there is room."""

    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: In large letters.
        summary: A sentence or two below it.
        sections: What it shows.
        command: The command line that made it.
        versions: Of what it was made with.
        facts: Further lines of how it was made, such as the device.
    """

    title: str
    summary: str
    sections: Sequence[Section]
    command: str
    versions: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
