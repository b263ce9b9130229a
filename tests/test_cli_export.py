"""``sdabn export``: a finished cascade copied out of its run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_cli import assert_refused, files, save_model, save_picture, sdabn

from sdabn_cli import export, networks
from sdabn_cli import model as models

NAMES = {"cascade.json", *(f"{id_}.safetensors" for id_ in ("s1", "d1", "s2", "d2"))}


@pytest.fixture
def run(tmp_path: Path, tiny_plugins: Path) -> Path:
    """A directory with a finished cascade in ``model/``, as a run has."""
    save_model(tmp_path / "run" / "model")
    return tmp_path / "run"


def test_an_exported_cascade_gives_the_same_pictures(run):
    save_picture(Path("a.png"))

    assert sdabn("export", run, "mine").exit_code == 0
    for model, output in ((run, "one"), ("mine", "other")):
        assert sdabn("run", "a.png", "--model", model, "-o", output).exit_code == 0

    assert files(Path("mine")) == NAMES
    assert len(files(Path("one"))) == 3
    for name in files(Path("one")):
        assert Path("one", name).read_bytes() == Path("other", name).read_bytes()


def test_half_precision_halves_the_weights_and_still_runs(run):
    save_picture(Path("a.png"))

    assert sdabn("export", run, "mine", "--half").exit_code == 0
    result = sdabn("run", "a.png", "--model", "mine", "-o", "out", "--json")

    whole = networks.read_weights(run / "model" / "d2.safetensors")["conv.weight"]
    half = networks.read_weights(Path("mine/d2.safetensors"))["conv.weight"]
    assert half.element_size() == whole.element_size() / 2
    assert json.loads(result.stdout)["units"] == 2


def test_a_dry_run_exports_nothing(run):
    result = sdabn("export", run, "mine", "--dry-run")

    assert "2 units" in result.stderr
    assert not Path("mine").exists()


def test_a_directory_that_holds_a_model_is_not_written_over(run):
    sdabn("export", run, "mine")
    before = {name: Path("mine", name).read_bytes() for name in NAMES}

    assert_refused(sdabn("export", run, "mine", "--half"), "mine holds a model already")
    assert {name: Path("mine", name).read_bytes() for name in NAMES} == before


def test_what_is_no_run_is_refused(run):
    Path("empty").mkdir()

    assert_refused(sdabn("export", "empty", "mine"), "empty holds no finished cascade")
    assert_refused(sdabn("export", "stret", "mine"), "no model 'stret'", "'street'")
    assert files(Path()) == set()


def test_damaged_weights_are_not_exported(run):
    path = run / "model" / "s1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    assert_refused(sdabn("export", run, "mine"), "s1.safetensors", "hash differs")
    assert not Path("mine").exists()


def both_ways(model: str, size: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """A random image, and the last estimate and logits that torch gives."""
    noisy = torch.rand(1, 3, *size)
    with torch.no_grad():
        last = models.load(model).cascade(noisy)[-1]
    return noisy.numpy(), [last.estimate.numpy(), last.logits.numpy()]


@pytest.mark.parametrize("size", [(45, 61), (64, 32), (9, 7)])
def test_the_onnx_graph_gives_what_torch_gives_at_any_size(run, size):
    onnxruntime = pytest.importorskip("onnxruntime")

    result = sdabn("export", run, "mine", "--format", "onnx", "--json")

    assert result.exit_code == 0, result.stderr
    assert files(Path("mine")) == {"cascade.json", "cascade.onnx"}
    assert max(json.loads(result.stdout)["differences"]) < 1e-4
    noisy, wanted = both_ways(str(run), size)
    session = onnxruntime.InferenceSession("mine/cascade.onnx")
    found = session.run(["denoised", "logits"], {"noisy": noisy})
    for got, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(45, 61), (64, 32)])
def test_the_openvino_graph_gives_what_torch_gives_at_any_size(run, size):
    openvino = pytest.importorskip("openvino")

    result = sdabn("export", run, "mine", "--format", "openvino", "--units", "1")

    assert result.exit_code == 0, result.stderr
    assert files(Path("mine")) == {"cascade.json", "cascade.xml", "cascade.bin"}
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model("mine/cascade.xml"), "CPU", exact)
    noisy = torch.rand(1, 3, *size)
    with torch.no_grad():
        first = models.load(str(run), units=1).cascade(noisy)[0]
    found = compiled({"noisy": noisy.numpy()})
    for name, right in (("denoised", first.estimate), ("logits", first.logits)):
        np.testing.assert_allclose(found[name], right.numpy(), rtol=1e-4, atol=1e-4)


def test_a_graph_of_the_shipped_networks_is_right():
    pytest.importorskip("onnxruntime")

    result = sdabn("export", "street", "mine", "--format", "onnx", "--units", "1", "--json")

    assert result.exit_code == 0, result.stderr
    assert max(json.loads(result.stdout)["differences"]) < 1e-4


def test_a_graph_that_differs_from_torch_is_not_written(run, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)

    result = sdabn("export", run, "mine", "--format", "onnx")

    assert_refused(result, "differ from torch's by", "It was not written")
    assert not Path("mine").exists()


@pytest.mark.parametrize("format_", ["sdabn", "onnx"])
def test_an_output_that_is_a_file_is_refused(run, format_):
    Path("mine").write_text("mine")

    assert_refused(sdabn("export", run, "mine", "--format", format_), "mine is a file")
    assert Path("mine").read_text() == "mine"


def test_formats_that_are_not_there_are_refused(run, monkeypatch):
    assert_refused(sdabn("export", run, "mine", "--format", "onx"), "Did you mean 'onnx'?")
    assert_refused(sdabn("export", run, "mine", "--format", "onnx", "--half"), "--half does not go")
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    assert_refused(
        sdabn("export", run, "mine", "--format", "onnx"),
        "needs the packages onnx and onnxruntime",
        "pip install 'sdabn[onnx]'",
    )
