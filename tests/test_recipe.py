"""Recipes: every shipped one is sound, every mistake is named, every field arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sdabn_cli import changes, recipe, recipefiles
from sdabn_cli.errors import SdabnError
from sdabn_cli.plan import describe
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage, stages

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
    assert len(recipefiles.names()) >= 2
    assert CPU_RECIPE in recipefiles.names()


@pytest.mark.parametrize("name", recipefiles.names())
def test_a_shipped_recipe_reads_back_equal(name):
    loaded = recipefiles.load(name)

    assert recipe.validate(yaml.safe_load(recipefiles.dump(loaded)), source=name) == loaded


@pytest.mark.parametrize("name", recipefiles.names())
def test_a_shipped_recipe_opens_with_how_to_run_it(name):
    head = recipefiles.path_of(name).read_text(encoding="utf-8").split("\n\n")[0]

    assert all(line.startswith("#") for line in head.splitlines())
    assert f"--recipe {name}" in head or name == recipefiles.DEFAULT_RECIPE


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


def test_overrides_reach_every_depth():
    loaded = recipefiles.load(write(content()), [
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


@pytest.mark.parametrize("given", ["segment.steps=10", "segment={steps: 10, batch_size: 2, "
                         "crop: [8, 8], optimizer: sgd, learning_rate: 0.1}"])  # fmt: skip
def test_an_override_of_a_group_counts_for_stages_that_the_file_sets_apart(given):
    own = {"s0": {"steps": 250, "power": 0.5}, "s1": {"steps": 100}, "d1": {"steps": 200}}
    name = write(changed("stages", own))

    loaded = recipefiles.load(name, [given])

    steps = {id_: loaded.for_stage(Stage.parse(id_)).steps for id_ in ("s0", "s1", "s2", "d1")}
    assert steps == {"s0": 10, "s1": 10, "s2": 10, "d1": 200}
    assert loaded.for_stage(Stage.parse("s0")).power == 0.5
    assert recipe.validate(yaml.safe_load(recipefiles.dump(loaded)), source="again") == loaded


@pytest.mark.parametrize("stage_first", [True, False])
def test_an_override_of_a_single_stage_counts_more_than_one_of_its_group(stage_first):
    given = ["stages.s0.steps=3", "segment.steps=10"]
    name = write(changed("stages", {"s0": {"steps": 250}, "s1": {"steps": 100}}))

    loaded = recipefiles.load(name, given if stage_first else given[::-1])

    assert [loaded.for_stage(Stage.parse(id_)).steps for id_ in ("s0", "s1")] == [3, 10]


def test_the_default_recipe_follows_an_override_in_every_stage():
    loaded = recipefiles.load(recipefiles.DEFAULT_RECIPE, ["segment.steps=10", "denoise.steps=20"])

    assert {(s.kind, loaded.for_stage(s).steps) for s in stages(3)} == {
        ("seg", 10), ("denoise", 20),
    }  # fmt: skip


def test_overrides_leave_the_recipe_file_and_a_second_loading_alone():
    name = write(content())
    recipefiles.load(name, ["segment.steps=999", "noise.options.sigma=1"])

    assert recipefiles.load(name) == recipe.validate(content(), source="again")


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
        recipefiles.load(write(content()), [override])


def test_an_unknown_recipe_is_answered_with_the_nearest_match():
    with pytest.raises(SdabnError, match=f"no recipe called 'camvid/awgn50-cpi'.*\n.*{CPU_RECIPE}"):
        recipefiles.load("camvid/awgn50-cpi")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1", "not readable YAML"), ("just words", "holds no keys"), ("", "holds no keys"),
     ("\xe9".encode("latin-1"), "not readable YAML")],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_called_so(text, message):
    Path("mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(SdabnError, match=message):
        recipefiles.load("mine.yaml")


def test_a_missing_recipe_file_is_called_so():
    with pytest.raises(SdabnError, match=r"no recipe file mine\.yaml"):
        recipefiles.load("mine.yaml")


def test_differences_name_key_and_both_values():
    old = recipe.validate(content(), source="old")
    new = recipefiles.load(write(content()), ["segment.steps=6", "noise.options.sigma=25"])

    found = changes.differences(old, new, [Stage.parse("s1")])

    assert len(found) == 2
    assert "s1.steps: 5 in the run, 6 now" in found
    assert any(line.startswith("noise.options.sigma: ") for line in found)


def test_starting_from_the_denoiser_before_decides_nothing_about_the_first_one():
    old = recipe.validate(content(), source="old")
    new = recipefiles.load(write(content()), ["denoise.from_previous=true"])

    assert changes.differences(old, new, [Stage.parse("d1")]) == []
    assert len(changes.differences(old, new, [Stage.parse("d2")])) == 1
    assert (new.starts_from(Stage.parse("d1")), new.starts_from(Stage.parse("d2"))) == (None, "d1")
    with pytest.raises(SdabnError, match="there is no denoiser before d1; leave it out"):
        recipe.validate(changed("stages", {"d1": {"from_previous": True}}), source="test")
    recipe.validate(changed("stages", {"d1": {"from_previous": "no"}}), source="test")


def test_what_changes_no_finished_stage_is_no_difference():
    old = recipe.validate(content(), source="old")
    free = ["units=9", "data.root=elsewhere", "data.workers=2", "data.cache_mb=5"]
    free += [
        "segment.log_every=3",
        "denoise.steps=99",
        "stages={s2: {steps: 1}}",
        "cuda_graphs=true",
    ]

    new = recipefiles.load(write(content()), free)

    assert changes.differences(old, new, [Stage.parse("s1")]) == []
    assert changes.differences(old, new, [Stage.parse("s2")]) == ["s2.steps: 5 in the run, 1 now"]


def test_an_option_that_is_new_is_the_only_difference():
    plain = content() | {"denoiser": {"name": "ddfn"}}
    old = recipe.validate(plain, source="old")
    new = recipe.validate(
        plain | {"denoiser": {"name": "ddfn", "options": {"blocks": 3}}}, source="new"
    )

    found = changes.differences(old, new, [Stage.parse("d1")])

    assert found == ["denoiser.options.blocks: None in the run, 3 now"]


def test_an_option_is_the_same_as_text_and_as_number():
    as_text = recipe.validate(content(), source="text")
    as_number = recipefiles.load(write(content()), ["noise.options.sigma=50"])

    assert changes.differences(as_text, as_number, []) == []


#: A value other than the default for every key of a stage.
OTHER = {
    "steps": 11, "batch_size": 7, "crop": (24, 24), "long_side": 99, "scale": (0.5, 2.0),
    "flip": False, "turns": True, "optimizer": "adamw", "learning_rate": 0.7,
    "final_learning_rate": 0.01, "power": 1.5, "warmup_steps": 3, "momentum": 0.8,
    "weight_decay": 0.2, "log_every": 2, "save_every": 4, "validate_every": 6,
    "validation_images": 8, "accumulate": 7, "patience": 5, "finish_with": "best", "pictures": 1,
    "class_weights": [1.0, 2.0], "border": 3, "semantic_weight": 0.5, "colour": 0.1,
    "recolour": 0.2, "loss": "psnr", "from_previous": True,
    "ema": 0.99,
}  # fmt: skip


@pytest.mark.parametrize(
    ("group", "stage", "settings", "left_out"),
    [
        ("segment", "s1", recipe.SegmentSettings, ""),
        ("denoise", "d2", recipe.DenoiseSettings, "loss"),  # the two exclude each other
        ("denoise", "d2", recipe.DenoiseSettings, "semantic_weight"),
    ],
)
def test_every_key_of_a_stage_arrives(group, stage, settings, left_out):
    given = {key: OTHER[key] for key in settings.model_fields if key != left_out}

    by_kind = recipe.validate(changed(group, given), source="kind")
    by_stage = recipe.validate(changed("stages", {stage: given}), source="stage")

    default = recipe.validate(content(), source="none").for_stage(Stage.parse(stage)).model_dump()
    assert all(default[key] != value for key, value in given.items())
    expected = given | {left_out: default[left_out]} if left_out else given
    assert by_kind.for_stage(Stage.parse(stage)).model_dump() == expected
    assert by_stage.for_stage(Stage.parse(stage)).model_dump() == expected


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        ("segment", {"accumulate": 3}, "a batch_size of 2 cannot be cut into 3 equal parts"),
        ("segment", {"patience": 3}, "patience counts validations: set validate_every as well"),
        ("denoise", {"loss": "psnr", "semantic_weight": 0.5}, "it needs loss: squared"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(group, change, message):
    with pytest.raises(SdabnError, match=message):
        recipe.validate(changed(group, content()[group] | change), source="test")


@pytest.mark.parametrize(("judged", "refused"), [(None, False), (3, True)])
def test_the_rhythm_of_validations_is_free_unless_it_decides_when_a_stage_ends(judged, refused):
    rhythms = [
        recipe.validate(
            changed(
                "segment", content()["segment"] | {"validate_every": every, "patience": judged}
            ),
            source="test",
        )
        for every in (10, 20)
    ]

    assert bool(changes.differences(*rhythms, [Stage.parse("s1")])) == refused


def test_a_recipe_extends_another_and_the_command_line_both():
    loaded = recipefiles.load("cityscapes/awgn30", ["segment.steps=7"])
    base = recipefiles.load("cityscapes/awgn50")

    assert str(loaded.noise) == "gaussian:sigma=30"
    assert loaded.segment.steps == 7
    assert loaded.model_copy(update={"noise": base.noise, "segment": base.segment}) == base
    assert "extends" not in recipefiles.dump(loaded)


def test_extending_merges_groups_and_replaces_lists_and_plugins(tmp_path):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(content()), encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(
        "extends: base.yaml\nnoise: {name: poisson, options: {peak: 30}}\n"
        "segment: {crop: [8, 16]}\nstages: {s1: {steps: 3}}\n",
        encoding="utf-8",
    )

    loaded, base = recipefiles.load(str(own)), recipefiles.load(str(tmp_path / "base.yaml"))

    assert str(loaded.noise) == "poisson:peak=30"
    assert loaded.segment == base.segment.model_copy(update={"crop": (8, 16)})
    assert loaded.for_stage(Stage.parse("s1")).steps == 3


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("cityscapes/awgn5", "There is no recipe called 'cityscapes/awgn5'.*"),
        ("own.yaml", "extends itself"),
        ("[1]", "extends must be the name of a recipe"),
    ],
)
def test_a_base_that_is_wrong_is_refused(tmp_path, base, message):
    own = tmp_path / "own.yaml"
    own.write_text(f"extends: {base}\n", encoding="utf-8")

    with pytest.raises(SdabnError, match=message):
        recipefiles.load(str(own))


#: The settings of the released experiment, from its published configurations.
PUBLISHED = {
    "cityscapes": {
        "segment": {"crop": (512, 1024), "batch_size": 40, "steps": round(484 * 2975 / 40),
                    "scale": (0.5, 2.1), "long_side": 2048, "turns": False},
        "denoise": {"crop": (192, 192), "batch_size": 64, "steps": round(2000 * 2975 / 64),
                    "turns": False},
    },
    "outdoorseg": {
        "segment": {"crop": (480, 480), "batch_size": 48, "steps": 300 * 8800 // 48,
                    "scale": (0.5, 1.1), "long_side": 960, "turns": False},
        "denoise": {"crop": (120, 120), "batch_size": 64, "steps": 2500 * 8800 // 64,
                    "turns": True},
    },
}  # fmt: skip
OF_SEGMENTERS = {"optimizer": "sgd", "learning_rate": 0.03, "momentum": 0.9, "weight_decay": 5e-4,
                 "power": 0.9, "final_learning_rate": 0, "flip": True}  # fmt: skip
OF_DENOISERS = {"optimizer": "adam", "learning_rate": 1e-3, "final_learning_rate": 1e-4,
                "power": 1.5, "weight_decay": 1e-4, "flip": True, "border": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "noises"),
    [
        ("cityscapes", {"awgn50": "gaussian:sigma=50", "awgn30": "gaussian:sigma=30",
                        "awgn10": "gaussian:sigma=10", "poisson": "poisson"}),
        ("outdoorseg", {"awgn50": "gaussian:sigma=50", "awgn25": "gaussian:sigma=25",
                        "poisson": "poisson"}),
    ],
)  # fmt: skip
def test_the_papers_recipes_have_the_settings_of_the_released_experiment(dataset, noises):
    for name, noise in noises.items():
        loaded = recipefiles.load(f"{dataset}/{name}")
        assert str(loaded.noise) == noise
        assert (loaded.units, loaded.condition) == (3, "segmentation")
        for group, common in (("segment", OF_SEGMENTERS), ("denoise", OF_DENOISERS)):
            expected = common | PUBLISHED[dataset][group]
            settings = getattr(loaded, group).model_dump()
            assert {key: settings[key] for key in expected} == expected
        assert bool(loaded.segment.class_weights) == (dataset == "cityscapes")


#: Parameters of S and D at a data set's number of classes.
SIZES = {"cityscapes": (3_939_579, 114_176), "outdoorseg": (3_936_598, 114_000)}


@pytest.mark.parametrize("name", recipefiles.names())
def test_every_recipe_can_be_planned(name, tmp_path):
    loaded = recipefiles.load(name)

    plan = describe(loaded, Run(tmp_path / "run"), stages(loaded.units))

    assert [stage["id"] for stage in plan["stages"]] == ["s0", "s1", "d1", "s2", "d2", "s3", "d3"]
    sizes = SIZES.get(name.split("/")[0])
    for stage in plan["stages"] if sizes else ():
        assert stage["parameters"] == sizes[stage["kind"] == "denoise"]
