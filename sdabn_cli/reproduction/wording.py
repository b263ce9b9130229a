"""What was reproduced, as text: heads and cells of tables, differences, the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdabn_cli.report.words import (
    METRICS,
    as_printed,
    below,
    cited,
    compared,
    counted,
    figures_of,
    recipe,
    systems,
)

__all__ = [
    "below", "cited", "compared", "counted", "recipe", "systems", "table",
]  # fmt: skip

Row = Mapping[str, Any]
"""A line of a table, as ``sdabn reproduce --json`` prints it."""


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of a table: every figure here, and the paper's in brackets.

    Args:
        rows: Its lines; figures that none of them has are left out.
    """
    metrics = [name for name in METRICS if any(name in figures_of(row, "here") for row in rows)]
    sized = any(row["parameters"] for row in rows)
    heads = ["", *(["parameters here (paper)"] if sized else [])]
    heads += [f"{METRICS[name].name} here (paper)" for name in metrics]
    cells = [
        [row["label"], *([_size(**row["parameters"])] if sized else []),
         *(_cell(row, name) for name in metrics)]
        for row in rows
    ]  # fmt: skip
    return heads, cells


def _cell(row: Row, name: str) -> str:
    here, paper = figures_of(row, "here").get(name), figures_of(row, "paper").get(name)
    metric = METRICS[name]
    if here is None or paper is None:
        return metric.written(here)
    return f"{metric.written(here)} ({as_printed(paper, digits=metric.digits)})"


def _size(here: int, paper: int | None) -> str:
    return f"{here:,}" + ("" if paper is None else f" ({paper / 1e6:.2f} M)")
