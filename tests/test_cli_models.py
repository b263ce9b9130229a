"""``sdabn models``, and names on the Hub wherever a command takes a model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fixtures_hub
import pytest
from fixtures_cli import SHIPPED_MODEL, assert_refused, files, flat, save_model, save_picture, sdabn
from test_cli import modules_after

from sdabn_cli import networks, sources
from sdabn_cli.model import Description, save
from sdabn_plugins.camvid import CLASSES, PALETTE

CARD = "---\nlicense: cc-by-4.0\ntags: [tiny]\n---\n\n# Tiny\n\nlicense: none of this\n"


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    """Two units; the first estimate is the input, the second a blurred one."""
    return save_model(tmp_path / "model")


@pytest.fixture
def register(third_party, model):
    """Register a model under a name: ``register("mine")`` a good one, or what is given."""

    def as_plugin(name: str, target: str = "", *, distribution: str = "") -> None:
        module = f"module_of_{distribution or name}".replace("-", "_")
        third_party(
            distribution or f"dist-{name}",
            f"[sdabn.models]\n{name} = {module}:it\n",
            **{module: target or f"it = {str(model)!r}"},
        )

    return as_plugin


def listed() -> dict[str, dict[str, Any]]:
    result = sdabn("models", "list", "--json")
    assert result.exit_code == 0, result.stderr
    return {entry["name"]: entry for entry in json.loads(result.stdout)}


def shown(name: Any, *, exit_code: int = 0) -> dict[str, Any]:
    result = sdabn("models", "show", name, "--json")
    assert result.exit_code == exit_code, result.stderr
    return json.loads(result.stdout)


def test_models_are_listed_with_what_they_can_do(register, model):
    register("mine")

    mine = listed()["mine"]

    assert mine == {
        "name": "mine",
        "distribution": "dist-mine 1.0",
        "directory": str(model),
        "units": 2,
        "classes": list(CLASSES),
        "noise": "gaussian:sigma=25",
        "megabytes": round(sum(p.stat().st_size for p in model.glob("*.safetensors")) / 1e6, 1),
        "broken": None,
    }


@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model street has no weights yet")
def test_the_model_that_comes_with_sdabn_is_listed():
    street = listed()["street"]

    assert (street["units"], len(street["classes"])) == (3, 11)
    assert street["megabytes"] == pytest.approx(22.9, abs=0.1)


def test_an_installed_model_comes_before_a_folder_of_its_name(register, model):
    register("mine")
    Path("mine").mkdir()  # photographs, perhaps
    Path("runs").mkdir()
    save_model(Path("runs/mine"))

    assert shown("mine")["directory"] == str(model)
    assert shown("runs/mine")["directory"] == "runs/mine"
    assert_refused(sdabn("models", "show", "./mine"), "holds no finished cascade")


def test_a_path_is_a_directory_also_where_a_model_of_its_name_is_installed(register, tmp_path):
    register("mine")
    save_model(Path("mine"), units=1)

    found = sources.find(Path("mine"))

    assert found.directory == Path("mine")
    assert sources.find(found.name).directory == Path("mine")
    assert sources.find("mine").directory != Path("mine")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("it = '/nowhere'", "/nowhere holds no finished cascade"),
        ("it = 5", "gives no directory: TypeError"),
        ("def it():\n    raise KeyError('inside')", "gives no directory: KeyError: 'inside'"),
    ],
)
def test_a_broken_model_is_listed_with_its_reason_and_hides_no_other(register, target, reason):
    register("good")
    register("bad", target)

    found = listed()

    assert reason in found["bad"]["broken"]
    assert found["bad"]["units"] is None
    assert found["good"]["broken"] is None
    people = sdabn("models", "list")
    assert people.exit_code == 0
    assert people.stdout == ""
    assert flat(f"bad of dist-bad 1.0 is broken: {found['bad']['broken']}") in flat(people.stderr)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda model: (model / "cascade.json").write_text("{}"), "cascade.json is damaged"),
        (lambda model: (model / "s2.safetensors").unlink(), "No such file or directory"),
    ],
)
def test_a_damaged_model_is_listed_as_broken(register, model, damage, reason):
    register("mine")
    damage(model)

    assert reason in listed()["mine"]["broken"]


def test_a_name_of_two_distributions_is_listed_as_it_must_be_written(register):
    register("mine", distribution="first-dist")
    register("mine", distribution="second-dist")

    entries = json.loads(sdabn("models", "list", "--json").stdout)

    mine = {entry["name"]: entry["broken"] for entry in entries if "mine" in entry["name"]}
    assert mine == {"first-dist/mine": None, "second-dist/mine": None}


def test_listing_models_imports_no_torch():
    assert modules_after("models", "list").isdisjoint({"torch", "timm", "numpy"})


def test_a_file_that_networks_share_counts_once():
    segmenter = networks.build_segmenter("hrnet", {}, num_classes=11)
    denoiser = networks.build_denoiser("ddfn", {"blocks": 1}, condition_channels=11)
    units, weights = [], {}
    for number in (1, 2):
        s, d = f"s{number}.safetensors", f"d{number}.safetensors"
        weights |= {s: networks.weights_of(segmenter), d: networks.weights_of(denoiser)}
        units.append(
            {
                "segmenter": {"plugin": "hrnet", "weights": s},
                "denoiser": {"plugin": "ddfn", "options": {"blocks": "1"}, "weights": d},
            }
        )
    described = Description(
        units=units, classes=list(CLASSES), palette=list(PALETTE), noise="gaussian:sigma=25"
    )
    save(Path("twice"), described, weights)

    assert files(Path("twice")) == {"cascade.json", "s1.safetensors", "d1.safetensors"}
    size = sum(path.stat().st_size for path in Path("twice").glob("*.safetensors"))
    told = shown("./twice")
    assert told["megabytes"] == round(size / 1e6, 1) > 15
    networks_of_one = [told["units"][0][role]["parameters"] for role in ("segmenter", "denoiser")]
    assert told["parameters"] == sum(networks_of_one)


def test_a_model_is_shown_with_everything_that_is_known_of_it(model):
    (model / "README.md").write_text(CARD)

    told = shown(model)

    assert told["name"] == told["directory"] == str(model)
    assert told["problems"] == []
    assert told["classes"][3] == {"id": 3, "name": CLASSES[3], "colour": list(PALETTE[3])}
    assert [unit["unit"] for unit in told["units"]] == [1, 2]
    segmenter, denoiser = told["units"][1]["segmenter"], told["units"][1]["denoiser"]
    assert segmenter == {
        "plugin": "tiny", "options": {}, "weights": "s2.safetensors", "state": "verified",
        # 3x3 convolution 3 -> 8, batch norm of 8, 1x1 convolution 8 -> 11
        "parameters": (27 * 8 + 8) + 16 + (8 * 11 + 11),
        "bytes": (model / "s2.safetensors").stat().st_size,
    }  # fmt: skip
    assert denoiser["parameters"] == 9 * 14 * 3 + 3
    assert told["parameters"] == 2 * (segmenter["parameters"] + denoiser["parameters"])
    assert (told["condition"], told["noise"]) == ("segmentation", "gaussian:sigma=25")
    assert told["licence"] == "cc-by-4.0"
    assert told["card"] == {"path": str(model / "README.md"), "text": CARD}


def test_people_see_a_model_on_stderr(model):
    result = sdabn("models", "show", model)

    assert result.exit_code == 0
    assert result.stdout == ""
    for words in ("s2.safetensors", "verified", "bicyclist", "gaussian:sigma=25", "not stated"):
        assert words in result.stderr


def test_the_card_alone_goes_to_stdout(model):
    assert_refused(sdabn("models", "show", model, "--card"), f"{model} has no card (README.md)")
    (model / "README.md").write_text(CARD)

    assert sdabn("models", "show", model, "--card").stdout == CARD


def test_a_registered_model_has_its_distributions_licence_unless_the_card_says_another(
    register, model, tmp_path
):
    register("mine")
    (metadata,) = tmp_path.glob("site/dist-mine-*/*.dist-info/METADATA")
    metadata.write_text(metadata.read_text() + "License-Expression: MIT\n")

    assert shown("mine")["licence"] == "MIT"
    assert shown("mine")["distribution"] == "dist-mine 1.0"
    (model / "README.md").write_text(CARD)
    assert shown("mine")["licence"] == "cc-by-4.0"


@pytest.mark.parametrize(
    ("damage", "state", "problem"),
    [
        (lambda path: path.write_bytes(b"other"), "differs", "d1.safetensors is not what"),
        (lambda path: path.unlink(), "missing", "d1.safetensors is missing"),
    ],
)
def test_damaged_weights_are_shown_and_end_with_code_1(model, damage, state, problem):
    damage(model / "d1.safetensors")

    told = shown(model, exit_code=1)

    assert told["units"][0]["denoiser"]["state"] == state
    assert told["units"][1]["denoiser"]["state"] == "verified"
    assert problem in told["problems"][0]
    assert problem in sdabn("models", "show", model).stderr


def test_a_model_of_a_plugin_that_is_not_installed_is_shown_all_the_same(model):
    text = (model / "cascade.json").read_text()
    (model / "cascade.json").write_text(text.replace('"plugin": "tiny"', '"plugin": "tinny"'))

    told = shown(model, exit_code=1)

    assert told["units"][0]["segmenter"]["plugin"] == "tinny"
    assert told["parameters"] is None
    assert "There is no segmenter plug-in called 'tinny'." in told["problems"]


def test_what_a_stranger_wrote_cannot_steer_the_terminal(model):
    (model / "README.md").write_text("\x1b]0;owned\x07# Tiny\n")
    text = (model / "cascade.json").read_text()
    (model / "cascade.json").write_text(text.replace('"sky"', r'"sky\u001b[2J"'))

    card, people = sdabn("models", "show", model, "--card"), sdabn("models", "show", model)

    assert "Tiny" in card.stdout
    assert "sky" in people.stderr
    assert "\x1b]" not in card.stdout + people.stderr
    assert "\x1b[2J" not in people.stderr


@pytest.mark.parametrize("name", ["strete", "nowhere/at/all"])
def test_an_unknown_model_is_answered_with_what_is_allowed(name):
    assert_refused(sdabn("models", "show", name), f"no model '{name}'", "street", "hf:owner/name")


@pytest.fixture
def published(hub, model) -> str:
    """The model on the Hub with a card; its name with the commit."""
    (model / "README.md").write_text(CARD)
    commit = hub.repository("owner/tiny").push(fixtures_hub.content_of(model) | {"x.py": b"0"})
    return f"hf:owner/tiny@{commit}"


def test_a_model_on_the_hub_is_shown_without_downloading_its_weights(hub, published, model):
    told = shown("hf:owner/tiny")

    assert told["name"] == published
    assert {name for name in hub.fetched() if "." in name} == {"cascade.json", "README.md"}
    segmenter = told["units"][0]["segmenter"]
    assert segmenter["state"] == "not downloaded"
    assert segmenter["bytes"] == (model / "s1.safetensors").stat().st_size
    assert (told["licence"], told["card"]["text"]) == ("cc-by-4.0", CARD)


def test_a_model_on_the_hub_runs_like_its_own_directory(hub, published, model):
    save_picture(Path("a.png"))

    there = sdabn("run", "a.png", "--model", "hf:owner/tiny", "-o", "there", "--json")
    here = sdabn("run", "a.png", "--model", model, "-o", "here")

    assert there.exit_code == here.exit_code == 0
    assert json.loads(there.stdout)["model"] == published
    assert flat(f"hf:owner/tiny is now {published}") in flat(there.stderr)
    for name in files(Path("here")):
        assert Path("here", name).read_bytes() == Path("there", name).read_bytes()
    assert "x.py" not in hub.fetched()
    again = sdabn("run", "a.png", "--model", published, "-o", "again", "--json")
    assert "is now" not in again.stderr


def test_every_command_takes_a_model_on_the_hub(published, camvid_tree):
    save_picture(Path("a.png"))
    data = ["--dataset", "camvid", "--data", camvid_tree]

    assert sdabn("denoise", "a.png", "--model", "hf:owner/tiny").exit_code == 0
    assert sdabn("segment", "a.png", "--model", "hf:owner/tiny").exit_code == 0
    measured = sdabn("evaluate", *data, "--model", "hf:owner/tiny", "--json")
    exported = sdabn("export", "hf:owner/tiny", "mine", "--json")

    assert json.loads(measured.stdout)["model"] == published
    assert json.loads(exported.stdout)["source"] == published
    assert sdabn("run", "a.png", "--model", "mine").exit_code == 0


def test_a_dry_run_downloads_no_weights(hub, published):
    save_picture(Path("a.png"))

    plan = sdabn("run", "a.png", "--model", "hf:owner/tiny", "--dry-run", "--json")
    sdabn("export", "hf:owner/tiny", "mine", "--dry-run")

    assert json.loads(plan.stdout)["model"] == published
    assert not any(name.endswith(".safetensors") for name in hub.fetched())


@pytest.mark.parametrize(
    "arguments",
    [["run", "a.png", "--model"], ["export"], ["models", "show"],
     ["evaluate", "--dataset", "scenes", "--model"]],
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hf:tiny", ["'hf:tiny' is no name of a model on the Hub", "hf:owner/name@revision"]),
        ("hf:owner/none", ["There is no model owner/none", "hf auth login"]),
    ],
)
def test_a_mistake_with_a_name_on_the_hub_is_answered_everywhere(hub, arguments, name, parts):
    save_picture(Path("a.png"))
    rest = ["mine"] if arguments == ["export"] else []

    assert_refused(sdabn(*arguments, name, *rest), *parts)
    assert files(Path()) == {"a.png"}


def test_the_environment_names_the_hub_and_its_cache(published, hub, tmp_path):
    environment = {
        **os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }  # fmt: skip

    def show(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sdabn_cli", "models", "show", "hf:owner/tiny", "--json"],
            capture_output=True, text=True, env=environment | more,
        )  # fmt: skip

    first, offline = show(), show(HF_HUB_OFFLINE="1")
    shutil.rmtree(tmp_path / "hf")
    nothing = show(HF_HUB_OFFLINE="1")

    assert json.loads(first.stdout)["name"] == json.loads(offline.stdout)["name"] == published
    assert "is used, fetched earlier" in offline.stderr
    assert nothing.returncode == 2
    assert "Traceback" not in nothing.stderr
    assert flat("HF_HUB_OFFLINE keeps hf:owner/tiny from being looked up") in flat(nothing.stderr)


def test_spaces_behind_the_dashes_of_a_cards_head_do_not_hide_its_licence(model):
    (model / "README.md").write_text("--- \nlicense: mit\n---  \n# A card\n")

    assert shown(model)["licence"] == "mit"


def test_a_model_is_shown_whatever_the_metadata_of_its_distribution_hold(third_party, model):
    folder = third_party("odd-dist", "[sdabn.models]\nmine = odd_model:it\n",
                         odd_model=f"it = {str(model)!r}\n")  # fmt: skip
    for path in folder.rglob("METADATA"):
        path.write_bytes(b"\xff" + path.read_bytes())

    assert shown("mine")["licence"] is None


@pytest.mark.parametrize("mark", ["\u061c", "\u200e", "\u200f", "\u2028", "\u2029", "\u202e"])
def test_marks_of_direction_and_separators_of_a_card_are_shown_as_unknown(model, mark):
    (model / "README.md").write_text(f"# Ti{mark}ny\n", encoding="utf-8")

    card = sdabn("models", "show", model, "--card")

    assert card.stdout == "# Ti\N{REPLACEMENT CHARACTER}ny\n"
