"""When a stage stops: at a signal, or when its validations no longer get better."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any


class Signals:
    """Remembers a SIGTERM or SIGINT instead of dying of it, so that work can be saved first.

    Args:
        insist: Let a second signal act at once. Launchers repeat signals, so that several
            processes must not.

    Attributes:
        received: Number of the first signal; None before one.
    """

    WATCHED = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, *, insist: bool = True) -> None:
        self.received: int | None = None
        self._insist = insist
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # others may not set handlers
            self._before = {number: signal.signal(number, self._note) for number in self.WATCHED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = self.received or number
        if self._insist:
            self.__exit__()


@contextmanager
def terminable() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM stop what runs as Ctrl-C does, by a KeyboardInterrupt.

    Yields:
        Tells whether one has come.
    """
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # others may not set handlers
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass
class Judge:
    """Follows the validations of a stage; larger is better.

    Attributes:
        best: Best figure so far.
        best_step: Step it was measured at.
        judged_step: Step of the last validation.
        without_best: Validations since the best.
    """

    best: float = -math.inf
    best_step: int = 0
    judged_step: int = 0
    without_best: int = 0

    def judge(self, step: int, figure: float) -> bool:
        """Take a validation into account.

        Args:
            step: Where it was made.
            figure: mIoU or PSNR; one that is not a number is never the best.

        Returns:
            Whether it is the best so far.
        """
        self.judged_step = step
        better = figure > self.best
        if better:
            self.best, self.best_step, self.without_best = figure, step, 0
        else:
            self.without_best += 1
        return better

    def has_lost_patience(self, patience: int | None) -> bool:
        """Whether that many validations in a row were no better."""
        return patience is not None and self.without_best >= patience

    def as_dict(self) -> dict[str, float | int]:
        """As plain values, for a training state."""
        return asdict(self)
