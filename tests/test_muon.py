"""Muon: matrices by orthogonal updates, other parameters by AdamW, resumed bit for bit."""

from __future__ import annotations

import pytest
import torch
from test_training import equal, train, weights
from torch import nn

from sdabn_cli.muon import Muon, orthogonal

RATE, DECAY, STEPS = 0.02, 0.1, 3


def gradients(network: nn.Module) -> None:
    """Leave other gradients at every step, the same for every network of these shapes."""
    source = torch.Generator().manual_seed(int(network.step))
    network.step += 1
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=source)


def trained(network: nn.Module, build) -> nn.Module:
    """A network after three steps of an optimiser, from weights that are always the same."""
    source = torch.Generator().manual_seed(7)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=source)
    network.step, optimizer = 0, build(network.parameters())
    for _ in range(STEPS):
        gradients(network)
        optimizer.step()
    return network


def ours(parameters) -> Muon:
    return Muon(parameters, RATE, weight_decay=DECAY)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)], ids=["wide", "tall", "square"])
def test_orthogonal_keeps_the_singular_vectors_and_evens_the_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)

    (made,) = orthogonal(matrix[None])

    values = left.mT @ made @ right.mT
    assert 0.65 < values.diagonal().min()
    assert values.diagonal().max() < 1.25
    assert (values - values.diagonal().diag()).abs().max() < 1e-4


def test_matrices_of_one_shape_at_once_are_what_each_is_alone_and_zeros_stay_zeros():
    source = torch.Generator().manual_seed(0)
    matrices = torch.stack([torch.randn(20, 30, generator=source), torch.zeros(20, 30)])

    together = orthogonal(matrices)

    torch.testing.assert_close(together[:1], orthogonal(matrices[:1]))
    assert not together[1].any()


@pytest.mark.parametrize("shape", [(32, 48), (48, 32)], ids=["wide", "tall"])
def test_a_matrix_is_trained_as_by_muon_of_torch(shape):
    def theirs(parameters):
        return torch.optim.Muon(
            parameters, RATE, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"
        )

    rows, columns = shape
    expected = trained(nn.Linear(columns, rows, bias=False), theirs).weight
    made = trained(nn.Linear(columns, rows, bias=False), ours).weight

    length = 0.2 * RATE * STEPS  # root mean square of all updates, were they in one direction
    assert (made - expected).square().mean().sqrt() < 0.03 * length  # theirs is in bfloat16


def test_a_kernel_is_trained_as_the_matrix_of_its_outputs():
    kernel = trained(nn.Conv2d(16, 24, 3, bias=False), ours).weight
    matrix = trained(nn.Linear(16 * 9, 24, bias=False), ours).weight

    torch.testing.assert_close(kernel.flatten(1), matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "network",
    [
        lambda: nn.BatchNorm2d(64),
        lambda: nn.Conv2d(64, 64, 3, groups=64),  # depthwise: nine columns
        lambda: nn.Conv2d(32, 11, 1),  # of few classes
    ],
    ids=["norm", "depthwise", "classes"],
)
def test_what_is_no_matrix_is_trained_as_by_adamw(network):
    def adamw(parameters):
        return torch.optim.AdamW(parameters, RATE, weight_decay=DECAY)

    expected, made = trained(network(), adamw), trained(network(), ours)

    for one, other in zip(expected.parameters(), made.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_parameters_without_gradients_stay_as_they_are():
    network = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    before = [parameter.detach().clone() for parameter in network[1].parameters()]
    optimizer = Muon(network.parameters(), RATE, weight_decay=DECAY)
    network[0](torch.ones(1, 20)).sum().backward()

    optimizer.step()

    for parameter, kept in zip(network[1].parameters(), before, strict=True):
        assert torch.equal(parameter, kept)
        assert parameter not in optimizer.state


def test_a_saved_state_is_loaded_to_where_the_parameters_are():
    network = trained(nn.Linear(20, 20), ours)
    optimizer = Muon(network.parameters(), RATE)
    gradients(network)
    optimizer.step()
    elsewhere = nn.Linear(20, 20, device="meta")  # as a GPU: not where states are read
    moved = Muon(elsewhere.parameters(), RATE)

    moved.load_state_dict(optimizer.state_dict())

    places = {value.device.type for state in moved.state.values() for value in state.values()}
    assert places == {"meta"}


def test_a_stage_that_muon_trains_is_stopped_and_goes_on_as_if_nothing_had_happened(
    opened, whole_and_broken
):
    settings = ("segmenter=hrnet", "segment.optimizer=muon", "segment.steps=5",
                "segment.save_every=2", "segment.weight_decay=0.01")  # fmt: skip
    whole, broken = whole_and_broken(*settings)

    assert equal(weights(broken, "s0"), weights(whole, "s0"))
    by_adam = opened(*settings, "segment.optimizer=adamw", run="adamw")
    train(by_adam, "s0")
    assert not equal(weights(by_adam, "s0"), weights(whole, "s0"))
