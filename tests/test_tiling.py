"""Where tiles lie: every pixel once, or with weights that add up to one."""

from __future__ import annotations

import pytest
import torch

from sdabn_cli import tiling


@pytest.mark.parametrize("size", [(45, 61), (7, 90), (32, 32)])
@pytest.mark.parametrize("side", [7, 16, 100])
def test_tiles_side_by_side_cover_every_pixel_once_and_see_their_halo(size, side):
    numbers = torch.arange(size[0] * size[1]).view(size)
    count = torch.zeros(size)

    for tile in tiling.tiles(*size, side=side, halo=5):
        count[tile.window] += 1
        assert torch.equal(numbers[tile.seen][tile.inside], numbers[tile.window])
        for window, seen, length in zip(tile.window, tile.seen, size, strict=True):
            assert window.stop - window.start <= side
            assert (seen.start, seen.stop) == (
                max(0, window.start - 5), min(length, window.stop + 5)
            )  # fmt: skip

    assert bool((count == 1).all())


@pytest.mark.parametrize(("side", "step"), [(16, 4), (18, 4), (7, 7), (100, 2)])
def test_tiles_and_what_they_see_begin_at_multiples_of_a_step(side, step):
    height, width = 45, 61
    count = torch.zeros(height, width)

    for tile in tiling.tiles(height, width, side=side, halo=5, step=step):
        count[tile.window] += 1
        for window, seen, length in zip(tile.window, tile.seen, (height, width), strict=True):
            assert window.start % step == seen.start % step == 0
            assert 0 < window.stop - window.start <= side
            assert seen.start <= max(0, window.start - 5)
            assert seen.stop >= min(length, window.stop + 5)

    assert bool((count == 1).all())


@pytest.mark.parametrize("size", [(64, 96), (200, 104), (32, 400)])
@pytest.mark.parametrize("side", [32, 64, 512])
def test_the_weights_of_blended_tiles_add_up_to_one(size, side):
    total = torch.zeros(size)
    for window, weights in tiling.blended(*size, side=side, overlap=16, step=8):
        assert float(weights.min()) > 0
        assert all(span.start % 8 == 0 and span.stop <= n for span, n in zip(window, size))  # noqa: B905
        assert all(span.stop - span.start <= side for span in window)
        total[window] += weights

    torch.testing.assert_close(total, torch.ones(size))


def test_an_image_no_larger_than_a_tile_is_one_tile_of_full_weight():
    (tile,) = tiling.blended(40, 48, side=48, overlap=16, step=8)

    assert tile.window == (slice(0, 40), slice(0, 48))
    assert bool((tile.weights == 1).all())


def test_weights_fade_over_the_overlap_alone():
    first, _ = tiling.blended(8, 96, side=64, overlap=32, step=8)

    assert bool((first.weights[0, :32] == 1).all())
    assert bool((first.weights[0, 32:].diff() < 0).all())


def test_a_part_that_begins_where_a_tile_does_is_cut_as_the_whole_is():
    whole = tiling.blended(8, 512, side=64, overlap=32, step=8)
    part = tiling.blended(8, 256, side=64, overlap=32, step=8)

    moved = [tile.window[1].start + 128 for tile in part]

    assert set(moved) <= {tile.window[1].start for tile in whole}
