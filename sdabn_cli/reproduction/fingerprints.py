"""Data told apart by what it holds, not by where it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from sdabn_cli.contracts import Dataset, Example
from sdabn_cli.datasets import class_table
from sdabn_cli.description import sha256_of
from sdabn_cli.errors import SdabnError
from sdabn_cli.evaluation import pick

#: Training examples that are read as a whole; of the others, names and sizes are looked at.
READ = 8


def of_measured(dataset: Dataset, indices: Iterable[int]) -> str:
    """Digest of everything that is measured on: names, images, labels, and what labels mean.

    Args:
        dataset: A split.
        indices: Which of its examples.
    """
    return _digest(dataset, [dataset[index] for index in indices], _content)


def of_split(dataset: Dataset) -> str:
    """Digest of a split that decides a training; takes seconds where it holds gigabytes.

    Every name and the size of every file count; of a few examples, evenly spaced, all content does.
    What is drawn is a function of the data set's options, which a recipe tells: of that, only the
    few examples are drawn.
    """
    few = pick(len(dataset), READ)
    content = _digest(dataset, [dataset[index] for index in few], _content)
    first = dataset[0]
    if isinstance(first.image, np.ndarray):
        return hashlib.sha256(f"{content} {len(dataset)}".encode()).hexdigest()
    sizes = _digest(dataset, [dataset[index] for index in range(len(dataset))], _size)
    return hashlib.sha256(f"{content} {sizes}".encode()).hexdigest()


def _digest(dataset: Dataset, examples: list[Example], tell: Callable[..., str]) -> str:
    found = hashlib.sha256("\0".join(dataset.classes).encode())
    found.update(class_table(dataset).tobytes())
    for name, *parts in examples:
        told = " ".join("none" if part is None else tell(part) for part in parts)
        found.update(f"\0{name}\0{told}".encode())
    return found.hexdigest()


def _content(part: Path | np.ndarray) -> str:
    if isinstance(part, np.ndarray):
        array = np.ascontiguousarray(part)
        return f"{array.dtype} {array.shape} {hashlib.sha256(array).hexdigest()}"
    try:
        return sha256_of(part)
    except OSError as error:
        raise SdabnError(f"{part} cannot be read: {error}.") from error


def _size(part: Path | np.ndarray) -> str:
    if isinstance(part, np.ndarray):
        return str(part.shape)
    try:
        return str(part.stat().st_size)
    except OSError as error:
        raise SdabnError(f"{part} cannot be read: {error}.") from error
