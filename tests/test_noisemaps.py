"""Maps of an image's noise, measured in the image."""

from __future__ import annotations

import pytest
import torch

from sdabn_cli import networks
from sdabn_plugins.noisemaps import NoiseMaps


def noisy(sigma: float, height: int = 96, width: int = 128) -> torch.Tensor:
    """A slow ramp of colours with white noise of sigma, on the 0-255 scale."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.2, 0.8, width).expand(1, 3, height, width)
    return ramp + sigma / 255 * torch.randn(ramp.shape, generator=generator)


@pytest.mark.parametrize("sigma", [5.0, 25.0, 50.0])
def test_every_scale_shows_the_sigma_of_white_noise(sigma):
    fine, _, coarse, _, coarsest, _ = 25 * NoiseMaps(scales=3)(noisy(sigma))[0]

    assert float(fine.median()) == pytest.approx(sigma, rel=0.05)
    assert float(coarse.median()) == pytest.approx(sigma, rel=0.05)
    assert float(coarsest.median()) == pytest.approx(sigma, rel=0.1)


def test_at_the_edges_of_an_image_maps_are_as_high_as_within():
    generator = torch.Generator().manual_seed(0)
    crops = 0.5 + 0.1 * torch.randn(32, 3, 80, 80, generator=generator)

    maps = NoiseMaps(scales=3)(crops).mean(dim=0)

    within = maps[:, 32:48, 32:48].mean(dim=(1, 2))
    bands = maps[:, :8], maps[:, -8:], maps[..., :8], maps[..., -8:]
    for band in bands:
        torch.testing.assert_close(band.mean(dim=(1, 2)), within, rtol=0.12, atol=0)


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_a_map_depends_on_pixels_as_far_away_as_its_reach_and_no_further(scales):
    maps = NoiseMaps(scales)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 120, 120, generator=generator, dtype=torch.float64)
    image[..., 71:, 71:] *= 0.01  # the smoothest place is the last one within the search
    image.requires_grad_()

    (gradient,) = torch.autograd.grad(maps(image)[..., 60, 60].sum(), image)

    assert int((gradient[0, 0].nonzero() - 60).abs().max()) == maps.reach


def test_soft_noise_shows_at_the_second_scale():
    white = noisy(10.0) - noisy(0.0)
    soft = torch.nn.functional.avg_pool2d(white, 3, stride=1, padding=1)
    sigma = float(255 * soft[..., 4:-4, 4:-4].std())

    fine, _, coarse, _ = 25 * NoiseMaps(scales=2)(0.5 + soft)[0]

    # Means of 3 x 3 pixels side by side share 2/3 of them, so that the details' variance is that
    # of single pixels times (1 - 2/3) in each direction, and their height a third.
    assert float(fine.median()) == pytest.approx(sigma / 3, rel=0.1)
    assert float(coarse.median()) > 0.6 * sigma


@pytest.mark.parametrize("sigma", [5.0, 25.0, 50.0])
def test_both_maps_show_the_sigma_of_white_noise(sigma):
    local, least = 25 * NoiseMaps()(noisy(sigma))[0]

    assert float(local.median()) == pytest.approx(sigma, rel=0.05)
    assert float(least.median()) == pytest.approx(0.85 * sigma, rel=0.1)  # the least of many means
    assert float(local.std()) < 0.15 * sigma


def test_the_second_map_looks_for_a_smooth_place_where_the_first_takes_texture_for_noise():
    image = noisy(5.0)
    image[..., 40:56, 40:56] += 0.2 * (torch.arange(16) % 2)[:, None] * (torch.arange(16) % 2)

    local, least = 25 * NoiseMaps()(image)[0, :, 48, 48]

    assert local > 25
    assert least < 6


def test_noise_that_depends_on_the_place_shows_where_it_is():
    image = noisy(5.0)
    image[..., 64:] = noisy(40.0)[..., 64:]

    local, _ = 25 * NoiseMaps()(image)[0]

    assert float(local[:, :48].mean()) == pytest.approx(5, rel=0.1)
    assert float(local[:, 80:].mean()) == pytest.approx(40, rel=0.1)


def test_a_single_pixel_counts_in_four_details_and_in_all_means_around_it():
    image = torch.zeros(1, 1, 60, 60)
    image[..., 30, 30] = 1

    local, least = NoiseMaps()(image)[0]

    # |detail| is 1 at four places; 0.7979 is the mean of |z|, details of noise vary twice as much.
    assert float(local[30, 30]) == pytest.approx(4 / 15**2 * 255 / (2 * 0.7979 * 25), rel=1e-3)
    assert float(local[30, 45]) == 0
    assert float(least.max()) == 0


@pytest.mark.parametrize("channels", [0, 2])
def test_the_maps_guide_ddfn_with_and_without_a_condition(channels):
    torch.manual_seed(0)
    network = networks.build_denoiser(
        "ddfn", {"blocks": 1, "noise_maps": True}, condition_channels=channels
    )
    torch.nn.init.normal_(network.reconstruct.weight)
    image = torch.rand(1, 3, 20, 24)
    condition = torch.rand(1, channels, 20, 24) if channels else None
    before = network(image, condition)

    network.noise_maps.forward = lambda image: torch.zeros(1, 2, *image.shape[-2:])

    assert not torch.allclose(network(image, condition), before, atol=1e-3)
