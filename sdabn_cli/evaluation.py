"""Evaluate a cascade on a data set: metrics of every unit under a stated protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdabn_cli.cascade import Cascade, Unit
from sdabn_cli.contracts import Dataset, NoiseModel
from sdabn_cli.data import decode_at
from sdabn_cli.device import Compute
from sdabn_cli.execution import Executor
from sdabn_cli.logits import labels_of
from sdabn_cli.metrics import Protocol, SegmentationScore, psnr, ssim
from sdabn_cli.noising import add_noise
from sdabn_cli.pixels import to_unit
from sdabn_cli.planes import MemoryPlane, whole
from sdabn_cli.processes import Processes
from sdabn_cli.randomness import generator


@dataclass(frozen=True)
class Evaluation:
    """Figures of every unit, and of the noisy images themselves.

    Attributes:
        units: A mapping a unit: unit, psnr, ssim (None without a denoiser), miou, pixel_accuracy,
            mean_accuracy (percent) and class_iou (None without a segmenter).
        noisy: psnr and ssim of the images before the first unit; None without noise.
        images: Number of images.
        protocol: How it was measured.
        per_image: Figures of every image in turn, a mapping a unit: psnr, and counts, int64 (3, K)
            as ``SegmentationScore`` has them; None for what a unit lacks.
    """

    units: list[dict[str, Any]]
    noisy: dict[str, float] | None
    images: int
    protocol: Protocol
    per_image: list[list[dict[str, Any]]]

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "units": self.units,
            "noisy": self.noisy,
            "images": self.images,
            "protocol": self.protocol.as_dict(),
        }


class Found(NamedTuple):
    """What one unit found in an image.

    Attributes:
        prediction: Class ids, uint8 (H, W); None without a segmenter.
        estimate: (3, H, W), not clipped; None without a denoiser.
    """

    prediction: Tensor | None
    estimate: Tensor | None


class Looked(NamedTuple):
    """An evaluated image.

    Attributes:
        index: Its number in the data set.
        clean: (3, H, W).
        noisy: (3, H, W), not clipped; the clean image where there is no noise.
        labels: int64 (H, W).
        units: What every unit found.
    """

    index: int
    clean: Tensor
    noisy: Tensor
    labels: Tensor
    units: list[Found]

    @property
    def prediction(self) -> Tensor | None:
        """The last unit's class ids, uint8 (H, W); None without a segmenter."""
        return self.units[-1].prediction

    @property
    def estimate(self) -> Tensor | None:
        """The last one, (3, H, W), not clipped; None if there is none."""
        found = [unit.estimate for unit in self.units if unit.estimate is not None]
        return found[-1] if found else None


class _DenoisingScore:
    """PSNR and SSIM of every image, averaged at the end."""

    def __init__(self, protocol: Protocol, *, with_ssim: bool) -> None:
        self._protocol, self._with_ssim = protocol, with_ssim
        self.figures: list[tuple[int, float, float | None]] = []

    def add(self, index: int, image: Tensor, clean: Tensor) -> None:
        image = image.clamp(0, 1) if self._protocol.clip else image
        similarity = ssim(image, clean) if self._with_ssim else None
        figure = psnr(image, clean, border=self._protocol.border)
        self.figures.append((index, figure, similarity))

    def collect(self, processes: Processes) -> None:
        """Take in the figures of all processes, in the order of the images."""
        self.figures = sorted(processes.gather(self.figures), key=lambda figure: figure[0])

    def summary(self) -> dict[str, float | None]:
        return {
            "psnr": _mean([figure for _, figure, _ in self.figures]),
            "ssim": _mean([value for _, _, value in self.figures if value is not None]),
        }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def pick(length: int, wanted: int | None) -> list[int]:
    """Choose evenly spaced indices; all of them where ``wanted`` is None or too large."""
    if wanted is None or wanted >= length:
        return list(range(length))
    return [round(i * length / wanted) for i in range(wanted)]


