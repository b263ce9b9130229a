"""What a training shows and how it judges itself: patience, best weights, pictures, events."""

from __future__ import annotations

import contextlib
import math
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sdabn_cli import training
from sdabn_cli.errors import SdabnError
from sdabn_cli.labels import IGNORED
from sdabn_cli.pictures import CAPTION, GAP, NO_LABEL, comparison
from sdabn_cli.schedule import Stage
from sdabn_cli.stopping import Judge

#: A learning rate so large that a denoiser gets worse and worse.
WORSE = ("units=1", "denoise.steps=8", "denoise.optimizer=sgd", "denoise.momentum=0",
         "denoise.learning_rate=0.01", "denoise.final_learning_rate=0.01",
         "denoise.validate_every=1")  # fmt: skip


def train(job, *ids: str) -> None:
    for id_ in ids:
        training.train_stage(job, Stage.parse(id_))


def psnrs(watcher) -> list[float]:
    return [figures["psnr"] for stage, _, figures in watcher.figures if stage == "d1"]


def test_a_judge_waits_for_as_many_validations_as_its_patience():
    judge = Judge()

    better = [judge.judge(step, figure) for step, figure in ((1, 5.0), (2, 4.0), (3, 5.0))]
    assert better == [True, False, False]
    assert judge.has_lost_patience(2)
    assert not judge.has_lost_patience(3)
    assert not judge.has_lost_patience(None)
    assert not judge.judge(4, math.nan)
    assert judge.judge(5, 6.0)
    assert (judge.best, judge.best_step, judge.without_best) == (6.0, 5, 0)


def test_a_stage_ends_early_once_nothing_gets_better(opened, watcher):
    job = opened(*WORSE, "denoise.patience=2")
    train(job, "s0", "s1", "d1")

    figures = psnrs(watcher)
    best = figures.index(max(figures))
    assert len(figures) == best + 3 < 8
    assert watcher.early == [("d1", best + 3, best + 1)]
    assert job.run.stage("d1").status == "finished"


def test_without_patience_a_stage_takes_all_its_steps(opened, watcher):
    train(opened(*WORSE), "s0", "s1", "d1")

    assert len(psnrs(watcher)) == 8
    assert watcher.early == []


@pytest.mark.parametrize("finish_with", ["last", "best"])
def test_the_best_weights_are_kept_beside_the_last(opened, watcher, finish_with):
    train(opened(*WORSE, run="plain"), "s0", "s1", "d1")
    best = psnrs(watcher).index(max(psnrs(watcher))) + 1
    assert best < 8
    watcher.stop_at = ("d1", best + 1)  # the last state is that of the best step
    job = opened(*WORSE, "denoise.save_every=100", run="cut")
    with pytest.raises(Exception, match="power cut"):
        train(job, "s0", "s1", "d1")
    watcher.stop_at = None
    state = torch.load("cut/d1/state.pt", weights_only=True)
    assert state["step"] == best

    train(opened(*WORSE, f"denoise.finish_with={finish_with}"), "s0", "s1", "d1")

    other = {"last": "best", "best": "last"}[finish_with]
    expected = {"last": load_file("plain/d1/weights.safetensors"), "best": state["network"]}
    for name, kept in (("weights", finish_with), (other, other)):
        weights = load_file(f"run/d1/{name}.safetensors")
        assert all(torch.equal(weights[key], expected[kept][key]) for key in weights)


