"""A running average of the weights is validated and handed on, and lost by no stop."""

from __future__ import annotations

import pytest
import torch
from test_training import equal, finished_network, train, weights

from sdabn_cli.assembly import frozen_prefix
from sdabn_cli.averaging import WeightAverage
from sdabn_cli.schedule import Stage
from sdabn_cli.validation import Validation

#: The learning rate of every step is the same, however many there are.
STEADY = ("segment.final_learning_rate=0.01", "segment.learning_rate=0.01",
          "segment.optimizer=sgd", "segment.save_every=2")  # fmt: skip


def test_an_average_by_hand():
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data[:] = 10.0
    average = WeightAverage(network, 0.3)

    for step, value in enumerate([20.0, 40.0, 80.0]):
        network.weight.data[:] = value
        average.update(step)

    first = 10 * 0.1 + 20 * 0.9  # keeps (1 + 0) / (10 + 0)
    second = first * 2 / 11 + 40 * 9 / 11
    third = second * 3 / 12 + 80 * 9 / 12  # 0.25, still under the decay
    with average.in_place():
        assert network.weight.item() == pytest.approx(third)
    assert network.weight.item() == 80
    average.update(100)  # keeps the decay
    assert average.state_dict()["weight"].item() == pytest.approx(third * 0.3 + 80 * 0.7)


def test_the_network_has_its_own_weights_again_when_what_is_done_with_the_average_fails():
    network = torch.nn.Linear(2, 2)
    own = network.weight.detach().clone()
    average = WeightAverage(network, 0.5)
    network.weight.data += 1

    def fail() -> None:
        with average.in_place():
            assert torch.equal(network.weight, own)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()

    assert torch.equal(network.weight, own + 1)


def test_a_stage_hands_on_the_average_of_what_its_steps_have_made(opened):
    by_steps = []
    for steps in (1, 2, 3):
        job = opened(*STEADY, f"segment.steps={steps}", run=f"steps{steps}")
        train(job, "s0")
        by_steps.append(weights(job, "s0"))
    job = opened(*STEADY, "segment.steps=3", "segment.ema=0.15", run="averaged")

    train(job, "s0")

    averaged = weights(job, "s0")
    one, two, three = (each["conv.weight"] for each in by_steps)
    start = averaged_start(opened)
    expected = start * 0.1 + one * 0.9
    expected = expected * 0.15 + two * 0.85
    expected = expected * 0.15 + three * 0.85
    torch.testing.assert_close(averaged["conv.weight"], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(averaged["conv.weight"], three, rtol=1e-5, atol=1e-6)
    assert torch.equal(averaged["norm.running_mean"], by_steps[-1]["norm.running_mean"])


def averaged_start(opened) -> torch.Tensor:
    """Weights that s0 begins with: a step too small to change anything."""
    job = opened("segment.learning_rate=1.0e-30", "segment.steps=1", run="start")
    train(job, "s0")
    return weights(job, "s0")["conv.weight"]


def test_a_stopped_average_goes_on_as_if_nothing_had_happened(whole_and_broken):
    whole, broken = whole_and_broken(
        *STEADY, "segment.steps=5", "segment.ema=0.5", "segment.validate_every=2"
    )

    assert equal(weights(broken, "s0"), weights(whole, "s0"))
    figures = [job.run.stage("s0").read_log() for job in (whole, broken)]
    validated = [[e["validation"] for e in log if "validation" in e] for log in figures]
    assert validated[0] == validated[1]


def test_what_is_validated_is_the_average(opened):
    job = opened("denoise.learning_rate=0.1", "denoise.steps=2", "denoise.ema=0.99")

    train(job, "s0", "s1", "d1")

    stage = Stage.parse("d1")
    prefix = frozen_prefix(job.recipe, job.run, stage, 11)
    expected = Validation(job, stage, finished_network(job, "d1"), prefix).run(0)
    assert job.run.stage("d1").read_log()[-1]["validation"] == expected
