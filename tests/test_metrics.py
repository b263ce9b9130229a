"""Metrics and losses by hand and against scikit-image, and the protocol of an evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from sdabn_cli import evaluation, metrics, registry
from sdabn_cli.cascade import Cascade, Unit
from sdabn_cli.contracts import Example
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError
from sdabn_cli.labels import IGNORED
from sdabn_cli.losses import (
    denoising_loss,
    labelled_weight,
    psnr_loss,
    segmentation_loss,
    semantic_loss,
)
from sdabn_cli.metrics import Protocol, SegmentationScore

CPU = Compute(torch.device("cpu"), torch.float32)


def test_a_uniform_error_of_a_tenth_is_20_db():
    clean = torch.full((1, 3, 10, 10), 0.5)

    assert metrics.psnr(clean + 0.1, clean, border=1) == pytest.approx(20, abs=1e-4)


def test_psnr_leaves_the_border_out_and_nothing_else():
    clean, wrong = torch.zeros(1, 3, 6, 8), torch.zeros(1, 3, 6, 8)
    wrong[..., 0, :] = wrong[..., -1, :] = wrong[..., :, 0] = wrong[..., :, -1] = 1

    assert metrics.psnr(wrong, clean, border=1) == math.inf
    # 48 pixels without border, of which 24 lie inside.
    assert metrics.psnr(wrong, clean, border=0) == pytest.approx(10 * math.log10(2))


def test_ssim_equals_that_of_scikit_image():
    random = np.random.default_rng(0)
    clean = np.kron(random.random((16, 20, 3)), np.ones((6, 6, 1)))
    estimate = clean + random.normal(0, 0.1, clean.shape)
    reference = structural_similarity(
        clean, estimate, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        data_range=1.0, channel_axis=2,
    )  # fmt: skip

    both = (torch.from_numpy(a).permute(2, 0, 1)[None] for a in (estimate, clean))

    assert metrics.ssim(*both) == pytest.approx(reference, abs=1e-4)
    assert 0.2 < reference < 0.95


def test_segmentation_figures_by_hand():
    score = SegmentationScore(4)
    labels = torch.tensor([[[0, 0, 1], [1, 2, IGNORED]]])
    prediction = torch.tensor([[[0, 1, 1], [1, 1, 3]]])

    score.add(prediction, labels)

    # Class 0: 1 of 2; class 1: 2 of 2 right, 2 more predicted; class 2: missed; class 3: nowhere,
    # because its only prediction lies on an ignored pixel.
    assert score.class_iou() == [50, 50, 0, None]
    assert score.summary() == pytest.approx(
        {"miou": 100 / 3, "pixel_accuracy": 60, "mean_accuracy": 50}
    )


def test_a_class_that_is_only_predicted_counts_for_iou_but_not_for_accuracy():
    score = SegmentationScore(3)

    score.add(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]))

    assert score.summary() == {"miou": 25, "pixel_accuracy": 50, "mean_accuracy": 50}


def test_the_confusion_matrix_is_over_the_whole_set_and_not_a_mean_of_images():
    score = SegmentationScore(2)

    score.add(torch.tensor([[[0, 0, 0, 0]]]), torch.tensor([[[0, 0, 0, 1]]]))
    score.add(torch.tensor([[[1]]]), torch.tensor([[[1]]]))

    # Class 0: 3 of 4; class 1: 1 of 2.
    assert score.class_iou() == [75, 50]
    assert score.summary()["pixel_accuracy"] == 80


def test_an_image_is_kept_as_three_numbers_a_class():
    score = SegmentationScore(3)

    score.add(torch.tensor([[[0, 1, 1, 2]]]), torch.tensor([[[0, 0, 1, IGNORED]]]), 4)
    score.add(torch.tensor([[[2]]]), torch.tensor([[[0]]]), 7)

    (first, counts), (second, _) = score.images
    assert (first, second) == (4, 7)
    assert counts.tolist() == [[1, 1, 0], [2, 1, 0], [1, 2, 0]]  # found, true, predicted
    assert score.counts.tolist() == [[1, 1, 0], [3, 1, 0], [1, 2, 1]]


def test_a_set_without_any_label_has_no_figures():
    score = SegmentationScore(2)

    score.add(torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), IGNORED))

    assert all(math.isnan(value) for value in score.summary().values())


def test_the_semantic_loss_weighs_cross_entropy_against_the_mean_squared_error():
    # Four pixels of two classes at even logits: a cross-entropy of ln 2 each.
    labels = torch.tensor([[[0, 1], [1, IGNORED]]])
    clean = torch.zeros(1, 3, 2, 2)
    estimate = torch.full((1, 3, 2, 2), 0.5)
    one = torch.tensor(1.0)

    squared = float(denoising_loss(estimate, clean, 0, one))
    semantic = float(semantic_loss(torch.zeros(1, 2, 2, 2), labels, one))

    # 3 H W / 2 = 6 times MSE = 0.25, and 6 times the mean over pixels, of which one has no label.
    assert squared == pytest.approx(6 * 0.25)
    assert semantic == pytest.approx(6 * 3 * math.log(2) / 4)


def test_the_denoising_loss_is_half_the_squared_error_of_an_image():
    clean = torch.zeros(2, 3, 6, 6)
    estimate = torch.full((2, 3, 6, 6), 0.1)

    # 3 channels of 4 x 4 pixels inside the border, each with an error of 0.01.
    assert float(denoising_loss(estimate, clean, 1, torch.tensor(2.0))) == pytest.approx(0.24)
    assert float(denoising_loss(estimate, clean, 0, torch.tensor(2.0))) == pytest.approx(0.54)


def test_the_psnr_loss_is_minus_the_mean_psnr_of_the_images():
    clean = torch.rand(3, 3, 9, 12)
    estimate = (
        clean + torch.randn(clean.shape) * torch.tensor([0.01, 0.1, 0.3])[:, None, None, None]
    )
    inner = [x[:, 1:-1, 1:-1].permute(1, 2, 0).numpy() for x in (*clean, *estimate)]
    expected = [peak_signal_noise_ratio(inner[n], inner[n + 3], data_range=1) for n in range(3)]

    parts = [psnr_loss(x, y, 1, torch.tensor(3.0)) for x, y in
             zip(estimate.split(2), clean.split(2), strict=True)]  # fmt: skip

    assert float(sum(parts)) == pytest.approx(-sum(expected) / 3, abs=1e-3)
    assert float(psnr_loss(clean, clean, 0, torch.tensor(3.0))) == pytest.approx(-80)


def test_the_segmentation_loss_is_the_weighted_cross_entropy_of_labelled_pixels():
    logits = torch.zeros(1, 2, 1, 3)
    logits[0, 0, 0, 1] = math.log(3)
    labels = torch.tensor([[[0, 1, IGNORED]]])

    size = labelled_weight(labels, None)
    loss = segmentation_loss(logits, labels, None, size)
    assert float(loss) == pytest.approx(math.log(2 * 4) / 2)
    weights = torch.tensor([1.0, 3.0])
    weighted = segmentation_loss(logits, labels, weights, labelled_weight(labels, weights))
    assert float(weighted) == pytest.approx((math.log(2) + 3 * math.log(4)) / 4)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0, 0.5])])
def test_the_losses_of_parts_add_up_to_the_mean_over_the_whole_batch(weights):
    logits, clean = torch.randn(4, 3, 5, 7), torch.rand(4, 3, 5, 7)
    labels = torch.randint(0, 3, (4, 5, 7))
    labels[0] = labels[1, 0] = IGNORED

    size = labelled_weight(labels, weights)
    parts = [
        segmentation_loss(*part, weights, size)
        for part in zip(logits.split(1), labels.split(1), strict=True)
    ]
    errors = [denoising_loss(x, y, 1, torch.tensor(4.0)) for x, y in
              zip(logits.split(1), clean.split(1), strict=True)]  # fmt: skip

    mean = torch.nn.functional.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORED)
    assert float(sum(parts)) == pytest.approx(float(mean), rel=1e-5)
    inner = (logits - clean)[..., 1:-1, 1:-1]
    assert float(sum(errors)) == pytest.approx(float(inner.square().sum() / 8), rel=1e-5)


def test_a_batch_without_labels_neither_teaches_nor_poisons():
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)

    labels = torch.full((1, 3, 3), IGNORED)
    loss = segmentation_loss(logits, labels, None, labelled_weight(labels, None))
    loss.backward()

    assert float(loss.detach()) == 0
    assert float(logits.grad.abs().max()) == 0


class Grey:
    """Five mid-grey images; the upper half of each is class 0, the lower half class 1."""

    classes = ("upper", "lower")
    palette = ((0, 0, 0), (255, 255, 255))
    ignore_index = None

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Example:
        labels = np.repeat(np.array([0, 1], np.uint8), 50)[:, None].repeat(100, axis=1)
        return Example(f"grey{index}", np.full((100, 100, 3), 100 + index, np.uint8), labels)


class Upper(nn.Module):
    """Calls every pixel ``upper``."""

    stride = 1

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([torch.ones_like(image[:, 0]), torch.zeros_like(image[:, 0])], dim=1)


class Halver(nn.Module):
    """Returns half of what it is given and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        self.seen.append(image.clone())
        return 0.5 * image


