"""Several processes: the same weights and the same figures as one, started by public launchers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fixtures_cli import sdabn
from fixtures_report import pictures, read
from torch import Tensor, nn

from sdabn_cli import networks, training
from sdabn_cli.batchnorm import SYNCHRONIZED
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError
from sdabn_cli.processes import Processes
from sdabn_cli.schedule import Stage

#: torchrun takes ``--run`` for its own option ``--run-path`` unless ``--`` stands before it.
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--",
            "sdabn_cli")  # fmt: skip
#: ``--cpu`` would start one process alone; several on processors are started by this as well.
#: The precision is the recipe's, whatever the launcher is told.
ACCELERATE = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2",
              "--num_machines=1", "--mixed_precision=bf16", "--dynamo_backend=no",
              "--main_process_port=0", "-m", "sdabn_cli")  # fmt: skip
ALONE = ("-m", "sdabn_cli")

#: Twenty steps of every stage, in batches of four; labels of some classes count more than others.
SETTINGS = ["--set", "segment.steps=20", "--set", "denoise.steps=20", "--set", "units=1",
            "--set", "segment.batch_size=4", "--set", "denoise.batch_size=4",
            "--set", "segment.class_weights=[1,2,3,1,1,1,2,1,1,1,0.5]"]  # fmt: skip


def start(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run python with the third-party plug-ins of this test's sys.path."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=cwd, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip


def weights(run: str, stage: str) -> dict[str, Tensor]:
    return networks.read_weights(Path(run) / stage / "weights.safetensors")


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[key].double() - second[key].double()).abs().max()) for key in first)


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_two_processes_learn_the_same_weights_as_one_and_measure_the_same(tiny_recipe, launcher):
    cascade = ["cascade", "--recipe", tiny_recipe, "--device", "cpu", "--json", *SETTINGS]
    if watched := importlib.util.find_spec("tensorboard"):
        cascade += ["--set", "tensorboard=true"]

    alone = sdabn(*cascade, "--run", "alone")
    both = start(*launcher, *cascade, "--run", "both")

    assert alone.exit_code == 0, alone.stderr
    assert both.returncode == 0, both.stderr
    assert "2 processes" in both.stderr
    assert "processes" not in alone.stderr
    for stage in ("s0", "s1", "d1"):
        assert largest_difference(weights("alone", stage), weights("both", stage)) < 1e-5
    # The first process alone prints.
    assert [stage["status"] for stage in json.loads(both.stdout)["stages"]] == ["finished"] * 3
    assert both.stderr.count("s1: finished") == 1

    # Each of the two has validated one image, and both are shown.
    if watched:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        for run in ("alone", "both"):
            events = EventAccumulator(f"{run}/s1/tensorboard").Reload()
            assert events.Tags()["images"] == ["frame4", "frame5"]
            assert [event.step for event in events.Images("frame5")] == [20]

    if launcher is TORCHRUN:
        root = Path(tiny_recipe).parent / "camvid"
        measure = ["evaluate", "--run", "alone", "--dataset", "camvid", "--data", str(root),
                   "--device", "cpu", "--json", "--report", "report.html"]  # fmt: skip
        one = sdabn(*measure)
        shown = pictures(read("report.html"))
        two = start(*TORCHRUN, *measure)
        assert json.loads(one.stdout) | {"device": ""} == json.loads(two.stdout) | {"device": ""}
        assert json.loads(one.stdout)["images"] == 2
        # Each process has made the pictures of one image.
        again = pictures(read("report.html"))
        assert [[p.tobytes() for p in each.values()] for each in again] == [
            [p.tobytes() for p in each.values()] for each in shown
        ]
        assert len(again) == 2


#: The segmenter ``tiny`` with parameters that its result does not depend on.
SPARE = """
from torch import nn
from tiny_plugins import Segmenter

class Spare(Segmenter):
    def __init__(self, num_classes, in_channels):
        super().__init__(num_classes, in_channels, 0.0, 0)
        self.spare = nn.Linear(3, 2)

