"""The Python API: ``import sdabn_cli``."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_cli import SHIPPED_MODEL, files, picture, save_model, sdabn
from PIL import Image
from test_cli import HEAVY

import sdabn_cli
from sdabn_cli import model as models
from sdabn_cli import networks
from sdabn_plugins.camvid import CLASSES, PALETTE
from sdabn_plugins.scenes import draw_scene

#: The model is trained for noise that most images here do not have.
pytestmark = pytest.mark.filterwarnings("ignore:This image")

EXACT = {"device": "cpu", "precision": "float32", "engine": "torch"}


@pytest.fixture
def directory(tmp_path: Path, tiny_plugins: Path) -> Path:
    """Two units; the first estimate is the input, the second a blurred one."""
    return save_model(tmp_path / "model")


@pytest.fixture
def model(directory: Path) -> sdabn_cli.LoadedModel:
    return sdabn_cli.load(directory, **EXACT)


@pytest.fixture
def first(directory: Path) -> sdabn_cli.LoadedModel:
    """One unit, whose estimate is its input but for the outermost pixels."""
    return sdabn_cli.load(directory, units=1, **EXACT)


def inside(array: Any) -> Any:
    """Without the outermost pixels of (..., H, W) or (H, W, 3)."""
    if array.shape[-1] == 3:
        return array[1:-1, 1:-1]
    return array[..., 1:-1, 1:-1]


def expected(directory: Path, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (K, H, W) and estimate (3, H, W) as the equations give them, by torch alone."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        last = models.load(directory).cascade(tensor)[-1]
    return last.logits[0].numpy(), last.estimate[0].numpy()


def test_importing_sdabn_imports_nothing_heavy():
    code = (
        "import sys, sdabn_cli\n"
        "sdabn_cli.__version__, sdabn_cli.SdabnError, dir(sdabn_cli)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_every_public_name_is_there_and_explains_itself():
    for name in sdabn_cli.__all__:
        assert getattr(sdabn_cli, name).__doc__, name
    assert set(sdabn_cli.__all__) <= set(dir(sdabn_cli))
    with pytest.raises(AttributeError, match="no attribute 'loaad'"):
        _ = sdabn_cli.loaad


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("load", {"units": "1"}, r"units='1' is of the type str.\nAllowed: a whole number or None"),
        ("load", {"units": True}, r"units=True is of the type bool"),
        ("load", {"units": 1.0}, r"units=1.0 is of the type float"),
        ("load", {"units": 0}, r"3 units; --units 0 was asked.\nAllowed: 1 to 3"),
        ("load", {"memory": 3}, r"memory=3 is of the type int.\nAllowed: a text"),
        ("load", {"device": None}, r"device=None .*\nAllowed: a text"),
        ("load", {"compiled": "no"}, r"compiled='no' .*\nAllowed: True or False"),
        ("load", {"images": 0}, r"images=0 is too small.\nAllowed: whole numbers from 1"),
        ("load", {"model": 3}, r"model=3 is of the type int.\nAllowed: a text or a path"),
        ("save", {"model": "street", "directory": 3}, r"directory=3 .*\nAllowed: a text or a path"),
        ("evaluate", {"dataset": "scenes", "limit": 0}, r"limit=0 is too small"),
        ("evaluate", {"dataset": "scenes", "limit": "9"}, r"limit='9' is of the type str"),
        ("evaluate", {"dataset": None}, r"dataset=None .*\nAllowed: a text"),
        ("evaluate", {"model": [], "dataset": "s"}, "Allowed: a loaded model, a text or a path"),
        ("train_stage", {"index": "1", "kind": "seg"}, r"index='1' is of the type str"),
        ("train_stage", {"index": 0, "kind": 1}, r"kind=1 is of the type int"),
        ("train_stage", {"index": 0, "kind": "seg", "overrides": [3]},
         r"overrides: 3 is of the type int.\nAllowed: .*\['?\"?segment.steps=100"),
        ("train_stage", {"index": 0, "kind": "seg", "overrides": "segment.steps=3"},
         r"overrides='segment.steps=3' is of the type str.\nAllowed"),
        ("train_cascade", {"overrides": {3: 4}}, r"overrides: 3 is of the type int"),
        ("train_cascade", {"overrides": None}, r"overrides=None is of the type NoneType"),
        ("train_cascade", {"run": 3}, r"run=3 .*\nAllowed: a text, a path or None"),
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_type_is_named_with_what_is_allowed(name, given, message):
    with pytest.raises(sdabn_cli.SdabnError, match=message):
        getattr(sdabn_cli, name)(**given)

    assert not Path("runs").exists()


def test_a_mistyped_parameter_is_pythons_own_error():
    with pytest.raises(TypeError, match=r"load\(\) got an unexpected keyword argument 'unit'"):
        sdabn_cli.load("street", unit=1)


def test_numbers_of_numpy_and_paths_are_taken(directory):
    loaded = sdabn_cli.load(directory, units=np.int64(1), **EXACT)
    small = (f"{key}={value}" for key, value in {"units": 1}.items())

    planned = sdabn_cli.train_cascade("scenes/quickstart", overrides=small, dry_run=True)

    assert len(loaded) == 1
    assert [stage["id"] for stage in planned["stages"]] == ["s0", "s1", "d1"]


def test_editors_see_every_public_name():
    stub = Path(sdabn_cli.__file__).with_suffix(".pyi").read_text()

    seen = {line.split()[-1] for line in stub.splitlines() if line.startswith("from")}
    assert seen == set(sdabn_cli.__all__)


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
    ("options", "message"),
    [
        ({"units": 3}, "has 2 units; --units 3.*\nAllowed: 1 to 2"),
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"precision": "float8"}, "no precision 'float8'"),
        ({"engine": "tensorrt"}, "no engine 'tensorrt'"),
        ({"memory": "much"}, "'much' is no size of memory"),
    ],
)
def test_a_wrong_option_of_load_is_named(directory, options, message):
    with pytest.raises(sdabn_cli.SdabnError, match=message):
        sdabn_cli.load(directory, **options)


def test_an_unknown_model_is_answered_with_the_nearest_match():
    with pytest.raises(sdabn_cli.SdabnError, match=r"no model 'streat'.*\nDid you mean 'street'"):
        sdabn_cli.load("streat")


def test_a_saved_model_is_the_same_model(model, directory):
    told = sdabn_cli.save(model, "mine")

    assert files(Path("mine")) == files(directory)
    assert told["networks"] == ["s1.safetensors", "d1.safetensors", "s2.safetensors",
                                "d2.safetensors"]  # fmt: skip
    again, before = sdabn_cli.load("mine", **EXACT)(picture()), model(picture())
    assert np.array_equal(again.denoised, before.denoised)
    assert np.array_equal(again.labels, before.labels)


def test_weights_that_were_changed_are_saved_as_they_are_now(model):
    model.cascade.units[0].denoiser.conv.bias.data[:] = 0.125 + 1e-6

    sdabn_cli.save(model, "mine")

    saved = networks.read_weights(Path("mine/d1.safetensors"))["conv.bias"]
    assert torch.equal(saved, torch.full((3,), 0.125 + 1e-6))


def test_half_precision_stays_half_where_that_loses_nothing(model):
    sdabn_cli.save(model, "half", half=True)

    sdabn_cli.save(sdabn_cli.load("half", **EXACT), "again")

    for name in files(Path("half")):
        assert Path("half", name).read_bytes() == Path("again", name).read_bytes(), name


def test_a_model_that_openvino_runs_gives_and_saves_the_same(directory, model):
    pytest.importorskip("openvino")
    converted = sdabn_cli.load(directory, **EXACT | {"engine": "openvino"})

    result, by_torch = converted(picture()), model(picture())
    sdabn_cli.save(converted, "mine")

    assert converted.engine == "openvino"
    assert np.abs(result.denoised.astype(int) - by_torch.denoised).max() <= 1
    assert np.array_equal(sdabn_cli.load("mine", **EXACT)(picture()).denoised, by_torch.denoised)


def test_a_model_is_copied_by_its_name(directory):
    told = sdabn_cli.save(directory, "mine", units=1)

    assert files(Path("mine")) == {"cascade.json", "s1.safetensors", "d1.safetensors"}
    assert (told["source"], told["units"]) == (str(directory), 1)
    for name in told["networks"]:
        assert Path("mine", name).read_bytes() == (directory / name).read_bytes()


def test_a_dry_run_says_what_would_be_saved(model):
    told = sdabn_cli.save(model, "mine", dry_run=True)

    assert len(told["networks"]) == 4
    assert not Path("mine").exists()


def test_a_loaded_model_becomes_a_graph_for_other_programs(model, directory):
    onnxruntime = pytest.importorskip("onnxruntime")

    told = sdabn_cli.save(model, "graph", format="onnx")

    session = onnxruntime.InferenceSession("graph/cascade.onnx")
    noisy = np.float32(picture()).transpose(2, 0, 1)[None] / 255
    (denoised,) = session.run(["denoised"], {"noisy": noisy})
    assert np.allclose(denoised[0], expected(directory, picture())[1], atol=1e-4)
    assert max(told["differences"]) < 1e-3


def test_a_model_is_saved_once_and_with_the_units_it_was_loaded_with(model):
    with pytest.raises(sdabn_cli.SdabnError, match="Give units to load"):
        sdabn_cli.save(model, "mine", units=1)
    sdabn_cli.save(model, "mine")
    with pytest.raises(sdabn_cli.SdabnError, match="mine holds a model already"):
        sdabn_cli.save(model, "mine")
    with pytest.raises(sdabn_cli.SdabnError, match="no format 'onx'"):
        sdabn_cli.save(model, "other", format="onx")


def test_training_is_the_command_without_its_words(tiny_recipe, capfd):
    plan = sdabn_cli.train_cascade(tiny_recipe, units=1, run="here", overrides={"segment.steps": 2})

    assert capfd.readouterr() == ("", "")
    assert [stage["status"] for stage in plan["stages"]] == ["finished"] * 3
    command = sdabn("cascade", "--recipe", tiny_recipe, "--units", 1, "--run", "there",
                    "--set", "segment.steps=2", "--json")  # fmt: skip
    assert json.loads(command.stdout) == plan | {"run": "there"}
    for name in ("s1/weights.safetensors", "d1/weights.safetensors"):
        assert Path("here", name).read_bytes() == Path("there", name).read_bytes()
    assert len(sdabn_cli.load(plan["run"])) == 1


def test_one_stage_is_trained_once_the_earlier_ones_are(tiny_recipe):
    with pytest.raises(sdabn_cli.SdabnError, match="Stage s1 needs stage s0, which is missing"):
        sdabn_cli.train_stage(tiny_recipe, index=1, kind="seg", run="run")

    sdabn_cli.train_stage(tiny_recipe, index=0, kind="seg", run="run")
    plan = sdabn_cli.train_stage(index=1, kind="seg", run=Path("run"))

    assert [(s["id"], s["status"]) for s in plan["stages"]] == [("s1", "finished")]


def test_a_dry_run_of_a_training_writes_nothing(tiny_recipe):
    plan = sdabn_cli.train_cascade(tiny_recipe, run="run", dry_run=True)

    assert [stage["status"] for stage in plan["stages"]] == ["missing"] * 5
    assert files(Path()) == set()


@pytest.mark.parametrize(
    "overrides",
    [{"sed": 1}, ["sed=1"], {"segment.crop": [16, 16, 16]}, {"data.root": Path("nowhere")}],
    ids=str,
)
def test_a_wrong_override_is_refused(tiny_recipe, overrides):
    with pytest.raises(sdabn_cli.SdabnError):
        sdabn_cli.train_cascade(tiny_recipe, run="run", overrides=overrides)

    assert not Path("run").exists()


def test_a_loaded_model_is_measured_as_by_its_name(model, directory, camvid_tree):
    how = {"dataset": "camvid", "data": camvid_tree, "seed": 3}

    loaded = sdabn_cli.evaluate(model, **how)
    by_name = sdabn_cli.evaluate(directory, precision="float32", device="cpu", **how)

    assert loaded == by_name
    assert loaded["model"] == str(directory)
    assert [unit["unit"] for unit in loaded["units"]] == [1, 2]
    assert loaded["noisy"]["psnr"] == pytest.approx(20.17, abs=0.3)


def test_what_does_not_go_with_a_loaded_model_is_refused(model, camvid_tree):
    how = {"dataset": "camvid", "data": camvid_tree}

    with pytest.raises(sdabn_cli.SdabnError, match="is loaded already, on CPU"):
        sdabn_cli.evaluate(model, device="cpu", **how)
    with pytest.raises(sdabn_cli.SdabnError, match="measured as it is"):
        sdabn_cli.evaluate(model, units=1, **how)


def test_measuring_shows_nothing_unless_asked(directory, camvid_tree, capfd):
    sdabn_cli.evaluate(directory, dataset="camvid", data=camvid_tree)

    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model street has no weights yet")
def test_the_model_that_comes_with_sdabn_removes_noise():
    clean = np.float32(draw_scene(11, width=200, height=160)[0]) / 255
    noisy = clean + np.random.default_rng(0).normal(0, 50 / 255, clean.shape).astype(np.float32)

    result = sdabn_cli.load(units=1)(noisy)

    def psnr(image: np.ndarray) -> float:
        return -10 * math.log10(np.mean((image - clean)[1:-1, 1:-1] ** 2))

    assert psnr(result.denoised) > psnr(noisy) + 9
    assert result.sigma == pytest.approx(50, abs=4)


def circular() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


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


@pytest.mark.parametrize("asked", [{"probabilities": "no"}, {"logits": 0}, {"units": 2}])
def test_what_is_asked_for_must_be_true_or_false(first, asked):
    ((name, value),) = asked.items()

    with pytest.raises(sdabn_cli.SdabnError, match=f"{name}={value!r} is of the type"):
        first(picture(), **asked)


def test_true_of_numpy_is_true(first):
    assert first(picture(), probabilities=np.True_).probabilities is not None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({(1, 2): 3}, "keys must be"),
        (circular(), "Circular"),
        (np.array([64, 64]), r"a ndarray; give a list: value.tolist\(\)"),
        (torch.tensor([64, 64]), "a Tensor; give a list"),
    ],
    ids=["key", "circular", "array", "tensor"],
)
def test_overrides_that_no_recipe_can_hold_are_refused(value, reason):
    with pytest.raises(sdabn_cli.SdabnError, match=rf"the value of 'segment.crop' .*{reason}"):
        sdabn_cli.train_cascade("scenes/quickstart", overrides={"segment.crop": value},
                                dry_run=True)  # fmt: skip


def test_numbers_of_numpy_are_taken_as_overrides():
    plan = sdabn_cli.train_cascade(
        "scenes/quickstart", overrides={"segment.steps": np.int64(7)}, units=1, dry_run=True
    )

    assert plan["stages"][0]["steps"] == 7