def run(
    *, sigma: str | None = "50", limit: int | None = None, seed: int = 0, clip: bool = False
) -> tuple[evaluation.Evaluation, list[Tensor]]:
    noise = None if sigma is None else registry.build("noise", "gaussian", {"sigma": sigma})
    halver = Halver()
    cascade = Cascade([Unit(Upper(), halver), Unit(Upper())]).eval()
    protocol = Protocol(
        precision="float32", noise=sigma and f"gaussian:sigma={sigma}", seed=seed, clip=clip
    )
    result = evaluation.evaluate(
        cascade, Grey(), noise, protocol=protocol, compute=CPU, limit=limit, with_ssim=False
    )
    return result, halver.seen


def test_noise_depends_on_the_seed_and_the_images_number_alone():
    _, whole = run()
    _, few = run(limit=2)
    _, other = run(seed=1)

    assert evaluation.pick(5, 2) == [0, 2]
    assert torch.equal(few[0], whole[0])
    assert torch.equal(few[1], whole[2])
    assert not torch.equal(other[0], whole[0])
    # The images differ by a constant, their noise by more than that.
    assert not torch.allclose(whole[0] - 100 / 255, whole[1] - 101 / 255, atol=1e-3)


def test_noise_of_sigma_50_is_14_15_db():
    result, _ = run()

    assert result.noisy["psnr"] == pytest.approx(20 * math.log10(255 / 50), abs=0.1)
    assert 20 * math.log10(255 / 50) == pytest.approx(14.15, abs=0.005)


