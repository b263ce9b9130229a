"""``sdabn run``, ``denoise`` and ``segment``: what they write and what they report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_cli import (
    SHIPPED_MODEL,
    assert_refused,
    files,
    picture,
    save_model,
    save_picture,
    sdabn,
)
from PIL import Image

from sdabn_cli import model as models
from sdabn_plugins.camvid import PALETTE
from sdabn_plugins.scenes import draw_scene

PRODUCTS = ("denoised", "labels", "overlay")


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    """Two units: the first estimate is the input, the second a blurred one."""
    return save_model(tmp_path / "model")


def results(*names: str, products: tuple[str, ...] = PRODUCTS) -> set[str]:
    return {f"{name}.{product}.png" for name in names for product in products}


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    ("command", "products"),
    [
        ("run", ("denoised", "labels", "overlay")),
        ("denoise", ("denoised",)),
        ("segment", ("labels", "overlay")),
    ],
)
@pytest.mark.parametrize("noise", [(), ("--add-noise", "gaussian:sigma=10")])
def test_a_command_writes_exactly_its_pictures(model, command, products, noise):
    image = save_picture(Path("photo.png"))

    result = sdabn(command, image, "--model", model, "-o", "out", *noise)

    assert result.exit_code == 0
    assert result.stdout == ""
    written = (*products, "noisy") if noise else products
    assert files(Path("out")) == results("photo", products=written)
    assert "photo.png" in result.stderr


def test_a_folder_is_mirrored_and_hidden_files_and_earlier_results_passed_over(model):
    for name in ("a.png", "sub/b.jpg", "sub/deep/c.png", ".hidden.png", ".thumbs/d.png",
                 "a.denoised.png", "sub/b.labels.png"):  # fmt: skip
        save_picture(Path("photos", name))
    Path("photos/notes.txt").write_text("not an image")

    result = sdabn("run", "photos", "--model", model, "-o", "out")

    assert result.exit_code == 0
    assert files(Path("out")) == results("a", "sub/b", "sub/deep/c")


def test_results_inside_the_folder_are_not_taken_for_images_the_next_time(model):
    save_picture(Path("photos/a.png"))

    for _ in range(2):
        assert sdabn("run", "photos", "--model", model, "-o", "photos/out").exit_code == 0

    assert files(Path("photos/out")) == results("a")


@pytest.mark.parametrize("output", ["photos", "."])
def test_results_can_lie_beside_the_images_or_above_them(model, output):
    save_picture(Path("photos/a.png"))

    result = sdabn("run", "photos", "--model", model, "-o", output)

    assert result.exit_code == 0, result.stderr
    assert files(Path(output)) >= results("a")


def test_a_glob_takes_the_images_it_matches(model):
    for name in ("day1.png", "day2.jpg", "night.png"):
        save_picture(Path("shots", name))
    Path("shots/day3.txt").write_text("not an image")

    result = sdabn("run", "shots/day*", "--model", model, "-o", "out")

    assert result.exit_code == 0
    assert files(Path("out")) == results("day1", "day2")


def test_json_says_what_was_written_and_is_all_that_is_on_stdout(model):
    save_picture(Path("a.png"))
    save_picture(Path("b.png"))

    result = sdabn("run", "a.png", "b.png", "--model", model, "-o", "out", "--json")

    said = json.loads(result.stdout)
    assert [entry["input"] for entry in said["images"]] == ["a.png", "b.png"]
    assert said["images"][0].keys() == {"input", "outputs", "seconds", "sigma"}
    assert said["images"][0]["outputs"] == {p: f"out/a.{p}.png" for p in PRODUCTS}
    assert said["images"][0]["seconds"] > 0
    assert said["units"] == 2
    assert said["failed"] == []


def test_the_denoised_image_is_the_last_units_estimate(model):
    save_picture(Path("a.png"))

    for units in (1, 2):
        sdabn("run", "a.png", "--units", units, "--model", model, "-o", str(units),
              "--precision", "float32")  # fmt: skip

    sharp, blurred = pixels("1/a.denoised.png"), pixels("2/a.denoised.png")
    shifts = [np.roll(picture(), (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    mean = np.mean(shifts, axis=0)[1:-1, 1:-1]
    assert np.array_equal(sharp[1:-1, 1:-1], picture()[1:-1, 1:-1])
    assert np.abs(blurred[1:-1, 1:-1] - mean).max() <= 0.51


@pytest.mark.parametrize("units", [1, 2])
def test_labels_are_a_palette_png_of_the_last_units_classes(model, units):
    save_picture(Path("a.png"))

    sdabn("segment", "a.png", "--units", units, "--model", model, "-o", "out",
          "--precision", "float32")  # fmt: skip

    image = torch.from_numpy(picture()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        logits = models.load(str(model)).cascade(image)[units - 1].logits
    expected = logits.argmax(1)[0]
    with Image.open("out/a.labels.png") as labels:
        assert labels.mode == "P"
        assert labels.getpalette()[:33] == [value for colour in PALETTE for value in colour]
        found = np.asarray(labels)
    assert len(np.unique(expected)) > 2
    assert (found != expected.numpy()).mean() < 0.01


def test_the_overlay_is_the_mixed_picture_with_a_legend_below(model):
    save_picture(Path("a.png"), 90, 160)

    sdabn("run", "a.png", "--model", model, "-o", "out")

    overlay, denoised = pixels("out/a.overlay.png"), pixels("out/a.denoised.png")
    assert overlay.shape[0] > 90
    assert overlay.shape[1] >= 160
    assert not np.array_equal(overlay[:90, :160], denoised)
    assert len(np.unique(overlay[90:].reshape(-1, 3), axis=0)) > 2


@pytest.mark.parametrize("size", [(45, 61), (360, 27), (1, 1), (3, 230)])
def test_every_size_of_image_is_kept(model, size):
    save_picture(Path("a.png"), *size)

    result = sdabn("run", "a.png", "--model", model, "-o", "out")

    assert result.exit_code == 0, result.stderr
    assert pixels("out/a.denoised.png").shape == (*size, 3)
    assert pixels("out/a.labels.png").shape == size


def test_added_noise_is_measured_before_and_after_every_unit(model):
    save_picture(Path("a.png"), 160, 160)

    result = sdabn("run", "a.png", "--add-noise", "gaussian:sigma=50", "--model", model,
                   "-o", "out", "--precision", "float32", "--json")  # fmt: skip

    psnr = json.loads(result.stdout)["images"][0]["psnr"]
    assert psnr["noisy"] == pytest.approx(14.15, abs=0.3)
    assert psnr["units"][0] == pytest.approx(psnr["noisy"], abs=1e-3)
    # Four fifths of the noise's power are gone: the mean of y and its estimate, over 9 pixels.
    assert psnr["units"][1] == pytest.approx(psnr["noisy"] + 9.5, abs=1)
    assert "14." in result.stderr
    assert "unit 2" in result.stderr


def test_the_seed_decides_the_noise(model):
    save_picture(Path("a.png"))

    for output, seed in (("one", 3), ("same", 3), ("other", 4)):
        sdabn("run", "a.png", "--add-noise", "gaussian", "--seed", seed, "--model", model,
              "-o", output)  # fmt: skip

    names = files(Path("one"))
    assert len(names) == 4
    for name in names:
        assert Path("one", name).read_bytes() == Path("same", name).read_bytes()
    assert not np.array_equal(pixels("one/a.noisy.png"), pixels("other/a.noisy.png"))


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_every_precision_runs(model, precision):
    save_picture(Path("a.png"))

    result = sdabn("run", "a.png", "--precision", precision, "--device", "cpu", "--model", model,
                   "-o", "out", "--json")  # fmt: skip

    assert result.exit_code == 0
    assert precision == "auto" or precision in json.loads(result.stdout)["device"]
    assert np.abs(pixels("out/a.denoised.png") - picture().astype(int)).mean() < 8


def test_a_dry_run_names_the_files_and_writes_none(model):
    save_picture(Path("photos/sub/a.png"))
    arguments = ["run", "photos", "--model", model, "-o", "out", "--json"]

    plan = json.loads(sdabn(*arguments, "--dry-run").stdout)

    assert not Path("out").exists()
    done = json.loads(sdabn(*arguments).stdout)
    assert [i["outputs"] for i in plan["images"]] == [i["outputs"] for i in done["images"]]


def test_more_units_than_the_model_has_are_refused(model):
    save_picture(Path("a.png"))

    result = sdabn("run", "a.png", "--units", 9, "--model", model, "-o", "out")

    assert_refused(result, "2 units; --units 9", "Allowed: 1 to 2")
    assert not Path("out").exists()


def test_a_model_is_found_in_its_run_directory(tmp_path, model):
    save_picture(Path("a.png"))

    result = sdabn("run", "a.png", "--model", tmp_path, "-o", "out")

    assert result.exit_code == 0
    assert files(Path("out")) == results("a")


@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model street has no weights yet")
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_model_that_comes_with_sdabn_is_the_default_and_removes_noise(mode):
    scene, _ = draw_scene(11, width=240, height=180)
    image = Image.fromarray(scene).convert(mode)
    image.save("a.png")
    drawn = np.asarray(image)

    result = sdabn("run", "a.png", "--add-noise", "gaussian:sigma=50", "-o", "out", "--json")

    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    psnr = said["images"][0]["psnr"]
    assert said["model"] == "street"
    assert min(psnr["units"]) > psnr["noisy"] + 9
    assert psnr["units"][2] > psnr["units"][0]
    denoised = np.asarray(Image.open("out/a.denoised.png")).astype(float)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        assert abs(denoised[edge].mean() - drawn[edge].mean()) < 12, "a frame shows"
    assert files(Path("out")) == results("a", products=(*PRODUCTS, "noisy"))
