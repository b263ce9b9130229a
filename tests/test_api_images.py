"""The Python API: images, arrays and tensors through a loaded model."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch
from fixtures_api import EXACT, expected, inside
from fixtures_cli import picture, sdabn
from PIL import Image

import sdabn_cli
from sdabn_cli import model as models
from sdabn_plugins.camvid import CLASSES, PALETTE

#: The model is trained for noise that most images here do not have.
pytestmark = pytest.mark.filterwarnings("ignore:This image")


def test_a_loaded_model_says_what_it_is(model, directory):
    assert len(model) == 2
    assert model.name == str(directory)
    assert model.classes == CLASSES
    assert model.palette == PALETTE
    assert model.noise == "gaussian:sigma=25"
    assert model.engine == "torch"
    assert "2 units, 11 classes" in repr(model)


def test_a_result_is_what_the_equations_give(model, directory):
    image = picture()
    logits, estimate = expected(directory, image)

    result = model(image, probabilities=True, logits=True)

    assert result.denoised.dtype == result.labels.dtype == np.uint8
    rounded = np.round(np.clip(estimate, 0, 1) * 255).transpose(1, 2, 0)
    assert np.abs(inside(result.denoised) - inside(rounded)).max() <= 1
    assert (result.labels != logits.argmax(0)).mean() < 0.001
    assert np.allclose(result.logits, logits.transpose(1, 2, 0), atol=1e-4)
    powers = np.exp(logits - logits.max(0))
    assert np.allclose(result.probabilities, (powers / powers.sum(0)).transpose(1, 2, 0), atol=1e-4)
    assert result.units == ()


@pytest.mark.parametrize(
    ("borders", "taught"), [((1, 0), (0, 1)), ((0, 3), (1, 0)), ((None, 0), (0, 1))]
)
def test_only_pixels_that_the_loss_left_out_are_their_neighbours(directory, borders, taught):
    described = json.loads((directory / "cascade.json").read_text())
    for unit, border in zip(described["units"], borders, strict=True):
        del unit["denoiser"]["border"]  # as in descriptions from before it was stated
        unit["denoiser"] |= {} if border is None else {"border": border}
    (directory / "cascade.json").write_text(json.dumps(described))
    image = picture()
    noisy = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        equations = models.load(directory).cascade(noisy)

    found = sdabn_cli.load(directory, **EXACT)(image, units=True).units

    for unit, given, is_taught in zip(found, equations, taught, strict=True):
        estimate = given.estimate[0].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
        neighbours = np.pad(inside(estimate), ((1, 1), (1, 1), (0, 0)), mode="edge")
        expected_edges = estimate if is_taught else neighbours
        assert np.abs(unit.denoised - expected_edges).max() <= 1
    assert np.abs(estimate - neighbours).max() > 10  # the two can be told apart


def test_a_result_is_what_the_command_writes(model, directory):
    Image.fromarray(picture()).save("a.png")

    result = model(picture())

    sdabn("run", "a.png", "--model", directory, "-o", "out", "--precision", "float32")
    assert np.array_equal(result.denoised, np.asarray(Image.open("out/a.denoised.png")))
    assert np.array_equal(result.labels, np.asarray(Image.open("out/a.labels.png")))


def test_what_every_unit_found_is_given_if_asked_for(model, first):
    image = picture()

    result = model(image, units=True)

    assert len(result.units) == 2
    assert np.array_equal(result.units[0].denoised, first(image).denoised)
    assert np.array_equal(result.units[0].labels, first(image).labels)
    assert np.array_equal(inside(result.units[0].denoised), inside(image))
    assert np.array_equal(result.units[1].denoised, result.denoised)
    assert not np.array_equal(result.units[0].denoised, result.denoised)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64", ">u2"])
@pytest.mark.parametrize("shape", [(45, 61, 3), (45, 61), (45, 61, 1)])
def test_an_array_comes_back_as_the_kind_it_is(first, dtype, shape):
    image = picture()[..., : shape[2]] if len(shape) == 3 else picture()[..., 0]
    given = (image.astype(np.float64) / 255).astype(dtype)
    if np.dtype(dtype).kind == "u":
        given = (image.astype(np.uint32) * (np.iinfo(dtype).max // 255)).astype(dtype)

    result = first(given)

    assert result.denoised.dtype == given.dtype
    assert result.denoised.shape == given.shape
    assert result.denoised.flags.c_contiguous
    assert result.labels.shape == given.shape[:2]
    change = inside(result.denoised.squeeze()).astype(float) - inside(given.squeeze())
    assert np.abs(change).max() <= (1 if np.dtype(dtype).kind == "u" else 1e-3)


@pytest.mark.parametrize(
    "dtype",
    [torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64],
)
@pytest.mark.parametrize(
    "shape", [(3, 45, 61), (45, 61), (1, 45, 61), (2, 3, 45, 61), (2, 1, 45, 61)]
)
def test_a_tensor_comes_back_as_the_kind_it_is(first, dtype, shape):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    whole = {torch.uint8: 255, torch.uint16: 65535}.get(dtype, 1)
    given = (values * whole).to(dtype)

    result = first(given, probabilities=True)

    assert result.denoised.dtype == dtype
    assert result.denoised.shape == shape
    batch = shape[:1] if len(shape) == 4 else ()
    assert result.labels.shape == (*batch, 45, 61)
    assert result.labels.dtype == torch.int64
    assert result.probabilities.shape == (*batch, 11, 45, 61)
    assert torch.allclose(result.probabilities.sum(-3), torch.tensor(1.0), atol=1e-4)
    change = inside(result.denoised).double() - inside(given).double()
    assert change.abs().max() <= (1 if whole > 1 else 5e-3)


def test_images_of_a_batch_are_run_one_by_one(model):
    batch = torch.stack([torch.from_numpy(picture(seed=n)).permute(2, 0, 1) for n in range(3)])

    result = model(batch, units=True, sigma=3)

    for number, image in enumerate(batch):
        alone = model(image)
        assert torch.equal(result.denoised[number], alone.denoised)
        assert torch.equal(result.labels[number], alone.labels)
    assert result.sigma == [3, 3, 3]
    assert result.units[0].labels.shape == (3, 45, 61)


def test_arrays_and_tensors_give_the_same_and_are_left_as_they_are(model):
    image = np.float32(picture()) / 255
    mirrored = image[:, ::-1]  # of negative strides
    kept = image.copy()

    by_array = model(mirrored)
    by_tensor = model(torch.from_numpy(mirrored.copy()).permute(2, 0, 1).requires_grad_())

    assert np.array_equal(by_array.denoised, by_tensor.denoised.permute(1, 2, 0).numpy())
    assert np.array_equal(by_array.labels, by_tensor.labels.numpy())
    assert not by_tensor.denoised.requires_grad
    assert np.array_equal(image, kept)


def test_floats_are_not_clipped(first):
    image = np.full((40, 40, 3), 1.3, np.float32)

    assert inside(first(image).denoised) == pytest.approx(1.3, abs=1e-4)


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        (np.zeros((40, 40, 3), int), ["int64", "uint8, uint16, float16"]),
        (np.zeros((40, 40), bool), ["bool"]),
        (np.zeros((40, 40, 4), np.uint8), [r"\(40, 40, 4\)", r"\(H, W, 3\)"]),
        (np.zeros((3, 40, 40), np.uint8), [r"\(3, 40, 40\)", r"transpose\(1, 2, 0\)"]),
        (np.zeros((2, 40, 40, 3), np.uint8), [r"\(2, 40, 40, 3\)", "one image each"]),
        (np.zeros((0, 40, 3), np.uint8), ["no pixels"]),
        (np.full((40, 40), np.nan), ["NaN or infinite"]),
        (np.full((40, 40), 255.0), ["from 255 to 255", "divide by the value of white"]),
        (torch.zeros(40, 40, 3), [r"\(40, 40, 3\)", r"permute\(2, 0, 1\)"]),
        (torch.zeros(2, 2, 3, 40, 40), ["Tensors are"]),
        (torch.zeros(0, 3, 40, 40), ["no pixels"]),
        (torch.zeros(3, 40, 40, dtype=torch.int64), ["int64"]),
        (torch.full((3, 40, 40), torch.inf), ["NaN or infinite"]),
        ("photo.png", ["not str", "PIL.Image.open"]),
        ([[0, 1], [2, 3]], ["not list"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_image_is_refused_with_what_is_allowed(first, image, parts):
    with pytest.raises(sdabn_cli.SdabnError) as caught:
        first(image)

    for part in parts:
        caught.match(part)


def test_the_noise_is_estimated_and_warned_of(first):
    noise = np.random.default_rng(0).normal(0, 60 / 255, (128, 128, 3))
    image = np.float32(0.5 + noise)

    with pytest.warns(UserWarning, match=r"about sigma (59|6\d), more than .*sigma 25") as warned:
        assert first(image).sigma == pytest.approx(60, abs=3)

    assert warned[0].filename == __file__


def test_a_sigma_that_is_known_is_taken(first, recwarn):
    image = np.float32(0.5 + np.random.default_rng(0).normal(0, 60 / 255, (128, 128, 3)))

    assert first(image, sigma=25).sigma == 25
    assert not recwarn.list
    assert math.isnan(first(np.zeros((8, 8), np.uint8)).sigma)
    with pytest.raises(sdabn_cli.SdabnError, match="no noise level"):
        first(image, sigma=300)


def test_a_model_that_only_segments_gives_the_same_labels_and_no_image(directory, model):
    segmenter = sdabn_cli.load(directory, segment_only=True, **EXACT)

    result = segmenter(picture(), units=True)

    assert result.denoised is None
    assert np.array_equal(result.labels, model(picture()).labels)
    assert result.units[0].denoised is not None


def test_a_self_ensemble_does_not_depend_on_how_an_image_is_turned(directory):
    ensemble = sdabn_cli.load(directory, self_ensemble=True, **EXACT)
    image = torch.rand(3, 33, 33)

    upright, turned = ensemble(image, probabilities=True), ensemble(image.rot90(1, (1, 2)))

    assert torch.allclose(upright.denoised.rot90(1, (1, 2)), turned.denoised, atol=1e-5)
    assert torch.allclose(upright.probabilities.sum(0), torch.ones(33, 33), atol=1e-4)
    for asked in ("units", "logits"):
        with pytest.raises(sdabn_cli.SdabnError, match=f"has no {asked}"):
            ensemble(image, **{asked: True})


def test_little_memory_does_not_change_what_is_found(directory, model):
    image = np.float32(picture(700, 900)) / 255

    small = sdabn_cli.load(directory, memory="1GB", **EXACT)(image)

    assert np.allclose(small.denoised, model(image).denoised, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.empty(3, 45, 61, device="meta"), "on the device meta"),
        (torch.zeros(3, 45, 61).to_sparse(), "Give image.to_dense()"),
        (torch.nested.nested_tensor([torch.zeros(3, 45, 61)]), "nested tensor"),
        (np.ma.masked_array(picture(), mask=picture() > 99), "masked array; its mask would be"),
    ],
    ids=["meta", "sparse", "nested", "masked"],
)
def test_images_without_a_value_in_every_pixel_are_refused(first, image, message):
    with pytest.raises(sdabn_cli.SdabnError, match=re.escape(message)):
        first(image)
