"""Algorithm 1's stages and the learning rate within one, against the paper and by hand."""

from __future__ import annotations

import pytest

from sdabn_cli.errors import SdabnError
from sdabn_cli.optimization import learning_rate
from sdabn_cli.recipe import StageSettings
from sdabn_cli.schedule import Stage, stages


def settings(**changes: object) -> StageSettings:
    base = {"steps": 100, "batch_size": 1, "crop": (8, 8), "optimizer": "sgd",
            "learning_rate": 0.03}  # fmt: skip
    return StageSettings(**(base | changes))


def test_stages_follow_algorithm_1():
    assert [stage.id for stage in stages(3)] == ["s0", "s1", "d1", "s2", "d2", "s3", "d3"]


@pytest.mark.parametrize(
    ("name", "starts_from", "prefix"),
    [
        ("s0", None, []),
        ("s1", "s0", []),
        ("d1", None, ["s1"]),
        ("s2", "s1", ["s1", "d1"]),
        ("d2", None, ["s1", "d1", "s2"]),
        ("s3", "s2", ["s1", "d1", "s2", "d2"]),
    ],
)
def test_a_stage_knows_its_start_and_its_prefix(name, starts_from, prefix):
    stage = Stage.parse(name)

    assert stage.id == name
    assert stage.starts_from == starts_from
    assert stage.prefix == prefix
    assert stage.is_clean == (name == "s0")


@pytest.mark.parametrize(
    ("index", "kind", "message"),
    [
        (1, "segment", "no kind 'segment'.*\nAllowed: seg, denoise"),
        (-1, "seg", "no seg stage -1"),
        (0, "denoise", "no denoise stage 0"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(index, kind, message):
    with pytest.raises(SdabnError, match=message):
        Stage(index, kind)


def test_the_learning_rate_of_segmenters_falls_by_the_power_of_0_9_to_zero():
    rates = [learning_rate(settings(power=0.9), step) for step in (0, 50, 99)]

    assert rates == pytest.approx([0.03, 0.03 * 0.5**0.9, 0.03 * 0.01**0.9])


def test_the_learning_rate_of_denoisers_ends_at_a_tenth():
    how = settings(learning_rate=1e-3, final_learning_rate=1e-4, power=1.5)

    assert learning_rate(how, 0) == pytest.approx(1e-3)
    assert learning_rate(how, 75) == pytest.approx(1e-4 + 9e-4 * 0.125)


def test_warm_up_rises_linearly():
    how = settings(warmup_steps=3, steps=10**9)

    rates = [learning_rate(how, step) / 0.03 for step in range(5)]

    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_unguided_denoisers_stand_behind_denoisers_alone():
    assert Stage.parse("d1").denoisers_before == []
    assert Stage.parse("d3").denoisers_before == ["d1", "d2"]
    assert Stage.parse("s3").denoisers_before == ["d1", "d2"]
