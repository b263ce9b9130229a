"""Errors a user can act on: what is wrong, what is allowed, the nearest match, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Comparison:
    """What an error compares, row by row.

    Attributes:
        columns: Their headings.
        rows: The first rows.
        more: How many rows there are beside those.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: int = 0


class SdabnError(Exception):
    """A mistake in what the user gave; shown as a panel without a traceback, exit code 2.

    Args:
        problem: What is wrong, with its value.
        hint: What is allowed or what to do next; empty where the problem says it all.
        table: What differs, where that is more than a sentence can hold.
    """

    def __init__(self, problem: str, hint: str = "", table: Comparison | None = None) -> None:
        super().__init__(f"{problem}\n{hint}" if hint else problem)
        self.problem = problem
        self.hint = hint
        self.table = table

    def add(self, sentence: str) -> None:
        """Add a sentence to what is wrong."""
        self.problem = f"{self.problem} {sentence}"
        self.args = (f"{self.problem}\n{self.hint}" if self.hint else self.problem,)


def fault(error: BaseException) -> str:
    """What code that is not ours has raised, in words.

    Anything counts, also what is no ``Exception``: a plug-in that exits or raises a class of its
    own is as broken as one that divides by zero. Only the user's Ctrl-C must go on its way. Python
    raises ``KeyboardInterrupt`` itself for it, never a class derived from it, so the exact type
    tells them apart; that an author raises the very same on purpose is taken for a Ctrl-C.

    Raises:
        KeyboardInterrupt: If that is what it is.
    """
    if type(error) is KeyboardInterrupt:
        raise error
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # an error that cannot even be written
        return type(error).__name__


def did_you_mean(value: str, allowed: Iterable[str]) -> str:
    """Name the nearest match among the allowed values, and the values themselves.

    Returns:
        ``"Did you mean 'ddfn'? Allowed: ddfn, smp."`` or, without a near match, the second half.
    """
    names = sorted(allowed)
    nearest = get_close_matches(value, names, n=1, cutoff=0.5)
    listing = f"Allowed: {', '.join(names)}." if names else "There are none."
    return f"Did you mean {nearest[0]!r}? {listing}" if nearest else listing


class Unsupported(SdabnError):
    """A network that an engine cannot run."""


class NotFinite(SdabnError):
    """A network that computes values which are not numbers."""


class Stopped(Exception):
    """A signal asked the program to stop, and everything worth keeping has been saved.

    Attributes:
        signal: Number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
