"""From a data set to training samples: checking, decoding, drawing batches.

Every sample is a function of (seed, stage, number of the sample): neither the number of loader
processes nor a restart changes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from sdabn_cli import images
from sdabn_cli.augmentation import Augmentation, augment
from sdabn_cli.contracts import Dataset, Example, NoiseModel
from sdabn_cli.datasets import class_table
from sdabn_cli.errors import SdabnError
from sdabn_cli.examples import located
from sdabn_cli.labels import OUTSIDE
from sdabn_cli.noising import add_noise, is_grey
from sdabn_cli.randomness import generator
from sdabn_cli.sharing import SharedArrays

#: Examples that are decoded at once.
GROUP = 64


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
    _require_one_size(example, image.shape[:2], labels.shape)
    return image, labels


def decode_at(dataset: Dataset, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Ask for an example and ``decode`` it.

    Raises:
        SdabnError: As ``decode``, or as the data set; naming the example.
    """
    return _decode_given(dataset, index, _given(dataset, index))


def _require_one_size(example: Example, image: tuple[int, ...], labels: tuple[int, ...]) -> None:
    if image != labels:
        where = example.name if isinstance(example.image, np.ndarray) else example.image
        raise SdabnError(
            f"The image {where} has {image[1]} x {image[0]} pixels, "
            f"its labels {labels[1]} x {labels[0]}.",
            "Both must be of one size.",
        )


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
    unknown = [str(v) for v in present if v >= len(table) or table[v] == OUTSIDE]
    if unknown:
        where = example.name if isinstance(example.labels, np.ndarray) else example.labels
        ignore = dataset.ignore_index
        raise SdabnError(
            f"{where}: label {', '.join(unknown)} is outside the classes.",
            f"Allowed are 0 to {len(dataset.classes) - 1}"
            + (f" and {ignore} (ignored)." if ignore is not None else "."),
        )
    return table[labels].astype(np.uint8)


def check_examples(dataset: Dataset) -> None:
    """Decode every example of a split that lies in files once.

    So a wrong id, an image of another size or a damaged file is found before any training. Drawing
    all that are drawn would take longer than it saves.

    Raises:
        SdabnError: As ``decode``.
    """
    if not _is_drawn(dataset):
        for _ in _decoded(dataset):
            pass


def _decoded(dataset: Dataset) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Decode every example, several at once."""
    with ThreadPoolExecutor() as pool:
        # In groups, so that a large data set is never in memory as a whole.
        for first in range(0, len(dataset), GROUP):
            indices = range(first, min(first + GROUP, len(dataset)))
            examples = [_given(dataset, index) for index in indices]
            decoded = pool.map(partial(_decode_given, dataset), indices, examples)
            yield from zip(indices, decoded, strict=True)


def _given(dataset: Dataset, index: int) -> Example:
    with located(dataset, index):
        return dataset[index]


def _decode_given(dataset: Dataset, index: int, example: Example) -> tuple[np.ndarray, np.ndarray]:
    with located(dataset, index):
        return decode(example, dataset)


def _is_drawn(dataset: Dataset) -> bool:
    _, *parts = dataset[0]
    return all(isinstance(part, np.ndarray) for part in parts)


class DecodedCache:
    """Decoded examples, as many as fit a budget. What is kept stays.

    Passes over a data set in random order find as large a share of it as is kept. Dropping the
    least recently used for the newest would find less: 15 % instead of 50 %.

    Loader processes share what is kept before they start, and keep nothing themselves: they inherit
    it where the system forks them, and map it where it does not.
    """

    def __init__(self, dataset: Dataset, budget_mb: int) -> None:
        self.dataset = dataset
        self._budget = budget_mb * 1_000_000
        self._used = 0
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._shared: SharedArrays | None = None
        self._is_full = False

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index in self._kept:
            return self._kept[index]
        decoded = decode_at(self.dataset, index)
        if not self._is_full:
            self._keep(index, decoded)
        return decoded

    def __len__(self) -> int:
        return len(self.dataset)

    def fill(self, *, shared: bool = False) -> None:
        """Check every example, as ``check_examples``, and keep what fits the budget.

        Args:
            shared: Whether loader processes will share what is kept. Then a data set that draws its
                examples draws now what fits; otherwise they are kept as they are first asked for.

        Raises:
            SdabnError: As ``decode``.
        """
        drawn = _is_drawn(self.dataset)
        if drawn and not shared:
            return
        for index, decoded in _decoded(self.dataset):
            if not self._keep(index, decoded) and drawn:
                break
        self._is_full = True

    def _keep(self, index: int, decoded: tuple[np.ndarray, np.ndarray]) -> bool:
        size = sum(array.nbytes for array in decoded)
        fits = self._used + size <= self._budget
        if fits:
            self._kept[index] = decoded
            self._used += size
        return fits

    def __getstate__(self) -> dict[str, Any]:
        """For processes that are not forked: what is kept lies in memory that they map."""
        if self._shared is None and self._kept:
            with contextlib.suppress(RuntimeError):  # too little of it: they decode themselves
                self._shared = SharedArrays([a for pair in self._kept.values() for a in pair])
                self._kept = self._viewed(list(self._kept))
        indices = list(self._kept) if self._shared else []
        return self.__dict__ | {"_kept": indices, "_is_full": True}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._kept = self._viewed(state["_kept"])

    def _viewed(self, indices: list[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Examples as they lie in shared memory."""
        views = iter(self._shared.views() if self._shared else [])
        return dict(zip(indices, zip(views, views, strict=True), strict=True))


