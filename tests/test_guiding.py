"""The denoiser ``sft``: any denoiser guided by a condition it knows nothing of."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fixtures_cli import files, sdabn
from torch import Tensor, nn

from sdabn_cli import networks
from sdabn_cli.errors import SdabnError
from sdabn_cli.testing import examine

CLASSES = 3
SMALL = "[dncnn:depth=4,width=8]"

RECIPE = """
units: 1
data: {{dataset: "scenes:count=2,width=64,height=64"}}
noise: gaussian
segmenter: tiny
denoiser: {denoiser}
segment: {{steps: 1, batch_size: 2, crop: [32, 32], optimizer: sgd, learning_rate: 0.01}}
denoise: {{steps: 1, batch_size: 2, crop: [32, 32], optimizer: adam, learning_rate: 0.001}}
"""

#: Networks of others: one with a border of its own, one that has nothing but a single convolution.
OTHERS = """
import torch.nn.functional as F
from torch import nn

class Bordered(nn.Module):
    receptive_field = 2

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 3, 3)

    def forward(self, image, condition):
        return self.last(F.relu(self.first(F.pad(image, (2,) * 4))))

class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.only = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image, condition):
        return self.only(image)

def bordered(*, condition_channels: int, in_channels: int = 3) -> nn.Module:
    return Bordered()

def bare(*, condition_channels: int, in_channels: int = 3) -> nn.Module:
    return Bare()
