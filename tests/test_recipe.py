"""Recipes: every mistake is named, every field arrives."""

from __future__ import annotations

import pytest
from fixtures_recipes import changed, content

from sdabn_cli import recipe
from sdabn_cli.errors import SdabnError
from sdabn_cli.schedule import Stage


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

    for part in ("segment.steps: 0 would train nothing", "unitss: there is no such key",
                 "condition: 'segmentatoin'", "denoise.crop: is missing"):  # fmt: skip
        assert part in caught.value.problem


def test_problems_of_several_stages_are_reported_together():
    wrong = changed("stages", {"s0": {"stepps": 3}, "d1": {"steps": -1}})

    with pytest.raises(SdabnError, match=r"stages\.s0\.stepps") as caught:
        recipe.validate(wrong, source="mine")

    assert "stages.d1.steps" in caught.value.problem


@pytest.mark.parametrize(
    ("stage", "own"), [("s0", {}), ("d1", {}), ("d2", {}), ("d3", {"from_previous": False})]
)
def test_a_stage_without_steps_must_start_from_something(stage, own):
    wrong = changed("stages", {stage: {"steps": 0, **own}})

    with pytest.raises(
        SdabnError, match=rf"stages\.{stage}\.steps: 0 would leave {stage} with weights that"
    ):
        recipe.validate(wrong, source="mine")


def test_a_stage_without_steps_may_start_from_the_one_before_or_from_given_weights():
    stages = {"s1": {"steps": 0}, "d3": {"steps": 0, "from_previous": True}}
    given = {"name": "ddfn", "init": "d.safetensors"}

    loaded = recipe.validate(changed("stages", stages), source="mine")
    recipe.validate(changed("stages", {"d1": {"steps": 0}}) | {"denoiser": given}, source="mine")

    assert loaded.for_stage(Stage.parse("d3")).steps == 0


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


#: A value other than the default for every key of a stage.
OTHER = {
    "steps": 11, "batch_size": 7, "crop": (24, 24), "long_side": 99, "scale": (0.5, 2.0),
    "flip": False, "turns": True, "optimizer": "adamw", "learning_rate": 0.7,
    "final_learning_rate": 0.01, "power": 1.5, "warmup_steps": 3, "momentum": 0.8,
    "weight_decay": 0.2, "log_every": 2, "save_every": 4, "validate_every": 6,
    "validation_images": 8, "accumulate": 7, "patience": 5, "finish_with": "best", "pictures": 1,
    "class_weights": [1.0, 2.0], "border": 3, "semantic_weight": 0.5, "colour": 0.1,
    "recolour": 0.2, "grey": 0.3, "loss": "psnr", "from_previous": True,
    "from_first": True,
    "ema": 0.99,
}  # fmt: skip


@pytest.mark.parametrize(
    ("group", "stage", "settings", "left_out"),
    [
        # momentum excludes optimizers other than sgd, semantic_weight the psnr as loss
        ("segment", "s2", recipe.SegmentSettings, ("momentum",)),
        ("segment", "s2", recipe.SegmentSettings, ("optimizer",)),
        ("denoise", "d2", recipe.DenoiseSettings, ("momentum", "loss")),
        ("denoise", "d2", recipe.DenoiseSettings, ("optimizer", "semantic_weight")),
    ],
)
def test_every_key_of_a_stage_arrives(group, stage, settings, left_out):
    default = recipe.validate(content(), source="none").for_stage(Stage.parse(stage)).model_dump()
    other = {key: OTHER[key] for key in settings.model_fields if key not in left_out}
    assert all(default[key] != value for key, value in other.items())
    given = other | {key: default[key] for key in left_out}

    by_kind = recipe.validate(changed(group, given), source="kind")
    by_stage = recipe.validate(changed("stages", {stage: given}), source="stage")

    assert by_kind.for_stage(Stage.parse(stage)).model_dump() == given
    assert by_stage.for_stage(Stage.parse(stage)).model_dump() == given


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        ("segment", {"accumulate": 3}, "a batch_size of 2 cannot be cut into 3 equal parts"),
        ("segment", {"patience": 3}, "patience counts validations: set validate_every as well"),
        ("denoise", {"loss": "psnr", "semantic_weight": 0.5}, "it needs loss: squared"),
        (
            "segment",
            {"optimizer": "muon", "momentum": 0.8},
            "0.8 is for sgd; muon has its own",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(group, change, message):
    with pytest.raises(SdabnError, match=message):
        recipe.validate(changed(group, content()[group] | change), source="test")


@pytest.mark.parametrize(
    ("key", "meant"),
    [("denoise.init", "denoiser.init"), ("segmenter.steps", "segment.steps"),
     ("denoiser.ema", "denoise.ema"), ("segment.new_head", "segmenter.new_head")],
)  # fmt: skip
def test_a_key_of_the_group_of_the_like_name_is_named(key, meant):
    group, last = key.split(".")
    wrong = content()
    wrong[group] = {"name": wrong[group]} if isinstance(wrong[group], str) else wrong[group]
    wrong[group][last] = 1

    with pytest.raises(SdabnError, match=f"{key}: there is no such key. Did you mean '{meant}'?"):
        recipe.validate(wrong, source="test")
