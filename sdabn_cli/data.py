"""From a data set to training samples: decoding, checking labels, cropping and augmenting.

Every sample is a function of (seed, stage, number of the sample): neither the number of loader
processes nor a restart changes it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from sdabn_cli import images, registry
from sdabn_cli.contracts import Dataset, Example, NoiseModel
from sdabn_cli.errors import SdabnError
from sdabn_cli.randomness import generator
from sdabn_cli.recipe import DataSettings

#: Label of pixels that carry no class, whatever the data set itself calls them.
IGNORED = 255

#: Marks values that a label image must not hold.
OUTSIDE = -1


def open_split(settings: DataSettings, split: str) -> Dataset:
    """Open one split of the data set that a recipe names.

    Raises:
        SdabnError: If it cannot be opened, or holds no example.
    """
    chosen = settings.dataset
    dataset = registry.build(
        "dataset", chosen.name, chosen.options, root=settings.root, split=split
    )
    if len(dataset) == 0:
        raise SdabnError(f"The split {split!r} of the data set {chosen} is empty.")
    return dataset


class Sample(NamedTuple):
    """One training sample, or a batch of them.

    Attributes:
        clean: (3, H, W) in [0, 1].
        noisy: Same shape, not clipped; equal to ``clean`` for the stage s0.
        labels: int64 (H, W), ``IGNORED`` where there is none.
    """

    clean: Tensor
    noisy: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Augmentation:
    """How crops are cut and varied.

    Attributes:
        crop: Height and width of a crop.
        scale: Range of the random scale.
        long_side: Long side of an image before that scale; None keeps the image's own.
        flip: Mirror left to right at random.
        turns: Also mirror top to bottom and turn by 90 degrees; needs a square crop.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    long_side: int | None = None
    flip: bool = True
    turns: bool = False


def decode(example: Example, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Read an example's image, uint8 or uint16 (H, W, 3), and labels, uint8 (H, W).

    The data set's own ignore index becomes ``IGNORED``.

    Raises:
        SdabnError: If a file cannot be read, the sizes differ, or a label is outside the classes.
    """
    image = (
        example.image if isinstance(example.image, np.ndarray) else images.read_image(example.image)
    )
    labels = read_labels(example, dataset)
    if labels.shape != image.shape[:2]:
        raise SdabnError(
            f"The image {example.name} has {image.shape[1]} x {image.shape[0]} pixels, "
            f"its labels {labels.shape[1]} x {labels.shape[0]}.",
            "Both must be of one size.",
        )
    return image, labels


def read_labels(example: Example, dataset: Dataset) -> np.ndarray:
    """Read an example's labels alone, with ``IGNORED`` for the data set's own ignore index.

    Raises:
        SdabnError: If there are none, or if a label id is outside the classes.
    """
    if example.labels is None:
        raise SdabnError(f"The image {example.name} has no labels.", "Training needs them.")
    labels = (
        example.labels
        if isinstance(example.labels, np.ndarray)
        else images.read_labels(example.labels)
    )
    table = class_table(dataset)
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    unknown = [str(value) for value in present if table[value] == OUTSIDE]
    if unknown:
        where = example.name if isinstance(example.labels, np.ndarray) else example.labels
        ignore = dataset.ignore_index
        raise SdabnError(
            f"{where}: label {', '.join(unknown)} is outside the classes.",
            f"Allowed are 0 to {len(dataset.classes) - 1}"
            + (f" and {ignore} (ignored)." if ignore is not None else "."),
        )
    return table[labels].astype(np.uint8)


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


def check_labels(dataset: Dataset) -> None:
    """Read every label file of a split, so that a wrong id is found before any training.

    Raises:
        SdabnError: As ``read_labels``.
    """
    if isinstance(dataset[0].labels, np.ndarray):
        return  # drawn, not read: drawing them all here would be thrown away
    examples = (dataset[index] for index in range(len(dataset)))
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda example: read_labels(example, dataset), examples):
            pass


class DecodedCache:
    """Decoded examples, kept in memory up to a budget; the least recently used go first."""

    def __init__(self, dataset: Dataset, budget_mb: int) -> None:
        self.dataset = dataset
        self._budget = budget_mb * 1_000_000
        self._used = 0
        self._kept: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        decoded = decode(self.dataset[index], self.dataset)
        self._kept[index] = decoded
        self._used += sum(array.nbytes for array in decoded)
        while self._used > self._budget and self._kept:
            _, dropped = self._kept.popitem(last=False)
            self._used -= sum(array.nbytes for array in dropped)
        return decoded


class TrainingSamples(TorchDataset):
    """Samples of one stage, addressed by their running number from the first step on.

    Args:
        dataset: The training split.
        augmentation: How crops are cut and varied.
        noise: Noise model; None for clean samples.
        key: Seed and stage; with a sample's number it decides everything random about it.
        cache_mb: Megabytes of decoded images to keep.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: Augmentation,
        noise: NoiseModel | None,
        *,
        key: tuple[int, str],
        cache_mb: int,
    ) -> None:
        self._decoded = DecodedCache(dataset, cache_mb)
        self._length = len(dataset)
        self._augmentation = augmentation
        self._noise = noise
        self._key = key
        self._order: tuple[int, list[int]] = (-1, [])

    def __getitem__(self, number: int) -> Sample:
        image, labels = self._decoded[self._image_of(number)]
        random = generator(*self._key, "sample", number)
        clean, target = augment(image, labels, self._augmentation, random)
        noisy = clean if self._noise is None else self._noise(clean, random)
        return Sample(clean, noisy, target)

    def _image_of(self, number: int) -> int:
        """Every pass over the images has an order of its own."""
        epoch, position = divmod(number, self._length)
        if self._order[0] != epoch:
            shuffle = generator(*self._key, "epoch", epoch)
            self._order = (epoch, torch.randperm(self._length, generator=shuffle).tolist())
        return self._order[1][position]


