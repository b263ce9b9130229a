"""What was reproduced, as text: heads and cells of tables, differences, the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdabn_cli.report.words import difference, protocol_of

__all__ = ["difference", "protocol", "protocol_of", "table"]

COLUMNS = {"psnr": "PSNR", "ssim": "SSIM", "miou": "mIoU", "pixel_accuracy": "pixel acc.",
           "mean_accuracy": "mean acc."}  # fmt: skip

Row = Mapping[str, Any]
"""A line of a table, as ``sdabn reproduce --json`` prints it."""


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of a table: every figure here, and the paper's in brackets.

    Args:
        rows: Its lines; figures that none of them has are left out.
    """
    metrics = [name for name in COLUMNS if any(name in _figures(row, "here") for row in rows)]
    sized = any(row["parameters"] for row in rows)
    heads = ["", *(["parameters"] if sized else [])]
    heads += [f"{COLUMNS[name]} here (paper)" for name in metrics]
    cells = [
        [row["label"], *([f"{row['parameters']:,}"] if sized else []),
         *(_cell(row, name) for name in metrics)]
        for row in rows
    ]  # fmt: skip
    return heads, cells


def _figures(row: Row, whose: str) -> dict[str, float]:
    """Figures of both halves of a row; ``whose`` is ``here`` or ``paper``."""
    found: dict[str, float] = {}
    for half in ("denoised", "segmented"):
        found |= (row[half] or {}).get(whose) or {}
    return found


def _cell(row: Row, name: str) -> str:
    here, paper = _figures(row, "here").get(name), _figures(row, "paper").get(name)
    digits = 4 if name == "ssim" else 2
    if here is None:
        return "-"
    return f"{here:.{digits}f}" + ("" if paper is None else f" ({paper:.{digits}f})")


def protocol(result: Mapping[str, Any]) -> str:
    """How everything was measured, in one line."""
    settings = ", ".join(
        f"{key} {value}" for key, value in protocol_of(result).items() if key != "noise"
    )
    seeds = f"{result['seeds']} seed{'s' * (result['seeds'] > 1)}"
    return f"{result['images']} images of {result['dataset']}, {seeds}; {settings}"
