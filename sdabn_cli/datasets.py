"""Open the data sets that a recipe names; several of the same classes become one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from sdabn_cli import registry
from sdabn_cli.choices import PluginChoice
from sdabn_cli.contracts import Dataset, Example
from sdabn_cli.errors import SdabnError
from sdabn_cli.examples import Guarded
from sdabn_cli.labels import IGNORED, OUTSIDE
from sdabn_cli.recipe import DataSettings


def declared_classes(opener: object) -> list[str]:
    """Classes that a data set's class declares without its data; empty if it does not.

    Only instances must have ``classes``: a property of the class is for them, and says nothing yet.
    """
    classes = getattr(opener, "classes", None)
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        return []
    return list(classes) if all(isinstance(name, str) for name in classes) else []


def open_split(settings: DataSettings, split: str) -> Guarded:
    """Open one split of the data set that a recipe names.

    Raises:
        SdabnError: If it cannot be opened, or holds no example.
    """
    return _open(settings.dataset, settings, split)


def check_root(root: str | Path | None, *names: str) -> None:
    """Refuse a directory that no data set would read: whoever gives it means another one.

    Args:
        root: The directory; None for none.
        names: Of the data sets.

    Raises:
        SdabnError: With what to ask for instead.
    """
    if root is None:
        return
    if not any(reads_root(name) for name in names):
        raise SdabnError(
            f"The data set {names[0]} makes its images itself and reads nothing from '{root}'.",
            "Leave --data (the recipe's data.root) out, or choose the data set that lies there, by "
            "name or by a recipe of it: sdabn plugins list, sdabn recipes list.",
        )


def reads_root(name: str) -> bool:
    """Whether a data set reads a directory, as far as it does not deny that."""
    return getattr(registry.find("dataset", name).load(), "reads_root", True) is not False


def open_training(settings: DataSettings) -> Dataset:
    """Open the training split, joined by those of the data sets that ``also`` names.

    Raises:
        SdabnError: As ``open_split``, or if the classes or the meaning of label ids differ.
    """
    first = open_split(settings, settings.train_split)
    parts = [first]
    for chosen in settings.also:
        part = _open(chosen, settings, settings.train_split)
        if tuple(part.classes) != tuple(first.classes):
            raise SdabnError(
                f"data.also: {chosen} has the classes {', '.join(part.classes)}; "
                f"{settings.dataset} has {', '.join(first.classes)}.",
                "Join data sets of the same classes only.",
            )
        if not np.array_equal(class_table(part), class_table(first)):
            raise SdabnError(
                f"data.also: {chosen} numbers or ignores labels differently from "
                f"{settings.dataset}.",
                "Join data sets of the same label ids only.",
            )
        parts.append(part)
    return Joined(parts) if len(parts) > 1 else first


def _open(chosen: PluginChoice, settings: DataSettings, split: str) -> Guarded:
    dataset = Guarded(
        registry.build("dataset", chosen.name, chosen.options, root=settings.root, split=split),
        chosen,
        split,
    )
    if len(dataset) == 0:
        raise SdabnError(f"The split {split!r} of the data set {chosen} is empty.")
    _ = dataset[0]  # what fails at once is found before anything else is read
    return dataset


class Joined:
    """Data sets of the same classes and label ids, one behind the other."""

    def __init__(self, parts: Sequence[Guarded]) -> None:
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))
        self.classes = parts[0].classes
        self.palette = parts[0].palette
        self.ignore_index = parts[0].ignore_index
        self.label_map = getattr(parts[0], "label_map", None)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        part, within = self._find(index)
        return part[within]

    def describe(self, index: int) -> str:
        """An example's number within its own data set, and whose it is."""
        part, within = self._find(index)
        return part.describe(within)

    def _find(self, index: int) -> tuple[Guarded, int]:
        index = range(len(self))[index]
        part = bisect_right(self._ends, index)
        return self._parts[part], index - (self._ends[part - 1] if part else 0)


def class_table(dataset: Dataset) -> np.ndarray:
    """What each of the 256 values of a label image means: a class, ``IGNORED`` or ``OUTSIDE``."""
    mapping = getattr(dataset, "label_map", None)
    if mapping is not None:
        table = np.full(256, IGNORED, np.int16)
        table[list(mapping)] = list(mapping.values())
        return table
    table = np.full(256, OUTSIDE, np.int16)
    table[: len(dataset.classes)] = np.arange(len(dataset.classes))
    if dataset.ignore_index is not None:
        table[dataset.ignore_index] = IGNORED
    return table
