"""Equation (2) against numbers worked out by hand, conditions, padding and frozen prefixes."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from sdabn_cli import cascade as cascades
from sdabn_cli import networks
from sdabn_cli.cascade import Cascade, Frozen, Unit, segment


class LinearSegmenter(nn.Module):
    """S(x) = (red, 2 * green): two classes, one pixel in, one pixel out."""

    stride = 1

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([image[:, 0], 2 * image[:, 1]], dim=1)


class LinearDenoiser(nn.Module):
    """D(x, c) = gain * x + c_0 + 10 * c_1, with the last input kept for the test to see."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.seen: tuple[Tensor, Tensor | None] | None = None

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        self.seen = (image, condition)
        if condition is None:
            return self.gain * image
        return self.gain * image + condition[:, :1] + 10 * condition[:, 1:2]


class StridedSegmenter(nn.Module):
    """Refuses any size but multiples of its stride; answers at 1 / stride of the size."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        assert height % self.stride == 0
        assert width % self.stride == 0
        return nn.functional.avg_pool2d(image, self.stride)


def pixel(*values: float) -> Tensor:
    """An image of one pixel."""
    return torch.tensor(values).view(1, 3, 1, 1)


def values(tensor: Tensor | None) -> list[float]:
    assert tensor is not None
    return tensor.flatten().tolist()


def toy_cascade(*gains: float, **options: str) -> Cascade:
    return Cascade([Unit(LinearSegmenter(), LinearDenoiser(g)) for g in gains], **options)


def test_three_units_follow_equation_2_by_hand():
    cascade = toy_cascade(2, 3, 5, form="logits")

    first, second, third = cascade(pixel(1, 2, 3))

    # s_1 = S(y): (1, 2 * 2); x_1 = 2 * (0 + y) + 1 + 10 * 4
    assert values(first.logits) == [1, 4]
    assert values(first.estimate) == [43, 45, 47]
    # s_2 = S(x_1): (43, 90); x_2 = 3 * (x_1 + y) + 43 + 900
    assert values(second.logits) == [43, 90]
    assert values(second.estimate) == [1075, 1084, 1093]
    # s_3 = S(x_2): (1075, 2168); x_3 = 5 * (x_2 + y) + 1075 + 21680
    assert values(third.logits) == [1075, 2168]
    assert values(third.estimate) == [28135, 28185, 28235]


def test_two_units_with_probabilities_by_hand():
    # Logits (0, ln 3) are probabilities (1/4, 3/4): the condition adds 0.25 + 7.5.
    noisy = pixel(0, math.log(3) / 2, 1)
    cascade = toy_cascade(2, 1)

    first, second = cascade(noisy)

    half = math.log(3) / 2
    assert values(first.estimate) == pytest.approx([7.75, 2 * half + 7.75, 9.75])
    # s_2 = (7.75, 2 * (ln 3 + 7.75)): the second probability is 1 / (1 + exp(7.75 - s))
    guide = 1 / (1 + math.exp(7.75 - 2 * (math.log(3) + 7.75)))
    shift = 1 - guide + 10 * guide
    expected = [7.75 + shift, 3 * half + 7.75 + shift, 10.75 + shift]
    assert values(second.estimate) == pytest.approx(expected)


def test_first_segmenter_sees_the_noisy_image_and_first_denoiser_nothing_added():
    cascade = toy_cascade(1)
    noisy = torch.randn(2, 3, 5, 7)

    (output,) = cascade(noisy)

    assert torch.equal(output.logits, LinearSegmenter()(noisy))
    assert torch.equal(cascade.units[0].denoiser.seen[0], noisy)


def test_strengthening_without_an_estimate_is_the_noisy_image():
    noisy = pixel(1, 2, 3)

    assert values(cascades.strengthen(noisy, None)) == [1, 2, 3]
    assert values(cascades.strengthen(noisy, pixel(10, 20, 30))) == [11, 22, 33]


def test_one_unit_of_three_equals_the_first_of_all():
    cascade = toy_cascade(2, 3, 5)
    noisy = torch.rand(2, 3, 4, 6)

    short, whole = list(islice(cascade.run(noisy), 1)), cascade(noisy)

    assert len(short) == 1
    assert len(whole) == 3
    assert torch.equal(short[0].logits, whole[0].logits)
    assert torch.equal(short[0].estimate, whole[0].estimate)


def test_a_cascade_may_end_in_a_segmenter():
    cascade = Cascade(
        [Unit(LinearSegmenter(), LinearDenoiser(2)), Unit(LinearSegmenter())], form="logits"
    )

    first, last = cascade(pixel(1, 2, 3))

    assert last.estimate is None
    assert torch.equal(last.logits, LinearSegmenter()(first.estimate))


@pytest.mark.parametrize(
    ("condition", "form", "expected"),
    [
        ("segmentation", "probabilities", [0.25, 0.75]),
        ("segmentation", "logits", [0.0, math.log(3)]),
        ("image", "probabilities", [0.0, math.log(3) / 2, 1.0]),
        ("truth", "probabilities", [0.0, 1.0]),
        ("none", "probabilities", None),
    ],
)
def test_every_condition_guides_the_denoiser_with_its_own_map(condition, form, expected):
    cascade = toy_cascade(1, condition=condition, form=form)

    cascade(pixel(0, math.log(3) / 2, 1), truth=torch.ones(1, 1, 1, dtype=torch.int64))

    _, seen = cascade.units[0].denoiser.seen
    assert (seen is None) if expected is None else values(seen) == pytest.approx(expected)


def test_the_image_condition_is_the_noisy_image_in_every_unit():
    cascade = toy_cascade(2, 3, condition="image")
    noisy = torch.rand(1, 3, 2, 2)

    cascade(noisy)

    assert all(torch.equal(unit.denoiser.seen[1], noisy) for unit in cascade.units)


def test_true_labels_outside_the_classes_guide_with_zeros():
    labels = torch.tensor([[[0, 1], [255, 1]]])

    maps = cascades.one_hot(labels, 2)

    assert maps.tolist() == [[[[1, 0], [0, 0]], [[0, 1], [0, 1]]]]


def test_the_truth_condition_asks_for_the_labels():
    cascade = toy_cascade(1, condition="truth")

    with pytest.raises(ValueError, match="needs the true labels"):
        cascade(pixel(1, 2, 3))


@pytest.mark.parametrize(
    ("condition", "channels"), [("segmentation", 19), ("truth", 19), ("image", 3), ("none", 0)]
)
def test_condition_channels_are_those_of_the_map(condition, channels):
    assert cascades.condition_channels(condition, 19) == channels


@pytest.mark.parametrize("size", [(360, 40), (45, 61), (32, 64), (5, 3)])
def test_hrnet_answers_in_the_size_of_the_image(size):
    segmenter = networks.build_segmenter("hrnet", {"variant": "w18_small"}, num_classes=5).eval()

    with torch.no_grad():
        (output,) = Cascade([Unit(segmenter)])(torch.rand(1, 3, *size))

    assert output.logits.shape == (1, 5, *size)


@pytest.mark.parametrize("stride", [1, 7, 8, 16, 32])
def test_every_stride_gets_multiples_of_it_and_answers_in_the_size_of_the_image(stride):
    constant = torch.full((1, 3, 45, 61), 0.25)

    logits = segment(StridedSegmenter(stride), constant)

    assert logits.shape == (1, 3, 45, 61)
    # The edge is repeated: padding with zeros would darken the last rows and columns.
    assert torch.allclose(logits, constant)


def test_a_segmenter_that_declares_no_stride_gets_multiples_of_32():
    sizes = []
    segmenter = nn.Sequential(nn.Conv2d(3, 2, 1))
    segmenter.register_forward_hook(lambda module, given, result: sizes.append(given[0].shape[2:]))

    segment(segmenter, torch.rand(1, 3, 33, 32))

    assert sizes == [(64, 32)]


def test_a_bare_convolution_is_a_segmenter():
    # Its attribute ``stride`` is torch's own pair, not the contract's number.
    assert segment(nn.Conv2d(3, 2, 1), torch.rand(1, 3, 33, 32)).shape == (1, 2, 33, 32)


def test_padding_does_not_move_the_image():
    image = torch.rand(1, 3, 9, 11)

    logits = segment(LinearSegmenter(), image)
    padded = LinearSegmenter()
    padded.stride = 8

    assert torch.equal(segment(padded, image), logits)


def test_frozen_prefix_survives_train_mode():
    norm = nn.BatchNorm2d(3)
    frozen = Frozen(nn.Sequential(nn.Conv2d(3, 3, 1), norm))
    parent = nn.Sequential(frozen, nn.BatchNorm2d(3))
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}

    parent.train()
    with torch.no_grad():
        parent(torch.rand(4, 3, 8, 8) + 5)

    assert parent[1].training
    assert not norm.training
    assert all(torch.equal(before[k], tensor) for k, tensor in frozen.state_dict().items())
    # The same input does move statistics that are not frozen, so this test can fail.
    assert parent[1].num_batches_tracked == 1


def test_nothing_trains_a_frozen_module():
    frozen = Frozen(nn.Conv2d(3, 3, 1))

    result = frozen(torch.rand(1, 3, 4, 4, requires_grad=True))

    assert not result.requires_grad
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_units_without_a_segmenter_only_denoise():
    units = [cascades.Unit(None, LinearDenoiser(gain)) for gain in (2.0, 3.0)]
    noisy = torch.full((1, 3, 4, 4), 0.5)

    first, second = cascades.Cascade(units, condition="none")(noisy)

    # x1 = 2 y = 1, x2 = 3 (y + x1) = 4.5
    assert first.logits is None
    assert torch.equal(first.estimate, torch.full_like(noisy, 1.0))
    assert torch.equal(second.estimate, torch.full_like(noisy, 4.5))


def test_a_guided_denoiser_needs_the_segmenter_of_its_unit():
    cascade = cascades.Cascade([cascades.Unit(None, LinearDenoiser(1.0))], condition="segmentation")

    with pytest.raises(ValueError, match="'segmentation' needs a segmenter in every unit"):
        cascade(torch.zeros(1, 3, 4, 4))
