"""What is no number reaches no state and no finished weights, and is named with its step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import ThirdParty

from sdabn_cli import training
from sdabn_cli.errors import SdabnError
from sdabn_cli.schedule import Stage

#: The segmenter ``tiny`` with a gradient that is no number at a step, without values in an
#: evaluation from a step on, or with a buffer that is infinite from a step on, or always.
SICK = """
from torch import nn
from tiny_plugins import Segmenter

class Sick(Segmenter):
    def __init__(self, classes, channels, gradient, blind, buffer, mask):
        super().__init__(classes, channels, 0.0, 0)
        self.gradient, self.blind, self.buffer = gradient, blind, buffer
        self.register_buffer("mask", self.head.bias.detach() + float("-inf" if mask else 0))
        self.head.weight.register_hook(self.spoil)

    @property
    def step(self):
        return int(self.norm.num_batches_tracked)

    def spoil(self, gradient):
        return gradient * float("nan") if self.step == self.gradient else gradient

    def forward(self, image):
        logits = super().forward(image)
        if self.buffer and self.step >= self.buffer:
            self.mask.fill_(float("inf"))
        return logits * float("nan") if self.blind and not self.training and self.step else logits

def build(*, num_classes: int, in_channels: int = 3, gradient: int = 0, blind: bool = False,
          buffer: int = 0, mask: bool = False) -> nn.Module:
    return Sick(num_classes, in_channels, gradient, blind, buffer, mask)
"""


@pytest.fixture(autouse=True)
def _sick(tiny_plugins: Path, third_party: ThirdParty) -> None:
    points = "[sdabn.segmenters]\nsick = sick_plugins:build\n"
    third_party("sdabn-sick", points, sick_plugins=SICK)


def state() -> dict:
    return torch.load("run/s0/state.pt", weights_only=True)


@pytest.mark.parametrize(
    ("option", "what"),
    [("gradient", "The gradient head.weight"), ("buffer", "The buffer mask")],
)
def test_a_step_that_spoils_the_network_is_named_and_not_saved(opened, option, what):
    settings = (f"segmenter=sick:{option}=4", "segment.steps=9", "segment.save_every=2")

    for _ in range(2):  # the same command comes to the same end, not to a worse one
        with pytest.raises(SdabnError, match=f"{what} of s0 is not finite at step 4") as caught:
            training.train_stage(opened(*settings), Stage.parse("s0"))

        assert caught.value.problem.count("frame") == 2  # the two samples of that step
        assert "stages.s0.learning_rate" in caught.value.hint
        assert state()["step"] == 2
        assert all(bool(t.isfinite().all()) for t in state()["network"].values())


def test_weights_too_large_to_compute_with_are_not_saved(opened):
    job = opened("segment.learning_rate=1.0e36", "segment.validate_every=1")

    with pytest.raises(SdabnError, match=r"The weight .* of s0 is not finite at step 1"):
        training.train_stage(job, Stage.parse("s0"))

    assert not list(Path("run/s0").glob("state*"))
    assert not Path("run/s0/weights.safetensors").exists()


def test_a_validation_without_numbers_names_stage_and_step(opened):
    job = opened("segmenter=sick:blind=true", "segment.validate_every=2")

    with pytest.raises(SdabnError, match=r"up to s0 computes values .* at step 2") as caught:
        training.train_stage(job, Stage.parse("s0"))

    assert "smaller learning rate" in caught.value.hint
    assert "--precision" not in caught.value.hint  # an option that training does not have


def test_what_is_infinite_by_design_is_no_fault(opened):
    job = opened("segmenter=sick:mask=true")

    training.train_stage(job, Stage.parse("s0"))

    assert job.run.stage("s0").status == "finished"
