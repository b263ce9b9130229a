"""Stages that systems share: what becomes of copies when the first one is trained anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fixtures_cli import assert_refused, flat, sdabn
from safetensors.torch import load_file, save_file

RUNS = Path("all/seed0/gaussian-sigma-50")


def _train_anew(stage: Path) -> None:
    """Give a stage other weights, as a training on another machine would."""
    weights = load_file(stage / "weights.safetensors")
    changed = {k: v * 1.01 if v.is_floating_point() else v for k, v in weights.items()}
    save_file(changed, stage / "weights.safetensors")


def _weights(*stages: Path) -> list[bytes]:
    return [(stage / "weights.safetensors").read_bytes() for stage in stages]


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["for real", "dry"])
def test_what_was_trained_upon_an_old_copy_is_not_compared_with_the_new_stage(reproduced, more):
    reproduced("table1")
    _train_anew(RUNS / "sdb/s1")
    before = {path: path.read_bytes() for path in Path("all").rglob("*") if path.is_file()}

    refused = reproduced("table1", *more)

    assert_refused(refused, f"{RUNS}/ddfn/s1 is no copy of {RUNS}/sdb/s1 any more",
                   "s2 beside the copy was trained upon it", f"Remove {RUNS}/ddfn/s2")  # fmt: skip
    assert before == {path: path.read_bytes() for path in before}


def test_as_the_refusal_says_the_rest_is_trained_upon_the_new_stage(reproduced):
    reproduced("table1")
    _train_anew(RUNS / "sdb/s1")
    old = _weights(RUNS / "ddfn/s2")
    shutil.rmtree(RUNS / "ddfn/s2")

    again = reproduced("table1")

    assert again.exit_code == 0, again.stderr
    first, copy = _weights(RUNS / "sdb/s1", RUNS / "ddfn/s1")
    assert copy == first
    assert _weights(RUNS / "ddfn/s2") != old
    assert "ddfn s2: finished" in again.stderr
    assert f"{RUNS}/ddfn/s1 had other weights" in again.stderr.replace("\n", " ")
    assert "had other weights" not in reproduced("table1").stderr


def test_or_the_older_weights_are_put_back(reproduced):
    reproduced("table1")
    _train_anew(RUNS / "sdb/s1")
    shutil.copy(RUNS / "ddfn/s1/weights.safetensors", RUNS / "sdb/s1")

    again = reproduced("table1")

    assert again.exit_code == 0, again.stderr
    assert "finished after" not in again.stderr


def test_a_judge_of_denoisers_counts_as_what_they_were_trained_upon(reproduced):
    reproduced("table2", "--without", "bm3d")
    for stage in (*Path("all").glob("seed0/clean-*/s0"), RUNS / "sdb/s0"):
        _train_anew(stage)

    refused = reproduced("table2", "--without", "bm3d")

    (clean,) = Path("all").glob("seed0/clean-*/s0")
    assert_refused(refused, f"{RUNS}/dms/s0 is no copy of {clean} any more", "d1 beside the copy")


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["for real", "dry"])
def test_the_clean_segmenter_of_all_noises_is_held_to_what_it_is(reproduced, more):
    reproduced("table1", "--noise", "gaussian:sigma=10")
    reproduced("figure2")
    (clean,) = Path("all").glob("seed0/clean-*/s0")
    _train_anew(clean)

    taken = reproduced("figure2")
    refused = reproduced("table1", "--noise", "gaussian:sigma=10", *more)

    assert taken.exit_code == 0, taken.stderr  # nothing was trained upon that copy
    assert _weights(RUNS / "sdb/s0") == _weights(clean)
    copy = "all/seed0/gaussian-sigma-10/sdb/s0"
    assert_refused(refused, f"{copy} is no copy of {clean} any more", "s1, d1 beside the copy were")


def test_a_clean_segmenter_that_was_removed_is_given_again_by_a_noise_that_has_it(reproduced):
    reproduced("figure2")
    (clean,) = Path("all").glob("seed0/clean-*")
    shutil.rmtree(clean)

    again = reproduced("figure2")

    assert again.exit_code == 0, again.stderr
    assert _weights(clean / "s0") == _weights(RUNS / "sdb/s0")
    assert (clean / "data.json").is_file()


def _places(joint: dict[str, Any], segmenter: dict[str, Any]) -> list[bool]:
    """Whether the first and the second segmenter of a joint network are that one."""
    return [
        all(joint[f"cascade.units.{unit}.segmenter.{n}"].equal(w) for n, w in segmenter.items())
        for unit in (0, 1)
    ]


def _s0(system: str) -> dict[str, Any]:
    return load_file(RUNS / system / "s0/weights.safetensors")


def test_both_segmenters_of_the_joint_network_start_from_the_clean_one(reproduced):
    made = reproduced("table5", "--without", "plus")

    assert made.exit_code == 0, made.stderr
    assert "joint s1: finished" in made.stderr
    assert "joint s0: finished" not in made.stderr
    assert "sdb's s0" in made.stderr
    joint, clean = _s0("joint"), _s0("sdb")
    assert _places(joint, clean) == [True, True]
    denoiser = [n for n in joint if n.startswith("cascade.units.0.denoiser.")]
    assert len(joint) == 2 * len(clean) + len(denoiser)
    assert any(joint[name].any() for name in denoiser)  # random ones

    shown = sdabn("runs", RUNS / "joint").stderr
    assert flat("s0 finished - / 3") in flat(shown)  # it was not trained
    assert flat("s1 finished 3 / 3") in flat(shown)

    again = reproduced("table5", "--without", "plus")
    planned = reproduced("table5", "--without", "plus", "--dry-run", "--json")

    assert again.exit_code == 0, again.stderr
    assert "finished after" not in again.stderr
    assert "did not hold" not in again.stderr
    assert json.loads(planned.stdout)["missing"] == []


def test_a_joint_network_needs_the_clean_segmenter_alone_once_for_all_noises(reproduced):
    noises = ["--noise", "gaussian:sigma=10", "--noise", "gaussian:sigma=50"]
    given = ("table5", "--without", "plus", "--without", "sdb", *noises)

    planned = json.loads(reproduced(*given, "--dry-run", "--json").stdout)["missing"]
    made = reproduced(*given)

    assert made.exit_code == 0, made.stderr
    assert [(each["system"], each["stage"]) for each in planned] == [
        ("sdb", "s0"), ("joint", "s1"), ("joint", "s1"),
    ]  # fmt: skip
    assert made.stderr.count("finished after") == len(planned)


@pytest.mark.parametrize("unit", [0, 1])
@pytest.mark.parametrize("with_source", [True, False], ids=["with s0", "without s0"])
def test_a_joint_network_of_other_segmenters_is_not_compared(reproduced, unit, with_source):
    reproduced("table5", "--without", "plus")
    place = RUNS / "joint/s0/weights.safetensors"
    other = _s0("joint")
    name = next(n for n in other if n.startswith(f"cascade.units.{unit}.segmenter."))
    save_file(other | {name: other[name] + 1}, place)  # as one that was trained as a whole
    (clean,) = Path("all").glob("seed0/clean-*/s0")
    if not with_source:
        shutil.rmtree(clean.parent)
        shutil.rmtree(RUNS / "sdb")
        clean = RUNS / "sdb/s0"
    before = {path: path.read_bytes() for path in Path("all").rglob("*") if path.is_file()}

    refused = [reproduced("table5", "--without", "plus", *more) for more in ((), ("--dry-run",))]

    for each in refused:
        assert_refused(each, f"{RUNS}/joint/s0 does not hold the weights of {clean}",
                       "s1 beside it was trained upon it", f"Remove {RUNS}/joint/s1, ")  # fmt: skip
        assert "put" not in each.stderr
    assert before == {path: path.read_bytes() for path in before}

    shutil.rmtree(RUNS / "joint/s1")
    again = reproduced("table5", "--without", "plus")

    assert again.exit_code == 0, again.stderr
    assert "joint s1: finished" in again.stderr
    assert _places(_s0("joint"), _s0("sdb")) == [True, True]
    if with_source:
        assert f"{RUNS}/joint/s0 did not hold" in again.stderr.replace("\n", " ")


def test_a_damaged_start_of_a_joint_network_is_made_anew(reproduced):
    reproduced("table5", "--without", "plus")
    place = RUNS / "joint/s0/weights.safetensors"
    place.write_bytes(place.read_bytes()[:-7])

    refused = reproduced("table5", "--without", "plus")
    shutil.rmtree(RUNS / "joint/s1")
    again = reproduced("table5", "--without", "plus")

    assert_refused(refused, f"{RUNS}/joint/s0 does not hold", f"Remove {RUNS}/joint/s1")
    assert again.exit_code == 0, again.stderr
    assert _places(_s0("joint"), _s0("sdb")) == [True, True]
