"""``sdabn plugins show``, ``check`` and ``new``."""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest
from fixtures_cli import assert_refused, files, flat, sdabn

#: Multiply-adds a pixel by hand for the condition of 11 classes: every 1x1 and 3x3 convolution of
#: DDFN's description, at full resolution.
ENCODER = 11 * 16 + 16 * 32 + 32 * 64 + 64 * 32 + 32 * 16
FEATURES = 9 * (3 * 8 + 3 * 8 + 8 * 8 + 8 * 8)


def transform(channels: int) -> int:
    return 2 * (16 * 32 + 32 * channels)


def block(channels: int) -> int:
    dilated = 9 * (32 * 8 + 8 * 4 + 32 * 8 + 8 * 4)
    return transform(channels) + channels * 32 + dilated + 24 * 8


DDFN_COST = ENCODER + FEATURES + sum(block(32 + 8 * k) for k in range(8)) + transform(96) + 96 * 3


def shown(*arguments: str) -> list[dict[str, Any]]:
    result = sdabn("plugins", "show", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_show_tells_a_denoisers_size_reach_and_cost():
    (facts,) = shown("ddfn")

    assert facts["parameters"] == 114_048
    assert facts["receptive_field"] == 27
    assert facts["multiply_adds_per_pixel"] == DDFN_COST
    assert facts["licence"] == "Apache-2.0"
    assert "https://arxiv.org/abs/2102.12095" in facts["reference"]
    assert facts["options"] == [
        {"name": "blocks", "type": "int", "default": "8",
         "help": "Number of fusion blocks, at least 1; 8 is the paper's."},
        {"name": "width", "type": "int", "default": "32",
         "help": "Channels of the first features, a multiple of 8; 32 is the paper's."},
        {"name": "margin", "type": "int", "default": "0",
         "help": "Pixels repeated at every edge, from 0, the paper's, to 8."},
        {"name": "gate", "type": "bool", "default": "False",
         "help": "Whether the image itself may stay, weighted for every pixel."},
        {"name": "unshuffle", "type": "int", "default": "1",
         "help": "Side of the squares of pixels that share a position, from 1, the paper's, to 4."},
        {"name": "noise_maps", "type": "bool", "default": "False",
         "help": "Whether maps of the noise's strength are part of the condition."},
        {"name": "noise_scales", "type": "int", "default": "1",
         "help": "Number of scales that these maps are made at, from 1 to 3, two maps each."},
    ]  # fmt: skip


def test_show_follows_options_and_classes():
    (plain,) = shown("ddfn", "--classes", "19")
    (short,) = shown("ddfn:blocks=2", "--classes", "19")

    assert plain["parameters"] == 114_176  # the paper's
    assert short["parameters"] < plain["parameters"]
    assert short["receptive_field"] == 9


def test_show_tells_a_segmenters_stride_and_choices():
    (facts,) = shown("hrnet", "--classes", "19")

    assert (facts["parameters"], facts["stride"]) == (3_939_579, 32)
    assert facts["receptive_field"] == "the whole image"
    (variant,) = facts["options"]
    assert variant["default"] == "w18_small_v2"
    assert variant["type"].startswith("w18_small | w18_small_v2 | w22_plus | w18 | ")


def test_show_tells_the_bounds_of_options(third_party):
    source = """
    from typing import Annotated, Literal
    from pydantic import Field

    def build(*, n: Annotated[int, Field(ge=1, le=8)] = 2, side: Literal[1, 2] | None = None,
              cut: Annotated[float, Field(gt=0)] | None = None,
              steps: tuple[Annotated[int, Field(ge=1)], ...] = (1,), _hidden: int = 0):
        return lambda clean, generator: clean
    """
    third_party("odd-dist", "[sdabn.noises]\nodd = odd_noise:build\n", odd_noise=source)

    (facts,) = shown("odd")

    assert {option["name"]: option["type"] for option in facts["options"]} == {
        "n": "int, >= 1, <= 8",
        "side": "1 | 2 | None",
        "cut": "(float, > 0) | None",
        "steps": "tuple[int, >= 1, ...]",
    }


def test_show_lists_every_kind_that_has_the_name():
    assert [facts["kind"] for facts in shown("smp")] == ["segmenter", "denoiser"]
    assert [facts["kind"] for facts in shown("smp", "--kind", "denoiser")] == ["denoiser"]


@pytest.mark.parametrize("name", ["gaussian", "camvid", "street"])
def test_show_without_json_leaves_stdout_to_programs(name):
    result = sdabn("plugins", "show", name)

    assert result.exit_code == 0
    assert result.stdout == ""
    assert flat(f"{name}") in flat(result.stderr)
    assert "Apache-2.0" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["dfn"], ["no plug-in called 'dfn'", "Did you mean 'ddfn'?"]),
        (["ddfn", "--kind", "segmenter"],
         ["no segmenter plug-in called 'ddfn'. There is a denoiser of that name."]),
        (["ddfn", "--kind", "denoisers"], ["no kind 'denoisers'", "Did you mean 'denoiser'?"]),
        (["ddfn:block=2"], ["no option 'block'", "Did you mean 'blocks'?"]),
        (["ddfn:blocks=0"], ["blocks must be at least 1, not 0"]),
        (["gaussian:sgima=3"], ["no option 'sgima'", "Did you mean 'sigma'?"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["show"])
def test_a_mistyped_plugin_is_answered_with_the_nearest(command, arguments, parts):
    assert_refused(sdabn("plugins", command, *arguments), *parts)


def test_check_exits_with_0_where_the_contract_is_kept():
    result = sdabn("plugins", "check", "gaussian:sigma=25", "--json")

    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["passed"] is True
    assert {check["state"] for check in report["checks"]} == {"passed"}


def test_check_exits_with_1_and_the_reason_where_it_is_broken(third_party):
    source = "def build(*, sigma: float = 1.0):\n    return lambda clean, generator: clean[:1]\n"
    third_party("odd-dist", "[sdabn.noises]\nodd = odd_noise:build\n", odd_noise=source)

    result = sdabn("plugins", "check", "odd")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "noise odd of odd-dist 1.0" in result.stderr
    wrong = "failed  noisy images have the shape and type of clean ones: a clean (3, 37, 53)"
    assert wrong in result.stderr
    assert "of 8 checks failed." in result.stderr


@pytest.mark.parametrize("group", ["noises", "datasets"])
def test_check_of_a_plugin_that_does_not_load_fails_without_a_traceback(third_party, group):
    third_party("odd-dist", f"[sdabn.{group}]\nodd = odd:build\n", odd="raise OSError(5)")

    result = sdabn("plugins", "check", "odd", "--json")

    assert result.exit_code == 1
    reasons = {check["reason"] for check in json.loads(result.stdout)["checks"]}
    assert all("of odd-dist 1.0 does not load: OSError: 5" in reason for reason in reasons)


def test_check_says_once_why_nothing_builds():
    result = sdabn("plugins", "check", "ddfn:unshuffle=9", "--kind", "denoiser")

    assert result.exit_code == 1
    assert result.stderr.count("unshuffle must be from 1 to 4, not 9") == 1
    assert "failed  it runs in bfloat16: as above" in result.stderr


def test_check_with_data_looks_into_the_data(camvid_tree):
    without = json.loads(sdabn("plugins", "check", "camvid", "--json").stdout)["checks"]
    told = sdabn("plugins", "check", "camvid").stderr
    right = sdabn("plugins", "check", "camvid", "--data", camvid_tree, "--json")
    next((camvid_tree / "valannot").glob("*.png")).unlink()
    wrong = sdabn("plugins", "check", "camvid", "--data", camvid_tree)

    assert {check["state"] for check in without} == {"passed", "skipped"}
    assert told.endswith("Nothing failed. 6 of 8 checks need --data DIR.\n")
    assert {check["state"] for check in json.loads(right.stdout)["checks"]} == {"passed"}
    assert wrong.exit_code == 1
    assert "has no label image" in wrong.stderr


PACKAGE = {"pyproject.toml", "setup.cfg", "README.md"}


@pytest.mark.parametrize("kind", ["segmenter", "denoiser", "noise", "dataset"])
def test_new_writes_a_package_and_says_what_to_do_next(kind, tmp_path):
    target = tmp_path / "mine"

    planned = sdabn("plugins", "new", "my-one", "--kind", kind, "--output", target, "--dry-run")
    before = files(tmp_path / "mine")
    written = sdabn("plugins", "new", "my-one", "--kind", kind, "--output", target, "--json")

    assert (planned.exit_code, written.exit_code) == (0, 0)
    assert before == set()
    assert files(target) == PACKAGE | {"sdabn_my_one.py", "tests/test_my_one.py"}
    report = json.loads(written.stdout)
    assert {str(target / name) for name in files(target)} == set(report["files"])
    assert report["next"][0] == f"pip install -e {target}"
    assert "$" not in "".join(p.read_text() for p in target.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("name", "kind", "parts"),
    [
        ("ddfn", "denoiser", ["denoiser 'ddfn' already, of sdabn 0.1.0", "Choose another name"]),
        ("My Net", "denoiser", ["'My Net' cannot be the name", "small letters and digits"]),
        ("class", "denoiser", ["'class' cannot be the name of a plug-in: it is a word of Python"]),
        ("a/b", "denoiser", ["'a/b' cannot be the name", "goes is said with --output"]),
        ("..", "denoiser", ["'..' cannot be the name"]),
        ("net_", "denoiser", ["'net_' cannot be the name"]),
        (
            "cli",
            "denoiser",
            [
                "'cli' cannot be the name of a plug-in: it is sdabn's",
                "but not cli, plugins, recipes",
            ],
        ),
        ("n" * 61, "denoiser", ["cannot be the name", "at most 60 small letters"]),
        ("net", "denoise", ["no kind 'denoise'", "Did you mean 'denoiser'?"]),
        ("net", "model", ["no kind 'model'", "Allowed: dataset, denoiser, noise, segmenter"]),
    ],
)
def test_new_refuses_what_cannot_be_a_plugin(name, kind, parts, tmp_path):
    result = sdabn("plugins", "new", name, "--kind", kind, "--output", tmp_path / "new")

    assert_refused(result, *parts)
    assert not (tmp_path / "new").exists()


HIDING = [("f", "segmenter"), ("path", "dataset"), ("example", "dataset"), ("torch", "noise"),
          ("nn", "denoiser"), ("json", "dataset")]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), HIDING)
