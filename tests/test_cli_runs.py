"""``sdabn runs``: where trainings stand, told without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_cli import assert_refused, flat, sdabn

from sdabn_cli import training
from sdabn_cli.schedule import Stage


def listed(*paths: str) -> list[dict]:
    result = sdabn("runs", *paths, "--json")
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_no_runs_are_no_mistake():
    result = sdabn("runs")

    assert result.exit_code == 0
    assert "There are no runs yet. Train one with: sdabn cascade" in result.stderr
    assert listed() == []


def test_a_finished_and_a_stopped_run_are_listed_with_figures_and_what_is_left(opened, watcher):
    training.train_cascade(opened("units=1", "segment.validate_every=1", run="runs/done"))
    watcher.stop_at = ("s1", 2)
    with pytest.raises(Exception, match="power cut"):
        training.train_cascade(opened(run="runs/group/stopped"))

    done, stopped = listed()

    assert (done["run"], stopped["run"]) == ("runs/done", "runs/group/stopped")
    assert [stage["status"] for stage in done["stages"]] == ["finished"] * 3
    assert (done["seconds_left"], done["model_units"]) == (0, 1)
    figures = [f["miou"] for name, _, f in watcher.figures if name == "s1"][:3]
    s1 = done["stages"][1]
    assert s1["best"] == max(figures)
    assert s1["best_step"] == 1 + figures.index(max(figures))
    assert s1["last"] == figures[-1]
    assert [s["status"] for s in stopped["stages"]] == ["finished", "started", *["missing"] * 3]
    assert [s["step"] for s in stopped["stages"]] == [3, 2, 0, 0, 0]
    by_id = {stage["id"]: stage["seconds_left"] for stage in stopped["stages"]}
    assert by_id["s0"] == 0
    assert 0 < by_id["s1"] < by_id["s2"]
    assert by_id["d1"] is None  # no denoiser has shown its pace yet
    assert stopped["seconds_left"] is None
    assert stopped["model_units"] == 0

    shown = sdabn("runs", "runs/done").stderr
    assert flat(f"s1 finished 3 / 3 {max(figures):.2f} % mIoU") in flat(shown)
    assert "model of 1 unit" in shown


@pytest.mark.parametrize("saving", [True, False], ids=["saved", "logged"])
def test_a_stopped_stage_is_as_far_as_its_state_and_a_log_alone_is_no_progress(
    opened, watcher, saving
):
    often, seldom = ("save", "log") if saving else ("log", "save")
    watcher.stop_at = ("s0", 6)
    job = opened(f"segment.{often}_every=1", f"segment.{seldom}_every=100", "segment.steps=9",
                 "segment.validate_every=4" if saving else "units=2", run="runs/r")  # fmt: skip
    with pytest.raises(Exception, match="power cut"):
        training.train_stage(job, Stage.parse("s0"))
    log = Path("runs/r/s0/metrics.jsonl")
    log.write_text(log.read_text() + '{"step": 6, "validation": {"miou": 99.0}, "seconds": 9}\n')

    while_training = listed()[0]["stages"][0]
    job.run.lock().release(force=True)
    stage = listed()[0]["stages"][0]

    # What is logged counts while the stage may yet save it, and no longer once that is lost.
    assert (while_training["step"], while_training["best"]) == (6, 99.0)
    assert (stage["step"], stage["status"]) == ((5, "started") if saving else (0, "missing"))
    assert stage["best_step"] == (4 if saving else None)
    assert (stage["seconds"] > 0) == saving


@pytest.mark.parametrize("content", [b"", b"PK" * 500])
def test_a_stage_with_damaged_states_is_listed_by_the_one_that_is_left(opened, watcher, content):
    watcher.stop_at = ("s0", 4)
    job = opened("segment.steps=9", run="runs/r")
    with pytest.raises(Exception, match="power cut"):
        training.train_stage(job, Stage.parse("s0"))
    job.run.lock().release(force=True)

    steps = []
    for name in ("state.pt", "state.previous.pt"):
        Path("runs/r/s0", name).write_bytes(content)
        steps.append([(s["status"], s["step"]) for s in listed()[0]["stages"][:2]])

    assert steps == [[("started", 2), ("missing", 0)], [("started", 0), ("missing", 0)]]


def test_damaged_runs_are_listed_as_such(opened):
    training.train_stage(opened(run="runs/good"), Stage.parse("s0"))
    for name, text in (("bad", "units: [1"), ("odd", "units: 0")):
        Path("runs", name).mkdir()
        Path("runs", name, "recipe.yaml").write_text(text)
    with Path("runs/good/s0/metrics.jsonl").open("a") as log:
        log.write('{"step": 9, "los')

    bad, good, odd = listed()

    assert "is not readable" in bad["damaged"]
    assert "units" in odd["damaged"]
    assert good["stages"][0]["step"] == 3
    result = sdabn("runs")
    assert result.exit_code == 0
    assert "runs/bad is damaged" in result.stderr


def test_a_run_in_training_is_told_from_one_at_rest(opened):
    job = opened(run="runs/busy")
    probe = "from pathlib import Path; from sdabn_cli import overview; " \
            "print(overview.is_busy(Path('runs/busy')))"  # fmt: skip

    def busy() -> str:
        return subprocess.check_output([sys.executable, "-c", probe], text=True).strip()

    assert busy() == "True"  # ``opened`` holds it
    lock = job.run.lock()
    lock.release(force=True)
    assert busy() == "False"


def test_a_place_that_does_not_exist_is_refused():
    assert_refused(sdabn("runs", "nowhere"), "There is no directory nowhere.")


def test_listing_runs_does_not_load_torch(opened):
    opened(run="runs/one")
    program = (
        "import sys; from typer.testing import CliRunner; from sdabn_cli.commands import app; "
        "code = CliRunner().invoke(app, ['runs', '--json']).exit_code; "
        "print(code, 'torch' in sys.modules)"
    )

    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == [
        "0", "False",
    ]  # fmt: skip