@torch.no_grad()
def evaluate(
    cascade: Cascade,
    dataset: Dataset,
    noise: NoiseModel | None,
    *,
    protocol: Protocol,
    compute: Compute,
    limit: int | None = None,
    only: Sequence[int] | None = None,
    with_ssim: bool = True,
    advance: Callable[[], object] = lambda: None,
    look: Callable[[Looked], object] | None = None,
) -> Evaluation:
    """Run a cascade on whole images and measure every unit.

    Several processes share the images out; all of them return the figures of the whole set.

    Args:
        cascade: In eval mode; its last unit may lack a denoiser.
        dataset: A labelled split.
        noise: Added to the images first; None evaluates them as they are.
        protocol: How to measure; its seed and an image's number decide that image's noise.
        compute: Device and precision.
        limit: Evaluate this many images, evenly spaced.
        only: Evaluate the images of these numbers instead, in ascending order.
        with_ssim: Leave out SSIM where it is not needed: it takes longer than PSNR.
        advance: Called after every image of this process.
        look: Shown every image of this process with the outputs of all units.
    """
    executor = Executor(compute, compute.tile)
    units = len(cascade.units)
    absent = protocol.absent_classes
    segmentation = [SegmentationScore(len(dataset.classes), absent) for _ in range(units)]
    denoising = [_DenoisingScore(protocol, with_ssim=with_ssim) for _ in range(units + 1)]
    indices = pick(len(dataset), limit) if only is None else list(only)
    processes = compute.processes
    own = indices[processes.index :: processes.count]
    for index, clean, noisy, labels in _examples(dataset, own, noise, protocol.seed):
        if noise is not None:
            denoising[0].add(index, noisy, clean)
        found: list[Found] = []
        with executor.workspace() as workspace:
            image, truth = MemoryPlane(noisy.to(compute.device)), labels.to(compute.device)
            outputs = executor.run(cascade, image, workspace, truth=truth)
            for unit, output in enumerate(outputs):
                prediction = None if output.logits is None else labels_of(output.logits)
                if prediction is not None:
                    segmentation[unit].add(prediction[None].long(), labels, index)
                estimate = None
                if output.estimate is not None:
                    estimate = whole(output.estimate).cpu()
                    denoising[unit + 1].add(index, estimate, clean)
                if look is not None:
                    found.append(Found(prediction, None if estimate is None else estimate[0]))
        if look is not None:
            look(Looked(index, clean[0], noisy[0], labels[0], found))
        advance()
    for score in (*segmentation, *denoising):
        score.collect(processes)
    figures = [
        {"unit": unit + 1}
        | denoising[unit + 1].summary()
        | _segmentation_figures(cascade.units[unit], segmentation[unit], dataset)
        for unit in range(units)
    ]
    return Evaluation(
        figures,
        denoising[0].summary() if noise else None,
        len(indices),
        protocol,
        _per_image(len(indices), denoising[1:], segmentation),
    )


def _per_image(
    count: int, denoising: Sequence[_DenoisingScore], segmentation: Sequence[SegmentationScore]
) -> list[list[dict[str, Any]]]:
    """Figures of every image and unit."""
    return [
        [
            {
                "psnr": denoised.figures[number][1] if denoised.figures else None,
                "counts": segmented.images[number][1] if segmented.images else None,
            }
            for denoised, segmented in zip(denoising, segmentation, strict=True)
        ]
        for number in range(count)
    ]


def _segmentation_figures(unit: Unit, score: SegmentationScore, dataset: Dataset) -> dict[str, Any]:
    if unit.segmenter is None:
        return dict.fromkeys(("miou", "pixel_accuracy", "mean_accuracy", "class_iou"))
    iou = dict(zip(dataset.classes, score.class_iou(), strict=True))
    return score.summary() | {"class_iou": iou}


def _examples(
    dataset: Dataset, indices: Sequence[int], noise: NoiseModel | None, seed: int
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Every index with its clean and noisy image (1, 3, H, W) and labels (1, H, W)."""
    for index in indices:
        image, labels = decode_at(dataset, index)
        clean = torch.from_numpy(to_unit(image)).permute(2, 0, 1)[None].contiguous()
        noisy = add_noise(noise, clean, generator(seed, "evaluate", index))
        yield index, clean, noisy, torch.from_numpy(labels.astype("int64"))[None]
