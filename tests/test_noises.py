"""Noise models against their own definitions: moments, determinism, limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sdabn_cli import registry
from sdabn_cli.errors import SdabnError
from sdabn_cli.randomness import generator

PIXELS = 3 * 400 * 400


def noisy(name: str, value: float, *, key: int = 0, **options: str) -> Tensor:
    """An evenly grey image made noisy, in double precision for the moments."""
    clean = torch.full((3, 400, 400), value)
    return registry.build("noise", name, options)(clean, generator("noise", key)).double()


@pytest.mark.parametrize("sigma", [10, 25, 50, 75])
def test_gaussian_noise_has_the_deviation_on_the_scale_of_255(sigma):
    noise = noisy("gaussian", 0.5, sigma=str(sigma)) - 0.5

    assert float(noise.std()) == pytest.approx(sigma / 255, rel=0.01)
    assert abs(float(noise.mean())) < 5 * sigma / 255 / math.sqrt(PIXELS)


def test_gaussian_noise_is_normal():
    noise = (noisy("gaussian", 0.5, sigma="50") - 0.5) * 255 / 50

    within = [float((noise.abs() < k).double().mean()) for k in (1, 2, 3)]
    assert within == pytest.approx([0.6827, 0.9545, 0.9973], abs=0.003)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gaussian_noise_is_neither_clipped_nor_quantised(value):
    image = noisy("gaussian", value, sigma="50")

    outside = (image < 0) if value == 0 else (image > 1)
    assert float(outside.double().mean()) == pytest.approx(0.5, abs=0.01)
    assert len(image.unique()) > PIXELS // 100


def test_gaussian_noise_of_sigma_zero_changes_nothing():
    assert torch.equal(noisy("gaussian", 0.3, sigma="0"), torch.full((3, 400, 400), 0.3).double())


@pytest.mark.parametrize("value", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("peak", [255, 30])
def test_poisson_noise_has_the_mean_and_variance_of_counts(value, peak):
    image = noisy("poisson", value, peak=str(peak))

    # Counts of expectation peak * x have that variance too; divided by peak it is x / peak.
    assert float(image.mean()) == pytest.approx(value, rel=0.01)
    assert float(image.var()) == pytest.approx(value / peak, rel=0.02)


def test_poisson_noise_is_counts_by_default_of_8_bit_values():
    counts = noisy("poisson", 200 / 255) * 255

    assert torch.allclose(counts, counts.round(), atol=1e-3)
    assert float(counts.mean()) == pytest.approx(200, rel=0.01)
    assert float(counts.max()) > 255 * 0.9


def test_poisson_noise_of_black_is_black_and_white_is_not_clipped():
    assert float(noisy("poisson", 0.0).abs().max()) == 0
    assert float(noisy("poisson", 1.0).max()) > 1


def test_poisson_noise_takes_a_resized_image_that_dips_below_black():
    assert float(noisy("poisson", -0.01).abs().max()) == 0


@pytest.mark.parametrize("name", ["gaussian", "poisson"])
def test_the_same_generator_state_gives_the_same_noise(name):
    first, again, other = (noisy(name, 0.5, key=key) for key in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["gaussian", "poisson"])
def test_noise_leaves_the_global_random_state_and_the_clean_image_alone(name):
    clean = torch.full((1, 3, 4, 4), 0.5)
    before = torch.get_rng_state()

    registry.build("noise", name, {})(clean, generator(0))

    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(clean, torch.full((1, 3, 4, 4), 0.5))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gaussian", {"sigma": "-1"}, "sigma must be a number of at least 0 on the 0-255 scale"),
        ("gaussian", {"sigma": "nan"}, "sigma must be a number"),
        ("gaussian", {"sigma": "inf"}, "sigma must be a number"),
        ("poisson", {"peak": "0"}, "peak must be a number above 0, not 0"),
        ("poisson", {"peak": "nan"}, "peak must be a number above 0"),
        ("poisson", {"peak": "inf"}, "peak must be a number above 0"),
    ],
)
def test_bad_values_are_refused(name, options, message):
    with pytest.raises(SdabnError, match=message):
        registry.build("noise", name, options)
