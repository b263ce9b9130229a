"""``sdabn evaluate``: the figures of every unit, the protocol, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_cli import assert_refused, files, save_model, sdabn
from PIL import Image

from sdabn_cli import model as models

FIGURES = {"unit", "psnr", "ssim", "miou", "pixel_accuracy", "mean_accuracy"}


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    """Two units: the first estimate is the input, the second a blurred one."""
    return save_model(tmp_path / "model")


@pytest.fixture
def run(tiny_recipe: str) -> Path:
    """A run of which s0 and s1 are trained."""
    for index in (0, 1):
        arguments = ["--index", index, "--kind", "seg", "--recipe", tiny_recipe, "--run", "run"]
        assert sdabn("train-stage", *arguments).exit_code == 0
    return Path("run")


def evaluate(root: Path, *arguments: Any) -> dict[str, Any]:
    result = sdabn("evaluate", "--dataset", "camvid", "--data", root, "--precision", "float32",
                   "--json", *arguments)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_every_unit_is_measured_under_a_stated_protocol(model, camvid_tree):
    measured = evaluate(camvid_tree, "--model", model, "--noise", "gaussian:sigma=50", "--seed", 7)

    assert [unit["unit"] for unit in measured["units"]] == [1, 2]
    assert all(unit.keys() >= FIGURES for unit in measured["units"])
    assert measured["images"] == 2
    assert measured["protocol"]["noise"] == "gaussian:sigma=50"
    assert measured["protocol"]["seed"] == 7
    assert measured["noisy"]["psnr"] == pytest.approx(14.15, abs=0.3)
    # The first denoiser returns its input.
    assert measured["units"][0]["psnr"] == pytest.approx(measured["noisy"]["psnr"], abs=1e-4)
    assert measured["units"][0]["ssim"] == pytest.approx(measured["noisy"]["ssim"], abs=1e-4)
    assert measured["units"][1]["psnr"] > measured["noisy"]["psnr"] + 2


def test_the_noise_is_the_one_the_model_was_trained_on_unless_told_otherwise(model, camvid_tree):
    usual = evaluate(camvid_tree, "--model", model)

    assert usual["protocol"]["noise"] == "gaussian:sigma=25"
    assert usual["noisy"]["psnr"] == pytest.approx(20.17, abs=0.3)


def test_without_noise_the_images_are_measured_as_they_are(model, camvid_tree):
    measured = evaluate(camvid_tree, "--model", model, "--noise", "none")

    assert measured["protocol"]["noise"] is None
    assert measured["noisy"] is None
    assert measured["units"][0]["psnr"] is None  # infinite: the estimate is the clean image
    assert measured["units"][0]["ssim"] == pytest.approx(1)


def test_segmentation_figures_are_those_of_the_labels(model, camvid_tree):
    measured = evaluate(camvid_tree, "--model", model, "--noise", "none")["units"][0]

    cascade, hits, total = models.load(str(model)).cascade, np.zeros(11), np.zeros(11)
    predicted = np.zeros(11)
    for path in sorted((camvid_tree / "val").iterdir()):
        image = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None] / 255
        labels = np.array(Image.open(camvid_tree / "valannot" / path.name))
        with torch.no_grad():
            found = cascade(image)[0].logits.argmax(1)[0].numpy()
        for name in range(11):
            hits[name] += np.sum((found == name) & (labels == name))
            total[name] += np.sum(labels == name)
            predicted[name] += np.sum((found == name) & (labels != 11))
    assert measured["pixel_accuracy"] == pytest.approx(100 * hits.sum() / total.sum())
    assert measured["mean_accuracy"] == pytest.approx(100 * np.mean(hits / total))
    assert measured["miou"] == pytest.approx(100 * np.mean(hits / (total + predicted - hits)))


def test_the_first_unit_is_the_same_whether_others_follow_or_not(model, camvid_tree):
    both = evaluate(camvid_tree, "--model", model)
    first = evaluate(camvid_tree, "--model", model, "--units", 1)

    assert first["units"] == both["units"][:1]
    assert first["noisy"] == both["noisy"]


def test_an_images_noise_does_not_depend_on_the_limit(model, camvid_tree):
    one = evaluate(camvid_tree, "--model", model, "--limit", 1, "--noise", "gaussian")
    (camvid_tree / "val" / "frame5.png").unlink()
    alone = evaluate(camvid_tree, "--model", model, "--noise", "gaussian")

    assert one["images"] == alone["images"] == 1
    assert one["units"] == alone["units"]


def test_people_read_a_table_on_stderr(model, camvid_tree):
    result = sdabn("evaluate", "--dataset", "camvid", "--data", camvid_tree, "--model", model)

    assert result.exit_code == 0
    assert result.stdout == ""
    for words in ("noisy image", "unit 1", "unit 2", "Protocol default: 2 images;",
                  "noise gaussian:sigma=25", "PSNR without a border of 1 pixel",
                  "SSIM in windows of 11 x 11 pixels"):  # fmt: skip
        assert words in result.stderr


def test_the_protocol_file_is_told_as_it_measures(model, camvid_tree):
    result = sdabn("evaluate", "--dataset", "camvid", "--data", camvid_tree, "--model", model,
                   "--protocol", "file", "--noise", "none", "--dry-run")  # fmt: skip

    for words in (
        "Protocol file: 2 images;",
        "noise none",
        "clipped to [0, 1]; PSNR of all pixels",
    ):
        assert words in result.stderr


def test_the_clean_stage_is_measured_on_clean_images(run, camvid_tree):
    measured = evaluate(camvid_tree, "--run", run, "--stage", "s0")

    assert len(measured["units"]) == 1
    assert measured["protocol"]["noise"] is None
    assert measured["units"][0]["psnr"] is None
    assert 0 <= measured["units"][0]["miou"] <= 100


def test_a_noisy_stage_is_measured_on_the_noise_of_its_recipe(run, camvid_tree):
    measured = evaluate(camvid_tree, "--run", run, "--stage", "s1")

    assert measured["protocol"]["noise"] == "gaussian:sigma=25"
    assert measured["units"][0]["psnr"] is None
    assert measured["noisy"]["psnr"] == pytest.approx(20.17, abs=0.3)


def test_the_clean_stage_can_be_measured_on_noisy_images(run, camvid_tree):
    measured = evaluate(camvid_tree, "--run", run, "--stage", "s0", "--noise", "gaussian")

    assert measured["noisy"]["psnr"] == pytest.approx(14.15, abs=0.3)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--run", "run", "--stage", "d1"], ["Stage d1 needs stage d1, which is missing"]),
        (["--run", "run", "--stage", "x1"], ["'x1' is not a stage", "s0, s1, d1"]),
        (["--run", "run", "--stage", "s1", "--units", "1"], ["--stage and --units"]),
        (["--run", "run"], ["run holds no finished cascade"]),
        (["--run", "nowhere"], ["nowhere", "run directory"]),
        (["--run", "nowhere", "--stage", "s0"], ["There is no run directory nowhere"]),
    ],
)
def test_what_a_run_does_not_hold_is_refused(run, camvid_tree, arguments, parts):
    before = files(Path())

    result = sdabn("evaluate", "--dataset", "camvid", "--data", camvid_tree, *arguments)

    assert_refused(result, *parts)
    assert files(Path()) == before


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--run", "run"], ["--model and --run exclude each other"]),
        (["--stage", "s0"], ["--stage needs --run"]),
        (["--units", "3"], ["2 units; --units 3"]),
        (["--split", "vall"], ["split must be one of train, val, test", "'vall'"]),
        (["--noise", "gausian"], ["'gausian'", "Did you mean 'gaussian'?"]),
        (["--dataset", "camvit"], ["'camvit'", "Did you mean 'camvid'?"]),
        (["--data", "nowhere"], ["There is no directory nowhere/val", "val/ with images"]),
        (["--dataset", "scenes"], ["The data set scenes makes its images itself"]),
        (["--device", "gpu"], ["no device 'gpu'"]),
    ],
)
def test_a_wrong_option_is_named(model, camvid_tree, arguments, parts):
    usual = ["--dataset", "camvid", "--data", camvid_tree, "--model", model]

    assert_refused(sdabn("evaluate", *usual, *arguments), *parts)


def test_a_data_set_of_other_classes_is_refused(model, tmp_path):
    root = tmp_path / "cells"
    for folder in ("images/val", "labels/val"):
        (root / folder).mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(root / "images/val/a.png")
    Image.new("L", (32, 32)).save(root / "labels/val/a.png")
    (root / "classes.yaml").write_text("classes: [background, cell]\n")

    result = sdabn("evaluate", "--dataset", "folder", "--data", root, "--model", model)

    assert_refused(result, "11 classes (sky, building", "2 (background, cell)")


def test_a_label_outside_the_classes_is_named(model, camvid_tree):
    Image.new("L", (60, 44), 77).save(camvid_tree / "valannot" / "frame5.png")

    result = sdabn("evaluate", "--dataset", "camvid", "--data", camvid_tree, "--model", model)

    assert_refused(result, camvid_tree / "valannot" / "frame5.png", "label 77 is outside")


def test_the_protocol_is_an_option_and_is_printed(model, camvid_tree):
    usual = evaluate(camvid_tree, "--model", model)
    file = evaluate(camvid_tree, "--model", model, "--protocol", "file")
    paper = evaluate(camvid_tree, "--model", model, "--protocol", "paper")
    wrong = sdabn("evaluate", "--dataset", "camvid", "--data", camvid_tree, "--model", model,
                  "--protocol", "papers")  # fmt: skip

    assert [each["protocol"]["name"] for each in (usual, file, paper)] == [
        "default", "file", "paper",
    ]  # fmt: skip
    assert (file["protocol"]["clip"], file["protocol"]["border"]) == (True, 0)
    assert file["units"][0]["psnr"] > usual["units"][0]["psnr"]
    assert paper["protocol"]["absent_classes"] == "counted as 0"
    assert_refused(wrong, "no protocol 'papers'", "Did you mean 'paper'?")
