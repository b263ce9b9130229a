"""``sdabn train-stage`` and ``sdabn cascade``: what they report and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from fixtures_cli import assert_refused, files, sdabn
from PIL import Image


def test_a_stage_can_be_planned_alone(tiny_recipe):
    plan = ["train-stage", "--recipe", tiny_recipe, "--dry-run", "--json", "--kind"]

    first = sdabn(*plan, "seg", "--index", 0)
    too_early = sdabn(*plan, "denoise", "--index", 2)

    assert [stage["id"] for stage in json.loads(first.stdout)["stages"]] == ["s0"]
    assert_refused(too_early, "Stage d2 needs stage s1", "with the same --recipe, --data and --set")
    assert files(Path()) == set()


def test_a_plan_shows_the_steps_of_every_stage(tiny_recipe):
    planned = sdabn("cascade", "--recipe", tiny_recipe, "--dry-run", "--units", 2,
                    "--set", "stages.s2.steps=0", "--set", "stages.d1.steps=1234")  # fmt: skip

    rows = [line.split() for line in planned.stderr.splitlines()]
    steps = {row[0]: row[-1] for row in rows if row}
    assert (steps["s2"], steps["d1"]) == ("0", "1,234")


@pytest.mark.parametrize("command", [["cascade"], ["train-stage", "--index", 0, "--kind", "seg"]])
def test_a_device_that_is_not_there_is_refused_by_a_dry_run_too(tiny_recipe, command):
    result = sdabn(*command, "--recipe", tiny_recipe, "--device", "cuda:99", "--dry-run")

    assert_refused(result, "The device 'cuda:99' is not present")


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (["--set", "noise=gaussian:sigma=-1"], ["sigma=-1"]),
        (["--set", "noise=blind:soft=0.7,clean=0.7"], ["soft", "clean"]),
        (["--data", "nowhere"], ["nowhere"]),
        (["--set", "data.root=nowhere"], ["nowhere"]),
        (["--set", "data.dataset=scenes", "--set", "data.validation_split=vla"], ["vla"]),
        # Of several mistakes, the one that a training meets first.
        (["--data", "nowhere", "--set", "noise=gaussian:sigma=-1"], ["sigma"]),
        (["--data", "nowhere", "--set", "denoiser=tnyi"], ["tnyi"]),
        (
            ["--set", "data.dataset=scenes", "--set", "segment.class_weights=[1, 2]"],
            ["class_weights has 2 numbers"],
        ),
        (
            ["--units", "1", "--set", "stages.d2.ema=0.9"],
            ["no stage d2 in a cascade of 1 unit", "Did you mean 'd1'?"],
        ),
    ],
)
def test_noise_and_data_that_a_training_would_refuse_are_refused_by_a_dry_run_too(
    tiny_recipe, given, parts
):
    planned = sdabn("cascade", "--recipe", tiny_recipe, *given, "--dry-run")
    trained = sdabn("cascade", "--recipe", tiny_recipe, *given)

    assert_refused(planned, *parts)
    assert trained.stderr.endswith(planned.stderr)  # behind a line with the device
    assert files(Path()) == set()


def test_a_cascade_is_trained_and_reported(tiny_recipe):
    result = sdabn("cascade", "--recipe", tiny_recipe, "--units", 1, "--run", "run", "--json")
    again = sdabn("cascade", "--recipe", tiny_recipe, "--units", 1, "--run", "run")

    assert result.exit_code == 0
    plan = json.loads(result.stdout)
    assert [(s["id"], s["status"]) for s in plan["stages"]] == [
        ("s0", "finished"), ("s1", "finished"), ("d1", "finished"),
    ]  # fmt: skip
    assert "s0 3/3" in result.stderr
    assert again.exit_code == 0
    assert again.stdout == ""
    assert "3/3" not in again.stderr


def test_stages_trained_one_by_one_go_where_the_recipe_is_called(tiny_recipe):
    for index, kind in ((0, "seg"), (1, "seg")):
        result = sdabn("train-stage", "--index", index, "--kind", kind, "--recipe", tiny_recipe)
        assert result.exit_code == 0, result.stderr

    assert {path.split("/")[2] for path in files(Path()) if "/s" in path} == {"s0", "s1"}
    assert "runs/tiny/s1/weights.safetensors" in files(Path())


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--set", "segment.learnin_rate=1"], ["segment.learnin_rate", "'learning_rate'"]),
        (["--set", "sed=3"], ["sed: there is no such key", "Did you mean 'seed'?"]),
        (["--set", "stages.s0.step=3"], ["stages.s0.step", "'steps'"]),
        (["--set", "stages.x9.steps=3"], ["x9", "s0, s1, d1"]),
        (["--set", "seed"], ["'seed' is not of the form KEY=VALUE"]),
        (["--set", "units=many"], ["units", "'many'"]),
        (["--set", "denoiser=dffn"], ["no denoiser plug-in called 'dffn'", "Did you mean 'ddfn'"]),
        (["--set", "segmenter=hrnet:varaint=w18"], ["no option 'varaint'", "'variant'"]),
        (["--set", "denoiser=ddfn:blocks=lots"], ["'ddfn' refuses", "blocks='lots'"]),
        (["--recipe", "camvid/awgn55"], ["no recipe called 'camvid/awgn55'", "'camvid/awgn50'"]),
        (["--recipe", "own.yaml"], ["no recipe file own.yaml", "sdabn recipes list"]),
        (["--recipe", "cityscapes/awgn50", "--data", "."], ["leftImg8bit"]),
        (["--recipe", "camvid/awgn50", "--data", "nowhere"], ["no directory nowhere/train"]),
        (["--recipe", "camvid/awgn50"], ["camvid needs its directory", "--data DIR"]),
        (
            ["--data", "camvid"],
            ["The data set scenes makes its images itself", "from 'camvid'", "Leave --data (the "],
        ),
        (["--set", "data.root=camvid"], ["The data set scenes makes", "from 'camvid'"]),
        (["--device", "cuda:77"], ["'cuda:77'", "--device cpu"]),
        (["--device", "gpu"], ["no device 'gpu'", "auto, cpu, cuda"]),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_written(arguments, parts):
    assert_refused(sdabn("cascade", *arguments), *parts)

    assert files(Path()) == set()


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("denoiser=ddfn:blocks=0", "blocks must be at least 1, not 0"),
        ("noise=gaussian:sigma=-1", "sigma must be a number of at least 0"),
        ("segmenter=smp:encoder=resnet19", "there is no encoder 'resnet19'"),
        ("segmenter=hrnet:variant=w19", "w19"),
    ],
)
def test_an_option_its_plugin_refuses_is_found_before_anything_is_trained(
    tiny_recipe, override, part
):
    result = sdabn("cascade", "--recipe", tiny_recipe, "--run", "run", "--set", override)

    assert_refused(result, part)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("index", "kind", "parts"),
    [
        (1, "seg", ["Stage s1 needs stage s0", "train-stage --index 0 --kind seg"]),
        (1, "denoise", ["Stage d1 needs stage s1", "train-stage --index 1 --kind seg"]),
        (2, "seg", ["Stage s2 needs stage s1", "train-stage --index 1 --kind seg"]),
        (1, "segg", ["no kind 'segg'", "seg, denoise"]),
        (0, "denoise", ["no denoise stage 0"]),
        (-1, "seg", ["no seg stage -1"]),
    ],
)
def test_a_stage_that_cannot_be_trained_is_refused(tiny_recipe, index, kind, parts):
    result = sdabn("train-stage", "--index", index, "--kind", kind, "--recipe", tiny_recipe)

    assert_refused(result, *parts)
    assert files(Path()) == set()


def test_a_run_directory_of_another_recipe_is_refused_and_left_as_it_is(tiny_recipe):
    arguments = ["train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe]
    assert sdabn(*arguments, "--run", "run").exit_code == 0
    before = {name: Path("run", name).read_bytes() for name in files(Path("run"))}

    result = sdabn(*arguments, "--run", "run", "--set", "seed=4")

    assert_refused(result, "belongs to another recipe", "seed: 3 in the run, 4 now", "--run")
    assert {name: Path("run", name).read_bytes() for name in files(Path("run"))} == before


def test_a_label_outside_the_classes_is_named_before_anything_is_written(tiny_recipe, camvid_tree):
    path = camvid_tree / "trainannot" / "frame2.png"
    labels = np.array(Image.open(path))
    labels[3, 4] = 40
    Image.fromarray(labels).save(path)

    result = sdabn("cascade", "--recipe", tiny_recipe, "--run", "run")

    assert_refused(result, path, "label 40 is outside the classes", "0 to 10")
    assert not Path("run").exists()


def test_class_weights_of_another_length_are_refused_before_anything_is_written(tiny_recipe):
    result = sdabn(
        "cascade", "--recipe", tiny_recipe, "--run", "run",
        "--set", "segment.class_weights=[1.0, 2.0]",
    )  # fmt: skip

    assert_refused(result, "class_weights has 2 numbers", "11 classes")
    assert not Path("run").exists()


@pytest.mark.parametrize("condition", ["none", "image"])
def test_denoisers_that_no_segmentation_guides_need_no_segmenter(tiny_recipe, condition):
    options = ["--recipe", tiny_recipe, "--set", f"condition={condition}", "--run", "plain"]

    trained = [
        sdabn("train-stage", "--index", index, "--kind", "denoise", *options) for index in (1, 2)
    ]
    early = sdabn("train-stage", "--index", 2, "--kind", "seg", *options)
    root = yaml.safe_load(Path("plain/recipe.yaml").read_text())["data"]["root"]
    measured = sdabn("evaluate", "--run", "plain", "--stage", "d2", "--dataset", "camvid",
                     "--data", root, "--json")  # fmt: skip

    assert [result.exit_code for result in trained] == [0, 0]
    assert {path.parent.name for path in Path("plain").glob("*/weights.safetensors")} == {
        "d1",
        "d2",
    }
    assert_refused(early, "s2 needs stage s1, which is missing")
    units = json.loads(measured.stdout)["units"]
    assert [unit["miou"] for unit in units] == [None, None]
    assert all(unit["psnr"] > 0 for unit in units)


def test_a_segmenter_behind_plain_denoisers_sees_their_estimates(tiny_recipe):
    options = ["--recipe", tiny_recipe, "--set", "condition=none", "--run", "plain"]
    for index, kind in ((0, "seg"), (1, "seg"), (1, "denoise"), (2, "seg")):
        assert sdabn("train-stage", "--index", index, "--kind", kind, *options).exit_code == 0

    root = yaml.safe_load(Path("plain/recipe.yaml").read_text())["data"]["root"]
    measured = sdabn("evaluate", "--run", "plain", "--stage", "s2", "--dataset", "camvid",
                     "--data", root, "--json")  # fmt: skip

    denoised, segmented = json.loads(measured.stdout)["units"]
    assert (denoised["miou"], segmented["psnr"]) == (None, None)
    assert denoised["psnr"] > 0
    assert 0 <= segmented["miou"] <= 100