class TrainingSamples(TorchDataset):
    """Samples of one stage, addressed by their running number from the first step on.

    Args:
        decoded: The examples of the training split.
        augmentation: How crops are cut and varied.
        noise: Noise model; None for clean samples.
        key: Seed and stage; with a sample's number it decides everything random about it.
    """

    def __init__(
        self,
        decoded: DecodedCache,
        augmentation: Augmentation,
        noise: NoiseModel | None,
        *,
        key: tuple[int, str],
    ) -> None:
        self._decoded = decoded
        self._length = len(decoded)
        self._augmentation = augmentation
        self._noise = noise
        self._key = key
        self._order: tuple[int, list[int]] = (-1, [])

    def __getitem__(self, number: int) -> Sample:
        image, labels = self._decoded[self._image_of(number)]
        random = generator(*self._key, "sample", number)
        clean, target = augment(image, labels, self._augmentation, random)
        noisy = add_noise(self._noise, clean, random, grey=self._is_of_grey(clean, image))
        return Sample(clean, noisy, target)

    def _is_of_grey(self, crop: Tensor, image: np.ndarray) -> bool:
        """Whether a crop is grey because its image is; a white sky is not.

        Where crops are made grey at random, every one without colours is taken for such a one.
        """
        made = self._augmentation.grey > 0
        return is_grey(crop) and (made or bool((image == image[..., :1]).all()))

    def name_of(self, number: int) -> str:
        """Name of the example that a sample is cut from."""
        return self._decoded.dataset[self._image_of(number)].name

    def _image_of(self, number: int) -> int:
        """Every pass over the images has an order of its own."""
        epoch, position = divmod(number, self._length)
        if self._order[0] != epoch:
            shuffle = generator(*self._key, "epoch", epoch)
            self._order = (epoch, torch.randperm(self._length, generator=shuffle).tolist())
        return self._order[1][position]


class _Batches(TorchDataset):
    """A process's share of the batches of samples, addressed by their step.

    A user's mistake is returned: what a loader process raises reaches the main one as a traceback.
    """

    def __init__(
        self, samples: TrainingSamples, batch_size: int, process: int, processes: int
    ) -> None:
        self._samples = samples
        self._batch_size = batch_size
        self._share = batch_size // processes
        self._offset = process * self._share

    def __getitem__(self, step: int) -> Sample | SdabnError:
        first = step * self._batch_size + self._offset
        numbers = range(first, first + self._share)
        try:
            return default_collate([self._samples[number] for number in numbers])
        except SdabnError as error:
            return error


def batches(
    samples: TrainingSamples,
    *,
    first_step: int,
    last_step: int,
    batch_size: int,
    workers: int,
    pin_memory: bool,
    process: int = 0,
    processes: int = 1,
) -> Iterator[Sample]:
    """Draw the batches (``Sample`` of stacked tensors) of a range of steps.

    Args:
        samples: Samples of the stage.
        first_step: Step to begin with.
        last_step: Step to stop before.
        batch_size: Samples a step, over all processes.
        workers: Number of loader processes; 0 draws in this one.
        pin_memory: Put batches where a CUDA device fetches them faster.
        process: Number of this process, from 0; it draws its own share of every batch.
        processes: Number of processes; it divides ``batch_size``.

    Raises:
        SdabnError: If an example cannot be decoded, in whichever process.
    """
    loader = DataLoader(
        _Batches(samples, batch_size, process, processes),
        batch_size=None,  # an item is a batch already
        sampler=range(first_step, last_step),
        num_workers=workers,
        pin_memory=pin_memory,
    )
    for batch in loader:
        if isinstance(batch, SdabnError):
            raise batch
        yield batch
