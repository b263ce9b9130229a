"""Stages that systems share: what becomes of copies when the first one is trained anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fixtures_cli import assert_refused
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


def test_both_segmenters_of_the_joint_network_start_from_the_clean_one(reproduced):
    made = reproduced("table5", "--without", "plus")

    assert made.exit_code == 0, made.stderr
    assert "joint s1: finished" in made.stderr
    assert "joint s0: finished" not in made.stderr
    clean, joint = (load_file(RUNS / f"{each}/s0/weights.safetensors") for each in ("sdb", "joint"))
    for unit in (0, 1):
        for name, weights in clean.items():
            assert joint.pop(f"cascade.units.{unit}.segmenter.{name}").equal(weights)
    assert joint
    assert {name.split(".denoiser.")[0] for name in joint} == {"cascade.units.0"}
    assert any(weights.any() for weights in joint.values())  # random ones


def test_a_joint_network_of_another_clean_segmenter_is_not_compared_with_the_new_one(reproduced):
    reproduced("table5", "--without", "plus")
    (clean,) = Path("all").glob("seed0/clean-*/s0")
    for stage in (clean, RUNS / "sdb/s0"):
        _train_anew(stage)
    for stage in ("s1", "d1", "s2"):
        shutil.rmtree(RUNS / "sdb" / stage)

    refused = reproduced("table5", "--without", "plus")
    shutil.rmtree(RUNS / "joint/s1")
    again = reproduced("table5", "--without", "plus")

    assert_refused(refused, f"{RUNS}/joint/s0 is no copy of {clean} any more",
                   "s1 beside the copy was trained upon it")  # fmt: skip
    assert again.exit_code == 0, again.stderr
    held, given = load_file(RUNS / "joint/s0/weights.safetensors"), load_file(
        clean / "weights.safetensors"
    )  # fmt: skip
    assert all(held[f"cascade.units.1.segmenter.{name}"].equal(w) for name, w in given.items())
