"""Examples of a data set plug-in, checked as they are given: whose they are is said with a fault.

The first example is right more often than the last. So every one is looked at when it is asked for,
in whichever process, and what is wrong becomes an error that a user can act on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sdabn_cli import registry
from sdabn_cli.choices import PluginChoice
from sdabn_cli.contracts import Dataset, Example
from sdabn_cli.errors import SdabnError, fault

#: Types of values that arrays may have, and the shapes that are asked for.
TYPES = (np.uint8, np.uint16)
SHAPES = {"image": "(H, W, 3)", "labels": "(H, W)"}


class PluginError(SdabnError):
    """A mistake of a data set plug-in, which is named already."""


class Guarded:
    """A split of a data set whose examples are checked.

    Args:
        dataset: What the plug-in has opened.
        chosen: The plug-in.
        split: Name of the split.

    Raises:
        PluginError: If it has no length, no classes or no palette, naming the distribution.
    """

    def __init__(self, dataset: Dataset, chosen: PluginChoice, split: str) -> None:
        self._dataset, self._plugin, self._split = dataset, chosen.name, split
        owner = registry.find("dataset", chosen.name).distribution
        self._title = f"data set {chosen} of {owner}"
        try:
            self.classes = tuple(dataset.classes)
            self.palette = tuple(dataset.palette)
            self.ignore_index = dataset.ignore_index
            self.label_map = getattr(dataset, "label_map", None)
            self._length = len(dataset)
        except SdabnError:
            raise
        except BaseException as error:
            raise self._wrong(f"cannot be used: {fault(error)}") from error

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        """An example as the contract has it.

        Raises:
            PluginError: If the plug-in fails or gives anything else, naming the example and the
                distribution.
        """
        index = range(self._length)[index]
        try:
            example = self._dataset[index]
        except SdabnError:
            raise
        except BaseException as error:
            raise self._wrong(f"fails at {self._place(index)}: {fault(error)}") from error
        wrong = _what_is_wrong(example)
        if wrong:
            raise self._wrong(f"gives {wrong[0]} in {self._place(index)}; {wrong[1]}")
        return example

    def describe(self, index: int) -> str:
        """An example's number and whose it is."""
        return f"{self._place(index)} of the {self._title}"

    def _place(self, index: int) -> str:
        if index == 0:
            return f"the first example of {self._split}"
        return f"example {index} (counted from 0) of {self._split}"

    def _wrong(self, what: str) -> PluginError:
        return PluginError(
            f"The {self._title} {what}.",
            f"Its author can see more with: sdabn plugins check {self._plugin} --kind dataset",
        )


def _what_is_wrong(example: object) -> tuple[str, str] | None:
    """What an example is that it must not be, and what it must be."""
    if not isinstance(example, Example):
        return (f"a {type(example).__name__}", "an Example (name, image, labels) is needed")
    if not isinstance(example.name, str):
        return (f"an Example with the name {example.name!r}", "a text is needed")
    for name, part in (("image", example.image), ("labels", example.labels)):
        wrong = _what_is_wrong_with_part(name, part)
        if wrong:
            return wrong
    return None


def _what_is_wrong_with_part(name: str, part: Any) -> tuple[str, str] | None:
    if isinstance(part, Path) or (name == "labels" and part is None):
        return None
    needed = f"a pathlib.Path or a uint8 array {SHAPES[name]} is needed"
    if not isinstance(part, np.ndarray):
        return (f"{name} of the type {type(part).__name__}", needed)
    if part.dtype not in TYPES:
        return (f"{name} of {part.dtype}", "whole numbers of 8 or 16 bits are needed")
    is_image = name == "image"
    if part.ndim != (3 if is_image else 2) or (is_image and part.shape[2] != 3) or not part.size:
        return (f"{name} of the shape {part.shape}", needed)
    return None


@contextlib.contextmanager
def located(dataset: Dataset, index: int) -> Iterator[None]:
    """Say of an error which example of whose data set it is about, where that is known."""
    try:
        yield
    except PluginError:
        raise
    except SdabnError as error:
        describe = getattr(dataset, "describe", None)
        where = describe(index) if describe else ""
        if where and where not in error.problem:
            error.add(f"It is {where}.")
        raise
