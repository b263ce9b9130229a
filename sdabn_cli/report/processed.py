"""The report of images that a model was run on, whose truth is not known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sdabn_cli.description import Description
from sdabn_cli.report.album import Album
from sdabn_cli.report.content import (
    Block,
    Column,
    Gallery,
    Page,
    Section,
    Table,
    Text,
)
from sdabn_cli.report.measured import curve, picture_notes

#: Rows of the table of images, and messages; ``--json`` has all of them.
ROWS = 500

PROTOCOL = (
    "Protocol: PSNR of unclipped images without a border of 1 pixel, data range 1; {noise}, seed "
    "{seed} and the image's place in the list."
)


def page(
    told: Mapping[str, Any],
    description: Description,
    album: Album,
    *,
    command: str,
    versions: Mapping[str, str],
) -> Page:
    """Put together the report of a run.

    Args:
        told: What ``sdabn run --json`` prints, and ``noise``, ``seed`` and ``sigma`` as they were
            given; sigma is None where it was estimated.
        description: Of the model.
        album: Pictures of some images, made by ``glance``.
        command: Command line that made it.
        versions: Of what it was made with.
    """
    count, noise = len(told["images"]), told["noise"]
    summary = f"{told['model']}, {told['units']} unit{'s' * (told['units'] > 1)}, on "
    summary += f"{count} image{'s' * (count > 1)}"
    summary += f", made noisy with {noise}." if noise else ", taken as they are."
    sections = [Section("Images", [*_messages(told), _table(told), *_curve(told)])]
    if comparisons := album.comparisons():
        legend = list(zip(description.classes, description.palette, strict=True))
        shown = Gallery(comparisons, legend, picture_notes(album))
        sections.append(Section("Look closer", [shown]))
    return Page(
        title=_title(told["images"]),
        summary=summary,
        sections=sections,
        command=command,
        versions=versions,
        facts={"device": told["device"], "engine": told["engine"]},
    )


def _title(images: Sequence[Mapping[str, Any]]) -> str:
    first = images[0]["input"]
    return first if len(images) == 1 else f"{first} and {len(images) - 1} more"


def _messages(told: Mapping[str, Any]) -> list[Block]:
    """Warnings and what failed."""
    messages = [*told["warnings"], *(entry["error"] for entry in told["failed"])]
    blocks: list[Block] = [Text(message, "warning") for message in messages[:ROWS]]
    if len(messages) > ROWS:
        blocks.append(Text(f"{len(messages) - ROWS} more messages: see --json.", "warning"))
    return blocks


def _table(told: Mapping[str, Any]) -> Table:
    images, sigma = told["images"], told["sigma"]
    columns = ["image", Column("Sigma", 1), Column("Seconds")]
    rows = [[entry["input"], entry["sigma"], entry["seconds"]] for entry in images]
    how = "estimated" if sigma is None else "as given by --sigma"
    notes = [f"Sigma: standard deviation of the noise on the scale of 0 to 255, {how}. Seconds: "
             "reading, computing and writing; pictures of this report included."]  # fmt: skip
    if told["noise"]:
        columns += [Column(f"{name}, PSNR (dB)") for name in ("Noisy", *_units(told))]
        rows = [[*row, *_figures(entry)] for row, entry in zip(rows, images, strict=True)]
        notes.append(PROTOCOL.format(noise=told["noise"], seed=told["seed"]))
    if len(rows) > ROWS:
        notes.append(f"{len(rows) - ROWS} more images: see --json.")
    if len(rows) > 1:
        means = [_mean([row[place] for row in rows]) for place in range(1, len(columns))]
        rows = [[f"mean of {len(rows)}", *means], *rows[:ROWS]]
    return Table("Every image", columns, rows, notes)


def _units(told: Mapping[str, Any]) -> list[str]:
    return [f"Unit {number + 1}" for number in range(told["units"])]


def _figures(entry: Mapping[str, Any]) -> list[float | None]:
    return [entry["psnr"]["noisy"], *entry["psnr"]["units"]]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(known) if known else None


def _curve(told: Mapping[str, Any]) -> list[Block]:
    """Mean PSNR over units, where noise was added and there are several."""
    if not told["noise"]:
        return []
    units = zip(*(entry["psnr"]["units"] for entry in told["images"]), strict=True)
    chart = curve("psnr", [(number, _mean(values)) for number, values in enumerate(units, start=1)])
    return [] if chart is None else [chart]