def augment(
    image: np.ndarray, labels: np.ndarray, augmentation: Augmentation, random: Generator
) -> tuple[Tensor, Tensor]:
    """Cut a random crop, scale, mirror and turn it.

    The window is cut before anything is converted or resized, so the cost is that of the crop.

    Args:
        image: uint8 or uint16 (H, W, 3).
        labels: uint8 (H, W).
        augmentation: What is allowed.
        random: Generator that decides.

    Returns:
        The clean crop, float32 (3, h, w) in [0, 1], and its labels, int64 (h, w). Where the scaled
        image is smaller than the crop its edge is repeated and the labels are ``IGNORED``.
    """
    scale = _draw_scale(image.shape[:2], augmentation, random)
    wanted = [max(1, round(side / scale)) for side in augmentation.crop]
    window = tuple(
        _draw_window(have, want, random) for have, want in zip(image.shape[:2], wanted, strict=True)
    )
    clean = torch.from_numpy(images.to_unit(image[window])).permute(2, 0, 1)
    target = torch.from_numpy(labels[window].astype(np.int64))
    size = [
        side if part == want else min(side, max(1, round(part * scale)))
        for side, part, want in zip(augmentation.crop, target.shape, wanted, strict=True)
    ]
    clean, target = _resize(clean, target, size)
    clean, target = _pad(clean, target, augmentation.crop)
    return _mirror_and_turn(clean, target, augmentation, random)


def _draw_scale(size: tuple[int, ...], augmentation: Augmentation, random: Generator) -> float:
    low, high = augmentation.scale
    scale = low + (high - low) * float(torch.rand((), generator=random))
    return scale * (augmentation.long_side / max(size) if augmentation.long_side else 1.0)


def _draw_window(have: int, want: int, random: Generator) -> slice:
    start = int(torch.randint(0, max(have - want, 0) + 1, (), generator=random))
    return slice(start, start + min(have, want))


def _resize(clean: Tensor, target: Tensor, size: list[int]) -> tuple[Tensor, Tensor]:
    if list(target.shape) == size:
        return clean, target
    resized = F.interpolate(clean[None], size=size, mode="bilinear", antialias=True)[0]
    labels = F.interpolate(target[None, None].float(), size=size, mode="nearest-exact")[0, 0]
    return resized, labels.long()


def _pad(clean: Tensor, target: Tensor, crop: tuple[int, int]) -> tuple[Tensor, Tensor]:
    below, right = crop[0] - target.shape[0], crop[1] - target.shape[1]
    if not below and not right:
        return clean, target
    clean = F.pad(clean[None], (0, right, 0, below), mode="replicate")[0]
    return clean, F.pad(target, (0, right, 0, below), value=IGNORED)


def _mirror_and_turn(
    clean: Tensor, target: Tensor, augmentation: Augmentation, random: Generator
) -> tuple[Tensor, Tensor]:
    mirror, upside_down, quarter = torch.randint(0, 2, (3,), generator=random).tolist()
    if augmentation.flip and mirror:
        clean, target = clean.flip(-1), target.flip(-1)
    if augmentation.turns and upside_down:
        clean, target = clean.flip(-2), target.flip(-2)
    if augmentation.turns and quarter:
        clean, target = clean.transpose(-1, -2), target.transpose(-1, -2)
    return clean.contiguous(), target.contiguous()


class _StepSampler:
    """Numbers of the samples of every step that is left."""

    def __init__(self, first_step: int, last_step: int, batch_size: int) -> None:
        self._steps = range(first_step, last_step)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            yield list(range(step * self._batch_size, (step + 1) * self._batch_size))


def batches(
    samples: TrainingSamples, *, first_step: int, last_step: int, batch_size: int, workers: int
) -> DataLoader:
    """Batches (``Sample`` of stacked tensors) of the steps from ``first_step`` to ``last_step``."""
    return DataLoader(
        samples,
        batch_sampler=_StepSampler(first_step, last_step, batch_size),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
    )
