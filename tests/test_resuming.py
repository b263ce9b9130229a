"""A training that was stopped goes on as if it had not been, bit for bit on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdabn_cli import training
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
