"""Augmentation: crops, sizes and colours vary, and labels stay with their pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdabn_cli.augmentation import Augmentation, augment
from sdabn_cli.labels import IGNORED
from sdabn_cli.randomness import generator


def coordinates(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image whose red is the column and whose green is the row, and both as labels."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], axis=2), columns, rows


@pytest.mark.parametrize("scale", [0.5, 0.73, 1.0, 1.5, 2.1])
@pytest.mark.parametrize("turns", [False, True])
def test_labels_stay_aligned_with_the_image(scale, turns):
    image, columns, rows = coordinates(90, 110)
    how = Augmentation((40, 40), scale=(scale, scale), turns=turns)
    seen = set()

    for number in range(24):
        crop, by_column = augment(image, columns, how, generator("align", number))
        again, by_row = augment(image, rows, how, generator("align", number))
        red, green = crop[0] * 255, crop[1] * 255
        labelled = by_column != IGNORED
        seen.add((bool(red[0, 0] < red[0, -1]), bool(green[0, 0] < green[-1, 0])))

        assert torch.equal(crop, again)
        # Interpolation lies at most half a sample beside the nearest label, in source pixels.
        tolerance = max(1.0, 0.75 / scale)
        assert float((red - by_column)[labelled].abs().max()) <= tolerance
        assert float((green - by_row)[labelled].abs().max()) <= tolerance

    # Both orientations occurred, so a flip that forgets the labels would have been seen.
    assert {first for first, _ in seen} == {True, False}


def test_a_crop_without_scale_is_a_window_of_the_image_unchanged():
    image, columns, _ = coordinates(50, 70)
    how = Augmentation((16, 24), flip=False)

    crop, labels = augment(image, columns, how, generator(1))

    left, top = int(labels[0, 0]), round(float(crop[1, 0, 0]) * 255)
    assert torch.equal(labels, torch.from_numpy(columns[top : top + 16, left : left + 24]).long())
    window = torch.from_numpy(image[top : top + 16, left : left + 24]).permute(2, 0, 1)
    assert torch.equal((crop * 255).round().byte(), window)


def test_every_window_can_be_drawn():
    image, columns, _ = coordinates(10, 12)
    how = Augmentation((10, 10), flip=False)

    starts = {int(augment(image, columns, how, generator(n))[1][0, 0]) for n in range(40)}

    assert starts == {0, 1, 2}


def test_where_the_image_is_smaller_than_the_crop_labels_are_ignored_and_the_edge_repeated():
    image, columns, _ = coordinates(6, 5)

    crop, labels = augment(image, columns, Augmentation((8, 9), flip=False), generator(0))

    assert crop.shape == (3, 8, 9)
    assert torch.equal(labels[:6, :5], torch.from_numpy(columns).long())
    assert (labels[6:] == IGNORED).all()
    assert (labels[:, 5:] == IGNORED).all()
    assert torch.equal((crop[0, 0] * 255).round(), torch.tensor([0.0, 1, 2, 3, 4, 4, 4, 4, 4]))
    assert torch.equal((crop[1, :, 0] * 255).round(), torch.tensor([0.0, 1, 2, 3, 4, 5, 5, 5]))


@pytest.mark.parametrize("crop", [(10, 10), (33, 47)])
def test_an_image_that_covers_the_crop_leaves_no_pixel_ignored(crop):
    image, columns, _ = coordinates(110, 120)

    for number in range(40):
        how = Augmentation(crop, scale=(0.5, 3.0))
        _, labels = augment(image, columns, how, generator("cover", number))
        assert not (labels == IGNORED).any()


def test_the_long_side_sets_the_size_that_scale_varies():
    image, columns, _ = coordinates(40, 80)
    how = Augmentation((20, 40), long_side=40, flip=False)

    _, labels = augment(image, columns, how, generator(0))

    # The whole image at half its size: every second column.
    assert labels[0].diff().tolist() == [2] * 39


def test_sixteen_bit_images_reach_the_same_unit_interval():
    image, columns, _ = coordinates(20, 20)
    how = Augmentation((8, 8))

    eight, _ = augment(image, columns, how, generator(5))
    sixteen, _ = augment(image.astype(np.uint16) * 257, columns, how, generator(5))

    assert torch.allclose(eight, sixteen, atol=1e-6)


def test_colours_vary_within_what_is_asked_and_labels_do_not():
    image = np.full((32, 32, 3), 128, np.uint8)
    labels = np.zeros((32, 32), np.uint8)
    varied = Augmentation((32, 32), colour=0.2)

    drawn = [augment(image, labels, varied, generator("colour", k)) for k in range(200)]
    gains = torch.stack([clean[:, 0, 0] for clean, _ in drawn]) / (128 / 255)

    # Brightness and half of a channel's own gain: at most 0.2 + 0.1, spread evenly around 1.
    assert 0.7 <= float(gains.min()) < 0.8
    assert 1.2 < float(gains.max()) <= 1.3001
    assert float(gains.mean()) == pytest.approx(1, abs=0.03)
    assert float((gains - gains.mean(1, keepdim=True)).abs().max()) > 0.05
    assert all(int(target.max()) == 0 for _, target in drawn)


def test_varying_colours_leaves_the_crops_where_they_were():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    labels = image[..., 0] % 4
    plain, varied = (
        augment(image, labels, Augmentation((24, 24), colour=c), generator("crop"))
        for c in (0.0, 0.3)
    )

    assert torch.equal(plain[1], varied[1])
    assert not torch.equal(plain[0], varied[0])


def test_recoloured_crops_have_strong_colours_of_every_hue_and_the_others_none():
    image = np.full((32, 32, 3), (120, 128, 136), np.uint8)
    labels = np.zeros((32, 32), np.uint8)
    how = Augmentation((32, 32), recolour=0.5)

    drawn = [augment(image, labels, how, generator("recolour", k)) for k in range(400)]
    colours = torch.stack([clean[:, 0, 0] for clean, _ in drawn])

    kept = (colours - torch.tensor([120, 128, 136]) / 255).abs().amax(1) < 1e-6
    assert 0.4 < float(kept.float().mean()) < 0.6
    strong = colours[colours.amin(1) < 0.5 * colours.amax(1)]
    assert len(strong) > 40
    assert {int(k) for k in strong.argmax(1)} == {0, 1, 2}
    assert {int(k) for k in strong.argmin(1)} == {0, 1, 2}
    assert 0 <= float(colours.min()) <= float(colours.max()) <= 1
    assert all(int(target.max()) == 0 for _, target in drawn)


def test_grey_crops_have_the_mean_of_their_colours_and_the_others_stay():
    image, labels, _ = coordinates(32, 32)
    plain, _ = augment(image, labels, Augmentation((32, 32), flip=False), generator("grey"))
    how = Augmentation((32, 32), flip=False, grey=0.5)

    drawn = [augment(image, labels, how, generator("grey", k))[0] for k in range(200)]

    grey = plain.mean(0, keepdim=True).expand(3, 32, 32)
    made = [torch.allclose(clean, grey, atol=1e-6) for clean in drawn]
    assert 0.35 < sum(made) / len(made) < 0.65
    assert all(torch.equal(c, plain) for c, is_grey in zip(drawn, made, strict=True) if not is_grey)