def build(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    return Spare(num_classes, in_channels)
"""


def test_networks_with_unused_parameters_learn_the_same_over_two_processes(
    tiny_recipe, third_party
):
    third_party("sdabn-spare", "[sdabn.segmenters]\nspare = spare:build\n", spare=SPARE)
    stage = ["train-stage", "--index", "0", "--kind", "seg", "--recipe", tiny_recipe, *SETTINGS,
             "--device", "cpu", "--set", "segmenter=spare"]  # fmt: skip

    alone = sdabn(*stage, "--run", "alone")
    both = start(*TORCHRUN, *stage, "--run", "both")

    assert alone.exit_code == 0, alone.stderr
    assert both.returncode == 0, both.stderr
    assert largest_difference(weights("alone", "s0"), weights("both", "s0")) < 1e-5


#: The built-in networks in double precision, where rounding is too small to be amplified.
EXACT = """
from torch import nn
from sdabn_plugins import ddfn, hrnet

class Exact(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network.double()

    def forward(self, image, *condition):
        return self.network(image.double(), *condition)

def segmenter(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    return Exact(hrnet.build(num_classes=num_classes, variant="w18_small"))

def denoiser(*, condition_channels: int, in_channels: int = 3) -> nn.Module:
    return Exact(ddfn.build(condition_channels=condition_channels))
"""


def test_real_networks_learn_over_two_processes_what_they_learn_in_one(tiny_recipe, third_party):
    third_party(
        "sdabn-exact",
        """
        [sdabn.segmenters]
        exact = exact:segmenter
        [sdabn.denoisers]
        exact = exact:denoiser
        """,
        exact=EXACT,
    )
    cascade = ["cascade", "--recipe", tiny_recipe, "--device", "cpu"]
    for setting in ("units=1", "condition=none", "segmenter=exact", "denoiser=exact",
                    "segment.batch_size=4", "denoise.batch_size=4"):  # fmt: skip
        cascade += ["--set", setting]

    alone = sdabn(*cascade, "--run", "alone")
    both = start(*TORCHRUN, *cascade, "--run", "both")

    assert (alone.exit_code, both.returncode) == (0, 0), alone.stderr + both.stderr
    # The loss of segmenters is computed in single precision, whatever the network's is.
    for stage, tolerance in (("s0", 1e-6), ("d1", 1e-12)):
        one, two = weights("alone", stage), weights("both", stage)
        assert torch.float64 in {tensor.dtype for tensor in one.values()}
        assert largest_difference(one, two) < tolerance


def test_a_batch_computed_in_parts_teaches_the_same_where_batches_are_not_normalised(opened):
    for run, parts in (("whole", 1), ("parts", 2)):
        job = opened("units=1", "denoise.steps=20", f"denoise.accumulate={parts}", run=run)
        for name in ("s0", "s1", "d1"):
            training.train_stage(job, Stage.parse(name))

    assert 0 < largest_difference(weights("whole", "d1"), weights("parts", "d1")) < 1e-5


def test_a_batch_that_cannot_be_shared_out_is_refused():
    processes = Processes()
    processes.count = 3

    assert processes.share(12, 2) == 4
    with pytest.raises(SdabnError, match="batch_size of 8 cannot be shared out equally to 3"):
        processes.share(8, 1)


def test_one_process_exchanges_nothing():
    alone = Compute(torch.device("cpu"), torch.float32).processes
    network = nn.Linear(2, 2)

    assert alone.wrap(network) is network
    assert alone.gather([1, 2]) == [1, 2]
    assert alone.is_main


@pytest.mark.parametrize("kind", list(SYNCHRONIZED), ids=lambda kind: kind.__name__)
def test_synchronised_batch_norm_of_one_process_is_batch_norm(kind, tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        own, reference = kind(5), kind(5)
        own.__class__ = SYNCHRONIZED[kind]
        images = torch.randn(4, 5, 7, 6) * 3 + 2
        inputs = [images.clone().requires_grad_() for _ in range(2)]
        results = [norm(x) for norm, x in zip((own, reference), inputs, strict=True)]
        for result in results:
            (result * torch.arange(6.0)).square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()

    assert torch.allclose(*results, atol=1e-5)
    assert torch.allclose(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=1e-2)
    assert torch.allclose(own.weight.grad, reference.weight.grad, rtol=1e-4)
    for name, value in reference.state_dict().items():
        assert torch.allclose(own.state_dict()[name].float(), value.float(), atol=1e-5), name
