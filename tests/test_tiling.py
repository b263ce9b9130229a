"""Denoising in tiles: the same estimate as in one piece, and only where that is exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sdabn_cli import networks
from sdabn_cli.tiling import denoise

CLASSES = 5


def make_ddfn(*, blocks: int = 2, condition_channels: int = CLASSES) -> nn.Module:
    """A DDFN whose every weight and bias matters; fresh ones return almost nothing."""
    torch.manual_seed(1)
    network = networks.build_denoiser(
        "ddfn", {"blocks": blocks}, condition_channels=condition_channels
    )
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    nn.init.normal_(network.reconstruct.weight, std=0.1)
    return network.eval().requires_grad_(False)


def make_input(height: int, width: int, *, count: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(count, 3, height, width, generator=generator)
    logits = 3 * torch.randn(count, CLASSES, height, width, generator=generator)
    return image, logits.softmax(1)


class Witness(nn.Module):
    """Returns its input and remembers the sizes it was given."""

    def __init__(self, **declared: int | None) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []
        for name, value in declared.items():
            setattr(self, name, value)

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is None or condition.shape[-2:] == image.shape[-2:]
        self.sizes.append(tuple(image.shape[-2:]))
        return image


@pytest.mark.parametrize("size", [(45, 61), (33, 97), (64, 64), (9, 101)])
@pytest.mark.parametrize("tile", [7, 16, 33, 60])
def test_tiles_give_the_estimate_of_the_whole_image(size, tile):
    network = make_ddfn()
    image, condition = make_input(*size)

    whole = denoise(network, image, condition, tile=None)
    tiled = denoise(network, image, condition, tile=tile)

    assert whole.std() > 0.05
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_tiles_are_exact_for_the_papers_depth():
    network = make_ddfn(blocks=8)
    image, condition = make_input(71, 83)

    whole = network(image, condition)

    torch.testing.assert_close(denoise(network, image, condition, tile=32), whole, rtol=0,
                               atol=1e-5 * float(whole.abs().max()))  # fmt: skip


def test_every_image_of_a_batch_is_tiled_with_its_own_condition():
    network = make_ddfn()
    image, condition = make_input(40, 52, count=3)

    tiled = denoise(network, image, condition, tile=20)

    torch.testing.assert_close(tiled, network(image, condition), rtol=0, atol=1e-5)


def test_an_unconditioned_denoiser_is_tiled_too():
    network = make_ddfn(condition_channels=0)
    image, _ = make_input(45, 61)

    tiled = denoise(network, image, None, tile=16)

    torch.testing.assert_close(tiled, network(image, None), rtol=0, atol=1e-5)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_ddfn_declares_the_receptive_field_it_has(blocks):
    network = make_ddfn(blocks=blocks)
    image, condition = make_input(61, 61)
    reached = torch.zeros(61, 61, dtype=torch.bool)
    for seed in range(3):
        image = torch.rand(image.shape, generator=torch.Generator().manual_seed(seed))
        image.requires_grad_(True)
        network(image, condition)[0, :, 30, 30].sum().backward()
        reached |= image.grad.abs().sum((0, 1)) > 0

    rows = reached.any(1).nonzero()

    assert int(rows.max()) - 30 == 30 - int(rows.min()) == network.receptive_field


@pytest.mark.parametrize("declared", [{}, {"receptive_field": None}])
def test_a_denoiser_of_unknown_or_global_reach_gets_the_whole_image(declared):
    witness = Witness(**declared)
    image, condition = make_input(45, 61)

    assert torch.equal(denoise(witness, image, condition, tile=16), image)
    assert witness.sizes == [(45, 61)]


def test_an_image_no_larger_than_a_tile_is_not_cut():
    witness = Witness(receptive_field=3)
    image, condition = make_input(40, 48)

    denoise(witness, image, condition, tile=48)

    assert witness.sizes == [(40, 48)]


def test_no_tile_is_larger_than_asked_for_with_its_halo():
    witness = Witness(receptive_field=3)
    image, condition = make_input(45, 61)

    assert torch.equal(denoise(witness, image, condition, tile=16), image)
    assert len(witness.sizes) == 3 * 4
    assert max(max(size) for size in witness.sizes) <= 16 + 2 * 3
