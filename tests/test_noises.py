"""Noise models against their own definitions: moments, determinism, limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sdabn_cli import registry
from sdabn_cli.errors import SdabnError
from sdabn_cli.randomness import generator

PIXELS = 3 * 400 * 400
NOISES = [plugin.name for plugin in registry.plugins("noise")]


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


@pytest.mark.parametrize("name", ["poisson", "poisson_gaussian"])
@pytest.mark.parametrize("peak", ["0.001", "1e9"])
def test_photons_may_be_as_few_and_as_many_as_is_allowed(name, peak):
    white = noisy(name, 1.0, peak=peak)

    assert bool(white.isfinite().all())
    expected = 1 / math.sqrt(float(peak) * PIXELS)  # deviation of the mean of all pixels
    assert float(white.mean()) == pytest.approx(1, abs=max(5 * expected, 1e-3))


def test_clipped_and_quantised_counts_are_what_an_8_bit_file_holds():
    image = noisy("poisson", 0.9, peak="40", clip="true", quantize="true")

    levels = image * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert float(image.max()) == 1
    counts = noisy("poisson", 0.9, peak="40")
    assert float((image - counts.clamp(0, 1)).abs().max()) <= 0.5 / 255 + 1e-6


def test_poisson_noise_takes_a_resized_image_that_dips_below_black():
    assert float(noisy("poisson", -0.01).abs().max()) == 0


@pytest.mark.parametrize("name", [name for name in NOISES if name != "jpeg"])
def test_the_same_generator_state_gives_the_same_noise(name):
    first, again, other = (noisy(name, 0.5, key=key) for key in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", NOISES)
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
        ("gaussian", {"sigma": "55..0"}, "to the larger number, not 55..0"),
        ("gaussian", {"sigma": "5.."}, "or a range such as 5..50, not 5"),
        ("gaussian", {"sigma": "-1..5"}, "sigma must be a number of at least 0"),
        ("gaussian", {"sigma": "1..2..3"}, "sigma must be a number of at least 0"),
        ("speckle", {"sigma": "a..b"}, "sigma must be a number of at least 0"),
        ("correlated", {"sigma": "-1"}, "sigma must be a number of at least 0"),
        ("correlated", {"width": "0"}, "width must be a number of pixels above 0 and at most 20"),
        ("camera", {"sigma": "-1"}, "sigma must be a number of at least 0"),
        ("camera", {"width": "0"}, "width must be a number from 0.1 to 20"),
        ("camera", {"coarse_width": "3..30"}, "coarse_width must be a number from 0.1 to 20"),
        ("camera", {"coarse": "1.5"}, "coarse must be a number from 0 to 1"),
        ("camera", {"grey": "-0.5"}, "grey must be a number from 0 to 1"),
        ("poisson_gaussian", {"peak": "0"}, "peak must be a number above 0"),
        ("poisson_gaussian", {"read": "-1"}, "read must be a number of at least 0"),
        ("jpeg", {"quality": "0"}, "quality must be a number from 1 to 95"),
        ("jpeg", {"quality": "50..99"}, "quality must be a number from 1 to 95, not 50..99"),
        ("poisson", {"peak": "0"}, "peak must be a number above 0, not 0"),
        ("poisson", {"peak": "nan"}, "peak must be a number above 0"),
        ("poisson", {"peak": "inf"}, "peak must be a number above 0"),
        # What single precision cannot compute with would make images of values that are no numbers.
        ("poisson", {"peak": "1e-50"}, "peak must be a number above 0, not 1e-50: from 0.001"),
        ("poisson", {"peak": "1e20"}, r"not 1e\+20: from 0.001 to 1e\+09"),
        ("poisson_gaussian", {"peak": "1e-50"}, r"peak must be a number above 0 \(at least 0.001"),
        ("poisson_gaussian", {"peak": "1..1e20"}, r"peak must be at most 1e\+09, not 1..1e20"),
        ("poisson_gaussian", {"read": "1e40"}, r"read must be at most 1e\+09, not 1e40"),
        ("gaussian", {"sigma": "1e40"}, r"sigma must be at most 1e\+09, not 1e40"),
        ("blind", {"peak": "1e-50"}, "peak must be a number above 0"),
    ],
)
def test_bad_values_are_refused(name, options, message):
    with pytest.raises(SdabnError, match=message):
        registry.build("noise", name, options)


def test_gaussian_noise_of_one_strength_is_white_noise_times_sigma():
    clean = torch.rand(2, 3, 8, 8, generator=generator("clean"))
    white = torch.randn(clean.shape, generator=generator("noise"))

    noisy_image = registry.build("noise", "gaussian", {"sigma": "50"})(clean, generator("noise"))

    assert torch.equal(noisy_image, clean + 50 / 255 * white)


def test_blind_noise_draws_sigma_for_every_image_evenly_from_its_range():
    model = registry.build("noise", "gaussian", {"sigma": "10..40"})
    grey = torch.full((600, 3, 24, 24), 0.5)

    one_batch = (model(grey, generator("batch")) - 0.5).double() * 255
    sigmas = one_batch.flatten(1).std(1)

    # 1,728 values estimate a deviation to 1.7 % of it.
    assert 9 < float(sigmas.min()) < 11.5
    assert 38 < float(sigmas.max()) < 43
    assert float(sigmas.mean()) == pytest.approx(25, abs=1.2)
    assert float(sigmas.std()) == pytest.approx(30 / math.sqrt(12), rel=0.08)
    # Within an image there is one sigma: its three channels agree.
    channels = one_batch.flatten(2).std(2)
    assert float((channels / sigmas[:, None] - 1).abs().max()) < 0.15


@pytest.mark.parametrize("name", ["gaussian", "speckle", "correlated", "camera"])
def test_clipped_and_quantised_noise_is_what_an_8_bit_file_holds(name):
    image = noisy(name, 0.9, sigma="60", clip="true", quantize="true")

    levels = image * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert float(image.max()) == 1
    assert float(image.min()) >= 0
    assert torch.equal(noisy(name, 0.9, sigma="60", quantize="true").clamp(0, 1), image)


@pytest.mark.parametrize(("value", "peak", "read"), [(0.5, 100, 5), (0.1, 40, 10), (1.0, 400, 0)])
def test_sensor_noise_has_the_mean_and_the_variance_of_photons_and_reading(value, peak, read):
    image = noisy("poisson_gaussian", value, peak=str(peak), read=str(read))

    assert float(image.mean()) == pytest.approx(value, rel=0.01)
    assert float(image.var()) == pytest.approx(value / peak + (read / 255) ** 2, rel=0.02)


def test_a_range_of_peaks_is_drawn_on_a_logarithmic_scale():
    model = registry.build("noise", "poisson_gaussian", {"peak": "10..1000", "read": "0"})
    white = torch.ones(600, 3, 24, 24)

    peaks = 1 / model(white, generator("peaks")).double().flatten(1).var(1)

    assert float(peaks.log10().mean()) == pytest.approx(2, abs=0.08)
    assert float(peaks.min()) < 12
    assert float(peaks.max()) > 850


@pytest.mark.parametrize("value", [0.25, 1.0])
def test_speckle_grows_with_the_image(value):
    image = noisy("speckle", value, sigma="50")

    assert float(image.mean()) == pytest.approx(value, rel=0.01)
    assert float(image.std()) == pytest.approx(value * 50 / 255, rel=0.01)
    assert float(noisy("speckle", 0.0).abs().max()) == 0


def correlation(width: float, distance: int) -> float:
    """Of noise behind a Gaussian filter at whole pixels: that of the filter with itself, moved."""
    kernel = np.exp(-0.5 * (np.arange(-60, 61) / width) ** 2)
    moved = np.roll(kernel, distance)
    return float((kernel * moved).sum() / (kernel**2).sum())


@pytest.mark.parametrize("width", [0.3, 0.5, 0.7, 1.5, 3.0])
def test_correlated_noise_has_its_deviation_and_the_correlation_of_its_filter(width):
    noise = (noisy("correlated", 0.5, sigma="25", width=str(width)) - 0.5) * 255 / 25

    assert float(noise.std()) == pytest.approx(1, rel=0.03)
    for distance in (1, 2, 5):
        along = float((noise[..., distance:] * noise[..., :-distance]).mean())
        down = float((noise[..., distance:, :] * noise[..., :-distance, :]).mean())
        expected = correlation(width, distance)
        assert along == pytest.approx(expected, abs=0.015 * max(width, 1))
        assert down == pytest.approx(expected, abs=0.015 * max(width, 1))
        if width >= 0.8:
            formula = math.exp(-(distance**2) / (4 * width**2))
            assert expected == pytest.approx(formula, abs=0.005)
    edge = noise[..., :2].std() / noise[..., 200:202].std()
    assert float(edge) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(("coarse", "grey"), [("0", "0.8"), ("0.4", "0.3"), ("1", "0")])
def test_camera_noise_has_its_deviation_and_its_neighbours_and_colours_agree(coarse, grey):
    options = {"sigma": "5", "width": "0.8", "coarse_width": "3", "coarse": coarse, "grey": grey}
    noise = (noisy("camera", 0.5, **options).double() - 0.5) * 255 / 5
    share = float(coarse)

    assert float(noise.std()) == pytest.approx(1, rel=0.04)
    for distance in (1, 4):
        found = float((noise[..., distance:] * noise[..., :-distance]).mean())
        expected = (1 - share) * correlation(0.8, distance) + share * correlation(3, distance)
        assert found == pytest.approx(expected, abs=0.05)
    red, green, blue = noise.reshape(3, -1)
    for product in (red * green, green * blue, red * blue):
        assert float(product.mean()) == pytest.approx(float(grey), abs=0.05)


def test_camera_noise_is_drawn_anew_for_every_image():
    model = registry.build("noise", "camera", {})
    grey = torch.full((200, 3, 32, 32), 0.5)

    noise = (model(grey, generator("photographs")) - 0.5) * 255

    deviations = noise.flatten(1).std(1)
    assert 0.7 < float(deviations.min()) < 2.5
    assert 13 < float(deviations.max()) < 18


def textured() -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    wave = 0.5 + 0.2 * torch.sin(rows / 3) * torch.cos(columns / 5) + 0.1 * torch.sin(columns)
    return wave.expand(3, 96, 96).contiguous()


def test_jpeg_gets_better_with_quality():
    clean = textured()

    errors = [
        float((registry.build("noise", "jpeg", {"quality": str(q)})(clean, generator(0)) - clean)
              .square().mean()) for q in (5, 20, 50, 90)
    ]  # fmt: skip

    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 20 * errors[-1]


def test_strong_jpeg_leaves_steps_between_its_blocks_of_8_pixels():
    ramp = torch.linspace(0.2, 0.8, 96).expand(3, 96, 96).contiguous()

    image = registry.build("noise", "jpeg", {"quality": "3"})(ramp, generator(0))

    steps = (image[..., 1:] - image[..., :-1]).abs().mean((0, 1))
    between = steps[7::8].mean()
    inside = torch.cat([steps[offset::8] for offset in range(7)]).mean()
    assert float(between) > 3 * float(inside)


def test_jpeg_takes_a_batch_and_draws_a_quality_for_every_image():
    model = registry.build("noise", "jpeg", {"quality": "5..90"})
    batch = textured().expand(6, 3, 96, 96)

    compressed = model(batch, generator("qualities"))

    errors = (compressed - batch).square().mean((1, 2, 3))
    assert compressed.shape == batch.shape
    assert len(errors.unique()) > 3


def test_blind_noise_mixes_kinds_and_files_of_8_bits_in_the_shares_asked():
    model = registry.build("noise", "blind", {"sigma": "20", "sensor": "0.3", "soft": "0.2"})
    grey = torch.full((1000, 3, 24, 24), 0.5)

    noise = (model(grey, generator("kinds")) - 0.5).double()
    levels = (noise + 0.5) * 255
    stored = ((levels - levels.round()).abs() < 1e-4).flatten(1).all(1)
    deviation = noise.flatten(1).std(1)
    alike = (noise[..., 1:] * noise[..., :-1]).flatten(1).mean(1) / deviation**2

    # White and soft noise have sigma 20, up to an estimate's 2 %; neighbours of soft noise agree.
    assert float(stored.double().mean()) == pytest.approx(0.5, abs=0.05)
    assert float((alike > 0.15).double().mean()) == pytest.approx(0.2, abs=0.05)
    away = (deviation * 255 / 20 - 1).abs() > 0.15
    assert float((away & (alike < 0.15)).double().mean()) == pytest.approx(0.3, abs=0.07)


def test_blind_noise_makes_as_many_photographs_as_asked():
    model = registry.build("noise", "blind", {"sensor": "0.2", "soft": "0", "camera": "0.3"})
    grey = torch.full((600, 3, 24, 24), 0.5)

    noise = (model(grey, generator("camera")) - 0.5).double()
    red, green, _ = noise.flatten(2).transpose(0, 1)
    agree = (red * green).mean(1) / (red.std(1) * green.std(1))

    # Colours of white and of a sensor's noise differ, up to 0.04 in an estimate from 576 values.
    assert float((agree > 0.15).double().mean()) == pytest.approx(0.3, abs=0.05)


def test_shares_that_add_up_to_all_images_are_allowed():
    registry.build("noise", "blind", {"sensor": "0.33", "soft": "0.56", "clean": "0.11"})


def test_blind_noise_leaves_as_many_images_clean_as_asked():
    model = registry.build("noise", "blind", {"sigma": "5..20", "clean": "0.3", "stored": "0"})
    grey = torch.full((1000, 3, 8, 8), 0.5)

    clean = (model(grey, generator("clean")) == grey).flatten(1).all(1)

    assert float(clean.double().mean()) == pytest.approx(0.3, abs=0.05)


def test_blind_noise_is_the_same_in_all_colours_of_as_many_images_as_asked():
    model = registry.build("noise", "blind", {"camera": "0.2", "grey": "0.3", "stored": "0"})
    coloured = torch.rand(600, 3, 24, 24, generator=generator("colours"))

    noise = model(coloured, generator("grain")) - coloured

    alike = (noise - noise[:, :1]).flatten(1).abs().amax(1) < 1e-5
    assert float(alike.double().mean()) == pytest.approx(0.3, abs=0.05)
    assert float(noise[alike].flatten(1).std(1).mean()) > 10 / 255


def test_blind_noise_of_shares_zero_is_gaussian_noise():
    options = {"sigma": "25", "sensor": "0", "soft": "0", "stored": "0"}

    assert float((noisy("blind", 0.5, **options) - 0.5).std()) == pytest.approx(25 / 255, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensor": "0.8", "soft": "0.3"}, "must not exceed 1 together, not 1.1"),
        ({"sensor": "0.5", "soft": "0.3", "clean": "0.25"}, "must not exceed 1 together, not 1.05"),
        ({"sensor": "0.5", "camera": "0.5"}, "must not exceed 1 together, not 1.15"),
        ({"grey": "1.5"}, "grey must be a share between 0 and 1, not 1.5"),
        ({"stored": "2"}, "stored must be a share between 0 and 1, not 2"),
        ({"width": "0"}, "width must be a number from 0.1 to 20"),
        ({"width": "1..50"}, "width must be a number from 0.1 to 20"),
        ({"sigma": "-1"}, "sigma must be a number of at least 0"),
        ({"peak": "0"}, "peak must be a number above 0"),
    ],
)
def test_blind_noise_refuses_bad_values(options, message):
    with pytest.raises(SdabnError, match=message):
        registry.build("noise", "blind", options)
