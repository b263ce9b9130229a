"""``sdabn run`` on every kind of image: what goes in decides what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from fixtures_cli import assert_refused, files, flat, picture, save_model, save_picture, sdabn
from PIL import Image

from sdabn_cli import execution, inputs, noiselevel, pipeline
from sdabn_cli import model as models
from sdabn_cli.planes import MemoryPlane


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    """A model whose first unit returns what it is given."""
    return save_model(tmp_path / "model", units=1)


def run(model: Path, *inputs: Any, **options: Any) -> Any:
    """Run with float32, so that the tiny networks are exact."""
    told = [
        part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)
    ]
    told = [part for part in told if part is not True]
    return sdabn("run", *inputs, "--model", model, "-o", "out", "--precision", "float32", *told)


def inside(array: np.ndarray) -> np.ndarray:
    """Without the outermost pixels, which are their neighbours' in what is written."""
    return array[1:-1, 1:-1]


def test_grey_in_gives_grey_out(model):
    grey = picture()[..., 0]
    Image.fromarray(grey).save("a.png")

    assert run(model, "a.png").exit_code == 0

    with Image.open("out/a.denoised.png") as out:
        assert out.mode == "L"
        assert np.array_equal(inside(np.asarray(out)), inside(grey))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_in_give_16_bits_out(model, channels):
    deep = np.random.default_rng(0).integers(0, 65535, (45, 61, channels), np.uint16).squeeze()
    Path("a.png").write_bytes(imagecodecs.png_encode(deep))

    assert run(model, "a.png").exit_code == 0

    out = imagecodecs.png_decode(Path("out/a.denoised.png").read_bytes())
    assert out.dtype == np.uint16
    assert np.array_equal(inside(out)[..., :3], inside(deep)[..., :3])
    if channels == 4:
        assert np.array_equal(out[..., 3], deep[..., 3])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_kept(model, mode):
    alpha = np.random.default_rng(0).integers(0, 255, (45, 61)).astype(np.uint8)
    image = Image.fromarray(picture()).convert("L" if mode == "LA" else "RGB")
    image.putalpha(Image.fromarray(alpha))
    image.save("a.png")

    assert run(model, "a.png").exit_code == 0

    with Image.open("out/a.denoised.png") as out:
        assert out.mode == mode
        assert np.array_equal(np.asarray(out)[..., -1], alpha)
        assert np.array_equal(inside(np.asarray(out)), inside(np.asarray(image)))


def test_a_tiff_of_floats_gives_one_unclipped(model):
    floats = np.random.default_rng(0).uniform(-0.3, 1.3, (45, 61, 3)).astype(np.float32)
    tifffile.imwrite("a.tif", floats, photometric="rgb")

    assert run(model, "a.tif").exit_code == 0

    out = tifffile.imread("out/a.denoised.tif")
    assert out.dtype == np.float32
    np.testing.assert_allclose(inside(out), inside(floats), atol=1e-6)


def test_a_tiff_of_several_pages_gives_tiffs_of_as_many(model):
    pages = [picture(seed=number) for number in range(3)]
    tifffile.imwrite("a.tif", np.stack(pages), photometric="rgb")

    result = run(model, "a.tif", json=True)

    said = json.loads(result.stdout)["images"][0]
    assert said["pages"] == 3
    assert files(Path("out")) == {f"a.{p}.tif" for p in ("denoised", "labels", "overlay")}
    out = tifffile.imread("out/a.denoised.tif")
    for page, array in zip(out, pages, strict=True):
        assert np.array_equal(inside(page), inside(array))
    with tifffile.TiffFile("out/a.labels.tif") as labels:
        assert [page.photometric.name for page in labels.pages] == ["PALETTE"] * 3
        cascade = models.load(str(model)).cascade
        for page, array in zip(labels.pages, pages, strict=True):
            noisy = torch.from_numpy(array).permute(2, 0, 1)[None] / 255
            assert np.array_equal(page.asarray(), cascade(noisy)[-1].logits.argmax(1)[0].numpy())
    with tifffile.TiffFile("out/a.overlay.tif") as overlays:
        assert [page.photometric.name for page in overlays.pages] == ["RGB"] * 3


