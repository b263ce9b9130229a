"""``segmenter.init`` and ``denoiser.init``: a user's trained networks in a cascade."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fixtures_hub
import pytest
import segmentation_models_pytorch as smp
import torch
import yaml
from fixtures_cli import assert_refused, files, flat, save_model, sdabn
from safetensors.torch import load_file, save_file
from test_processes import TORCHRUN, start
from torch import Tensor

from sdabn_cli import networks, recipe

CLASSES = 11

#: A run whose stages do a step that changes no weight but batch norm's statistics.
STILL = ["--set", "segment.learning_rate=1.0e-30", "--set", "denoise.learning_rate=1.0e-30",
         "--set", "segment.steps=1", "--set", "denoise.steps=1"]  # fmt: skip


def segmenter(num_classes: int = CLASSES) -> dict[str, Tensor]:
    """Weights of the segmenter ``tiny`` as if trained: random, with statistics."""
    torch.manual_seed(5)
    module = networks.build_segmenter("tiny", {}, num_classes=num_classes)
    module(torch.rand(2, 3, 8, 8))
    return networks.weights_of(module)


def denoiser(channels: int = CLASSES) -> dict[str, Tensor]:
    torch.manual_seed(6)
    return networks.weights_of(networks.build_denoiser("tiny", {}, condition_channels=channels))


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def sha256(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def cascade(recipe_name: str, *settings: str, run: str = "run", more: tuple[str, ...] = ()) -> Any:
    sets = [part for setting in settings for part in ("--set", setting)]
    return sdabn("cascade", "--recipe", recipe_name, "--run", run, *sets, *more)


def planned(recipe_name: str, *settings: str, run: str = "run") -> dict[str, dict[str, Any]]:
    result = cascade(recipe_name, *settings, run=run, more=("--dry-run", "--json"))
    assert result.exit_code == 0, result.stderr
    return {stage["id"]: stage for stage in json.loads(result.stdout)["stages"]}


def weights(stage: str, run: str = "run") -> dict[str, Tensor]:
    return load_file(Path(run) / stage / "weights.safetensors")


def with_prefix(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: t.half() if t.is_floating_point() else t for n, t in state.items()}


FILES: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain.safetensors": lambda state: state,
    "plain.pt": lambda state: state,
    "lightning.ckpt": lambda state: {"state_dict": with_prefix("model.", state), "epoch": 3},
    "parallel.pth": lambda state: {"model": with_prefix("module.", state)},
    "compiled.bin": lambda state: with_prefix("_orig_mod.", state),
    "averaged.pt": lambda state: {"ema": state, "decay": 0.999},
}


def write(name: str, state: dict[str, Tensor]) -> str:
    content = FILES.get(name, FILES["plain.pt"])(state)
    if name.endswith(".safetensors"):
        save_file(content, name)
    else:
        torch.save(content, name)
    return name


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


# What does not fit.


def test_a_different_head_is_named_as_such_and_shown_and_nothing_is_written(tiny_recipe):
    file = write("own.pt", segmenter(19))

    result = cascade(tiny_recipe, f"segmenter.init={file}", more=("--json",))

    assert_refused(
        result, "Only the last layer", "19 classes in the file, 11 in the network",
        "--set segmenter.new_head=true", "head.weight", "19x8x1x1", "11x8x1x1", "head.bias",
    )  # fmt: skip
    assert "conv.weight" not in result.stderr
    assert not Path("run").exists()


def test_a_new_head_is_drawn_where_it_was_asked_for_and_s0_is_trained_from_the_rest(tiny_recipe):
    own = segmenter(19)
    write("own.pt", own)
    given = ("segmenter.init=own.pt", "segmenter.new_head=true")

    plan = planned(tiny_recipe, *given)
    result = cascade(tiny_recipe, *given, "units=1", more=tuple(STILL))
    random = cascade(tiny_recipe, "units=1", run="random", more=tuple(STILL))

    assert (result.exit_code, random.exit_code) == (0, 0), result.stderr
    assert (plan["s0"]["status"], plan["s0"]["steps"]) == ("missing", 3)
    assert sorted(plan["s0"]["init"]["drawn"]) == ["head.bias", "head.weight"]
    assert "s0 1/1" in result.stderr
    s0 = weights("s0")
    assert torch.allclose(s0["conv.weight"], own["conv.weight"], rtol=0, atol=1e-20)
    # The head is the one that s0 would have had without the file.
    for name in ("head.weight", "head.bias"):
        assert torch.allclose(s0[name], weights("s0", "random")[name], rtol=0, atol=1e-20)
    assert int(s0["norm.num_batches_tracked"]) == 2
    (described,) = json.loads(sdabn("runs", "run", "--json").stdout)
    assert described["stages"][0]["init"]["trained"] is True
    assert described["stages"][0]["steps"] == 1


def test_a_head_that_fits_is_kept_and_s0_is_trained_from_it(tiny_recipe):
    own = segmenter()
    write("own.pt", own)

    cascade(tiny_recipe, "segmenter.init=own.pt", "segmenter.new_head=true", "units=1",
            more=tuple(STILL))  # fmt: skip

    assert torch.allclose(weights("s0")["head.weight"], own["head.weight"], rtol=0, atol=1e-20)
    assert int(weights("s0")["norm.num_batches_tracked"]) == 2


@pytest.mark.parametrize("new_head", ["false", "true"])
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"conv.weight": torch.zeros(16, 3, 3, 3)}, ["1 differ in shape", "16x3x3x3"]),
        ({"conv.weight": None}, ["1 are missing in the file", "conv.weight"]),
        ({"aux.weight": torch.zeros(2)},
         ["1 are not in the network", "aux.weight", "Save the state dict without those"]),
        ({"head.weight": torch.zeros(19, 16, 1, 1), "head.bias": torch.zeros(19)},
         ["2 differ in shape", "19x16x1x1"]),
        ({"head.weight": torch.zeros(19, 8, 1, 1)} | {"conv.bias": torch.zeros(4)},
         ["2 differ in shape", "conv.bias"]),
    ],
)  # fmt: skip
def test_other_differences_are_shown_and_refused_whatever_was_asked(
    tiny_recipe, change, parts, new_head
):
    state = {name: t for name, t in (segmenter() | change).items() if t is not None}
    file = write("own.pt", state)

    result = cascade(tiny_recipe, f"segmenter.init={file}", f"segmenter.new_head={new_head}")

    assert_refused(result, "do not fit tiny", *parts, "in the file", "in the network")
    assert not Path("run").exists()


def test_many_differences_are_cut_after_twenty_rows(tiny_recipe):
    write("own.pt", segmenter())

    result = cascade(tiny_recipe, "segmenter=hrnet:variant=w18_small", "segmenter.init=own.pt")

    network = networks.build_segmenter("hrnet", {"variant": "w18_small"}, num_classes=CLASSES)
    assert_refused(result, "segmenter=NAME:OPTION=VALUE")
    missing = sum("tracked" not in name for name in network.state_dict())
    more = int(result.stderr.split("  and ")[1].split(" more")[0].replace(",", ""))
    assert 0 < more - (missing - 20) < 10


def test_a_file_that_holds_the_network_twice_is_refused(tiny_recipe):
    write("own.pt", with_prefix("student.", segmenter()) | with_prefix("teacher.", segmenter()))

    assert_refused(cascade(tiny_recipe, "segmenter.init=own.pt"), "more than once", "'student.'",
                   "'teacher.'")  # fmt: skip


def test_a_second_state_dict_that_would_fit_is_told(tiny_recipe):
    own = segmenter()
    averaged = {n: t * 2 if t.is_floating_point() else t for n, t in own.items()}
    torch.save({"ema": averaged, "model": own}, "own.pt")

    result = cascade(tiny_recipe, "segmenter.init=own.pt", "units=1")

    assert equal(weights("s0"), own)
    assert "Warning:" in result.stderr
    assert "'ema' would fit as well" in result.stderr


@pytest.mark.parametrize(
    ("init", "parts"),
    [
        ("own.ptt", ["there is no file own.ptt", "Did you mean 'own.pt'?"]),
        ("nowhere/own.pt", ["its folder does not exist"]),
        ("empty", ["The folder empty holds no weights", "model.safetensors"]),
        ("words.pt", ["words.pt is no file of weights", ".safetensors"]),
        ("whole.pt", ["pickled object of the class", "torch.save(network.state_dict()"]),
        ("x" * 300, ["cannot be read"]),
        ("nan.pt", ["The tensor conv.bias holds values that are not finite"]),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_what_is_no_weight_file_is_refused_before_anything_is_written(
    tiny_recipe, init, parts, dry
):
    write("own.pt", segmenter())
    Path("empty").mkdir()
    Path("words.pt").write_text("words")
    torch.save(networks.build_segmenter("tiny", {}, num_classes=CLASSES), "whole.pt")
    write("nan.pt", segmenter() | {"conv.bias": torch.full((8,), float("nan"))})
    before = files(Path())

    result = cascade(tiny_recipe, f"segmenter.init={init}", more=("--dry-run",) if dry else ())

    assert_refused(result, *parts)
    assert files(Path()) == before


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("segmenter.new_head=true", ["new_head changes given weights: give them with init"]),
        ("denoiser.new_condition=true", ["new_condition changes given weights"]),
        ("segmenter.inti=own.pt", ["segmenter.inti: there is no such key", "'init'"]),
        ("denoiser.new_head=true", ["denoiser.new_head: there is no such key"]),
        ("segmenter.init=3", ["segmenter.init: 3"]),
        ("noise.init=own.pt", ["noise.init: there is no such key"]),
    ],
)
def test_keys_that_make_no_sense_are_named(tiny_recipe, setting, parts):
    assert_refused(cascade(tiny_recipe, setting, more=("--dry-run",)), *parts)


# The condition of a denoiser.


def test_a_condition_of_other_channels_is_drawn_anew_where_it_was_asked_for(tiny_recipe):
    own = denoiser(4)
    write("den.pt", own)

    refused = cascade(tiny_recipe, "denoiser.init=den.pt")
    plan = planned(tiny_recipe, "denoiser.init=den.pt", "denoiser.new_condition=true")
    trained = cascade(tiny_recipe, "denoiser.init=den.pt", "denoiser.new_condition=true", "units=1",
                      more=tuple(STILL))  # fmt: skip

    assert_refused(refused, "the layer that takes the condition", "7 channels in the file, 14",
                   "denoiser.new_condition=true", "conv.weight", "3x7x3x3", "3x14x3x3")  # fmt: skip
    assert plan["d1"]["init"]["drawn"] == ["conv.weight"]
    assert trained.exit_code == 0, trained.stderr
    assert torch.allclose(weights("d1")["conv.bias"], own["conv.bias"], rtol=0, atol=1e-20)


# What is kept of a run.


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
    alone = start("-m", "sdabn_cli", *command, "--run", "alone")

    assert (both.returncode, alone.returncode) == (0, 0), both.stderr + alone.stderr
    assert [s["status"] for s in json.loads(both.stdout)["stages"]] == ["finished"] * 3
    assert equal(weights("s0", "both"), segmenter())
    figures = [
        json.loads(Path(run, "s0/metrics.jsonl").read_text())["validation"]
        for run in ("both", "alone")
    ]
    assert figures[0] == figures[1]


# Recipes.


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
    assert str(recipe.load("child.yaml").segmenter) == "tiny"
    assert str(recipe.load("mine.yaml").segmenter) == "tiny:dropout=0.5"


def test_a_network_and_its_weights_may_be_set_in_any_order(tiny_recipe):
    settings = ["segmenter.init=own.pt", "segmenter=tiny:dropout=0.5"]

    for order in (settings, settings[::-1]):
        chosen = recipe.load(tiny_recipe, order).segmenter
        assert (str(chosen), chosen.init) == ("tiny:dropout=0.5", "own.pt")


def test_recipes_check_finds_weights_that_do_not_fit(tiny_recipe):
    write("own.pt", segmenter(19))
    Path("mine.yaml").write_text(f"extends: {tiny_recipe}\nsegmenter: {{init: own.pt}}\n")
    Path("far.yaml").write_text("extends: mine.yaml\ndata: {dataset: folder}\n"
                                "segmenter: {init: missing.pt}\n")  # fmt: skip

    assert_refused(sdabn("recipes", "check", "mine.yaml"), "Only the last layer", "head.weight")
    assert_refused(sdabn("recipes", "check", "far.yaml"), "there is no file missing.pt")


# Folders, runs and models.


def test_a_run_gives_its_clean_segmenter_and_its_first_denoiser(tiny_recipe):
    assert cascade(tiny_recipe, "units=1", run="first").exit_code == 0

    given = ("segmenter.init=first", "denoiser.init=first")
    result = cascade(tiny_recipe, *given, "units=1", "seed=9", run="second", more=tuple(STILL))

    assert result.exit_code == 0, result.stderr
    assert equal(weights("s0", "second"), weights("s0", "first"))
    assert all(
        torch.allclose(weights("d1", "second")[n], t, rtol=0, atol=1e-20)
        for n, t in weights("d1", "first").items()
    )


def test_a_run_that_is_not_that_far_is_refused(tiny_recipe):
    sdabn("train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe, "--run", "first")

    assert_refused(cascade(tiny_recipe, "denoiser.init=first"), "no finished stage d1")


def test_a_model_gives_the_networks_of_its_first_unit(tiny_recipe):
    save_model(Path("model"))

    result = cascade(tiny_recipe, "segmenter.init=model", "denoiser.init=model", "units=1")

    assert result.exit_code == 0, result.stderr
    assert equal(weights("s0"), load_file("model/s1.safetensors"))


def test_the_shipped_model_is_known_by_its_name(tiny_recipe):
    stages = planned(tiny_recipe, "segmenter=hrnet", "segmenter.init=street", "denoiser=ddfn",
                     "denoiser.init=street")  # fmt: skip

    assert stages["s0"]["init"]["path"].endswith("street/s1.safetensors")
    assert stages["d2"]["init"]["path"].endswith("street/d1.safetensors")


def test_weights_of_another_network_are_answered_with_what_to_type(tiny_recipe):
    result = cascade(tiny_recipe, "segmenter=hrnet:variant=w18", "segmenter.init=street")

    assert_refused(result, "those of hrnet; the recipe's segmenter is hrnet:variant=w18",
                   "--set segmenter=hrnet --set segmenter.init=street")  # fmt: skip


def test_classes_of_another_order_are_refused_unless_s0_is_trained(tiny_recipe):
    assert cascade(tiny_recipe, "units=1", run="first").exit_code == 0
    names = json.loads(Path("first/classes.json").read_text())
    Path("first/classes.json").write_text(json.dumps(names[::-1]))

    refused = cascade(tiny_recipe, "segmenter.init=first")
    trained = cascade(tiny_recipe, "segmenter.init=first", "segmenter.new_head=true",
                      more=("--dry-run",))  # fmt: skip

    assert_refused(refused, "were trained on the classes", names[-1], "segmenter.new_head=true")
    assert trained.exit_code == 0, trained.stderr


@pytest.fixture
def pretrained() -> smp.Unet:
    """A network of segmentation-models-pytorch, saved by that library in ``folder``."""
    torch.manual_seed(0)
    network = smp.Unet("resnet18", encoder_weights=None, classes=CLASSES)
    network.save_pretrained("folder")
    return network


def test_a_folder_of_save_pretrained_is_fitted_to_the_plugin(tiny_recipe, pretrained):
    result = sdabn(
        "train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe, "--run", "run",
        "--set", "segmenter=smp:encoder=resnet18", "--set", "segmenter.init=folder",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert equal(weights("s0"), with_prefix("network.", pretrained.state_dict()))


@pytest.mark.parametrize(
    "chosen", ["smp:encoder=resnet34", "smp:arch=FPN,encoder=resnet18", "tiny"]
)
def test_a_folder_of_another_network_is_answered_with_what_to_type(tiny_recipe, pretrained, chosen):
    result = cascade(tiny_recipe, f"segmenter={chosen}", "segmenter.init=folder")

    assert_refused(
        result, f"the recipe's segmenter is {chosen}",
        "--set segmenter=smp:arch=Unet,encoder=resnet18 --set segmenter.init=folder",
    )  # fmt: skip
    assert not Path("run").exists()


def test_the_lines_that_an_error_says_to_type_work(tiny_recipe, pretrained):
    stages = planned(tiny_recipe, "segmenter=smp:arch=Unet,encoder=resnet18",
                     "segmenter.init=folder")  # fmt: skip

    assert stages["s0"]["status"] == "given"


def test_weights_of_hrnet_are_fitted(tiny_recipe):
    network = networks.build_segmenter("hrnet", {"variant": "w18_small"}, num_classes=CLASSES)
    torch.save({"state_dict": with_prefix("net.", network.state_dict())}, "hrnet.ckpt")

    result = sdabn(
        "train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe, "--run", "run",
        "--set", "segmenter=hrnet:variant=w18_small", "--set", "segmenter.init=hrnet.ckpt",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert equal(weights("s0"), network.state_dict())


@pytest.mark.parametrize(
    "config", ['{"_model_class": "Unet; touch x", "encoder_name": "resnet18"}', "[" * 100_000, "[]"]
)
def test_a_strangers_config_cannot_put_words_in_our_mouth(tiny_recipe, pretrained, config):
    Path("folder/config.json").write_text(config)

    result = cascade(tiny_recipe, "segmenter.init=folder")

    assert_refused(result)
    assert "touch x" not in result.stderr


def test_what_an_error_says_to_type_is_quoted_for_the_shell(tiny_recipe, pretrained):
    shutil.move("folder", "my folder; touch x")

    result = cascade(tiny_recipe, "segmenter.init=my folder; touch x")

    assert_refused(result, "--set 'segmenter.init=my folder; touch x'")


def test_a_model_of_the_hub_gives_its_weights_and_is_not_needed_again(tiny_recipe, hub):
    save_model(Path("model"), units=1)
    commit = hub.repository("owner/tiny").push(fixtures_hub.content_of(Path("model")))
    given = ("segmenter.init=hf:owner/tiny", "units=1")

    first = cascade(tiny_recipe, *given)
    hub.repository("owner/tiny").push({"cascade.json": b"{}"})
    again = cascade(tiny_recipe, *given)

    assert (first.exit_code, again.exit_code) == (0, 0), first.stderr + again.stderr
    assert equal(weights("s0"), load_file("model/s1.safetensors"))
    path = planned(tiny_recipe, *given)["s0"]["init"]["path"]
    assert path.endswith(f"{commit}/s1.safetensors")


def test_a_strangers_names_do_not_steer_the_terminal(tiny_recipe):
    write("own.pt", segmenter() | {"\x1b[2J": torch.zeros(1)})

    result = cascade(tiny_recipe, "segmenter.init=own.pt")

    assert_refused(result, "1 are not in the network")
    assert "\x1b" not in result.stderr
