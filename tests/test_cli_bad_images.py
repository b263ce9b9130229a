"""Bad input of ``sdabn run``: a clear message, the right exit code and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures_cli import assert_refused, files, save_model, save_picture, sdabn


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    """A cascade of two units."""
    return save_model(tmp_path / "model")


def truncate(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def make_inputs() -> None:
    save_picture(Path("good.png"))
    save_picture(Path("x/same.png"))
    save_picture(Path("y/same.jpg"))
    Path("text.png").write_text("this is not an image")
    Path("nothing.png").touch()
    truncate(save_picture(Path("half.png")))
    truncate(save_picture(Path("half.jpg")), 0.9)
    Path("empty").mkdir()
    Path("texts").mkdir()
    Path("texts/readme.md").write_text("no images here")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["god.png"], ["There is no file god.png", "Did you mean good.png?"]),
        (["x/sme.png"], ["There is no file x/sme.png", "Did you mean x/same.png?"]),
        (["nowhere/a.png"], ["There is no file nowhere/a.png"]),
        (["good.png", "god.png"], ["There is no file god.png"]),
        (["text.png"], ["text.png is not an image", "png"]),
        (["texts/readme.md"], ["texts/readme.md is not an image"]),
        (["nothing.png"], ["nothing.png is not an image"]),
        (["half.png"], ["half.png is damaged"]),
        (["half.jpg"], ["half.jpg is damaged"]),
        (["half.png", "text.png"], ["half.png is damaged", "text.png is not an image"]),
        (["empty"], ["no images in the folder empty", ".png"]),
        (["texts"], ["no images in the folder texts"]),
        (["*.webp"], ["Nothing matches '*.webp'"]),
        (["x/same.png", "y/same.jpg"], ["x/same.png and y/same.jpg", "--output"]),
        (["good.png", "--output", "text.png"], ["text.png is a file"]),
        (["good.png", "--output", "text.png/sub"], ["text.png"]),
        (["good.png", "--model", "stret"], ["no model 'stret'", "Did you mean 'street'?"]),
        (["good.png", "--model", "x"], ["directory x holds no finished cascade"]),
        (["good.png", "--device", "gpu"], ["no device 'gpu'", "cpu"]),
        (["good.png", "--device", "cuda:77"], ["'cuda:77' is not present", "--device cpu"]),
        (["good.png", "--precision", "float23"], ["'float23'", "Did you mean 'float32'?"]),
        (["good.png", "--add-noise", "gausian"], ["'gausian'", "Did you mean 'gaussian'?"]),
        (["good.png", "--add-noise", "gaussian:50"], ["'50' is not of the form option=value"]),
        (["good.png", "--add-noise", "gaussian:sigm=5"], ["no option 'sigm'", "'sigma'"]),
        (["good.png", "--add-noise", "gaussian:sigma=-5"], ["sigma must be", "not -5"]),
        (["good.png", "--add-noise", "gaussian:sigma=much"], ["sigma must be", "not much"]),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(model, arguments, parts):
    make_inputs()
    before = files(Path())

    result = sdabn("run", "--model", model, "--output", "out", "--json", *arguments)

    assert_refused(result, *parts)
    assert files(Path()) == before


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.9, 0.99])
def test_a_png_cut_anywhere_is_called_damaged_or_no_image(model, share):
    truncate(save_picture(Path("a.png")), share)

    assert_refused(sdabn("run", "a.png", "--model", model, "-o", "out"), "a.png is")
    assert files(Path()) == {"a.png"}


def test_one_bad_image_among_good_ones_is_named_and_the_others_are_written(model):
    make_inputs()
    save_picture(Path("last.png"))

    result = sdabn("run", "good.png", "half.png", "last.png", "--model", model, "-o", "out",
                   "--json")  # fmt: skip

    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert "half.png is damaged" in result.stderr
    assert "1 of 3 images failed" in result.stderr
    said = json.loads(result.stdout)
    assert [entry["input"] for entry in said["images"]] == ["good.png", "last.png"]
    assert [entry["input"] for entry in said["failed"]] == ["half.png"]
    assert "half.png is damaged" in said["failed"][0]["error"]
    assert files(Path("out")) == {
        f"{name}.{product}.png"
        for name in ("good", "last")
        for product in ("denoised", "labels", "overlay")
    }


def test_a_model_with_other_weights_than_it_describes_is_refused(model):
    save_picture(Path("a.png"))
    path = model / "s2.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    result = sdabn("run", "a.png", "--model", model, "-o", "out")

    assert_refused(result, "s2.safetensors", "hash differs", "Copy the model again")
    assert files(Path()) == {"a.png"}


def test_a_damaged_unit_does_not_stand_in_the_way_of_the_units_before_it(model):
    save_picture(Path("a.png"))
    (model / "s2.safetensors").unlink()

    whole = sdabn("run", "a.png", "--model", model, "-o", "out")
    first = sdabn("run", "a.png", "--model", model, "-o", "out", "--units", 1)

    assert_refused(whole, "s2.safetensors are missing")
    assert first.exit_code == 0


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 2}', '{"format": 1, "units": [], "classes": ["a"]}']
)
def test_a_damaged_description_of_a_model_is_refused(model, content):
    save_picture(Path("a.png"))
    (model / "cascade.json").write_text(content)

    result = sdabn("run", "a.png", "--model", model, "-o", "out")

    assert_refused(result, "cascade.json is damaged")
    assert files(Path()) == {"a.png"}


def test_a_palette_of_another_length_than_the_classes_is_refused(model):
    save_picture(Path("a.png"))
    description = json.loads((model / "cascade.json").read_text())
    description["palette"] = description["palette"][:3]
    (model / "cascade.json").write_text(json.dumps(description))

    result = sdabn("run", "a.png", "--model", model, "-o", "out")

    assert_refused(result, "palette")
    assert files(Path()) == {"a.png"}


def test_a_dry_run_refuses_what_the_run_would_refuse(model):
    save_picture(Path("a.png"))

    assert_refused(sdabn("run", "a.png", "--dry-run", "--model", "stret"), "no model 'stret'")
    assert_refused(sdabn("run", "a.png", "--dry-run", "--model", model, "--units", 9), "--units 9")


def test_a_weights_file_outside_the_model_is_refused(model):
    save_picture(Path("a.png"))
    text = (model / "cascade.json").read_text()
    (model / "cascade.json").write_text(text.replace("s1.safetensors", "../s1.safetensors"))

    assert_refused(sdabn("run", "a.png", "--model", model, "-o", "out"), "cascade.json is damaged")


def test_an_image_a_network_fails_on_is_named_and_the_others_are_written(third_party, model):
    third_party(
        "sdabn-picky",
        "[sdabn.segmenters]\npicky = picky:build\n",
        picky="""
        from tiny_plugins import Segmenter

        class Picky(Segmenter):
            def forward(self, image):
                if image.shape[-1] < 32:
                    raise RuntimeError("Output size is too small")
                return super().forward(image)

        def build(*, num_classes: int):
            return Picky(num_classes, 3, 0.0, 0)
        """,
    )
    text = (model / "cascade.json").read_text()
    (model / "cascade.json").write_text(text.replace('"plugin": "tiny"', '"plugin": "picky"', 1))
    save_picture(Path("small.png"), 16, 16)
    save_picture(Path("large.png"))

    alone = sdabn("run", "small.png", "--model", model, "-o", "out")
    both = sdabn("run", "small.png", "large.png", "--model", model, "-o", "out")

    assert_refused(alone, "small.png", "Output size is too small")
    assert both.exit_code == 1
    assert "Output size is too small" in both.stderr
    assert files(Path("out")) == {f"large.{p}.png" for p in ("denoised", "labels", "overlay")}
