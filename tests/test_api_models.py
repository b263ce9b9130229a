"""The Python API: models are loaded, saved and turned into graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_api import EXACT, expected
from fixtures_cli import files, picture, save_model

import sdabn_cli
from sdabn_cli import networks

#: The model is trained for noise that most images here do not have.
pytestmark = pytest.mark.filterwarnings("ignore:This image")


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


def test_networks_with_equal_weights_share_a_file_until_they_are_trained_apart(tiny_plugins):
    save_model(Path("three"), units=3)  # its last two denoisers are equal
    before = sdabn_cli.load("three", **EXACT)
    assert files(Path("three")) == {
        "cascade.json",
        *(f"{n}.safetensors" for n in "s1 d1 s2 d2 s3".split()),
    }
    assert np.array_equal(
        before(picture()).denoised, sdabn_cli.load("three", **EXACT)(picture()).denoised
    )

    told = sdabn_cli.save(before, "again")
    assert {"cascade.json", *told["networks"]} == files(Path("again")) == files(Path("three"))

    before.cascade.units[2].denoiser.conv.bias.data += 0.25
    sdabn_cli.save(before, "apart")
    sdabn_cli.save("apart", "copied")

    bias = [networks.read_weights(Path("copied", f"d{n}.safetensors"))["conv.bias"] for n in (2, 3)]
    assert torch.equal(bias[1], bias[0] + 0.25)
    assert np.array_equal(
        sdabn_cli.load("copied", **EXACT)(picture()).denoised, before(picture()).denoised
    )


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
