"""Kills, signals, full disks, damaged losses and second processes: the run directory survives."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from fixtures_cli import files, sdabn

from sdabn_cli.runs import Run

#: Stages long enough to be hit in the middle, saved so often that a save is hit too.
SETTINGS = ("--set", "units=1", "--set", "segment.steps=120", "--set", "denoise.steps=120",
            "--set", "segment.save_every=4", "--set", "denoise.save_every=4",
            "--set", "segment.validate_every=40", "--set", "denoise.validate_every=40",
            "--set", "segment.log_every=10", "--set", "denoise.log_every=10")  # fmt: skip


def start(
    recipe: str, run: str, *more: str, preexec_fn: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """Start ``sdabn cascade`` in a process of its own."""
    command = [sys.executable, "-m", "sdabn_cli", "cascade", "--recipe", recipe, "--run", run]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [*command, "--device", "cpu", *SETTINGS, *more], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=preexec_fn,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a process; returns what it told people."""
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    return stderr


def wait_for(process: subprocess.Popen[str], happened: Callable[[], object]) -> bool:
    """Wait until something happens; False if the process ends before."""
    while process.poll() is None:
        if happened():
            return True
        time.sleep(0.001)  # often enough to catch a save, and the processor is the other's
    return False


def finished(run: str) -> dict[str, bytes]:
    """Every weight file of a run, by its place."""
    return {str(p.relative_to(run)): p.read_bytes() for p in Path(run).rglob("*.safetensors")}


def losses(run: str) -> dict[str, list[tuple[int, float]]]:
    """Step and loss of every logged line, by stage."""
    logs = {stage: Run(Path(run)).stage(stage).read_log() for stage in ("s0", "s1", "d1")}
    return {s: [(x["step"], x["loss"]) for x in log if "loss" in x] for s, log in logs.items()}


def test_killed_at_random_moments_it_ends_in_the_weights_of_an_uninterrupted_run(tiny_recipe):
    finish(start(tiny_recipe, "whole"))
    moments = random.Random(7)
    kills = 0
    saving = False

    for attempt in range(12):
        process = start(tiny_recipe, "killed")
        before = {p: p.stat().st_mtime_ns for p in Path("killed").glob("*/state.pt")}

        def went_on(before: dict[Path, int] = before) -> bool:
            with contextlib.suppress(FileNotFoundError):  # between the two moves of a save
                states = list(Path("killed").glob("*/state.pt"))
                return any(p.stat().st_mtime_ns != before.get(p) for p in states)
            return False

        if not wait_for(process, went_on):
            break
        if attempt % 2:  # the first time in the middle of a save, if it can be caught
            wait_for(process, lambda: any(Path("killed").glob("*/.state.fresh.pt.*")))
        else:
            time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.communicate()
        kills += 1
        saving = saving or any(Path("killed").glob("*/.state.fresh.pt.*"))
        if kills >= 4 and saving:
            break
    finish(start(tiny_recipe, "killed"))

    assert kills >= 3
    assert saving
    assert finished("killed") == finished("whole")
    assert losses("killed") == losses("whole")
    assert {path.name for path in Path("killed").rglob(".*")} == {".lock"}


def test_what_killed_trainings_have_left_is_removed_and_nothing_else(tiny_recipe):
    command = ("cascade", "--recipe", tiny_recipe, "--run", "run", "--set", "units=1")
    assert sdabn(*command).exit_code == 0
    before = files(Path("run"))
    litter = {".recipe.yaml.a1b2c3d4", ".classes.json.________", "s0/.best.safetensors.abcdefgh",
              "s0/.state.fresh.pt.abcdefg1", "s0/state.pt", "s1/state.previous.pt",
              "s0/pictures/.frame4-000003.png.abcdefgh", "model/.cascade.json.abcdefgh",
              "model/.d1.safetensors.abcdefgh", "init/.segmenter.json.abcdefgh"}  # fmt: skip
    mine = {".notes.abcdefgh", ".recipe.yaml.swp", "notes.txt", "s0/.mine.pt.abcdefgh",
            "s0/.state.pt.backup", "s0/pictures/.DS_Store", "other/.recipe.yaml.a1b2c3d4",
            "s0/deeper/state.pt", "state.pt"}  # fmt: skip
    for name in litter | mine:
        Path("run", name).parent.mkdir(exist_ok=True)
        Path("run", name).write_text("x")

    assert sdabn(*command).exit_code == 0

    assert files(Path("run")) == before | mine


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_saves_the_step_and_the_same_command_goes_on(tiny_recipe, number):
    quiet = ("--set", "segment.save_every=100000", "--set", "units=1", "--set",
             "segment.validate_every=null", "--set", "segment.steps=3000")  # fmt: skip
    process = start(tiny_recipe, "run", *quiet)
    assert wait_for(process, lambda: Path("run/s0/metrics.jsonl").exists())

    process.send_signal(number)

    told = finish(process, 128 + number)
    step = int(told.split("Stopped in s0 at step ")[1].split(",")[0])
    assert "which is saved. The same command goes on from there." in " ".join(told.split())
    assert 0 < step < 3000
    process = start(tiny_recipe, "run", *quiet)
    assert wait_for(process, lambda: last_step("run/s0") > step)
    process.kill()
    assert f"s0: goes on at step {step} of 3000" in process.communicate()[1]


def last_step(stage: str) -> int:
    lines = [line for line in Path(stage, "metrics.jsonl").read_text().splitlines(True)
             if line.endswith("\n")]  # fmt: skip
    return max((json.loads(line)["step"] for line in lines), default=0)


def test_a_second_training_in_the_same_run_directory_is_refused(tiny_recipe):
    first = start(tiny_recipe, "run", "--set", "segment.steps=100000")
    assert wait_for(first, lambda: Path("run/s0/metrics.jsonl").exists())

    told = finish(start(tiny_recipe, "run", "--set", "segment.steps=100000"), 2)

    assert "Another process is training in the run directory run." in told
    assert first.poll() is None
    first.kill()
    first.communicate()


def test_a_training_begins_although_someone_asks_at_that_moment_whether_it_runs():
    run = Run(Path("run"))
    run.lock().release()
    asking = FileLock("run/.lock", thread_local=False)  # as ``sdabn runs`` takes it, for a moment
    asking.acquire()
    threading.Timer(0.3, asking.release).start()

    run.lock().release()  # raises an error if it is refused


def test_a_full_disk_keeps_the_last_good_state(tiny_recipe):
    """A limit on the size of files stands for the disk: states no longer fit after s0."""
    big = ("--set", "units=1", "--set", "segment.steps=20", "--set", "denoise.steps=20")
    first = start(tiny_recipe, "run", *big)
    assert wait_for(first, lambda: Path("run/s0/state.pt").exists())
    first.kill()
    first.communicate()
    kept = {p: p.read_bytes() for p in Path("run/s0").glob("state*.pt")}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    told = finish(start(tiny_recipe, "run", *big, preexec_fn=limit), 2)

    assert "cannot be written" in told
    assert "Traceback" not in told
    assert {p: p.read_bytes() for p in kept} == kept
    assert not list(Path("run/s0").glob(".state*"))
    finish(start(tiny_recipe, "run", *big))
