"""How sure a difference is: over the images by bootstrap, over the trainings by Student's t.

Reference:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile intervals).
    Politis and Romano, "A circular block-resampling procedure for stationary data", 1992.
    Andrews, "Heteroskedasticity and autocorrelation consistent covariance matrix estimation",
    Econometrica 1991 (length of the blocks, for an autoregression of first order).
    Student, "The Probable Error of a Mean", Biometrika 1908.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

#: Difference of a seed (by number) under weights of the images, (R, images) to (R,).
Difference = Callable[[int, np.ndarray], np.ndarray]

RESAMPLES = 2000
LEVEL = 0.95

#: With fewer images the bootstrap is too narrow; the rates stand in docs/reproducing.md.
FEWEST_IMAGES = 20

#: The same of the blocks that images of one film are resampled in.
FEWEST_BLOCKS = 7

#: 0.975 quantiles of Student's t with 1, 2, ... degrees of freedom: NIST/SEMATECH e-Handbook of
#: Statistical Methods, 1.3.6.7.2.
T_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip

#: The same of the normal distribution.
NORMAL = 1.959964


class Interval(NamedTuple):
    """A difference with its confidence interval.

    Attributes:
        mean: As measured.
        low: Lower end.
        high: Upper end.
        blocks: How many blocks of neighbours the images were resampled in; as many as there are
            images where neighbours have nothing in common.
    """

    mean: float
    low: float
    high: float
    blocks: int


def psnr_difference(better: Sequence[np.ndarray], worse: Sequence[np.ndarray]) -> Interval:
    """Difference of mean PSNR.

    Args:
        better: PSNR of every image, (images,), one array a seed.
        worse: The same of the other system, on the same images.
    """
    with np.errstate(invalid="ignore"):  # both infinite: not a number, which is told
        pairs = [a - b for a, b in zip(better, worse, strict=True)]

    def of(seed: int, weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return weights @ pairs[seed] / weights.sum(1)

    return _interval(of, seeds=len(pairs), images=len(pairs[0]))


def miou_difference(
    better: Sequence[np.ndarray],
    worse: Sequence[np.ndarray],
    *,
    absent_classes: str = "left out",
) -> Interval:
    """Difference of mIoU over the set, in percent.

    Args:
        better: Pixels of every class in every image that were found, that there are, and that were
            predicted, (images, 3, K), a seed each.
        worse: The same of the other system, on the same images.
        absent_classes: What a class counts that is nowhere in the set, see ``metrics.Protocol``.
    """

    def of(seed: int, weights: np.ndarray) -> np.ndarray:
        pair = (better[seed], worse[seed])
        first, second = (_miou(weights, counts, absent_classes) for counts in pair)
        return first - second

    return _interval(of, seeds=len(better), images=len(better[0]))


def _miou(weights: np.ndarray, counts: np.ndarray, absent_classes: str) -> np.ndarray:
    """MIoU of every weighting (R, images) of the images, in percent."""
    images, _, classes = counts.shape
    sums = (weights @ counts.reshape(images, -1)).reshape(-1, 3, classes)
    hits, true, predicted = sums.swapaxes(0, 1)
    union = true + predicted - hits
    found = np.divide(hits, union, out=np.zeros_like(hits), where=union > 0).sum(1)
    count = classes if absent_classes == "counted as 0" else (union > 0).sum(1)
    with np.errstate(invalid="ignore"):  # no label and no prediction at all: not a number
        return 100 * found / count


def _interval(of: Difference, *, seeds: int, images: int) -> Interval:
    """The interval over the images and, with several seeds, over the trainings.

    Images are resampled, the same for both systems and all seeds, and in blocks where neighbours
    are alike, as the frames of a film are: one by one they would seem to say more than they do.
    With one seed the percentiles of the result, widened by Student's t, are the interval. With
    several, the half widths of both sources of error are added as their squares: that of the
    images, and t(0.975, seeds - 1) * sd / sqrt(seeds), where sd is the standard deviation of the
    seeds' differences, all on the same images.
    """
    even = np.ones((1, images))
    by_seed = np.array([of(seed, even)[0] for seed in range(seeds)])
    with np.errstate(invalid="ignore"):
        mean = float(by_seed.mean())
    if not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, images)
    length = block_length(_influences(of, seeds, images))
    weights = resampling(images, length)
    resampled = np.mean([of(seed, weights) for seed in range(seeds)], axis=0)
    tail = 50 * (1 - LEVEL)
    ends = np.percentile(resampled, [tail, 100 - tail])
    # Percentiles are those of a known spread; here it is found from as many blocks as there are.
    blocks = max(round(images / length), 1)
    wider = t_quantile(max(blocks - 1, 1)) / NORMAL
    low, high = mean + wider * (ends - mean)
    if seeds == 1:
        return Interval(mean, float(low), float(high), blocks)
    of_seeds = t_quantile(seeds - 1) * by_seed.std(ddof=1) / math.sqrt(seeds)
    half = math.hypot(of_seeds, (high - low) / 2)
    return Interval(mean, mean - half, mean + half, blocks)


def _influences(of: Difference, seeds: int, images: int) -> np.ndarray:
    """What every image does to the difference: how it changes when that one is left out."""
    without = 1.0 - np.eye(images)
    return -np.mean([of(seed, without) for seed in range(seeds)], axis=0)


def block_length(values: np.ndarray) -> int:
    """How many neighbours have to be resampled together; 1 where they have nothing in common.

    Args:
        values: Of every image, in the order of the set.
    """
    deviations = values - values.mean()
    energy = float(deviations @ deviations)
    if not (math.isfinite(energy) and energy > 0):
        return 1
    alike = min(max(float(deviations[1:] @ deviations[:-1]) / energy, 0.0), 0.97)
    length = 1.1447 * (4 * alike**2 / (1 - alike**2) ** 2 * len(values)) ** (1 / 3)
    return min(max(round(length), 1), max(len(values) // 3, 1))


def resampling(images: int, length: int) -> np.ndarray:
    """How often every resample has each image, (RESAMPLES, images); the last block is cut short.

    Args:
        images: Number of them.
        length: Of the blocks, which go on at the first image behind the last one.
    """
    blocks = -(-images // length)
    starts = np.random.default_rng(0).integers(images, size=(RESAMPLES, blocks))
    chosen = ((starts[:, :, None] + np.arange(length)) % images).reshape(RESAMPLES, -1)[:, :images]
    weights = np.zeros((RESAMPLES, images))
    np.add.at(weights, (np.arange(RESAMPLES)[:, None], chosen), 1)
    return weights


def t_quantile(freedom: int) -> float:
    """The 0.975 quantile of Student's t.

    Args:
        freedom: Degrees of freedom, at least 1.

    Reference:
        Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.7.5, beyond the table.
    """
    if freedom <= len(T_QUANTILES):
        return T_QUANTILES[freedom - 1]
    z = NORMAL
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def basis(seeds: int) -> str:
    """What the intervals are over, in a sentence."""
    if seeds == 1:
        return (
            "One seed: the 95 % intervals are those of other images like these (other frames, "
            "where they are of one film) for these very trainings; how much other trainings would "
            "differ, only --seeds tells."
        )
    return (
        f"{seeds} seeds: the 95 % intervals are those of other images like these (bootstrap) and "
        "of other trainings (Student's t) together."
    )
