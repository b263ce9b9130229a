"""Open the data sets that a recipe names; several of the same classes become one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from sdabn_cli import registry
from sdabn_cli.choices import PluginChoice
from sdabn_cli.contracts import Dataset, Example
from sdabn_cli.errors import SdabnError
from sdabn_cli.labels import IGNORED, OUTSIDE
from sdabn_cli.recipe import DataSettings


def open_split(settings: DataSettings, split: str) -> Dataset:
    """Open one split of the data set that a recipe names.

    Raises:
        SdabnError: If it cannot be opened, or holds no example.
    """
    return _open(settings.dataset, settings, split)


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


def _open(chosen: PluginChoice, settings: DataSettings, split: str) -> Dataset:
    dataset = registry.build(
        "dataset", chosen.name, chosen.options, root=settings.root, split=split
    )
    if len(dataset) == 0:
        raise SdabnError(f"The split {split!r} of the data set {chosen} is empty.")
    _try_first(dataset, chosen, split)
    return dataset


def _try_first(dataset: Dataset, chosen: PluginChoice, split: str) -> None:
    """Make sure that a data set gives examples.

    Raises:
        SdabnError: If the first one fails or is no ``Example``, naming the distribution.
    """
    owner = registry.find("dataset", chosen.name).distribution
    try:
        first = dataset[0]
    except SdabnError:
        raise
    except (Exception, SystemExit) as error:
        raise SdabnError(
            f"The data set {chosen} of {owner} fails at the first example of {split}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(first, Example):
        raise SdabnError(
            f"The data set {chosen} of {owner} gives a {type(first).__name__} where an Example "
            "(name, image, labels) is needed.",
            f"Its author can see more with: sdabn plugins check {chosen.name} --kind dataset",
        )
    for name, part in (("image", first.image), ("labels", first.labels)):
        if isinstance(part, np.ndarray) and part.dtype not in (np.uint8, np.uint16):
            raise SdabnError(
                f"The data set {chosen} of {owner} gives {name} of {part.dtype}; whole numbers of "
                "8 or 16 bits are needed."
            )


class Joined:
    """Data sets of the same classes and label ids, one behind the other."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))
        self.classes = parts[0].classes
        self.palette = parts[0].palette
        self.ignore_index = parts[0].ignore_index
        self.label_map = getattr(parts[0], "label_map", None)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        part = bisect_right(self._ends, index)
        return self._parts[part][index - (self._ends[part - 1] if part else 0)]


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
