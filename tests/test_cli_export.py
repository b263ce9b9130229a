"""``sdabn export``: a finished cascade copied out of its run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures_cli import assert_refused, files, save_model, save_picture, sdabn

from sdabn_cli import networks

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

    assert "4 networks" in result.stderr
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
