"""Recipes with overrides, and what differs between two of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fixtures_recipes import changed, content, write

from sdabn_cli import changes, recipe, recipefiles
from sdabn_cli.errors import SdabnError
from sdabn_cli.schedule import Stage, stages


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


def test_starting_from_the_first_segmenter_decides_nothing_about_the_first_ones():
    old = recipe.validate(content(), source="old")
    new = recipefiles.load(write(content()), ["segment.from_first=true"])

    assert changes.differences(old, new, [Stage.parse("s0"), Stage.parse("s1")]) == []
    assert len(changes.differences(old, new, [Stage.parse("s3")])) == 1
    starts = [new.starts_from(Stage.parse(f"s{unit}")) for unit in range(4)]
    assert starts == [None, "s0", "s1", "s1"]
    for name in ("s0", "s1"):
        with pytest.raises(SdabnError, match=rf"stages\.{name}\.from_first: .*leave it out"):
            recipe.validate(changed("stages", {name: {"from_first": True}}), source="test")


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
