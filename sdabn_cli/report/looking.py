"""Pictures of an evaluated image: what went in, what every unit made of it, what is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from sdabn_cli.contracts import Dataset
from sdabn_cli.evaluation import Looked
from sdabn_cli.labels import IGNORED
from sdabn_cli.metrics import Protocol, SegmentationScore, psnr
from sdabn_cli.planes import MemoryPlane
from sdabn_cli.report import layers
from sdabn_cli.report.content import Comparison, Layer
from sdabn_cli.report.figures import written

#: Names of layers, and the ends of those of units.
NOISY, CLEAN, TRUTH = "noisy", "clean", "true labels"
ESTIMATE, LABELS = ": estimate", ": labels"


class Names(NamedTuple):
    """What the pictures of a unit are called; one without a name is left out."""

    estimate: str = ""
    labels: str = ""


def compare(
    looked: Looked,
    dataset: Dataset,
    protocol: Protocol,
    *,
    names: Sequence[Names] = (),
    noisy: str = NOISY,
    alone: bool = False,
) -> Comparison:
    """Make the pictures of an evaluated image, with its own figures.

    Args:
        looked: The image and what was found in it.
        dataset: Where it is from.
        protocol: How it is measured.
        names: What its units' pictures are called; ``unit 1`` and so on by default.
        noisy: What the noisy image is called; ends in ``noisy``.
        alone: Whether the only unit is the clean segmenter s0 in fact.
    """
    title = dataset[looked.index].name
    if not names:
        units = ["s0" if alone else f"unit {number + 1}" for number in range(len(looked.units))]
        names = [Names(unit, unit) for unit in units]
    made = _images(looked, title, names, protocol, noisy)
    made.append(_photo(CLEAN, looked.clean, title, ""))
    made += _maps(looked, title, names, dataset, protocol)
    made.append(_classes(TRUTH, looked.labels, dataset, title, ""))
    return _comparison(title, made, layers.size_note(*looked.labels.shape))


def merge(comparisons: Sequence[Comparison]) -> Comparison:
    """Put what several systems made of one image together.

    Args:
        comparisons: Made by ``compare``; of pictures of one name the first is taken.
    """
    found: dict[str, Layer] = {}
    for comparison in comparisons:
        for layer in comparison.layers:
            found.setdefault(layer.name, layer)
    made = sorted(found.values(), key=lambda layer: _rank(layer.name))
    return _comparison(comparisons[0].title, made, comparisons[0].note)


def _rank(name: str) -> int:
    """Where a layer stands: what went in, what units made of it, what is true."""
    if name in (CLEAN, TRUTH):
        return {CLEAN: 2, TRUTH: 4}[name]
    if name.endswith(NOISY):
        return 0
    return 1 if name.endswith(ESTIMATE) else 3


def _comparison(title: str, made: Sequence[Layer], note: str) -> Comparison:
    """Show the last estimate first; without any, the last labels that were found."""
    places = {_rank(layer.name): number for number, layer in enumerate(made)}
    right = places.get(1, places.get(3, len(made) - 1))
    return Comparison(title, made, 0, right, note)


def _images(
    looked: Looked, title: str, names: Sequence[Names], protocol: Protocol, noisy: str
) -> list[Layer]:
    made = []
    if protocol.noise:
        figure = _decibel(looked.noisy, looked, protocol)
        made.append(_photo(noisy, looked.noisy, title, figure))
    for unit, name in zip(looked.units, names, strict=True):
        if name.estimate and unit.estimate is not None:
            figure = _decibel(unit.estimate, looked, protocol)
            made.append(_photo(f"{name.estimate}{ESTIMATE}", unit.estimate, title, figure))
    return made


def _maps(
    looked: Looked, title: str, names: Sequence[Names], dataset: Dataset, protocol: Protocol
) -> list[Layer]:
    made = []
    for unit, name in zip(looked.units, names, strict=True):
        if name.labels and unit.prediction is not None:
            score = SegmentationScore(len(dataset.classes), protocol.absent_classes)
            score.add(unit.prediction[None].long(), looked.labels[None])
            figure = f"mIoU {written(score.summary()['miou'], 1)} %"
            made.append(_classes(f"{name.labels}{LABELS}", unit.prediction, dataset, title, figure))
    return made


def _photo(name: str, image: torch.Tensor, title: str, figure: str) -> Layer:
    pixels = layers.shrunk(MemoryPlane(image[None]))
    return layers.photo(name, pixels, alt=f"{name} of {title}", figure=figure)


def _classes(name: str, labels: torch.Tensor, dataset: Dataset, title: str, figure: str) -> Layer:
    small = layers.thinned(labels.numpy())
    told = f"{name} of {title}: {shares(small, dataset.classes)}"
    return layers.class_map(name, small, dataset.palette, alt=told, figure=figure)


def shares(labels: np.ndarray, classes: Sequence[str], *, most: int = 5) -> str:
    """Say which classes cover most of a label map: ``road 41 %, sky 30 %``."""
    counts = np.bincount(labels[labels != IGNORED], minlength=len(classes))
    order = np.argsort(-counts, kind="stable")[:most]
    total = max(1, counts.sum())
    return ", ".join(
        f"{classes[index]} {100 * counts[index] / total:.0f} %" for index in order if counts[index]
    )


def _decibel(image: torch.Tensor, looked: Looked, protocol: Protocol) -> str:
    image = image.clamp(0, 1) if protocol.clip else image
    return f"{written(psnr(image, looked.clean, border=protocol.border))} dB"
