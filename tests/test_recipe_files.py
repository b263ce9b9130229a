"""Recipes as files: every shipped one is sound, one may extend another."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fixtures_recipes import content

from sdabn_cli import recipe, recipefiles
from sdabn_cli.errors import SdabnError
from sdabn_cli.plan import describe
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage, stages

CPU_RECIPE = "camvid/awgn50-cpu"


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


def test_runs_keep_a_momentum_that_had_no_effect_out_of_the_way(tmp_path):
    resolved = yaml.safe_load(recipefiles.dump(recipefiles.load("scenes/quickstart")))
    resolved["segment"] |= {"optimizer": "adamw", "momentum": 0.95}
    resolved["denoise"] |= {"optimizer": "sgd", "momentum": 0.8}
    resolved["stages"]["d2"] = {"optimizer": "muon"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(resolved))

    found = recipefiles.read_resolved(tmp_path / "recipe.yaml")

    assert found.segment.momentum == 0.9
    assert [found.for_stage(Stage.parse(name)).momentum for name in ("d1", "d2")] == [0.8, 0.9]


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
