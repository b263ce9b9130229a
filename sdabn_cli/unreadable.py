"""Entry points that are no text: one such file stops every library that looks for its own.

``importlib.metadata.entry_points`` reads those of all distributions, and torch, triton and
pydantic call it while they are imported. So in the program ``sdabn`` such a file counts as empty;
``discovery``, which reads strictly, names it.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import Distribution, PathDistribution
from typing import Any

_READ = PathDistribution.read_text


def pass_over() -> None:
    """Let entry points that cannot be decoded count as none, everywhere in this process."""
    PathDistribution.read_text = _read_tolerantly


def _read_tolerantly(self: PathDistribution, filename: Any) -> str | None:
    try:
        return _READ(self, filename)
    except UnicodeDecodeError:
        if filename != "entry_points.txt":
            raise
        return None


def strict(distribution: Distribution) -> Any:
    """``read_text`` of a distribution as Python has it."""
    if isinstance(distribution, PathDistribution):
        return partial(_READ, distribution)
    return distribution.read_text
