"""Noise is added as a camera's is: to a grey image the same in all three channels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_cli import save_model, sdabn
from PIL import Image

from sdabn_cli import registry
from sdabn_cli.augmentation import Augmentation
from sdabn_cli.contracts import Example
from sdabn_cli.data import DecodedCache, TrainingSamples
from sdabn_cli.noising import add_noise, is_grey
from sdabn_cli.randomness import generator

GAUSSIAN = {"sigma": "20"}


def grey(*size: int) -> torch.Tensor:
    """Random greys, of the size (..., 3, H, W)."""
    level = torch.rand(*size[:-3], 1, *size[-2:], generator=generator("grey"))
    return level.expand(size)


@pytest.mark.parametrize("size", [(3, 40, 50), (2, 3, 40, 50)])
def test_a_grey_image_gets_one_noise_of_full_strength_in_all_channels(size):
    clean = grey(*size)
    noise = registry.build("noise", "gaussian", GAUSSIAN)

    noisy = add_noise(noise, clean, generator("noise"))

    assert is_grey(clean)
    assert is_grey(noisy)
    assert float((noisy - clean).std()) * 255 == pytest.approx(20, rel=0.05)


def test_one_coloured_pixel_makes_an_image_coloured_and_its_noise_independent():
    clean = grey(3, 60, 60).clone()
    clean[2, 41, 7] += 1 / 255
    noise = registry.build("noise", "gaussian", GAUSSIAN)

    noisy = add_noise(noise, clean, generator("noise"))

    assert not is_grey(clean)
    assert torch.equal(noisy, noise(clean, generator("noise")))
    correlations = torch.corrcoef((noisy - clean).flatten(1)) - torch.eye(3)
    assert float(correlations.abs().max()) < 0.06


def test_no_noise_leaves_an_image_as_it_is():
    clean = grey(3, 8, 8)

    assert add_noise(None, clean, generator("noise")) is clean


def test_added_noise_leaves_a_grey_file_grey_and_is_as_strong_as_asked(tiny_plugins, tmp_path):
    model = save_model(tmp_path / "model", units=1)
    clean = np.full((120, 160), 128, np.uint8)
    Image.fromarray(clean).save("grey.png")

    result = sdabn("run", "grey.png", "--add-noise", "gaussian:sigma=20", "--model", model,
                   "-o", "out", "--json")  # fmt: skip

    assert result.exit_code == 0, result.stderr
    with Image.open(Path("out/grey.noisy.png")) as noisy:
        assert noisy.mode == "L"
        assert float(np.std(np.asarray(noisy))) == pytest.approx(20, rel=0.05)
    # 10 log10((255 / 20)^2)
    psnr = json.loads(result.stdout)["images"][0]["psnr"]["noisy"]
    assert psnr == pytest.approx(22.1, abs=0.1)


class WhiteSky:
    """A white image with one line of colours at its lower edge."""

    classes = ("a", "b")
    palette = ((0, 0, 0), (255, 255, 255))
    ignore_index = None

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Example:
        pixels = np.full((60, 24, 3), 255, np.uint8)
        pixels[-1] = (10, 20, 30)
        return Example("one", pixels, np.zeros((60, 24), np.uint8))


def test_a_crop_without_colour_of_a_coloured_image_has_the_noise_of_coloured_ones():
    samples = TrainingSamples(
        DecodedCache(WhiteSky(), 0),
        Augmentation((24, 24)),
        registry.build("noise", "gaussian", GAUSSIAN),
        key=(0, "d1"),
    )

    white = [s for s in (samples[number] for number in range(20)) if is_grey(s.clean)]

    assert white
    assert not any(is_grey(sample.noisy) for sample in white)


class Coloured:
    """One image of random colours."""

    classes = ("a", "b")
    palette = ((0, 0, 0), (255, 255, 255))
    ignore_index = None

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Example:
        pixels = np.random.default_rng(index).integers(0, 256, (40, 40, 3), np.uint8)
        return Example("one", pixels, np.zeros((40, 40), np.uint8))


def test_crops_made_grey_have_the_noise_of_grey_images():
    samples = TrainingSamples(
        DecodedCache(Coloured(), 0),
        Augmentation((24, 24), grey=0.3),
        registry.build("noise", "gaussian", GAUSSIAN),
        key=(0, "d1"),
    )

    drawn = [samples[number] for number in range(200)]

    of_grey = [sample for sample in drawn if is_grey(sample.clean)]
    assert 0.2 < len(of_grey) / len(drawn) < 0.4
    assert all(is_grey(sample.noisy) for sample in of_grey)
    assert sum(is_grey(sample.noisy) for sample in drawn) == len(of_grey)