@pytest.mark.parametrize("layout", [{"tile": (16, 32), "compression": "zlib"}, {}])
def test_a_large_tiff_is_run_by_way_of_a_file_with_the_same_result(model, monkeypatch, layout):
    tifffile.imwrite("a.tif", picture(150, 210), photometric="rgb", **layout)
    assert run(model, "a.tif").exit_code == 0
    expected = {path.name: tifffile.imread(path) for path in sorted(Path("out").iterdir())}

    monkeypatch.setattr(pipeline, "LARGE", 100)
    monkeypatch.setattr(execution, "PLANES", 0.0)
    assert run(model, "a.tif").exit_code == 0

    for name, array in expected.items():
        assert np.array_equal(tifffile.imread(Path("out") / name), array), name


def test_images_of_too_many_pixels_are_refused_and_an_option_allows_them(model):
    save_picture(Path("a.png"))

    refused = run(model, "a.png", max_pixels=2000)
    assert_refused(refused, "61 x 45 pixels", "--max-pixels raises the limit")
    assert run(model, "a.png", max_pixels=2745).exit_code == 0


def test_what_is_there_already_is_passed_over_when_asked(model):
    for name in ("a", "b", "c"):
        save_picture(Path(f"in/{name}.png"))
    assert run(model, "in/a.png", "in/b.png").exit_code == 0
    Path("out/b.labels.png").unlink()
    before = Path("out/a.denoised.png").stat().st_mtime_ns

    result = run(model, "in", skip_existing=True, json=True)

    said = json.loads(result.stdout)
    assert [entry["input"] for entry in said["images"]] == ["in/b.png", "in/c.png"]
    assert said["skipped"] == ["in/a.png"]
    assert Path("out/a.denoised.png").stat().st_mtime_ns == before
    again = run(model, "in", skip_existing=True)
    assert again.exit_code == 0
    assert "3 images have their results already." in again.stderr


def test_images_are_reported_in_their_order_and_bad_ones_do_not_stop_the_others(model):
    for number in range(6):
        save_picture(Path(f"in/{number}.png"), seed=number)
    Path("in/2.png").write_bytes(b"no image")
    Path("in/5.png").write_bytes(Path("in/1.png").read_bytes()[:300])

    result = run(model, "in", json=True)

    said = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [entry["input"] for entry in said["images"]] == [f"in/{n}.png" for n in (0, 1, 3, 4)]
    assert [entry["input"] for entry in said["failed"]] == ["in/2.png", "in/5.png"]
    assert len(files(Path("out"))) == 4 * 3


def test_the_noise_of_an_image_is_estimated_and_reported(model):
    random = np.random.default_rng(0)
    for name, sigma in (("right", 25), ("much", 60), ("little", 3)):
        noisy = picture(200, 200) + random.normal(0, sigma, (200, 200, 3))
        Image.fromarray(np.clip(noisy, 0, 255).round().astype(np.uint8)).save(f"{name}.png")

    result = run(model, "right.png", "much.png", "little.png", json=True)

    said = json.loads(result.stdout)
    assert [e["sigma"] for e in said["images"]] == pytest.approx([25, 60, 3], rel=0.1)
    assert len(said["warnings"]) == 2
    assert "much.png: its noise is about sigma" in said["warnings"][0]
    assert "more than what the model was trained on (sigma 25)" in said["warnings"][0]
    assert flat("the result may be too smooth") in flat(result.stderr)


def test_a_noise_that_is_known_is_told(model):
    save_picture(Path("a.png"))

    said = json.loads(run(model, "a.png", sigma=25, json=True).stdout)

    assert said["images"][0]["sigma"] == 25
    assert said["warnings"] == []
    for wrong in ("much", "-1", "300"):
        assert_refused(run(model, "a.png", sigma=wrong), f"--sigma {wrong}", "Allowed are auto")


@pytest.mark.parametrize("sigma", [0, 10, 25, 50])
def test_the_estimate_is_right_where_values_are_clipped_to_8_bits(sigma):
    clean = torch.from_numpy(picture(256, 256)).permute(2, 0, 1)[None] / 255
    noisy = clean + sigma / 255 * torch.randn(clean.shape)
    stored = (noisy.clamp(0, 1) * 255).round() / 255

    for image in (noisy, stored):
        assert noiselevel.estimate(MemoryPlane(image)) == pytest.approx(sigma, rel=0.06, abs=1)