def test_a_patient_stage_that_is_stopped_ends_where_an_uninterrupted_one_does(opened, watcher):
    settings = (*WORSE, "denoise.patience=3", "denoise.finish_with=best")
    train(opened(*settings, run="whole"), "s0", "s1", "d1")
    ended = watcher.early[-1]
    for step in (2, 4):
        watcher.stop_at = ("d1", step)
        job = opened(*settings, run="broken")
        train(job, "s0", "s1")
        with pytest.raises(Exception, match="power cut"):
            train(job, "d1")
    watcher.stop_at = None

    train(opened(*settings, run="broken"), "d1")

    assert watcher.early[-1] == ended
    for name in ("weights", "last"):
        paths = [Path(run, "d1", f"{name}.safetensors") for run in ("whole", "broken")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_loss_that_is_no_number_is_named_with_its_step_and_its_images(opened):
    job = opened("segmenter=tiny:fails_from=6", "segment.steps=9", "segment.save_every=2")

    with pytest.raises(SdabnError, match="The loss of s0 is nan at step 6") as caught:
        train(job, "s0")

    assert caught.value.problem.count("frame") == 2  # the two samples of the batch
    assert "The last good state is kept" in caught.value.hint
    state = torch.load("run/s0/state.pt", weights_only=True)
    assert state["step"] == 4
    assert all(bool(torch.isfinite(t).all()) for t in state["network"].values())


def test_a_comparison_shows_image_estimate_labels_and_prediction_in_a_row():
    palette = [(10, 20, 30), (40, 50, 60)]
    labels = torch.tensor([[0, 1, IGNORED]]).repeat(4, 1)
    noisy, estimate = torch.full((3, 4, 3), 1.7), torch.full((3, 4, 3), 0.2)

    picture = comparison(noisy, estimate, labels, torch.ones_like(labels), palette)

    assert picture.shape == (CAPTION + 4, 4 * 3 + 3 * GAP, 3)
    panels = [picture[CAPTION:, i * (3 + GAP) : i * (3 + GAP) + 3] for i in range(4)]
    assert (panels[0] == 255).all()
    assert (panels[1] == 51).all()
    assert panels[2][0].tolist() == [[10, 20, 30], [40, 50, 60], list(NO_LABEL)]
    assert (panels[3] == palette[1]).all()
    assert comparison(noisy, None, labels, labels.clamp(max=1), palette).shape[1] == 3 * 3 + 2 * GAP


def test_a_large_comparison_is_made_smaller():
    labels = torch.zeros(100, 200, dtype=torch.int64)

    picture = comparison(torch.rand(3, 100, 200), None, labels, labels, [(1, 2, 3)], max_side=50)

    assert picture.shape == (CAPTION + 25, 3 * 50 + 2 * GAP, 3)


def test_every_validation_draws_its_fixed_images(opened):
    train(opened("units=1", "segment.validate_every=2", "segment.pictures=1"), "s0", "s1", "d1")

    drawn = {p.relative_to("run").as_posix() for p in Path("run").glob("*/pictures/*")}
    assert drawn == {
        *(f"{s}/pictures/frame4-00000{n}.png" for s in ("s0", "s1") for n in (2, 3)),
        *(f"d1/pictures/frame{n}-000003.png" for n in (4, 5)),
    }
    widths = {s: Image.open(f"run/{s}/pictures/frame4-000003.png").width for s in ("s1", "d1")}
    assert widths == {"s1": 3 * 60 + 2 * GAP, "d1": 4 * 60 + 3 * GAP}


def test_event_files_hold_the_figures_of_the_log_and_the_pictures(opened, watcher):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = ("tensorboard=true", "segment.steps=6", "segment.save_every=2",
                "segment.validate_every=3")  # fmt: skip
    watcher.stop_at = ("s0", 5)
    with pytest.raises(Exception, match="power cut"):
        train(opened(*settings), "s0")
    watcher.stop_at = None

    job = opened(*settings)
    train(job, "s0")

    events = reader.EventAccumulator("run/s0/tensorboard").Reload()
    log = job.run.stage("s0").read_log()
    losses = {line["step"]: line["loss"] for line in log if "loss" in line}
    shown = {event.step: event.value for event in events.Scalars("train/loss")}
    assert shown == pytest.approx(losses, rel=1e-6)
    assert [event.step for event in events.Scalars("validation/miou")] == [3, 6]
    assert {event.step for event in events.Images("frame4")} == {3, 6}
    assert np.isfinite(list(shown.values())).all()


@contextlib.contextmanager
def files_of_at_most(size: int):
    """A limit on the size of files stands for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_too_full_for_event_files_is_warned_of_once(opened, watcher, capfd):
    pytest.importorskip("tensorboard")
    job = opened("tensorboard=true", "segment.steps=40", "segment.save_every=40")

    with files_of_at_most(12_000):  # enough for states and logs
        train(job, "s0")

    assert job.run.stage("s0").status == "finished"
    [warning] = watcher.warnings
    assert "event files in run/s0/tensorboard cannot be written any more" in warning
    assert "File too large" in warning
    assert "Traceback" not in capfd.readouterr().err


def test_a_place_where_no_event_file_can_be_is_warned_of_once(opened, watcher):
    pytest.importorskip("tensorboard")
    job = opened("tensorboard=true", "units=1")
    Path("run/s0").mkdir()
    Path("run/s0/tensorboard").write_text("mine")

    train(job, "s0")

    assert len(watcher.warnings) == 1
    assert Path("run/s0/tensorboard").read_text() == "mine"
