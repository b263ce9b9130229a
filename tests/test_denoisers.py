"""Denoisers written from their papers: sizes, receptive fields, and how DnCNN and NAFNet behave."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sdabn_cli import networks
from sdabn_cli.errors import SdabnError

SIDD = {"encoder": "[2,2,4,8]", "middle": "12", "decoder": "[2,2,2,2]"}
GOPRO = {"encoder": "[1,1,1,28]", "middle": "1", "decoder": "[1,1,1,1]"}


def build(name: str, channels: int = 0, **options: str) -> nn.Module:
    return networks.build_denoiser(name, options, condition_channels=channels)


def estimate(network: nn.Module, image: Tensor, condition: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return network.eval()(image, condition)


def test_dncnn_has_the_papers_number_of_parameters():
    count = networks.count_parameters(build("dncnn"))

    # 20 convolutions from 3 to 64 to 3 channels: published with batch norm merged into their
    # weights, which leaves a bias a channel; not merged it has a scale beside it. The last one is
    # the share of the image.
    assert count - 18 * 64 - 1 == 668_227
    assert networks.count_parameters(build("dncnn", 19)) - count == 19 * 64 * 9


@pytest.mark.parametrize(
    ("width", "blocks", "millions"),
    [("32", GOPRO, 17.11), ("64", GOPRO, 67.89), ("32", SIDD, 29.16), ("64", SIDD, 115.98)],
)
def test_nafnet_has_the_papers_numbers_of_parameters(width, blocks, millions):
    with torch.device("meta"):
        network = build("nafnet", width=width, **blocks)

    assert round(networks.count_parameters(network) / 1e6, 2) == millions


@pytest.mark.parametrize("depth", [2, 5])
def test_the_receptive_field_of_dncnn_is_the_one_it_declares(depth):
    network = build("dncnn", 2, depth=str(depth), width="4").double().eval()
    # With positive weights nothing cancels and no ReLU closes: every path shows in the gradient.
    for parameter in network.parameters():
        parameter.data.abs_()
    image = torch.rand(1, 3, 21, 21, dtype=torch.float64, requires_grad=True)

    found = network(image, torch.rand(1, 2, 21, 21, dtype=torch.float64))
    found[0, 0, 10, 10].backward()

    reached = image.grad.abs().amax(1)[0].nonzero()
    assert network.receptive_field == depth
    assert (reached.amin(0).tolist(), reached.amax(0).tolist()) == (
        [10 - depth] * 2,
        [10 + depth] * 2,
    )


@pytest.mark.parametrize("name", ["dncnn", "nafnet"])
def test_the_first_estimate_of_a_fresh_network_is_half_the_image(name):
    # From the second unit on the image is an image and an estimate, added up.
    image = torch.rand(1, 3, 24, 24)

    assert torch.allclose(estimate(build(name), image), image / 2, atol=0.05)


@pytest.mark.parametrize("name", ["dncnn", "nafnet"])
def test_the_share_of_the_image_is_learned(name):
    network = build(name, 1).train()

    network(torch.rand(2, 3, 16, 16), torch.rand(2, 1, 16, 16)).sum().backward()

    assert float(network.share.change.grad.abs()) > 0


def test_nafnet_takes_means_over_all_of_an_image_that_its_window_holds():
    image = torch.rand(1, 3, 40, 64)
    torch.manual_seed(1)
    narrow = build("nafnet", window="64")
    torch.manual_seed(1)
    wide = build("nafnet", window="1000")

    assert torch.allclose(estimate(narrow, image), estimate(wide, image), atol=1e-6)


@pytest.mark.parametrize(("window", "global_"), [("32", False), ("1000", True)])
def test_what_lies_far_outside_the_window_does_not_matter_to_nafnet(window, global_):
    network = build("nafnet", window=window)
    nn.init.normal_(network.ending.weight)
    image = torch.rand(1, 3, 32, 256)
    other = image.clone()
    other[..., 200:] = 0

    difference = (estimate(network, image) - estimate(network, other))[..., :32].abs().max()

    assert (float(difference) > 1e-4) == global_


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dncnn", {"depth": "1"}, "dncnn:depth=1: depth must be at least 2, not 1"),
        ("dncnn", {"width": "0"}, "width must be at least 1, not 0"),
        ("nafnet", {"width": "0"}, "width must be at least 1, not 0"),
        ("nafnet", {"window": "0"}, "window must be at least 1, not 0"),
        ("nafnet", {"encoder": "[1,1]"}, "the same number of levels, not 2 and 3"),
        ("nafnet", {"middle": "-1"}, "must hold numbers of blocks, at least 0"),
        ("nafnet", {"encoder": "[1,two]"}, r"nafnet' refuses encoder='\[1,two\]': .*integer"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(name, options, message):
    with pytest.raises(SdabnError, match=message):
        build(name, **options)


def test_nafnet_without_levels_works_at_full_resolution_alone():
    network = build("nafnet", encoder="[]", decoder="[]", width="4", middle="1")

    assert estimate(network, torch.rand(1, 3, 9, 7)).shape == (1, 3, 9, 7)


@pytest.mark.parametrize("image", ["grey", "coloured", "grey noise"])
def test_bm3d_gives_numbers_where_its_package_divides_by_nothing(image):
    pytest.importorskip("bm3d", reason="the package bm3d is not installed")
    clean = torch.tensor([0.5, 0.5, 0.5] if image != "coloured" else [0.2, 0.5, 0.7])
    clean = clean[None, :, None, None].expand(1, 3, 40, 36)
    noise = torch.randn(1, 1, 40, 36, generator=torch.Generator().manual_seed(0)) * 25 / 255
    given = clean + noise if image == "grey noise" else clean

    found = estimate(build("bm3d", sigma="25"), given)

    if image == "grey noise":  # the same noise in all channels, most of which goes
        assert (found - clean).std() < noise.std() / 4
    else:
        torch.testing.assert_close(found, clean)
