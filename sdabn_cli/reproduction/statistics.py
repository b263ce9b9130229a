"""How sure a difference is: paired bootstrap over images, and over seeds where there are several.

Reference:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

#: Difference of a seed (by number) under weights of the images, (R, images) to (R,).
Difference = Callable[[int, np.ndarray], np.ndarray]

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A difference with its confidence interval.

    Attributes:
        mean: As measured.
        low: Lower end.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def psnr_difference(better: Sequence[np.ndarray], worse: Sequence[np.ndarray]) -> Interval:
    """Difference of mean PSNR.

    Args:
        better: PSNR of every image, (images,), one array a seed.
        worse: The same of the other system, on the same images.
    """
    pairs = [a - b for a, b in zip(better, worse, strict=True)]

    def of(seed: int, weights: np.ndarray) -> np.ndarray:
        return weights @ pairs[seed] / weights.sum(1)

    return _interval(of, seeds=len(pairs), images=len(pairs[0]))


def miou_difference(better: Sequence[np.ndarray], worse: Sequence[np.ndarray]) -> Interval:
    """Difference of mIoU over the set, in percent.

    Args:
        better: Confusion matrices of every image, (images, K, K), true by predicted, a seed each.
        worse: The same of the other system, on the same images.
    """

    def of(seed: int, weights: np.ndarray) -> np.ndarray:
        return _miou(weights, better[seed]) - _miou(weights, worse[seed])

    return _interval(of, seeds=len(better), images=len(better[0]))


def _miou(weights: np.ndarray, confusions: np.ndarray) -> np.ndarray:
    """MIoU of every weighting (R, images) of the images, in percent; absent classes left out."""
    classes = confusions.shape[1]
    sums = (weights @ confusions.reshape(len(confusions), -1)).reshape(-1, classes, classes)
    hits = np.einsum("rkk->rk", sums)
    union = sums.sum(1) + sums.sum(2) - hits
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * np.nanmean(np.where(union > 0, hits / union, np.nan), axis=1)


def _interval(of: Difference, *, seeds: int, images: int) -> Interval:
    """Resample images, the same for both systems, and seeds; the percentiles of the result."""
    random = np.random.default_rng(0)
    even = np.ones((1, images))
    mean = float(np.mean([of(seed, even)[0] for seed in range(seeds)]))
    weights = random.multinomial(images, np.full(images, 1 / images), size=RESAMPLES).astype(float)
    by_seed = np.stack([of(seed, weights) for seed in range(seeds)])
    drawn = random.integers(0, seeds, (seeds, RESAMPLES))
    resampled = np.take_along_axis(by_seed, drawn, axis=0).mean(0)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Interval(mean, float(low), float(high))
