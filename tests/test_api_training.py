"""The Python API: training, and measuring what was trained."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_cli import SHIPPED_MODEL, files, sdabn
from PIL import Image

import sdabn_cli
from sdabn_plugins.scenes import draw_scene

#: The model is trained for noise that most images here do not have.
pytestmark = pytest.mark.filterwarnings("ignore:This image")


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


def test_a_model_states_the_border_that_the_loss_of_each_denoiser_left_out(tiny_recipe):
    settings = {"stages.d2.border": 2, "stages.d3.steps": 0, "denoise.from_previous": True}
    sdabn_cli.train_cascade(tiny_recipe, units=3, run="run", overrides=settings)

    units = json.loads(Path("run/model/cascade.json").read_text())["units"]

    # D_3 is D_2: it has no steps, so that no loss of its own left anything out.
    assert [unit["denoiser"]["border"] for unit in units] == [1, 2, 2]
    sdabn_cli.save(sdabn_cli.load("run"), "saved")
    assert json.loads(Path("saved/cascade.json").read_text())["units"] == units
    told = json.loads(sdabn("models", "show", "./saved", "--json").stdout)
    assert [unit["denoiser"]["border"] for unit in told["units"]] == [1, 2, 2]


def test_given_weights_that_are_not_trained_are_taken_for_the_papers_border(tiny_recipe):
    sdabn_cli.train_cascade(tiny_recipe, units=1, run="first", overrides={"denoise.border": 0})
    sdabn_cli.train_cascade(
        tiny_recipe,
        units=1,
        run="second",
        overrides={"denoiser.init": "first", "stages.d1.steps": 0, "denoise.border": 0},
    )

    first, second = (
        json.loads(Path(run, "model/cascade.json").read_text())["units"][0]["denoiser"]
        for run in ("first", "second")
    )
    assert (first["border"], second["border"]) == (0, 1)
    assert first["sha256"] == second["sha256"]


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


def test_grey_images_are_measured_with_one_noise_for_all_three_channels(model, camvid_tree):
    how = {"dataset": "camvid", "data": camvid_tree, "noise": "gaussian:sigma=20"}
    with torch.no_grad():  # the mean of the colours takes independent noise away
        model.cascade.units[0].denoiser.conv.weight.zero_()[:, :3, 1, 1] = 1 / 3
    for path in (camvid_tree / "val").iterdir():
        Image.fromarray(np.full((90, 120, 3), 128, np.uint8)).save(path)
        labels = path.parent.with_name("valannot") / path.name
        Image.fromarray(np.zeros((90, 120), np.uint8)).save(labels)

    measured = sdabn_cli.evaluate(model, **how)

    assert measured["noisy"]["psnr"] == pytest.approx(22.1, abs=0.2)
    assert measured["units"][0]["psnr"] == pytest.approx(measured["noisy"]["psnr"], abs=0.1)


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
