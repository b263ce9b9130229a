"""Figures as people read them, and the round numbers of axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from sdabn_cli.report.content import Cell

#: Shown where there is no figure.
DASH = "\N{EN DASH}"

MINUS = "\N{MINUS SIGN}"

#: Distances of ticks, times a power of ten.
STEPS = (1, 2, 2.5, 5, 10)


def is_known(value: float | None) -> bool:
    """Whether a figure can be drawn."""
    return value is not None and math.isfinite(value)


def written(value: Cell, digits: int = 2) -> str:
    """Write a cell: texts and whole numbers as they are, other figures rounded."""
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else f"{MINUS}\N{INFINITY}"
    text = f"{value:d}" if isinstance(value, int) else f"{value:.{digits}f}"
    return text.replace("-", MINUS)


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers that enclose a range.

    Args:
        low: Least value.
        high: Largest value, above ``low``.
        count: About how many are wanted.

    Returns:
        The first at most ``low``, the last at least ``high``.
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in STEPS if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def ticks_alike(ranges: Sequence[tuple[float, float]], *, least: float = 0.0) -> list[list[float]]:
    """Round numbers that enclose each of several ranges, as far apart and as many for each.

    Args:
        ranges: Least and largest value of each, one of them above the other if ``least`` is 0.
        least: Least extent that is enclosed.
    """
    span = max(least, *(high - low for low, high in ranges))
    found = [ticks((low + high - span) / 2, (low + high + span) / 2) for low, high in ranges]
    most = max(map(len, found))
    # Of ranges of one length some meet one tick more than others.
    return [each + [2 * each[-1] - each[-2]] * (most - len(each)) for each in found]


def digits_of(values: list[float]) -> int:
    """Decimals that tell ticks apart."""
    step = min((b - a for a, b in itertools.pairwise(values)), default=1.0)
    return next((n for n in range(9) if math.isclose(step, round(step, n), rel_tol=1e-6)), 9)


def megabytes(size: int) -> str:
    """Write a number of bytes."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(size, 1) / 1e3:.1f} kB"
