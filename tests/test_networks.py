"""The paper's networks, measured; and weights that are stored and read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sdabn_cli import model, networks
from sdabn_cli.cascade import Cascade, Unit
from sdabn_cli.errors import SdabnError
from sdabn_plugins.ddfn import build

#: What is not the paper's.
OPTIONS = {
    "gate": "true",
    "unshuffle": "2",
    "margin": "2",
    "noise_maps": "true",
    "noise_scales": "2",
}


def ddfn(channels: int, **options: str) -> nn.Module:
    return networks.build_denoiser("ddfn", options, condition_channels=channels)


@pytest.mark.parametrize(("channels", "count"), [(19, 114_176), (8, 114_000), (0, 60_784)])
def test_ddfn_has_the_papers_number_of_parameters(channels, count):
    assert networks.count_parameters(ddfn(channels)) == count


def test_hrnet_and_the_cascade_s1d1s2_have_the_papers_numbers_of_parameters():
    first, second = (networks.build_segmenter("hrnet", {}, num_classes=19) for _ in range(2))
    cascade = Cascade([Unit(first, ddfn(19)), Unit(second)])

    assert networks.count_parameters(first) == 3_939_579
    assert networks.count_parameters(cascade) == 7_993_334


@pytest.mark.parametrize(("blocks", "pixels"), [(8, 27), (2, 9)])
def test_the_receptive_field_of_ddfn_is_the_one_it_declares(blocks, pixels):
    network = ddfn(2, blocks=str(blocks)).double()
    # With positive weights nothing cancels and no ReLU closes: every path shows in the gradient.
    for parameter in network.parameters():
        parameter.data.abs_()
    size, centre = 2 * pixels + 7, pixels + 3
    image = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)

    network(image, torch.rand(1, 2, size, size, dtype=torch.float64))[
        0, 0, centre, centre
    ].backward()

    reached = image.grad.abs().amax(1)[0].nonzero()
    assert network.receptive_field == pixels
    assert reached.amin(0).tolist() == [centre - pixels] * 2
    assert reached.amax(0).tolist() == [centre + pixels] * 2


@pytest.mark.parametrize("channels", [0, 2])
def test_a_margin_is_repeated_before_ddfn_and_cut_off_behind_it(channels):
    plain, wide = ddfn(channels), ddfn(channels, margin="2")
    wide.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 20, 24)
    condition = torch.rand(1, channels, 20, 24) if channels else None

    def widened(maps: torch.Tensor) -> torch.Tensor:
        rows = [0, 0, *range(maps.shape[2]), maps.shape[2] - 1, maps.shape[2] - 1]
        columns = [0, 0, *range(maps.shape[3]), maps.shape[3] - 1, maps.shape[3] - 1]
        return maps[:, :, rows][..., columns]

    expected = plain(widened(image), None if condition is None else widened(condition))
    torch.testing.assert_close(wide(image, condition), expected[..., 2:-2, 2:-2])


def test_a_margin_that_is_too_wide_is_refused():
    with pytest.raises(SdabnError, match="margin must be from 0 to 8, not 9"):
        ddfn(2, margin="9")


def test_a_gated_ddfn_mixes_what_it_makes_with_a_share_of_the_image():
    plain, gated = ddfn(2), ddfn(2, gate="true")
    assert networks.count_parameters(gated) - networks.count_parameters(plain) == 96 * 3 + 3 + 1
    networks.overlay(gated, plain.state_dict())
    image, condition = torch.rand(1, 3, 20, 24), torch.rand(1, 2, 20, 24)

    made, mixed = plain(image, condition), gated(image, condition)
    gated.gate.openness.bias.data[:] = torch.tensor([20.0, -20.0, 0.0])
    at_both_ends = gated(image, condition)

    torch.testing.assert_close(mixed, (0.5 * image + made) / 2)  # starts half open, at half a share
    torch.testing.assert_close(at_both_ends[:, 0], made[:, 0])
    torch.testing.assert_close(at_both_ends[:, 1], 0.5 * image[:, 1])
    torch.testing.assert_close(at_both_ends[:, 2], mixed[:, 2])


def test_a_gated_ddfn_learns_to_leave_an_image_without_noise_alone():
    torch.manual_seed(0)
    network, condition = ddfn(2, blocks="1", gate="true"), torch.rand(4, 2, 16, 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(100):
        image = torch.rand(4, 3, 16, 16)
        loss = (network(image, condition) - image).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    # Made anew by so small a network, noise as white as this is lost.
    assert loss < 1e-3


def test_an_unshuffled_ddfn_sees_the_pixels_of_every_square_as_channels():
    torch.manual_seed(0)
    network = ddfn(2, unshuffle="2", blocks="1")
    plain = build(in_channels=12, blocks=1, condition_channels=2)
    plain.load_state_dict(network.state_dict())
    image, condition = torch.rand(1, 3, 12, 16), torch.rand(1, 2, 12, 16)
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    channels = [image[:, c : c + 1, i::2, j::2] for c in range(3) for i, j in corners]
    means = sum(condition[..., i::2, j::2] for i, j in corners) / 4

    made = plain(torch.cat(channels, 1), means)
    estimate = network(image, condition)

    for number, (i, j) in enumerate(corners):
        torch.testing.assert_close(estimate[..., i::2, j::2], made[:, number::4])


def test_an_unshuffled_ddfn_repeats_the_edge_of_an_odd_image():
    network = ddfn(2, unshuffle="3", blocks="1", gate="true", margin="3")
    image, condition = torch.rand(1, 3, 13, 11), torch.rand(1, 2, 13, 11)
    rows, columns = [*range(13), 12, 12], [*range(11), 10]
    whole = network(image[:, :, rows][..., columns], condition[:, :, rows][..., columns])

    assert torch.equal(network(image, condition), whole[..., :13, :11])


def test_a_wider_ddfn_has_more_of_everything_but_of_the_condition():
    # Counted by hand for one block: features, block (squeeze, four convolutions, fuse), last layer.
    features = 2 * (3 * 9 * 4 + 4) + 2 * (4 * 9 * 4 + 4)
    block = 16 * 16 + 16 + 2 * (16 * 9 * 4 + 4) + 2 * (4 * 9 * 2 + 2) + 12 * 4 + 4

    assert networks.count_parameters(ddfn(0, width="16", blocks="1")) == features + block + 20 * 3


def test_a_width_that_cannot_be_divided_is_refused():
    with pytest.raises(SdabnError, match="width must be a multiple of 8, not 20"):
        ddfn(2, width="20")


@pytest.mark.parametrize("options", [{}, OPTIONS])
def test_ddfn_makes_of_an_image_what_it_made_of_half_of_it(options):
    torch.manual_seed(0)
    network = ddfn(2, **options)
    nn.init.normal_(network.reconstruct.weight, std=0.1)
    image, condition = torch.rand(1, 3, 20, 24), torch.rand(1, 2, 20, 24)
    expected = network(image, condition)

    network.halve_input()

    torch.testing.assert_close(network(2 * image, condition), expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gate": "true", "unshuffle": "2", "noise_maps": "true"},
        {"condition": "0", "margin": "1"},
    ],
)
def test_a_wider_ddfn_begins_as_the_narrower_one_it_is_given(options):
    options = {"blocks": "2", **options}
    channels = int(options.pop("condition", "2"))
    narrow, wide = (ddfn(channels, width=width, **options) for width in ("16", "40"))
    for parameter in narrow.parameters():
        nn.init.normal_(parameter, std=0.1)
    image, condition = torch.rand(1, 3, 20, 24), torch.rand(1, 2, 20, 24) if channels else None

    wide.widen_from(narrow.state_dict())

    torch.testing.assert_close(wide(image, condition), narrow(image, condition))
    # What is new has weights of its own, so that it learns something of its own.
    added = wide.blocks[0].plain.weight.detach()[4:]
    assert not torch.equal(added[0], added[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": "24"}, "parts of 6 channels do not fit into those of 4"),
        ({"unshuffle": "2"}, "features.plain.weight is of 2x12x3x3 where 2x3x3x3 was expected"),
    ],
)
def test_a_ddfn_that_is_not_the_wider_one_says_so(options, message):
    given = ddfn(2, blocks="1", **{"width": "8", **options}).state_dict()

    with pytest.raises(ValueError, match=message):
        ddfn(2, blocks="1", width="16").widen_from(given)


@pytest.mark.parametrize(("channels", "maps"), [(4, "false"), (3, "true")])
def test_channels_of_a_condition_are_not_taken_for_noise_maps(channels, maps):
    given = ddfn(channels, blocks="1", width="8", noise_maps=maps).state_dict()
    wide = ddfn(4, blocks="1", width="16", noise_maps="true")

    with pytest.raises(ValueError, match="which are not 4 of the condition and two noise maps"):
        wide.widen_from(given)


def test_a_ddfn_with_more_noise_maps_begins_as_the_one_it_is_given():
    options = {"blocks": "1", "noise_maps": "true"}
    narrow, wide = ddfn(2, width="8", **options), ddfn(2, width="16", noise_scales="2", **options)
    for parameter in narrow.parameters():
        nn.init.normal_(parameter, std=0.1)
    image, condition = torch.rand(1, 3, 20, 24), torch.rand(1, 2, 20, 24)

    wide.widen_from(narrow.state_dict())

    torch.testing.assert_close(wide(image, condition), narrow(image, condition))


def test_scales_of_no_noise_maps_are_refused():
    with pytest.raises(SdabnError, match="set noise_maps=true as well"):
        ddfn(2, noise_scales="2")
    with pytest.raises(SdabnError, match="noise_scales must be from 1 to 3, not 4"):
        ddfn(2, noise_maps="true", noise_scales="4")


def test_squares_that_are_too_large_are_refused():
    with pytest.raises(SdabnError, match="unshuffle must be from 1 to 4, not 0"):
        ddfn(2, unshuffle="0")


def test_the_first_estimate_of_a_fresh_ddfn_is_almost_black():
    # The last layer starts at N(0, 0.001): nothing is added to the image, the network makes it.
    network = ddfn(3)

    assert float(network.reconstruct.weight.detach().std()) == pytest.approx(0.001, rel=0.3)
    assert float(network(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)).detach().abs().max()) < 0.2


def test_the_condition_changes_the_estimate():
    network = ddfn(3)
    nn.init.normal_(network.reconstruct.weight)
    image = torch.rand(1, 3, 12, 12)
    road, tree = torch.zeros(1, 3, 12, 12), torch.zeros(1, 3, 12, 12)
    road[:, 0], tree[:, 1] = 1, 1

    with torch.no_grad():
        difference = network(image, road) - network(image, tree)

    assert float(difference.abs().mean()) > 1e-3


def test_the_plain_ddfn_needs_no_condition():
    assert ddfn(0)(torch.rand(1, 3, 10, 14), None).shape == (1, 3, 10, 14)


def test_weights_read_back_equal():
    written, fresh = ddfn(2, blocks="1"), ddfn(2, blocks="1")
    path = Path("stage/weights.safetensors")

    networks.save_weights(path, networks.weights_of(written))
    networks.load_weights(fresh, path)

    one, other = written.state_dict(), fresh.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_half_precision_weights_are_widened_when_read():
    written, fresh = ddfn(2, blocks="1"), ddfn(2, blocks="1")
    halved = model.halve(networks.weights_of(written))
    networks.save_weights(Path("half.safetensors"), halved)

    networks.load_weights(fresh, Path("half.safetensors"))

    assert {tensor.dtype for tensor in halved.values()} == {torch.float16}
    for name, tensor in fresh.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, halved[name].float())


def test_batch_norm_counters_are_stored_as_they_are():
    written, fresh = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    written(torch.rand(3, 2, 4, 4))
    networks.save_weights(Path("norm.safetensors"), model.halve(networks.weights_of(written)))

    networks.load_weights(fresh, Path("norm.safetensors"))

    assert int(fresh.num_batches_tracked) == 1


@pytest.mark.parametrize("content", [b"", b"not weights at all", None])
def test_damaged_weights_are_called_so(content):
    path = Path("weights.safetensors")
    networks.save_weights(path, networks.weights_of(ddfn(2, blocks="1")))
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)

    with pytest.raises(SdabnError, match=r"weights\.safetensors are damaged"):
        networks.load_weights(ddfn(2, blocks="1"), path)


def test_missing_weights_are_called_so():
    with pytest.raises(SdabnError, match=r"nowhere\.safetensors are missing"):
        networks.read_weights(Path("nowhere.safetensors"))


@pytest.mark.parametrize("other", [{"channels": 3}, {"channels": 2, "blocks": "2"}])
def test_weights_of_another_network_are_refused_and_change_nothing(other):
    network = ddfn(2, blocks="1")
    before = networks.weights_of(network)
    networks.save_weights(
        Path("other.safetensors"), networks.weights_of(ddfn(**({"blocks": "1"} | other)))
    )

    with pytest.raises(SdabnError, match=r"belong to another network: .* tensors differ"):
        networks.load_weights(network, Path("other.safetensors"))

    assert all(torch.equal(before[k], tensor) for k, tensor in network.state_dict().items())


def test_the_wider_and_deeper_segmenter_has_the_parameters_of_the_papers_s1_plus():
    network = networks.build_segmenter("hrnet", {"variant": "w22_plus"}, num_classes=19)

    assert networks.count_parameters(network) == pytest.approx(8.00e6, rel=0.01)
