"""Recipes: every shipped one is sound, every mistake is named, every field arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sdabn_cli import recipe
from sdabn_cli.errors import SdabnError
from sdabn_cli.schedule import Stage

CPU_RECIPE = "camvid/awgn50-cpu"


def content() -> dict[str, Any]:
    """The smallest complete recipe."""
    stage = {"steps": 5, "batch_size": 2, "crop": [8, 8], "optimizer": "sgd",
             "learning_rate": 0.1}  # fmt: skip
    return {
        "data": {"dataset": "camvid"},
        "noise": "gaussian:sigma=50",
        "segmenter": "hrnet",
        "denoiser": "ddfn",
        "segment": dict(stage),
        "denoise": dict(stage),
    }


def changed(dotted: str, value: Any) -> dict[str, Any]:
    """The complete recipe with one key set."""
    whole = content()
    *parents, last = dotted.split(".")
    place = whole
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return whole


def write(mapping: dict[str, Any]) -> str:
    Path("mine.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    return "mine.yaml"


def test_recipes_are_shipped():
    assert len(recipe.names()) >= 2
    assert CPU_RECIPE in recipe.names()


@pytest.mark.parametrize("name", recipe.names())
def test_a_shipped_recipe_reads_back_equal(name):
    loaded = recipe.load(name)

    assert recipe.validate(yaml.safe_load(recipe.dump(loaded)), source=name) == loaded


@pytest.mark.parametrize("name", recipe.names())
def test_a_shipped_recipe_opens_with_how_to_run_it(name):
    head = recipe.path_of(name).read_text(encoding="utf-8").split("\n\n")[0]

    assert all(line.startswith("#") for line in head.splitlines())
    assert f"--recipe {name}" in head or name == recipe.DEFAULT_RECIPE


@pytest.mark.parametrize(
    ("dotted", "value", "nearest"),
    [
        ("segmentr", "hrnet", "segmenter"),
        ("data.rot", "x", "root"),
        ("segment.step", 3, "steps"),
        ("segment.clas_weights", [1.0], "class_weights"),
        ("denoise.bordr", 3, "border"),
        ("stages.s0.learning_rat", 3, "learning_rate"),
        ("stages.d1.bordr", 3, "border"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_match(dotted, value, nearest):
    with pytest.raises(SdabnError, match=f"{dotted}: there is no such key.*{nearest!r}"):
        recipe.validate(changed(dotted, value), source="mine")


def test_a_misspelt_key_of_a_plugin_choice_is_named():
    choice = {"name": "gaussian", "optoins": {"sigma": 3}}

    with pytest.raises(SdabnError, match=r"noise\.optoins: there is no such key.*'options'"):
        recipe.validate(changed("noise", choice), source="mine")


def test_several_problems_are_reported_together():
    wrong = changed("segment.steps", 0) | {"unitss": 3, "condition": "segmentatoin"}
    wrong["denoise"] = {k: v for k, v in wrong["denoise"].items() if k != "crop"}

    with pytest.raises(SdabnError, match="Recipe mine") as caught:
        recipe.validate(wrong, source="mine")

    for part in ("segment.steps: 0", "unitss: there is no such key", "condition: 'segmentatoin'",
                 "denoise.crop: is missing"):  # fmt: skip
        assert part in caught.value.problem


def test_problems_of_several_stages_are_reported_together():
    wrong = changed("stages", {"s0": {"stepps": 3}, "d1": {"steps": -1}})

    with pytest.raises(SdabnError, match=r"stages\.s0\.stepps") as caught:
        recipe.validate(wrong, source="mine")

    assert "stages.d1.steps" in caught.value.problem


def test_problems_of_stages_are_reported_with_all_others():
    wrong = changed("stages", {"s0": {"stepps": 3}}) | {"unitss": 3}

    with pytest.raises(SdabnError, match="unitss: there is no such key") as caught:
        recipe.validate(wrong, source="mine")

    assert "stages.s0.stepps" in caught.value.problem


@pytest.mark.parametrize("name", ["x1", "d0", "s", "s01", "s-1"])
def test_a_stage_that_cannot_be_is_refused(name):
    with pytest.raises(SdabnError, match="stage"):
        recipe.validate(changed("stages", {name: {"steps": 3}}), source="mine")


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("denoise.turns", True, "None"),
        ("segment.scale", [2.0, 1.0], "from small to large"),
        ("segment.learning_rate", -1, "learning_rate: -1"),
        ("segment.optimizer", "sdg", "optimizer: 'sdg'"),
        ("units", 0, "units: 0"),
        ("seed", "often", "seed: 'often'"),
    ],
)
def test_a_wrong_value_is_shown(dotted, value, message):
    wrong = changed(dotted, value)
    if dotted == "denoise.turns":
        wrong["denoise"]["crop"], message = [8, 16], "square crop"

    with pytest.raises(SdabnError, match=message):
        recipe.validate(wrong, source="mine")


def test_overrides_reach_every_depth():
    loaded = recipe.load(write(content()), [
        "units=2",
        "data.root=some/where",
        "segment.learning_rate=1e-3",
        "segment.crop=[32, 64]",
        "stages.s0.steps=7",
        "stages.d2={steps: 9, border: 0}",
        "noise.options.sigma=25",
        "segmenter=hrnet:variant=w18",
        "denoiser.options.blocks=3",
    ])  # fmt: skip

    assert loaded.units == 2
    assert loaded.data.root == Path("some/where")
    assert loaded.segment.learning_rate == 0.001
    assert loaded.segment.crop == (32, 64)
    assert loaded.for_stage(Stage.parse("s0")).steps == 7
    assert loaded.for_stage(Stage.parse("s1")).steps == 5
    assert loaded.for_stage(Stage.parse("d2")).border == 0
    assert str(loaded.noise) == "gaussian:sigma=25"
    assert str(loaded.segmenter) == "hrnet:variant=w18"
    assert loaded.denoiser.options == {"blocks": 3}


def test_overrides_leave_the_recipe_file_and_a_second_loading_alone():
    name = write(content())
    recipe.load(name, ["segment.steps=999", "noise.options.sigma=1"])

    assert recipe.load(name) == recipe.validate(content(), source="again")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("segment.steps", "'segment.steps' is not of the form KEY=VALUE"),
        ("segment.stepps=3", "segment.stepps: there is no such key.*'steps'"),
        ("segment.steps.x=3", "steps holds a value, not keys"),
        ("units=[1", "the value is not readable"),
    ],
)
def test_a_wrong_override_is_named(override, message):
    with pytest.raises(SdabnError, match=message):
        recipe.load(write(content()), [override])


def test_an_unknown_recipe_is_answered_with_the_nearest_match():
    with pytest.raises(SdabnError, match=f"no recipe called 'camvid/awgn50-cpi'.*\n.*{CPU_RECIPE}"):
        recipe.load("camvid/awgn50-cpi")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1", "not readable YAML"), ("just words", "holds no keys"), ("", "holds no keys"),
     ("\xe9".encode("latin-1"), "not readable YAML")],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_called_so(text, message):
    Path("mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(SdabnError, match=message):
        recipe.load("mine.yaml")


def test_a_missing_recipe_file_is_called_so():
    with pytest.raises(SdabnError, match=r"no recipe file mine\.yaml"):
        recipe.load("mine.yaml")


def test_differences_name_key_and_both_values():
    old = recipe.validate(content(), source="old")
    new = recipe.load(write(content()), ["segment.steps=6", "noise.options.sigma=25"])

    found = recipe.differences(old, new, [Stage.parse("s1")])

    assert len(found) == 2
    assert "s1.steps: 5 in the run, 6 now" in found
    assert any(line.startswith("noise.options.sigma: ") for line in found)


def test_what_changes_no_finished_stage_is_no_difference():
    old = recipe.validate(content(), source="old")
    free = ["units=9", "data.root=elsewhere", "data.workers=2", "data.cache_mb=5"]
    free += ["segment.log_every=3", "denoise.steps=99", "stages={s2: {steps: 1}}"]

    new = recipe.load(write(content()), free)

    assert recipe.differences(old, new, [Stage.parse("s1")]) == []
    assert recipe.differences(old, new, [Stage.parse("s2")]) == ["s2.steps: 5 in the run, 1 now"]


def test_an_option_is_the_same_as_text_and_as_number():
    as_text = recipe.validate(content(), source="text")
    as_number = recipe.load(write(content()), ["noise.options.sigma=50"])

    assert recipe.differences(as_text, as_number, []) == []


#: A value other than the default for every key of a stage.
OTHER = {
    "steps": 11, "batch_size": 7, "crop": (24, 24), "long_side": 99, "scale": (0.5, 2.0),
    "flip": False, "turns": True, "optimizer": "adamw", "learning_rate": 0.7,
    "final_learning_rate": 0.01, "power": 1.5, "warmup_steps": 3, "momentum": 0.8,
    "weight_decay": 0.2, "log_every": 2, "save_every": 4, "validate_every": 6,
    "validation_images": 8, "class_weights": [1.0, 2.0], "border": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("group", "stage", "settings"),
    [("segment", "s1", recipe.SegmentSettings), ("denoise", "d2", recipe.DenoiseSettings)],
)
def test_every_key_of_a_stage_arrives(group, stage, settings):
    given = {key: OTHER[key] for key in settings.model_fields}

    by_kind = recipe.validate(changed(group, given), source="kind")
    by_stage = recipe.validate(changed("stages", {stage: given}), source="stage")

    default = recipe.validate(content(), source="none").for_stage(Stage.parse(stage)).model_dump()
    assert all(default[key] != value for key, value in given.items())
    assert by_kind.for_stage(Stage.parse(stage)).model_dump() == given
    assert by_stage.for_stage(Stage.parse(stage)).model_dump() == given
