"""A training that was stopped goes on as if it had not been, bit for bit on a CPU."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from fixtures_cli import assert_refused, sdabn

from sdabn_cli import training
from sdabn_cli.errors import SdabnError
from sdabn_cli.job import Training
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage


def train(opened: Training, *ids: str) -> None:
    for id_ in ids:
        training.train_stage(opened, Stage.parse(id_))


def all_weights(run: str) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in Path(run).glob("*/weights.safetensors")}


@pytest.mark.parametrize(
    ("stop", "segmenter"),
    [
        (("s0", 1), "tiny"),
        (("s1", 3), "tiny"),
        (("d2", 3), "tiny"),
        (("s1", 3), "tiny:dropout=0.5"),
    ],
)
def test_resumed_training_equals_an_uninterrupted_one_bit_for_bit(opened, watcher, stop, segmenter):
    settings = (f"segmenter={segmenter}", "segment.save_every=2", "denoise.save_every=2")
    training.train_cascade(opened(*settings, run="whole"))
    watcher.stop_at = stop
    with pytest.raises(Exception, match=f"power cut in {stop[0]} at step {stop[1]}"):
        training.train_cascade(opened(*settings, run="broken"))
    watcher.stop_at = None

    training.train_cascade(opened(*settings, run="broken"))

    assert all_weights("broken") == all_weights("whole")


def test_resuming_goes_on_at_the_saved_step_and_logs_no_step_twice(opened, watcher):
    settings = ("denoise.steps=5", "denoise.save_every=2", "denoise.validate_every=2")
    job = opened(*settings)
    train(job, "s0", "s1")
    watcher.stop_at = ("d1", 4)
    with pytest.raises(Exception, match="power cut"):
        train(job, "d1")
    watcher.stop_at = None

    train(opened(*settings), "d1")

    log = job.run.stage("d1").read_log()
    assert watcher.starts[-1] == ("d1", 2)
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4, 5]
    assert [line["step"] for line in log if "validation" in line] == [2, 4, 5]


def test_a_truncated_state_is_noticed_and_the_one_before_it_used(opened, watcher):
    settings = ("segment.steps=5",)
    training.train_stage(opened(*settings, run="whole"), Stage.parse("s0"))
    watcher.stop_at = ("s0", 4)
    with pytest.raises(Exception, match="power cut"):
        train(opened(*settings), "s0")
    watcher.stop_at = None
    state = Path("run/s0/state.pt")
    state.write_bytes(state.read_bytes()[:1000])

    train(opened(*settings), "s0")

    assert watcher.starts[-1] == ("s0", 2)
    assert len(watcher.warnings) == 1
    assert "state.pt is damaged" in watcher.warnings[0]
    assert all_weights("run") == all_weights("whole")


def stopped(opened, watcher, *settings: str) -> Path:
    """Directory of a stage that was stopped with a state of step 3 and one of step 2."""
    watcher.stop_at = ("s0", 4)
    with pytest.raises(Exception, match="power cut"):
        train(opened("segment.steps=5", *settings), "s0")
    watcher.stop_at = None
    return Path("run/s0")


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return first == second


def test_a_state_with_a_flipped_bit_is_never_taken_for_what_was_saved(opened, watcher):
    folder = stopped(opened, watcher, "segment.optimizer=adam")
    directory = Run(Path("run")).stage("s0")
    state = folder / "state.pt"
    content = state.read_bytes()
    whole, _ = directory.load_state()
    places = random.Random(3)
    damaged = 0

    for _ in range(300):
        spoilt = bytearray(content)
        spoilt[places.randrange(len(content))] ^= 1 << places.randrange(8)
        state.write_bytes(spoilt)
        found, warnings = directory.load_state()
        assert warnings in ([], [f"{state} is damaged and is removed."])
        assert found["step"] == (2 if warnings else 3)
        assert warnings or same(found, whole)
        damaged += bool(warnings)

    assert damaged > 100


@pytest.mark.parametrize("key", ["judge", "step", "network", "lap_loss"])
def test_a_state_that_lacks_something_is_noticed_and_the_one_before_it_used(opened, watcher, key):
    state = stopped(opened, watcher) / "state.pt"
    content = torch.load(state, weights_only=True)
    del content[key]
    torch.save(content, state)

    train(opened("segment.steps=5"), "s0")

    assert watcher.starts[-1] == ("s0", 2)
    assert ["state.pt is damaged" in warning for warning in watcher.warnings] == [True]


def test_a_state_of_another_network_is_called_so_and_kept(opened, watcher):
    state = stopped(opened, watcher) / "state.pt"
    content = torch.load(state, weights_only=True)
    content["network"]["head.weight"] = torch.zeros(3, 3)
    torch.save(content, state)

    with pytest.raises(SdabnError, match="is of another network") as caught:
        train(opened("segment.steps=5"), "s0")

    assert "size mismatch for head.weight" in caught.value.problem
    assert state.is_file()


def test_a_spoilt_log_is_read_as_far_as_it_can_be(opened, watcher):
    log = stopped(opened, watcher) / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + b'\xff\xfe\x00\n[1]\n{"step": "2"}\n' + b"".join(lines[1:]))

    train(opened("segment.steps=5"), "s0")

    entries = Run(Path("run")).stage("s0").read_log()
    assert [entry["step"] for entry in entries if "loss" in entry] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("content", [b"\xff\xfe", b'["a', b"{}", b"[1]"])
def test_spoilt_classes_are_called_damaged(tiny_recipe, content):
    command = ["train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe]
    assert sdabn(*command, "--run", "run").exit_code == 0
    Path("run/classes.json").write_bytes(content)

    assert_refused(sdabn(*command, "--run", "run"), "run/classes.json is damaged", "Remove it")

    Path("run/classes.json").unlink()
    assert sdabn(*command, "--run", "run").exit_code == 0
    assert Path("run/classes.json").is_file()


def test_a_stage_without_a_readable_state_begins_again(opened, watcher):
    watcher.stop_at = ("s0", 3)
    with pytest.raises(Exception, match="power cut"):
        train(opened(), "s0")
    watcher.stop_at = None
    for name in ("state.pt", "state.previous.pt"):
        Path("run/s0", name).write_bytes(b"")

    train(opened(), "s0")

    assert watcher.starts[-1] == ("s0", 0)
    assert len(watcher.warnings) == 2
    assert [line["step"] for line in Run(Path("run")).stage("s0").read_log()] == [1, 2, 3, 3]
