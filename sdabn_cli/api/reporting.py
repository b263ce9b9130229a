"""Reports of evaluations: asked for before anything is computed, written when all is."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdabn_cli.contracts import Dataset
from sdabn_cli.errors import SdabnError
from sdabn_cli.evaluation import Looked
from sdabn_cli.metrics import Protocol
from sdabn_cli.model import versions
from sdabn_cli.processes import Processes
from sdabn_cli.report.album import Album, Wanted
from sdabn_cli.report.looking import compare
from sdabn_cli.report.measured import page
from sdabn_cli.report.page import check_target, write


class ReportNotWritten(SdabnError):
    """A report that could not be written once everything was measured.

    Attributes:
        measured: What was measured, so that it is not lost.
    """

    def __init__(self, error: SdabnError, measured: dict[str, Any]) -> None:
        super().__init__(error.problem, error.hint)
        self.measured = measured


class Reporting:
    """The report of an evaluation, if one is wanted.

    Args:
        path: Of the report; None for no report.
        images: Which images it shows.

    Raises:
        SdabnError: If it cannot be written to that path.
    """

    def __init__(self, path: str | Path | None, images: Wanted) -> None:
        self._path = None if path is None else Path(path)
        self._album = Album(images)
        if self._path is not None:
            check_target(self._path)

    @property
    def told(self) -> dict[str, str]:
        """What is told of it with the figures."""
        return {} if self._path is None else {"report": str(self._path)}

    def looker(
        self, dataset: Dataset, protocol: Protocol, indices: Sequence[int], *, alone: bool
    ) -> Callable[[Looked], object] | None:
        """What looks at the images of an evaluation; None where no report is wanted.

        Args:
            dataset: Where the images are from.
            protocol: How they are measured.
            indices: Those that are measured.
            alone: Whether the only unit is the clean segmenter s0 in fact.

        Raises:
            SdabnError: If an image is wanted by a name that there is none of.
        """
        if self._path is None:
            return None
        self._album.expect(indices, lambda index: dataset[index].name)

        def look(looked: Looked) -> None:
            if self._album.wants(looked.index):
                self._album.put(looked.index, compare(looked, dataset, protocol, alone=alone))

        return look

    def write(
        self, measured: dict[str, Any], dataset: Dataset, command: str, processes: Processes
    ) -> None:
        """Write the report, if one is wanted; the main process does it for all.

        Args:
            measured: What ``evaluate`` gives.
            dataset: What was measured on.
            command: What made it.
            processes: Those that share the images.

        Raises:
            ReportNotWritten: If it cannot be written.
        """
        if self._path is None:
            return
        self._album.collect(processes)
        if not processes.is_main:
            return
        made = page(measured, dataset, self._album, command=command, versions=versions())
        try:
            write(self._path, made)
        except SdabnError as error:
            left = {key: value for key, value in measured.items() if key != "report"}
            raise ReportNotWritten(error, left) from error


def command_of(measured: Mapping[str, Any], **given: object) -> str:
    """The command line that measures the same.

    Args:
        measured: What ``evaluate`` gives.
        **given: Further options as they were given; those of None and ``auto`` are left out.
    """
    protocol, stage = measured["protocol"], measured["stage"]
    options = {
        "run" if stage else "model": measured["model"],
        "stage": stage,
        "units": None if stage else len(measured["units"]),
        "dataset": measured["dataset"],
        "split": measured["split"],
        "noise": protocol["noise"] or "none",
        "seed": protocol["seed"],
    }
    parts = ["sdabn", "evaluate"]
    for option, value in (options | given).items():
        parts += [] if value in (None, "auto") else [f"--{option}", str(value)]
    return shlex.join(parts)
