"""The only place that prints: people read stderr, programs read stdout."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sdabn_cli.errors import SdabnError
from sdabn_cli.jsonable import finite
from sdabn_cli.schedule import Stage

#: Where several processes were launched, the first one speaks for all,
people = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")
#: but every machine reports errors: they may be its own.
_errors = Console(stderr=True, quiet=os.environ.get("LOCAL_RANK", "0") != "0")

#: What a terminal would obey instead of showing it; models and images come from strangers.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text in which nothing but line ends and tabs moves a terminal's cursor or changes it."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", text)


def show_error(error: SdabnError) -> None:
    """Show a user's mistake as a panel on stderr, with a table below it if it has one."""
    content = Text(printable(error.problem))
    if error.hint:
        content.append(f"\n{printable(error.hint)}", style="dim")
    _errors.print(Panel(content, title="Error", title_align="left", border_style="red"))
    if error.table:
        _errors.print(_table(error.table.columns, error.table.rows))
        if error.table.more:
            _errors.print(Text(f"  and {error.table.more:,} more"))


def say(message: str) -> None:
    """Tell people something on stderr."""
    people.print(Text(printable(message)), soft_wrap=True)


def warn(message: str) -> None:
    """Warn people on stderr."""
    people.print(Text(printable(f"Warning: {message}"), style="yellow"), soft_wrap=True)


def emit(data: Any) -> None:
    """Print data as JSON on stdout; figures that are not finite become null."""
    if people.quiet:
        return
    print(json.dumps(finite(data), indent=2, default=str, allow_nan=False))


def emit_text(text: str) -> None:
    """Print plain text on stdout, for commands whose result is a text."""
    sys.stdout.write(printable(text if text.endswith("\n") else text + "\n"))


def show_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Show a table on stderr; columns of numbers are set right."""
    table = _table(columns, rows)
    table.title, table.title_justify, table.title_style = Text(printable(title)), "left", "bold"
    people.print(table)


def show_origins(stages: Iterable[Mapping[str, Any]]) -> None:
    """Say which files the weights of stages are from: a line a file, as ``Origin.describe``."""
    lines: dict[str, list[str]] = {}
    for stage in stages:
        if found := stage["init"]:
            drawn = f"; drawn anew: {', '.join(found['drawn'])}" if found["drawn"] else ""
            verb = "trained from" if found["trained"] else "given by"
            place = f", its {found['place']!r}" if found["place"] else ""
            line = f"{verb} {found['path']} (sha256 {found['sha256'][:12]}){place}{drawn}"
            lines.setdefault("; ".join([line, *found["notes"]]), []).append(stage["id"])
    for line, ids in lines.items():
        say(f"  {', '.join(ids)}: {line}")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        numeric = any(row[number][:1].isdigit() for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def progress(*, show: bool = True) -> Progress:
    """A progress bar on stderr with counts, a free text and the time left.

    Args:
        show: Whether anything is shown at all.
    """
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[info]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=people,
        transient=True,
        disable=not show,
    )


class TrainingDisplay:
    """Shows a training: a bar on a terminal, a line a log step elsewhere.

    Args:
        title: Stands before the names of stages, where several systems are trained.
    """

    def __init__(self, title: str = "") -> None:
        self._title = f"{title} " if title else ""
        self._progress = progress()
        self._task: Any = None
        self._stage = ""
        self._steps = self._first = 0
        self._began = 0.0

    def __enter__(self) -> TrainingDisplay:
        if people.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def warn(self, message: str) -> None:
        """Show a warning above the bar."""
        warn(message)

    def start(self, stage: Stage, *, step: int, steps: int) -> None:
        """Begin the bar of a stage."""
        self._stage, self._steps, self._first = f"{self._title}{stage.id}", steps, step
        self._began = time.monotonic()
        if step:
            say(f"{self._stage}: goes on at step {step} of {steps}")
        self._task = self._progress.add_task(self._stage, total=steps, completed=step, info="")

    def advance(self, step: int, figures: dict[str, float] | None) -> None:
        """Move the bar; figures of logged steps are shown beside it."""
        self._progress.update(self._task, completed=step)
        if figures is None:
            return
        info = (
            f"loss {figures['loss']:.4g}  lr {figures['learning_rate']:.2g}  "
            f"{figures['images_per_second']:.1f} images/s  data {figures['data_wait']:.0%}"
        )
        self._progress.update(self._task, info=info)
        if not people.is_terminal:
            spent = time.monotonic() - self._began
            left = spent / (step - self._first) * (self._steps - step)
            say(f"{self._stage} {step}/{self._steps}  {info}  {clock(left)} left")

    def validating(self, done: int, images: int) -> None:
        """Show how far a validation is."""
        self._progress.update(self._task, info=f"validating {done}/{images}")

    def validated(self, step: int, figures: dict[str, float]) -> None:
        """Show validation figures."""
        text = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        say(f"{self._stage} step {step}: validation  {text}")

    def ended_early(self, step: int, best_step: int) -> None:
        """Say that patience has ended the stage."""
        say(f"{self._stage}: ends at step {step}, because nothing was better than step {best_step}")

    def finish(self, stage: Stage, seconds: float) -> None:
        """End the bar of a stage; one that never began has nothing to train."""
        name = f"{self._title}{stage.id}"
        if self._task is None:
            say(f"{name}: nothing to train")
            return
        self._progress.remove_task(self._task)
        self._task = None
        say(f"{name}: finished after {clock(seconds)}")


def clock(seconds: float) -> str:
    """Write a duration as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
