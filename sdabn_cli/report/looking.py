"""Pictures of an evaluated image: what went in, what every unit made of it, what is true."""

from __future__ import annotations

from collections.abc import Sequence

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


def compare(
    looked: Looked, dataset: Dataset, protocol: Protocol, *, alone: bool = False
) -> Comparison:
    """Make the pictures of an evaluated image, with its own figures.

    Args:
        looked: The image and what was found in it.
        dataset: Where it is from.
        protocol: How it is measured.
        alone: Whether the only unit is the clean segmenter s0 in fact.
    """
    name = dataset[looked.index].name
    names = ["s0" if alone else f"unit {n + 1}" for n in range(len(looked.units))]
    made = [*_images(looked, name, names, protocol), *_maps(looked, name, names, dataset)]
    estimates = [n for n, layer in enumerate(made) if layer.name.endswith("estimate")]
    # Without any estimate: the image and the last unit's labels, which stand before the true ones.
    right = estimates[-1] if estimates else len(made) - 2
    return Comparison(name, made, 0, right, layers.size_note(*looked.labels.shape))


def _images(looked: Looked, name: str, names: Sequence[str], protocol: Protocol) -> list[Layer]:
    made = []
    if protocol.noise:
        figure = _decibel(looked.noisy, looked.clean, protocol)
        made.append(_photo("noisy", looked.noisy, name, figure))
    for unit, said in zip(looked.units, names, strict=True):
        if unit.estimate is not None:
            figure = _decibel(unit.estimate, looked.clean, protocol)
            made.append(_photo(f"{said}: estimate", unit.estimate, name, figure))
    made.append(_photo("clean", looked.clean, name, ""))
    return made


def _maps(looked: Looked, name: str, names: Sequence[str], dataset: Dataset) -> list[Layer]:
    made = []
    for unit, said in zip(looked.units, names, strict=True):
        if unit.prediction is None:
            continue
        figure = _miou(unit.prediction, looked.labels, len(dataset.classes))
        made.append(_classes(f"{said}: labels", unit.prediction, dataset, name, figure))
    made.append(_classes("true labels", looked.labels, dataset, name, ""))
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


def _decibel(image: torch.Tensor, clean: torch.Tensor, protocol: Protocol) -> str:
    image = image.clamp(0, 1) if protocol.clip else image
    return f"{written(psnr(image, clean, border=protocol.border))} dB"


def _miou(prediction: torch.Tensor, labels: torch.Tensor, classes: int) -> str:
    score = SegmentationScore(classes)
    score.add(prediction[None].long(), labels[None])
    return f"mIoU {written(score.summary()['miou'], 1)} %"