def test_no_name_hides_what_the_new_module_imports(name, kind, tmp_path, monkeypatch):
    sdabn("plugins", "new", name, "--kind", kind, "--output", tmp_path / "new")
    monkeypatch.syspath_prepend(tmp_path / "new")

    module = importlib.import_module(f"sdabn_{name}")
    source = (tmp_path / "new" / f"sdabn_{name}.py").read_text()

    defined = set(re.findall(r"^(?:class|def) (\w+)", source, re.MULTILINE))
    imported = set(re.findall(r"^(?:import|from) .*?(\w+)$", source, re.MULTILINE))
    assert defined
    assert not defined & imported
    assert all(getattr(module, each).__module__ == module.__name__ for each in defined)


def test_new_writes_nothing_where_it_cannot_write_everything(tmp_path):
    (tmp_path / "letter").write_text("kept")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    places = {
        tmp_path / "letter": "letter is a file, not a directory",
        tmp_path / "letter" / "new": "letter is a file, not a directory",
        tmp_path / "package": "package is there already",
        tmp_path / "package" / "a" / "new": "package is a Python package (it has an __init__.py)",
        tmp_path / ("x" * 300): "File name too long",
        Path("/proc/new"): "cannot be written",
    }

    for place, message in places.items():
        result = sdabn("plugins", "new", "net", "--kind", "noise", "--output", place)
        assert_refused(result, message)

    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_new_leaves_nothing_half_written(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))  # the first file is smaller
    try:
        result = sdabn("plugins", "new", "net", "--kind", "noise", "--output", tmp_path / "a/new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert_refused(result, "setup.cfg cannot be written", "File too large")
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_new_needs_a_directory_that_may_be_written(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)

    result = sdabn("plugins", "new", "net", "--kind", "noise", "--output", tmp_path / "closed/new")

    assert_refused(result, "closed cannot be written to", "--output")


def test_new_does_not_take_the_name_of_an_installed_module(third_party, tmp_path):
    third_party("other-dist", "", sdabn_net="")

    result = sdabn("plugins", "new", "net", "--kind", "noise", "--output", tmp_path / "new")

    assert_refused(result, "The module sdabn_net, which would hold the plug-in, is installed")


def test_new_overwrites_nothing(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "precious.txt").write_text("kept")

    result = sdabn("plugins", "new", "net", "--kind", "noise", "--output", tmp_path / "new")

    assert_refused(result, "is there already", "--output")
    assert files(tmp_path / "new") == {"precious.txt"}


def test_list_with_load_looks_into_models_too(third_party):
    source = """
    from pathlib import Path

    def directory():
        return Path(__file__).parent
    """
    third_party("odd-dist", "[sdabn.models]\nodd = odd_model:directory\n", odd_model=source)

    result = sdabn("plugins", "list", "--load", "--json")

    found = {row["name"]: row for row in json.loads(result.stdout) if row["kind"] == "model"}
    assert found["street"]["state"] == "ok"
    assert found["odd"]["state"] == "broken"
    assert "cascade.json" in found["odd"]["reason"]
