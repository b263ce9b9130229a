"""Algorithm 1: what a stage changes, what it starts from, what it writes and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sdabn_cli import assembly, data, networks, tasks, training
from sdabn_cli.cascade import segment
from sdabn_cli.errors import SdabnError, Stopped
from sdabn_cli.job import Training
from sdabn_cli.plan import describe
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage, stages

#: So small a learning rate that a step leaves every weight as it was.
STILL = ("segment.learning_rate=1.0e-30", "denoise.learning_rate=1.0e-30",
         "segment.steps=1", "denoise.steps=1")  # fmt: skip


def train(opened: Training, *ids: str) -> None:
    for id_ in ids:
        training.train_stage(opened, Stage.parse(id_))


def weights(opened: Training, stage_id: str) -> dict[str, Tensor]:
    return networks.read_weights(opened.run.stage(stage_id).weights)


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def finished_network(opened: Training, stage_id: str) -> nn.Module:
    network = networks.for_kind(opened.recipe, Stage.parse(stage_id).kind, num_classes=11)
    networks.load_weights(network, opened.run.stage(stage_id).weights)
    return network.eval()


def all_weights(run: Path) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in run.glob("*/weights.safetensors")}


def batch_of(opened: Training, count: int) -> data.Sample:
    samples = data.TrainingSamples(
        opened.train, data.Augmentation((16, 16)), opened.noise, key=(0, "d2")
    )
    return next(
        iter(
            data.batches(
                samples, first_step=0, last_step=1, batch_size=count, workers=0, pin_memory=False
            )
        )
    )


def test_training_d2_leaves_every_earlier_network_bit_equal(opened):
    job = opened("denoise.steps=1")
    train(job, "s0", "s1", "d1", "s2")
    earlier = {id_: weights(job, id_) for id_ in ("s1", "d1", "s2")}
    fresh = networks.weights_of(training.starting_network(job, Stage.parse("d2")))
    built = sys.modules["tiny_plugins"].BUILT
    built.clear()

    train(job, "d2")

    # Every network that was in memory, by the stage whose weights it still holds.
    states = [networks.weights_of(module) for module in built]
    holders = {id_: [s for s in states if equal(s, kept)] for id_, kept in earlier.items()}
    assert all(len(holding) == 1 for holding in holders.values())
    assert len(states) == 4
    trainable = [module for module in built if any(p.requires_grad for p in module.parameters())]
    assert len(trainable) == 1
    # The test can fail: the step moved d2, and training a segmenter moves its statistics.
    assert not equal(weights(job, "d2"), fresh)
    assert not torch.equal(earlier["s1"]["norm.running_mean"], earlier["s2"]["norm.running_mean"])


def test_asking_for_recorded_steps_changes_nothing_on_a_cpu(opened):
    plain = opened("seed=3", run="plain")
    asked = opened("seed=3", "cuda_graphs=true", run="asked")

    train(plain, "s0", "s1", "d1")
    train(asked, "s0", "s1", "d1")

    assert all(equal(weights(plain, id_), weights(asked, id_)) for id_ in ("s0", "s1", "d1"))


def test_s1_starts_from_s0_and_s2_from_s1(opened):
    job = opened(*STILL)

    train(job, "s0", "s1", "d1", "s2")

    s0, s1, s2 = (weights(job, id_) for id_ in ("s0", "s1", "s2"))
    # Batch-norm statistics follow the images even when nothing is learnt.
    learnt = [name for name in s0 if "running" not in name and "tracked" not in name]
    for name in learnt:
        assert torch.allclose(s0[name], s1[name], rtol=0, atol=1e-20)
        assert torch.allclose(s1[name], s2[name], rtol=0, atol=1e-20)
    assert [int(w["norm.num_batches_tracked"]) for w in (s0, s1, s2)] == [1, 2, 3]


def test_every_denoiser_starts_afresh(opened):
    job = opened(*STILL)

    train(job, "s0", "s1", "d1", "s2", "d2")

    assert not torch.equal(weights(job, "d1")["conv.weight"], weights(job, "d2")["conv.weight"])
    assert equal(
        weights(job, "d2"), networks.weights_of(training.starting_network(job, Stage.parse("d2")))
    )


def test_a_denoiser_starts_from_the_one_before_where_the_recipe_asks_for_it(opened):
    job = opened(*STILL, "denoise.from_previous=true")

    train(job, "s0", "s1", "d1", "s2", "d2")

    assert torch.equal(weights(job, "d1")["conv.weight"], weights(job, "d2")["conv.weight"])
    assert [plan["starts_from"] for plan in plan_of(job)] == [None, "s0", None, "s1", "d1"]


def test_segmenters_start_from_the_first_one_where_the_recipe_asks_for_it(opened):
    job = opened("units=3", "condition=none", "segment.from_first=true", "stages.s3.steps=0")

    train(job, "s0", "s1", "d1", "d2", "s3")

    assert equal(weights(job, "s1"), weights(job, "s3"))
    assert [plan["starts_from"] for plan in plan_of(job)][-2:] == ["s1", None]


def test_a_stage_without_steps_keeps_the_weights_it_starts_from_and_is_validated(opened):
    job = opened("stages.s2.steps=0", "stages.d2={steps: 0, from_previous: true}")

    train(job, "s0", "s1", "d1", "s2", "d2")
    again = job.run.stage(Stage.parse("s2")).read_log()
    train(job, "s2")

    assert equal(weights(job, "s2"), weights(job, "s1"))
    assert equal(weights(job, "d2"), weights(job, "d1"))
    (figures,) = [entry["validation"] for entry in again]
    assert 0 <= figures["miou"] <= 100
    assert job.run.stage(Stage.parse("s2")).read_log() == again
    (job.run.path / "s2/metrics.jsonl").unlink()  # killed between finishing and validating
    train(job, "s2")
    assert [entry["validation"] for entry in job.run.stage(Stage.parse("s2")).read_log()] == [
        figures
    ]
    description = json.loads(Path("run/model/cascade.json").read_text())
    segmenters = [unit["segmenter"]["weights"] for unit in description["units"]]
    assert segmenters == ["s1.safetensors"] * 2  # one file for both


def test_a_signal_behind_the_last_validated_image_is_obeyed_once_the_figures_are_kept(opened):
    job = opened("stages.s2.steps=0")
    train(job, "s0", "s1", "d1")

    class Terminating(type(job.watcher)):
        def validated(self, step, figures):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="Stopped while s2 was validated"):
        train(dataclasses.replace(job, watcher=Terminating()), "s2")

    assert "validation" in job.run.stage(Stage.parse("s2")).read_log()[0]


def test_d2_begins_as_d1_on_the_mean_of_its_two_images_and_d3_as_d2(opened):
    job = opened(*STILL, "units=3", "denoise.from_previous=true", "denoiser=ddfn:blocks=1")

    train(job, "s0", "s1", "d1", "s2", "d2", "s3", "d3")

    d1, d2, d3 = (finished_network(job, id_) for id_ in ("d1", "d2", "d3"))
    image, condition = torch.rand(1, 3, 16, 16), torch.rand(1, 11, 16, 16)
    torch.testing.assert_close(d2(2 * image, condition), d1(image, condition))
    assert not torch.allclose(d2(image, condition), d1(image, condition), rtol=0.1)
    assert torch.equal(d3(image, condition), d2(image, condition))


def plan_of(job: Training) -> list[dict[str, object]]:
    """The stages as ``--dry-run`` shows them."""
    return describe(job.recipe, job.run, stages(job.recipe.units))["stages"]


def test_a_stage_sees_what_the_cascade_would_give_it(opened):
    job = opened(*STILL)
    train(job, "s0", "s1", "d1", "s2")
    s1, d1, s2 = (finished_network(job, id_) for id_ in ("s1", "d1", "s2"))
    batch = batch_of(job, 2)

    with torch.no_grad():
        estimate = d1(batch.noisy, segment(s1, batch.noisy).softmax(1))
        guide = segment(s2, estimate).softmax(1)
        seen = {
            stage.id: tasks.stage_input(
                assembly.frozen_prefix(job.recipe, job.run, stage, 11), stage, batch
            )
            for stage in stages(2)[1:]
        }

    assert torch.equal(seen["s1"][0], batch.noisy)
    assert torch.equal(seen["d1"][0], batch.noisy)
    assert torch.allclose(seen["s2"][0], estimate, atol=1e-6)
    assert torch.allclose(seen["d2"][0], batch.noisy + estimate, atol=1e-6)
    assert torch.allclose(seen["d2"][1], guide, atol=1e-6)


def test_a_cascade_trains_in_order_and_writes_exactly_these_files(opened, watcher):
    job = opened()

    training.train_cascade(job)

    order = ["s0", "s1", "d1", "s2", "d2"]
    assert watcher.finished == order
    assert {p.relative_to(job.run.path).as_posix() for p in job.run.path.rglob("*.*")} == {
        ".lock",
        "recipe.yaml",
        "classes.json",
        *(f"{id_}/pictures/frame{n}-000003.png" for id_ in order for n in (4, 5)),
        *(f"{id_}/metrics.jsonl" for id_ in order),
        *(f"{id_}/weights.safetensors" for id_ in order),
        "model/cascade.json",
        *(f"model/{id_}.safetensors" for id_ in order[1:]),
    }
    described = json.loads((job.run.model / "cascade.json").read_text())
    assert len(described["units"]) == 2
    assert described["classes"][:2] == ["sky", "building"]


def test_finished_stages_are_kept_when_a_cascade_is_started_again(opened, watcher):
    training.train_cascade(opened("units=1"))
    before = all_weights(Path("run"))

    training.train_cascade(opened("units=2"))

    assert watcher.finished == ["s0", "s1", "d1", "s2", "d2"]
    assert before.items() <= all_weights(Path("run")).items()


def test_the_model_follows_a_stage_that_was_trained_again(opened, camvid_tree):
    training.train_cascade(opened("units=1"))
    shutil.rmtree("run/d1")
    for path in (camvid_tree / "train").iterdir():
        Image.fromarray(255 - np.array(Image.open(path))).save(path)

    training.train_cascade(opened("units=1"))

    stage, model = Path("run/d1/weights.safetensors"), Path("run/model/d1.safetensors")
    assert model.read_bytes() == stage.read_bytes()


@pytest.mark.parametrize(
    ("done", "wanted", "missing", "command"),
    [
        ([], "s1", "s0, which is missing", "--index 0 --kind seg"),
        (["s0"], "d1", "s1, which is missing", "--index 1 --kind seg"),
        (["s0", "s1"], "s2", "d1, which is missing", "--index 1 --kind denoise"),
    ],
)
def test_a_missing_earlier_stage_is_named_with_its_command(opened, done, wanted, missing, command):
    job = opened()
    train(job, *done)

    with pytest.raises(SdabnError, match=f"Stage {wanted} needs stage {missing}") as caught:
        train(job, wanted)

    assert f"sdabn train-stage {command}" in caught.value.hint


def test_an_earlier_stage_that_was_stopped_is_called_not_finished(opened, watcher):
    watcher.stop_at = ("s0", 3)
    with pytest.raises(Exception, match="power cut"):
        train(opened(), "s0")

    with pytest.raises(SdabnError, match="needs stage s0, which is not finished"):
        train(opened(), "s1")


def test_another_recipes_run_directory_is_refused_with_the_key_that_differs(opened):
    train(opened(), "s0")

    with pytest.raises(SdabnError, match=r"s0.learning_rate: 0.01 in the run, 0.5 now"):
        opened("segment.learning_rate=0.5")


def test_stages_that_have_not_begun_may_be_trained_differently(opened):
    train(opened(), "s0")

    job = opened("denoise.learning_rate=0.5", "stages={s1: {steps: 1}}")

    assert job.recipe.for_stage(Stage.parse("s1")).steps == 1


def test_a_run_of_other_classes_is_refused(opened, camvid_tree):
    train(opened(), "s0")
    Path("run/classes.json").write_text('["cat", "dog"]')

    with pytest.raises(SdabnError, match="was trained on the classes cat, dog"):
        opened()


def test_a_directory_of_other_files_is_refused(opened):
    Path("run").mkdir()
    Path("run/thesis.txt").write_text("mine")

    with pytest.raises(SdabnError, match="is not empty and holds no run"):
        opened()


@pytest.mark.parametrize("kept", ["recipe.yaml", "classes.json"])
def test_a_run_that_was_killed_while_it_was_claimed_goes_on(opened, kept):
    opened(run="whole")
    Path("run").mkdir()
    shutil.copy(f"whole/{kept}", "run")

    train(opened(), "s0")

    for name in ("recipe.yaml", "classes.json"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


def test_classes_of_something_else_are_no_run_and_are_left_alone(opened):
    Path("run").mkdir()
    Path("run/classes.json").write_text('["mine"]')

    with pytest.raises(SdabnError, match="is not empty and holds no run"):
        opened()

    assert Path("run/classes.json").read_text() == '["mine"]'
    assert len(list(Path("run").iterdir())) == 1


def test_a_label_outside_the_classes_stops_before_anything_is_written(opened, camvid_tree):
    path = camvid_tree / "valannot" / "frame5.png"
    labels = np.array(Image.open(path))
    labels[3, 4] = 40
    Image.fromarray(labels).save(path)

    with pytest.raises(SdabnError, match=r"valannot.frame5\.png: label 40 is outside"):
        opened()

    assert not Path("run").exists()


def test_a_loss_that_is_not_finite_stops_with_the_step_named(opened):
    with pytest.raises(SdabnError, match="loss of s0 is nan at step 2"):
        train(opened("segmenter=tiny:fails_from=2"), "s0")

    assert Run(Path("run")).stage("s0").status == "started"


def test_no_state_is_saved_once_the_loss_is_not_finite(opened):
    job = opened("segmenter=tiny:fails_from=2", "segment.steps=8", "segment.log_every=4")

    with pytest.raises(SdabnError, match="loss of s0 is nan at step"):
        train(job, "s0")

    state, _ = job.run.stage("s0").load_state()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state["network"].values())


def test_class_weights_of_another_number_than_the_classes_are_refused(opened):
    with pytest.raises(SdabnError, match="class_weights"):
        train(opened("segment.class_weights=[1.0, 2.0]"), "s0")


@pytest.mark.parametrize(("kind", "name"), [("seg", "hrnet"), ("denoise", "ddfn")])
def test_every_parameter_gets_a_gradient(kind, name):
    image = torch.rand(2, 3, 64, 64)
    if kind == "seg":
        network = networks.build_segmenter(name, {"variant": "w18_small"}, num_classes=4)
        result = network(image)
    else:
        network = networks.build_denoiser(name, {}, condition_channels=4)
        result = network(image, torch.rand(2, 4, 64, 64))

    nn.functional.mse_loss(result, torch.rand_like(result)).backward()

    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_denoiser_may_be_trained_for_its_psnr(opened):
    job = opened("condition=none", "denoise.loss=psnr", "denoise.log_every=1", *STILL)
    train(job, "d1")
    (line,) = [line for line in job.run.stage("d1").read_log() if "loss" in line]

    other = opened("condition=none", "denoise.log_every=1", *STILL, run="other")
    train(other, "d1")
    (squared,) = [line for line in other.run.stage("d1").read_log() if "loss" in line]

    # One batch of two crops of 16x16; the mean of decibels is at most those of the mean error.
    mean_error = squared["loss"] / (0.5 * 3 * 14 * 14)
    assert -80 < line["loss"] <= 10 * math.log10(mean_error) + 1e-4


def test_a_denoiser_judged_by_the_clean_segmenter_follows_both_losses(opened):
    job = opened("condition=none", "denoise.semantic_weight=0.5", *STILL)
    train(job, "s0")
    batch = batch_of(job, 2)
    denoiser = training.starting_network(job, Stage.parse("d1"))
    critic = finished_network(job, "s0")
    task = tasks.task_of(
        Stage.parse("d1"),
        job.recipe.denoise,
        assembly.frozen_prefix(job.recipe, job.run, Stage.parse("d1"), 11),
        job.compute,
        training.critic_of(job, Stage.parse("d1")),
    )

    loss = task.loss(denoiser, batch, task.size(batch))
    loss.backward()

    with torch.no_grad():
        estimate = denoiser(batch.noisy, None)
        squared = 0.5 * (estimate - batch.clean)[..., 1:-1, 1:-1].square().sum() / 2
        logits = segment(critic, estimate)
        semantic = torch.nn.functional.cross_entropy(
            logits, batch.labels, ignore_index=255, reduction="sum"
        )
    assert float(loss.detach()) == pytest.approx(
        float(squared + 0.5 * 1.5 * semantic / 2), rel=1e-5
    )
    assert all(parameter.grad is not None for parameter in denoiser.parameters())
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_a_denoiser_judged_by_the_clean_segmenter_asks_for_it(opened):
    job = opened("condition=none", "denoise.semantic_weight=0.5", *STILL)

    with pytest.raises(SdabnError, match="d1 needs stage s0, which is missing"):
        train(job, "d1")