"""


@pytest.fixture
def others(third_party) -> None:
    third_party(
        "others",
        "[sdabn.denoisers]\nbordered = other_nets:bordered\nbare = other_nets:bare\n",
        other_nets=OTHERS,
    )


def guided(denoiser: object = SMALL, channels: int = CLASSES) -> nn.Module:
    torch.manual_seed(0)
    options = {"denoiser": denoiser}
    return networks.build_denoiser("sft", options, condition_channels=channels).eval()


def condition(*size: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, CLASSES, *size, generator=generator).mul(4).softmax(1)


@torch.no_grad()
def run(network: nn.Module, image: Tensor, given: Tensor | None) -> Tensor:
    return network(image, given)


@pytest.mark.parametrize(
    "denoiser",
    [
        "ddfn:blocks=1",
        "[nafnet:width=4,encoder=[1,1],decoder=[1,1]]",
        "[smp:encoder=mobilenet_v2,arch=Unet]",
        "[sft:denoiser=dncnn:depth=3]",
        "bordered",
    ],
)
def test_a_guided_denoiser_of_any_kind_keeps_the_contract(others, denoiser):
    outcomes = examine("denoiser", "sft", {"denoiser": denoiser})

    assert [o for o in outcomes if o.state == "failed"] == []


@pytest.mark.parametrize("denoiser", ["dncnn", "nafnet", "smp:arch=Unet"])
@pytest.mark.parametrize("size", [(32, 48), (37, 21)])
def test_a_guided_denoiser_starts_almost_as_the_unguided_one(denoiser, size):
    network, image = guided(denoiser), torch.rand(1, 3, *size)

    unguided = run(network.denoiser, image, None)
    difference = (run(network, image, condition(*size)) - unguided).abs().mean()

    assert 0 < float(difference) < 0.1 * float(unguided.abs().mean())


def test_every_part_of_the_guide_gets_a_gradient_in_the_first_step():
    network = guided().train()

    network(
        torch.rand(2, 3, 16, 16), condition(16, 16).expand(2, -1, -1, -1)
    ).square().sum().backward()

    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_without_a_condition_it_is_the_denoiser_itself():
    network = guided(channels=0)

    assert type(network).__name__ == "DnCNN"
    assert run(network, torch.rand(1, 3, 9, 11), None).shape == (1, 3, 9, 11)


def test_weights_of_the_unguided_denoiser_fit():
    network = guided()
    unguided = networks.build_denoiser("dncnn", {"depth": 4, "width": 8}, condition_channels=0)

    network.denoiser.load_state_dict(unguided.state_dict())

    image = torch.rand(1, 3, 12, 12)
    assert torch.equal(run(network.denoiser, image, None), run(unguided.eval(), image, None))


@pytest.mark.parametrize(("denoiser", "field"), [(SMALL, 4), ("ddfn:blocks=1", 6), ("bordered", 2)])
def test_a_guided_denoiser_is_as_exact_in_tiles_as_the_unguided_one(others, denoiser, field):
    network = guided(denoiser).double()
    for transform in network.transforms.parameters():
        nn.init.normal_(transform, std=0.3)
    image, given = torch.rand(1, 3, 40, 40).double(), condition(40, 40).double()
    seen = (..., slice(10 - field, 30 + field), slice(7 - field, 26 + field))

    whole = run(network, image, given)
    tile = run(network, image[seen], given[seen])

    assert network.receptive_field == field
    inside = (..., slice(field, -field), slice(field, -field))
    assert torch.allclose(tile[inside], whole[..., 10:30, 7:26])


@pytest.mark.parametrize("denoiser", ["nafnet", "smp"])
def test_the_condition_of_a_denoiser_that_halves_is_padded_with_the_image(denoiser):
    network = guided(denoiser)
    assert network.receptive_field is None
    for transform in network.transforms.parameters():
        nn.init.normal_(transform, std=0.1)
    image, given = torch.rand(1, 3, 21, 37), condition(21, 37)
    padded = [F.pad(x, (0, 3, 0, 3), mode="replicate") for x in (image, given)]

    assert torch.allclose(
        run(network, image, given), run(network, *padded)[..., :21, :37], atol=1e-5
    )


def test_a_copy_of_a_guided_denoiser_is_guided_by_itself():
    network = guided()
    other = copy.deepcopy(network)
    nn.init.zeros_(network.transforms[0].gamma[2].weight)
    image, one, two = torch.rand(1, 3, 8, 8), condition(8, 8), condition(8, 8, seed=2)

    assert not torch.equal(run(other, image, one), run(network, image, one))
    assert not torch.equal(run(other, image, one), run(other, image, two))


def test_a_denoiser_without_features_cannot_be_guided(others):
    with pytest.raises(
        SdabnError, match="sft:denoiser=bare: the denoiser Bare has no convolution of"
    ):
        guided("bare")


def test_an_error_of_the_guided_denoiser_names_it():
    with pytest.raises(
        SdabnError, match=r"denoiser dncnn:depth=1: depth must be at least 2, not 1"
    ):
        guided("dncnn:depth=1")
    with pytest.raises(SdabnError, match=r"called 'dncn'.*\nDid you mean 'dncnn'"):
        guided("dncn")


@pytest.mark.parametrize(
    "denoiser",
    [
        f"sft:denoiser={SMALL}",
        "{name: sft, options: {denoiser: {name: dncnn, options: {depth: 4, width: 8}}}}",
    ],
)
def test_a_guided_denoiser_is_trained_and_run_however_its_recipe_is_written(tiny_plugins, denoiser):
    Path("own.yaml").write_text(RECIPE.format(denoiser=denoiser))

    trained = sdabn("cascade", "--recipe", "own.yaml", "--run", "run", "--json")

    assert trained.exit_code == 0, trained.stderr
    d1 = json.loads(trained.stdout)["stages"][-1]
    assert d1["backbone"] == f"sft:denoiser={SMALL}"
    assert d1["parameters"] == networks.count_parameters(guided(channels=11))
    evaluated = sdabn(
        "evaluate", "--run", "run", "--dataset", "scenes:count=1,width=64,height=64", "--json"
    )
    assert evaluated.exit_code == 0, evaluated.stderr
    assert "model/d1.safetensors" in files(Path("run"))


def test_the_command_line_takes_brackets(tiny_plugins):
    Path("own.yaml").write_text(RECIPE.format(denoiser="ddfn"))

    planned = sdabn(
        "cascade", "--recipe", "own.yaml", "--set", f"denoiser=sft:denoiser={SMALL}",
        "--dry-run", "--json",
    )  # fmt: skip

    assert planned.exit_code == 0, planned.stderr
    assert json.loads(planned.stdout)["stages"][-1]["backbone"] == f"sft:denoiser={SMALL}"