def test_without_clipping_the_estimate_is_that_of_scikit_image():
    restoration = pytest.importorskip("skimage.restoration")
    pytest.importorskip("pywt")
    noisy = picture(200, 200)[..., 0] / 255 + np.random.default_rng(0).normal(0, 0.05, (200, 200))

    ours = noiselevel.estimate(MemoryPlane(torch.from_numpy(noisy)[None, None].float()))

    assert ours == pytest.approx(255 * restoration.estimate_sigma(noisy), rel=0.05)


def test_the_self_ensemble_is_the_mean_over_eight_orientations(tmp_path, tiny_plugins):
    model = save_model(tmp_path / "two", units=2)
    floats = np.random.default_rng(0).uniform(0, 1, (45, 61, 3)).astype(np.float32)
    tifffile.imwrite("a.tif", floats, photometric="rgb")
    cascade = models.load(str(model)).cascade
    estimates, probabilities = [], []
    for quarters in range(4):
        for mirrored in (False, True):
            image = floats[:, ::-1] if mirrored else floats
            image = np.rot90(image, quarters)
            noisy = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
            last = cascade(noisy)[-1]
            for found, values in (
                (estimates, last.estimate),
                (probabilities, last.logits.softmax(1)),
            ):
                back = np.rot90(values[0].permute(1, 2, 0).numpy(), -quarters)
                found.append(back[:, ::-1] if mirrored else back)

    assert run(model, "a.tif", self_ensemble=True).exit_code == 0

    denoised = tifffile.imread("out/a.denoised.tif")
    np.testing.assert_allclose(inside(denoised), inside(np.mean(estimates, axis=0)), atol=1e-5)
    labels = np.mean(probabilities, axis=0).argmax(-1)
    assert np.mean(tifffile.imread("out/a.labels.tif") == labels) > 0.999
    assert not np.array_equal(labels, probabilities[0].argmax(-1))


def test_of_an_image_too_small_to_tell_no_noise_is_claimed(model):
    save_picture(Path("a.png"), 3, 40)

    result = run(model, "a.png", json=True)

    said = json.loads(result.stdout)
    assert said["images"][0]["sigma"] is None
    assert said["warnings"] == []


def test_a_tiff_of_another_name_is_refused_instead_of_losing_pages(model):
    tifffile.imwrite("a.png", np.stack([picture(seed=n) for n in range(3)]), photometric="rgb")

    assert_refused(run(model, "a.png"), "a.png is a TIFF by its content", "Name it .tif")
    assert not files(Path("out"))


def test_images_of_one_name_and_results_of_two_kinds_do_not_collide(model):
    save_picture(Path("in/a.png"))
    tifffile.imwrite("in/a.tif", picture(), photometric="rgb")

    assert run(model, "in").exit_code == 0
    assert {"a.denoised.png", "a.denoised.tif"} <= files(Path("out"))


def test_going_on_adds_the_noise_that_the_whole_run_would_have_added(model):
    for name in ("a", "b"):
        save_picture(Path(f"in/{name}.png"))
    options = {"add_noise": "gaussian:sigma=20", "skip_existing": True}
    assert run(model, "in", **options).exit_code == 0
    whole = Path("out/b.noisy.png").read_bytes()
    Path("out/b.noisy.png").unlink()

    assert run(model, "in", **options).exit_code == 0

    assert Path("out/b.noisy.png").read_bytes() == whole


def test_memory_that_is_no_size_is_refused(model):
    save_picture(Path("a.png"))

    assert_refused(run(model, "a.png", memory="lots"), "'lots' is no size of memory", "3GB")


def test_results_of_either_kind_are_no_inputs(model):
    save_picture(Path("in/a.png"))
    tifffile.imwrite("in/b.tif", picture(), photometric="rgb")
    assert sdabn("run", "in", "--model", model, "-o", "in").exit_code == 0

    jobs = inputs.collect(["in"], Path("out"))

    assert [job.image.name for job in jobs] == ["a.png", "b.tif"]