def test_clipping_is_the_protocols_choice():
    clipped, _ = run(clip=True)
    plain, _ = run()

    assert clipped.noisy["psnr"] > plain.noisy["psnr"] + 0.05


def test_every_unit_is_measured():
    result, _ = run(sigma=None)

    first, second = result.units
    # Half of 100 / 255 is an error of 50 / 255, and so on; PSNR is averaged over the images.
    expected = [20 * math.log10(255 / (0.5 * (100 + i))) for i in range(5)]
    assert first["psnr"] == pytest.approx(sum(expected) / 5, abs=1e-4)
    assert second["psnr"] is None
    assert result.noisy is None
    assert result.images == 5
    for unit in result.units:
        assert (unit["miou"], unit["pixel_accuracy"], unit["mean_accuracy"]) == (25, 50, 50)
        assert unit["class_iou"] == {"upper": 50, "lower": 0}


@pytest.mark.parametrize(
    ("wanted", "expected"), [(None, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4]), (1, [0]), (2, [0, 2])]
)
def test_images_are_picked_evenly(wanted, expected):
    assert evaluation.pick(5, wanted) == expected


def test_the_papers_protocol_counts_absent_classes_as_zero():
    # Of three classes the third is nowhere: IoU 1/2 and 1/2, accuracies 1/2 and 1.
    labels, predicted = torch.tensor([[[0, 0, 1]]]), torch.tensor([[[0, 1, 1]]])
    left_out, counted = SegmentationScore(3), SegmentationScore(3, "counted as 0")
    for score in (left_out, counted):
        score.add(predicted, labels)

    assert left_out.summary()["miou"] == pytest.approx(50)
    assert left_out.summary()["mean_accuracy"] == pytest.approx(75)
    assert counted.summary()["miou"] == pytest.approx(100 / 3)
    assert counted.summary()["mean_accuracy"] == pytest.approx(50)
    assert counted.summary()["pixel_accuracy"] == pytest.approx(200 / 3)


def test_figures_agree_with_those_of_torchmetrics():
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (4, 20, 20), generator=random)
    predicted = torch.where(torch.rand(labels.shape, generator=random) < 0.6, labels, 1)
    labels[:, :3] = IGNORED
    score = SegmentationScore(5)
    for number in range(4):
        score.add(predicted[number : number + 1], labels[number : number + 1], number)

    figures = score.summary()
    for name, metric in {
        "miou": MulticlassJaccardIndex(5, ignore_index=IGNORED),
        "pixel_accuracy": MulticlassAccuracy(5, average="micro", ignore_index=IGNORED),
        "mean_accuracy": MulticlassAccuracy(5, average="macro", ignore_index=IGNORED),
    }.items():
        assert figures[name] == pytest.approx(100 * float(metric(predicted, labels)), rel=1e-5)


@pytest.mark.parametrize("name", metrics.PROTOCOLS)
def test_a_protocol_has_the_name_of_its_settings(name):
    given = {"precision": "float32", "noise": "poisson", "seed": 3}

    named = Protocol.named(name, **given)

    assert named.as_dict() == {
        "name": name, **given, "clip": name == "file", "border": 0 if name == "file" else 1,
        "absent_classes": "counted as 0" if name == "paper" else "left out",
        "ssim_window": "11 x 11 pixels, Gaussian of sigma 1.5, whole ones only",
        "data_range": 1.0, "average": "mean over images",
    }  # fmt: skip
    assert Protocol(**given, clip=True).as_dict()["name"] == "custom"


def test_the_border_of_the_protocol_is_that_of_psnr_alone():
    random = torch.Generator().manual_seed(0)
    clean = torch.rand(1, 3, 40, 40, generator=random)
    estimate = clean.clone()
    estimate[..., 0, :] = 0  # wrong at the edge alone
    figures = {}
    for border in (0, 1):
        protocol = Protocol("float32", None, 0, border=border)
        score = evaluation._DenoisingScore(protocol, with_ssim=True)
        score.add(0, estimate, clean)
        figures[border] = score.summary()

    assert figures[1]["psnr"] == math.inf
    assert figures[0]["psnr"] < 30
    assert figures[0]["ssim"] == figures[1]["ssim"] < 1


def test_an_unknown_protocol_is_answered_with_those_there_are():
    with pytest.raises(SdabnError, match=r"no protocol 'papr'\.\nDid you mean 'paper'\?"):
        Protocol.named("papr", precision="float32", noise=None, seed=0)
