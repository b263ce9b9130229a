"""Engines: the same results whichever runs the networks."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_cli import assert_refused, save_model, save_picture, sdabn
from PIL import Image
from torch import nn

from sdabn_cli import device, engines
from sdabn_cli.errors import Unsupported

openvino = pytest.importorskip("openvino")


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    return save_model(tmp_path / "model")


def converted() -> list[Path]:
    return sorted(Path(os.environ["XDG_CACHE_HOME"], "sdabn", "openvino").glob("*.xml"))


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def run(engine: str, model: Path, *options: str):
    return sdabn("run", "a.png", "--model", model, "-o", engine, "--engine", engine,
                 "--precision", "float32", *options)  # fmt: skip


def test_openvino_writes_the_same_pictures_as_torch(model):
    save_picture(Path("a.png"), 37, 53)

    for engine in ("torch", "openvino"):
        assert run(engine, model).exit_code == 0

    for product in ("denoised", "labels"):
        ours, theirs = (pixels(f"{e}/a.{product}.png") for e in ("torch", "openvino"))
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= (product == "denoised")


def test_json_names_the_engine(model):
    save_picture(Path("a.png"))

    said = [json.loads(run(e, model, "--json").stdout)["engine"] for e in ("openvino", "auto")]

    assert said == ["openvino", "torch"]


def test_a_network_is_converted_once(model):
    save_picture(Path("a.png"))
    run("openvino", model)
    first = {path: path.stat().st_mtime_ns for path in converted()}

    run("openvino", model)

    assert first
    assert {path: path.stat().st_mtime_ns for path in converted()} == first


def test_a_damaged_conversion_is_made_again(model):
    save_picture(Path("a.png"))
    run("openvino", model)
    for path in converted():
        path.write_bytes(path.read_bytes()[:100])

    result = run("openvino", model)

    assert result.exit_code == 0, result.stderr
    assert all(len(path.read_bytes()) > 100 for path in converted())


def test_an_unknown_engine_is_refused_with_the_nearest(model):
    save_picture(Path("a.png"))

    assert_refused(run("openvin", model), "openvin", "Did you mean", "openvino")


def test_without_openvino_the_error_says_how_to_get_it(model, monkeypatch):
    save_picture(Path("a.png"))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "openvino" else found(name, *a),
    )

    assert_refused(run("openvino", model), "not installed", "sdabn[openvino]")


class Branching(nn.Module):
    """Doubles wide images, which a conversion from a narrow example does not see."""

    def forward(self, image):
        return image * (2 if image.shape[-1] > 100 else 1)


def test_a_network_that_openvino_would_run_wrongly_is_refused():
    engine = engines.choose("openvino", device.choose("cpu", "float32"))

    with pytest.raises(Unsupported, match=r"Branching.*differs"):
        engine.prepare(Branching().eval(), torch.rand(1, 3, 64, 64))
