"""Metrics of both tasks, with their protocol spelled out.

Denoising: PSNR and SSIM of every image, averaged over the images. Segmentation: one confusion
matrix over the whole set, of which diagonal and sums are kept; classes that occur neither in the
labels nor in the prediction do not count.

torchmetrics is imported where it is used: that takes seconds, and most commands need no more of
this module than the protocols.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.labels import IGNORED
from sdabn_cli.processes import Processes

#: SSIM's window: its side in pixels, and the standard deviation of its Gaussian.
WINDOW, WINDOW_SIGMA = 11, 1.5

#: Difference between white and black: images are in [0, 1] everywhere.
DATA_RANGE = 1.0

#: What no protocol changes, for whoever reads its figures.
ALWAYS: dict[str, object] = {
    "ssim_window": f"{WINDOW} x {WINDOW} pixels, Gaussian of sigma {WINDOW_SIGMA}, whole ones only",
    "data_range": DATA_RANGE,
    "average": "mean over images",
}


@dataclass(frozen=True)
class Protocol:
    """How figures are measured; printed with them.

    Attributes:
        precision: Type the networks compute in.
        noise: Noise model the images are given, as ``name:options``; None for none.
        seed: Seed of that noise; every image's depends on it and on the image's number alone.
        clip: Whether estimates are clipped to [0, 1] first.
        border: Pixels at the edge that PSNR leaves out; SSIM has its windows instead.
        absent_classes: What a class counts that is nowhere in the set.
    """

    precision: str
    noise: str | None
    seed: int
    clip: bool = False
    border: int = 1
    absent_classes: Literal["left out", "counted as 0"] = "left out"

    @classmethod
    def named(cls, name: str, *, precision: str, noise: str | None, seed: int) -> Protocol:
        """One of ``PROTOCOLS``.

        Raises:
            SdabnError: If there is none of that name.
        """
        if name not in PROTOCOLS:
            raise SdabnError(f"There is no protocol {name!r}.", did_you_mean(name, PROTOCOLS))
        return cls(precision=precision, noise=noise, seed=seed, **PROTOCOLS[name])

    @property
    def name(self) -> str:
        """That of ``PROTOCOLS`` which has these settings; ``custom`` if there is none."""
        for name, settings in PROTOCOLS.items():
            if self == Protocol(self.precision, self.noise, self.seed, **settings):
                return name
        return "custom"

    def as_dict(self) -> dict[str, object]:
        """As plain values, for JSON: its name, its settings, and what is always so."""
        return {"name": self.name} | asdict(self) | ALWAYS


#: What differs from the default. ``paper`` is the released experiment's; ``file`` takes
#: what a picture file shows: edges too, clipped to its range, but not rounded.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"absent_classes": "counted as 0"},
    "file": {"clip": True, "border": 0},
}


def psnr(estimate: Tensor, clean: Tensor, *, border: int) -> float:
    """Peak signal-to-noise ratio in dB.

    Args:
        estimate: (..., H, W), where white is 1 and black 0.
        clean: Same shape.
        border: Pixels left out at every edge.

    Returns:
        10 log10(1 / MSE); infinite for equal images.
    """
    inside = (..., slice(border, -border or None), slice(border, -border or None))
    error = torch.mean((estimate[inside].double() - clean[inside].double()) ** 2)
    return float(10 * torch.log10(DATA_RANGE**2 / error))


def ssim(estimate: Tensor, clean: Tensor) -> float | None:
    """Structural similarity with an 11-pixel Gaussian window of standard deviation 1.5.

    Only windows that lie inside the image count, as in the reference and in scikit-image.

    Args:
        estimate: (N, 3, H, W), where white is 1 and black 0.
        clean: Same shape.

    Returns:
        At most 1; None for images smaller than the window.

    Reference:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
        IEEE Transactions on Image Processing 2004.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(clean.shape[-2:]) < WINDOW:
        return None
    _, similarity = structural_similarity_index_measure(
        estimate.float(),
        clean.float(),
        sigma=WINDOW_SIGMA,
        kernel_size=WINDOW,
        data_range=DATA_RANGE,
        return_full_image=True,
    )
    return float(similarity[..., WINDOW // 2 : -(WINDOW // 2), WINDOW // 2 : -(WINDOW // 2)].mean())


class SegmentationScore:
    """Pixels of every class in the images of a set, and what they say together.

    Args:
        num_classes: Number of classes K.
        absent_classes: What a class counts that is nowhere in the set, see ``Protocol``.

    Attributes:
        images: Number and counts of every image: int64 (3, K), pixels of every class that were
            found, that there are, and that were predicted. That is all of a confusion matrix that
            the figures need, at 3 K numbers an image instead of K².
    """

    def __init__(self, num_classes: int, absent_classes: str = "left out") -> None:
        self.images: list[tuple[int, Tensor]] = []
        self._num_classes, self._absent_classes = num_classes, absent_classes

    @property
    def counts(self) -> Tensor:
        """Those of the whole set, int64 (3, K)."""
        nothing = torch.zeros(3, self._num_classes, dtype=torch.int64)
        return sum((counts for _, counts in self.images), nothing)

    def add(self, prediction: Tensor, labels: Tensor, index: int = 0) -> None:
        """Count an image.

        Args:
            prediction: Class ids, int64 (N, H, W).
            labels: True class ids of the same shape, ``IGNORED`` where there are none.
            index: Number of the image.
        """
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        matrix = multiclass_confusion_matrix(
            prediction, labels, num_classes=self._num_classes, ignore_index=IGNORED
        )
        counts = torch.stack([matrix.diag(), matrix.sum(1), matrix.sum(0)])
        self.images.append((index, counts.cpu()))

    def collect(self, processes: Processes) -> None:
        """Take in the counts of all processes, in the order of the images."""
        self.images = sorted(processes.gather(self.images), key=lambda image: image[0])

    def class_iou(self) -> list[float | None]:
        """Intersection over union of every class in percent; None for absent classes."""
        hits, true, predicted = self.counts
        union = true + predicted - hits
        return [
            100 * float(h / u) if u else None for h, u in zip(hits.double(), union, strict=True)
        ]

    def summary(self) -> dict[str, float]:
        """mIoU, pixel accuracy and mean accuracy, in percent; not a number without any label."""
        hits, true, _ = self.counts.double()
        iou = [value for value in self.class_iou() if value is not None]
        accuracy = (hits / true)[true > 0]
        if self._absent_classes == "counted as 0" and iou:
            iou += [0.0] * (self._num_classes - len(iou))
            accuracy = torch.cat([accuracy, accuracy.new_zeros(self._num_classes - len(accuracy))])
        return {
            "miou": sum(iou) / len(iou) if iou else float("nan"),
            "pixel_accuracy": 100 * float(hits.sum() / true.sum()),
            "mean_accuracy": 100 * float(accuracy.mean()),
        }
