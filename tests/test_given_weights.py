"""``segmenter.init`` and ``denoiser.init``: a user's trained networks in a cascade."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from fixtures_cli import assert_refused, files, flat, sdabn
from fixtures_given import (
    FILES,
    STILL,
    cascade,
    denoiser,
    equal,
    halved,
    planned,
    segmenter,
    sha256,
    weights,
    write,
)
from safetensors.torch import save_file
from test_processes import TORCHRUN, start

from sdabn_cli import recipefiles


@pytest.mark.parametrize("name", FILES)
def test_s0_holds_the_weights_of_any_kind_of_file_without_a_step(tiny_recipe, name):
    own = segmenter()
    file = write(name, own)

    result = cascade(tiny_recipe, f"segmenter.init={file}", "units=1")

    assert result.exit_code == 0, result.stderr
    assert equal(weights("s0"), own)
    assert "s0 1/" not in result.stderr
    assert "s1 3/3" in result.stderr
    log = [json.loads(line) for line in Path("run/s0/metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "loss" in line, "miou" in line["validation"]) for line in log] == [
        (0, False, True)
    ]


def test_half_precision_is_widened(tiny_recipe):
    own = halved(segmenter())
    save_file(own, "half.safetensors")

    cascade(tiny_recipe, "segmenter.init=half.safetensors", "units=1")

    widened = {n: t.float() if t.is_floating_point() else t for n, t in own.items()}
    assert equal(weights("s0"), widened)


def test_a_state_dict_that_was_halved_with_its_counts_is_taken(tiny_recipe):
    own = segmenter()
    save_file({name: tensor.half() for name, tensor in own.items()}, "half.safetensors")

    result = cascade(tiny_recipe, "segmenter.init=half.safetensors", "units=1")

    assert result.exit_code == 0, result.stderr
    count = weights("s0")["norm.num_batches_tracked"]
    assert count.dtype == torch.int64
    assert int(count) == int(own["norm.num_batches_tracked"])


def test_s1_starts_from_the_given_weights(tiny_recipe):
    own = segmenter()
    write("own.pt", own)

    cascade(tiny_recipe, "segmenter.init=own.pt", "units=1", more=tuple(STILL))

    learnt = [name for name in own if "running" not in name and "tracked" not in name]
    for name in learnt:
        assert torch.allclose(weights("s1")[name], own[name], rtol=0, atol=1e-20)
    assert int(weights("s1")["norm.num_batches_tracked"]) == int(
        own["norm.num_batches_tracked"]) + 1  # fmt: skip


def test_the_plan_says_that_s0_is_given_and_writes_nothing(tiny_recipe):
    file = write("own.pt", segmenter())

    stages = planned(tiny_recipe, f"segmenter.init={file}")
    shown = cascade(tiny_recipe, f"segmenter.init={file}", more=("--dry-run",)).stderr

    assert (stages["s0"]["status"], stages["s0"]["steps"]) == ("given", 0)
    init = stages["s0"]["init"]
    assert (init["path"], init["sha256"]) == (str(Path(file).resolve()), sha256(file))
    assert init["trained"] is False
    assert stages["s1"]["init"] is None
    assert stages["d1"]["init"] is None
    assert flat(f"s0: given by {Path(file).resolve()} (sha256 {sha256(file)[:12]})") in flat(shown)
    assert not Path("run").exists()


def test_the_run_says_where_its_weights_came_from_and_needs_their_file_no_more(tiny_recipe):
    seg, den = write("own.pt", segmenter()), write("den.pt", denoiser())
    given = (f"segmenter.init={seg}", f"denoiser.init={den}")
    origin = (str(Path(seg).resolve()), sha256(seg))
    assert cascade(tiny_recipe, *given, "units=1").exit_code == 0
    for path in (seg, den):
        Path(path).unlink()

    again = cascade(tiny_recipe, *given, "units=2")

    assert again.exit_code == 0, again.stderr
    (run,) = json.loads(sdabn("runs", "run", "--json").stdout)
    stages = {stage["id"]: stage for stage in run["stages"]}
    assert [stage["status"] for stage in run["stages"]] == ["finished"] * 5
    assert (stages["s0"]["init"]["path"], stages["s0"]["init"]["sha256"]) == origin
    assert (stages["s0"]["steps"], stages["s0"]["init"]["trained"]) == (0, False)
    assert stages["d2"]["init"]["trained"] is True
    assert stages["s1"]["init"] is None
    shown = flat(sdabn("runs", "run").stderr)
    assert flat(f"s0: given by {origin[0]} (sha256 {origin[1][:12]})") in shown
    assert flat(f"d1, d2: trained from {Path(den).resolve()}") in shown
    assert planned(tiny_recipe, *given)["s0"]["status"] == "finished"


def test_every_denoiser_starts_from_the_given_weights_and_is_trained(tiny_recipe):
    own = denoiser()
    file = write("den.safetensors", own)

    still = cascade(tiny_recipe, f"denoiser.init={file}", run="still", more=tuple(STILL))
    moved = cascade(tiny_recipe, f"denoiser.init={file}", run="moved")

    assert (still.exit_code, moved.exit_code) == (0, 0), still.stderr + moved.stderr
    for stage in ("d1", "d2"):
        assert all(
            torch.allclose(weights(stage, "still")[n], own[n], rtol=0, atol=1e-20) for n in own
        )
        assert not equal(weights(stage, "moved"), own)
    assert planned(tiny_recipe, f"denoiser.init={file}")["d2"]["init"]["sha256"] == sha256(file)


def test_a_single_stage_may_be_trained_on_given_weights(tiny_recipe):
    file = write("own.pt", segmenter())
    arguments = ["train-stage", "--recipe", tiny_recipe, "--run", "run", "--kind", "seg",
                 "--set", f"segmenter.init={file}"]  # fmt: skip

    planned = sdabn(*arguments, "--index", 1, "--dry-run")
    trained = sdabn(*arguments, "--index", 1)
    first = sdabn(*arguments, "--index", 0, "--json")

    assert (planned.exit_code, trained.exit_code, first.exit_code) == (0, 0, 0), trained.stderr
    assert {p.split("/")[0] for p in files(Path("run")) if "weights" in p} == {"s0", "s1"}
    assert json.loads(first.stdout)["stages"][0]["status"] == "finished"
    assert sdabn("evaluate", "--run", "run", "--stage", "s0", "--dataset", "camvid", "--data",
                 Path(tiny_recipe).parent / "camvid").exit_code == 0  # fmt: skip


def test_a_file_that_was_moved_is_the_same_and_one_that_was_written_anew_is_not(tiny_recipe):
    file = write("own.pt", segmenter())
    assert cascade(tiny_recipe, f"segmenter.init={file}", "units=1").exit_code == 0
    shutil.move(file, "moved.pt")
    before = {name: Path("run", name).read_bytes() for name in files(Path("run"))}

    moved = cascade(tiny_recipe, "segmenter.init=moved.pt", more=("--dry-run",))
    torch.save(segmenter() | {"conv.bias": torch.zeros(8)}, file)
    changed = cascade(tiny_recipe, f"segmenter.init={file}")
    without = cascade(tiny_recipe)
    gone = cascade(tiny_recipe, "segmenter.init=movedd.pt")

    assert moved.exit_code == 0, moved.stderr
    old = sha256("moved.pt")[:12]
    assert_refused(changed, "segmenter.init:", f"sha256 {old})' in the run",
                   f"own.pt (sha256 {sha256(file)[:12]})' now")  # fmt: skip
    assert_refused(without, "segmenter.init:", f"sha256 {old})' in the run, None now")
    assert_refused(gone, "there is no file movedd.pt", "'moved.pt'")
    assert {name: Path("run", name).read_bytes() for name in files(Path("run"))} == before


def test_weights_are_not_taken_for_a_stage_that_was_trained(tiny_recipe):
    file = write("own.pt", segmenter())
    sdabn("train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe, "--run", "run")

    result = cascade(tiny_recipe, f"segmenter.init={file}")

    assert_refused(result, f"segmenter.init: None in the run, '{file}' now")
    assert "s0.steps" not in result.stderr


def test_weights_of_denoisers_may_change_until_one_has_begun(tiny_recipe):
    first = write("a.pt", denoiser())
    second = write("b.pt", denoiser() | {"conv.bias": torch.ones(3)})
    run = ["--recipe", tiny_recipe, "--run", "run", *STILL]
    for index in (0, 1):
        sdabn("train-stage", "--index", index, "--kind", "seg", *run, "--set",
              f"denoiser.init={first}")  # fmt: skip

    result = sdabn("cascade", *run, "--set", f"denoiser.init={second}")
    back = sdabn("cascade", *run, "--set", f"denoiser.init={first}")

    assert result.exit_code == 0, result.stderr
    assert torch.allclose(weights("d1")["conv.bias"], torch.ones(3), atol=1e-20)
    assert_refused(back, "denoiser.init:", sha256(first)[:12], sha256(second)[:12])


def test_settings_of_s0_are_free_where_its_weights_are_given(tiny_recipe):
    given = f"segmenter.init={write('own.pt', segmenter())}"
    sdabn("train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe, "--run", "run",
          "--set", given)  # fmt: skip

    assert cascade(tiny_recipe, given, "segment.steps=2", more=("--dry-run",)).exit_code == 0


def test_a_stopped_training_goes_on_without_the_file(opened, watcher, tiny_recipe):
    from sdabn_cli import training

    write("own.pt", segmenter(19))
    given = ("segmenter.init=own.pt", "segmenter.new_head=true")
    training.train_cascade(opened(*given, "units=1", run="whole"))
    watcher.stop_at = ("s0", 2)
    with pytest.raises(Exception, match="power cut"):
        training.train_cascade(opened(*given, "units=1", run="broken"))
    watcher.stop_at = None
    Path("own.pt").unlink()

    training.train_cascade(opened(*given, "units=1", run="broken"))

    for stage in ("s0", "s1", "d1"):
        assert equal(weights(stage, "broken"), weights(stage, "whole"))


def test_two_processes_start_from_the_same_weights_as_one(tiny_recipe):
    write("own.pt", segmenter())
    write("den.pt", denoiser())
    command = ["cascade", "--recipe", tiny_recipe, "--device", "cpu", "--json", "--set", "units=1",
               "--set", "segmenter.init=own.pt", "--set", "denoiser.init=den.pt"]  # fmt: skip

    both = start(*TORCHRUN, *command, "--run", "both")
    alone = sdabn(*command, "--run", "alone")

    assert (both.returncode, alone.exit_code) == (0, 0), both.stderr + alone.stderr
    assert [s["status"] for s in json.loads(both.stdout)["stages"]] == ["finished"] * 3
    assert equal(weights("s0", "both"), segmenter())
    figures = [
        json.loads(Path(run, "s0/metrics.jsonl").read_text())["validation"]
        for run in ("both", "alone")
    ]
    assert figures[0] == figures[1]


def test_given_weights_stand_in_recipes_beside_name_and_options(tiny_recipe):
    file = write("own.pt", segmenter())
    content = yaml.safe_load(Path(tiny_recipe).read_text())
    content["segmenter"] = {"name": "tiny", "options": {"dropout": 0.5}, "init": file}
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    Path("child.yaml").write_text(f"extends: {tiny_recipe}\nsegmenter: {{init: {file}}}\n")

    for name in ("mine.yaml", "child.yaml"):
        checked = sdabn("recipes", "check", name)
        assert checked.exit_code == 0, checked.stderr
        assert planned(name)["s0"]["status"] == "given"
    assert str(recipefiles.load("child.yaml").segmenter) == "tiny"
    assert str(recipefiles.load("mine.yaml").segmenter) == "tiny:dropout=0.5"


def test_a_network_and_its_weights_may_be_set_in_any_order(tiny_recipe):
    settings = ["segmenter.init=own.pt", "segmenter=tiny:dropout=0.5"]

    for order in (settings, settings[::-1]):
        chosen = recipefiles.load(tiny_recipe, order).segmenter
        assert (str(chosen), chosen.init) == ("tiny:dropout=0.5", "own.pt")


def test_recipes_check_finds_weights_that_do_not_fit(tiny_recipe):
    write("own.pt", segmenter(19))
    Path("mine.yaml").write_text(f"extends: {tiny_recipe}\nsegmenter: {{init: own.pt}}\n")
    Path("far.yaml").write_text("extends: mine.yaml\ndata: {dataset: folder}\n"
                                "segmenter: {init: missing.pt}\n")  # fmt: skip

    assert_refused(sdabn("recipes", "check", "mine.yaml"), "Only the last layer", "head.weight")
    assert_refused(sdabn("recipes", "check", "far.yaml"), "there is no file missing.pt")
