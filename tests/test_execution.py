"""Running cascades in windows: what the equations give for whole images, within a memory budget."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sdabn_cli import execution, memory, networks
from sdabn_cli.cascade import Cascade, Unit
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError
from sdabn_cli.execution import Executor
from sdabn_cli.logits import labels_of
from sdabn_cli.planes import DiskPlane, MemoryPlane, Workspace, whole

CLASSES = 5
CPU = Compute(torch.device("cpu"), torch.float32)
Cascades = Callable[..., Cascade]


class LocalSegmenter(nn.Module):
    """Logits at a quarter of the size that depend on 4 x 4 pixels alone."""

    stride = 8

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, scale, stride=scale)
        self.seen: list[tuple[int, int]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(tuple(image.shape[-2:]))
        return 20 * self.conv(image)


class Mean(nn.Module):
    """Subtracts the mean of all pixels that it sees: a denoiser that must see the whole image."""

    def __init__(self, fails_above: float = float("inf")) -> None:
        super().__init__()
        self.fails_above = fails_above
        self.seen: list[tuple[int, int]] = []

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        self.seen.append(tuple(image.shape[-2:]))
        if max(image.shape[-2:]) > self.fails_above:
            raise torch.OutOfMemoryError("there is not enough memory")
        return image - image.mean()


class Local(Mean):
    """The same arithmetic without looking around."""

    receptive_field = 2

    def forward(self, image: Tensor, condition: Tensor | None) -> Tensor:
        super().forward(image, condition)
        return 0.5 * image


def ddfn(blocks: int = 2, *, channels: int = CLASSES, unshuffle: int = 1) -> nn.Module:
    """A DDFN whose every weight and bias matters; fresh ones return almost nothing."""
    options = {"blocks": blocks, "unshuffle": unshuffle}
    network = networks.build_denoiser("ddfn", options, condition_channels=channels)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    nn.init.normal_(network.reconstruct.weight, std=0.1)
    return network


def cascade(*denoisers: nn.Module | None, segmenter: type = LocalSegmenter, **how: str) -> Cascade:
    units = [Unit(segmenter(), denoiser) for denoiser in denoisers]
    return Cascade(units, **how).requires_grad_(False).eval()


def assert_equal(network: Cascade, executor: Executor, image: Tensor, **given: Tensor) -> None:
    """What the executor gives is what the equations give."""
    wanted = network(image, **given)
    with executor.workspace() as workspace:
        got = list(executor.run(network, MemoryPlane(image), workspace, keep=True, **given))
        for unit, output in zip(got, wanted, strict=True):
            torch.testing.assert_close(whole(unit.logits), output.logits, rtol=1e-5, atol=1e-4)
            assert torch.equal(labels_of(unit.logits), output.logits.argmax(1)[0].byte())
            if output.estimate is None:
                assert unit.estimate is None
                continue
            assert output.estimate.std() > 0.02
            largest = max(1.0, float(output.estimate.abs().max()))
            torch.testing.assert_close(
                whole(unit.estimate), output.estimate, rtol=0, atol=1e-5 * largest
            )


@pytest.mark.parametrize("size", [(45, 61), (33, 97), (64, 64), (9, 101)])
@pytest.mark.parametrize("tile", [16, 33, 60])
def test_denoising_in_tiles_is_denoising_the_whole_image(size, tile):
    assert_equal(cascade(ddfn(), ddfn(), None), Executor(CPU, tile), torch.rand(1, 3, *size))


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("size", [(45, 61), (7, 101)])
def test_tiles_of_a_denoiser_with_a_stride_begin_at_multiples_of_it(stride, size):
    network = cascade(ddfn(1, unshuffle=stride), ddfn(1), None)

    assert_equal(network, Executor(CPU, 8), torch.rand(1, 3, *size))

    class Undeclared(nn.Module):
        receptive_field = network.units[0].denoiser.receptive_field
        forward = network.units[0].denoiser.forward

    network.units[0].denoiser = Undeclared()
    with pytest.raises(AssertionError, match="not close"):
        assert_equal(network, Executor(CPU, 8), torch.rand(1, 3, *size))


def test_tiles_are_exact_for_the_papers_depth():
    assert_equal(cascade(ddfn(8)), Executor(CPU, 32), torch.rand(1, 3, 71, 83))


def test_half_the_halo_would_show():
    network = cascade(ddfn())
    network.units[0].denoiser.receptive_field //= 2

    with pytest.raises(AssertionError, match="not close"):
        assert_equal(network, Executor(CPU, 16), torch.rand(1, 3, 45, 61))


@pytest.mark.parametrize("condition", ["image", "truth", "none"])
def test_every_condition_is_cut_with_its_image(condition):
    channels = {"image": 3, "truth": CLASSES, "none": 0}[condition]
    truth = torch.randint(0, CLASSES, (1, 45, 61))

    network = cascade(ddfn(channels=channels), condition=condition)

    assert_equal(network, Executor(CPU, 16), torch.rand(1, 3, 45, 61), truth=truth)


@pytest.mark.parametrize("form", ["logits", "probabilities"])
def test_logits_and_probabilities_guide_in_tiles_too(form):
    assert_equal(cascade(ddfn(), form=form), Executor(CPU, 16), torch.rand(1, 3, 45, 61))


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_ddfn_declares_the_receptive_field_it_has(blocks):
    network, condition = ddfn(blocks), torch.rand(1, CLASSES, 61, 61)
    reached = torch.zeros(61, 61, dtype=torch.bool)
    for _ in range(3):
        image = torch.rand(1, 3, 61, 61, requires_grad=True)
        network(image, condition)[0, :, 30, 30].sum().backward()
        reached |= image.grad.abs().sum((0, 1)) > 0

    rows = reached.any(1).nonzero()

    assert int(rows.max()) - 30 == 30 - int(rows.min()) == network.receptive_field


def test_what_the_network_gives_at_an_odd_scale_is_upsampled_at_once():
    class Odd(LocalSegmenter):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image)[..., 1:]

    assert_equal(cascade(ddfn(), segmenter=Odd), Executor(CPU, 16), torch.rand(1, 3, 45, 61))


def small_memory(monkeypatch: pytest.MonkeyPatch, room: float) -> Executor:
    """An executor with so much room for networks and planes, which it measures for every image."""
    monkeypatch.setattr(execution, "SMALL", 0)
    monkeypatch.setattr(execution, "LEAST_NEED", 1)
    monkeypatch.setattr(Executor, "_free", lambda self: room)
    return Executor(CPU, 64)


def test_a_segmenter_that_looks_no_further_is_exact_in_blended_tiles(monkeypatch):
    network, image = cascade(None), torch.rand(1, 3, 203, 301)

    executor = small_memory(monkeypatch, 1.5e5)
    with executor.workspace() as workspace:
        (unit,) = executor.run(network, MemoryPlane(image), workspace)

        sizes = network.units[0].segmenter.seen[1:]  # the first is the example
        assert len(sizes) > 4
        assert max(max(size) for size in sizes) < 203
        torch.testing.assert_close(
            whole(unit.logits), network(image)[0].logits, rtol=1e-4, atol=1e-3
        )


def test_hrnet_in_tiles_agrees_with_hrnet_on_the_whole_image(monkeypatch):
    segmenter = networks.build_segmenter("hrnet", {"variant": "w18_small"}, num_classes=CLASSES)
    network = Cascade([Unit(segmenter)]).eval()
    ramp = torch.linspace(0, 1, 640).expand(1, 3, 320, 640)
    image = ramp + 0.05 * torch.rand(1, 3, 320, 640)
    executor = small_memory(monkeypatch, 60e6)

    with torch.no_grad(), executor.workspace() as workspace:
        (unit,) = executor.run(network, MemoryPlane(image), workspace)
        expected = network(image)[0].logits

        # Not equal: it looks further than any overlap. But no seam, and close on the whole.
        assert 0 < float((whole(unit.logits) - expected).abs().mean()) < 0.1 * expected.std()


def test_planes_that_do_not_fit_go_to_disk_and_are_removed(monkeypatch):
    network, image = cascade(ddfn(), ddfn()), torch.rand(1, 3, 75, 91)
    executor = small_memory(monkeypatch, 60e3)

    with executor.workspace() as workspace:
        *_, last = executor.run(network, MemoryPlane(image), workspace)
        folder = workspace.folder

        assert isinstance(last.estimate, DiskPlane)
        assert len(list(folder.iterdir())) == 1  # those that nothing reads are gone already
        expected = network(image)[-1].estimate
        torch.testing.assert_close(whole(last.estimate), expected, rtol=1e-4, atol=1e-4)

    assert not folder.exists()


def test_a_denoiser_of_unknown_reach_sees_the_whole_image_while_it_fits():
    network, image = cascade(Mean()), torch.rand(1, 3, 45, 61)

    assert_equal(network, Executor(CPU, 16), image)

    assert network.units[0].denoiser.seen[-1] == (45, 61)


def test_a_denoiser_of_unknown_reach_is_blended_where_it_does_not_fit(monkeypatch):
    network, image = cascade(Mean()), torch.full((1, 3, 301, 203), 0.4)
    executor = small_memory(monkeypatch, 5e5)

    with executor.workspace() as workspace:
        (unit,) = executor.run(network, MemoryPlane(image), workspace)

        assert max(max(size) for size in network.units[0].denoiser.seen[1:]) < 203
        torch.testing.assert_close(
            whole(unit.estimate), torch.zeros(1, 3, 301, 203), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("kind", [Mean, Local])
def test_where_memory_runs_out_smaller_tiles_are_tried(kind):
    network, image = cascade(kind(fails_above=100)), torch.full((1, 3, 150, 230), 0.4)
    executor = Executor(CPU, 200)

    with executor.workspace() as workspace:
        (unit,) = executor.run(network, MemoryPlane(image), workspace)

        expected = {Mean: 0.0, Local: 0.2}[kind]
        torch.testing.assert_close(
            whole(unit.estimate), torch.full((1, 3, 150, 230), expected), rtol=0, atol=1e-5
        )
    assert max(network.units[0].denoiser.seen[-1]) <= 100
    if kind is Local:
        assert executor.tile == 64  # and the next image begins there


def test_tiles_of_a_denoiser_with_a_stride_become_as_small_as_those_of_others():
    network = cascade(Local(fails_above=100))
    network.units[0].denoiser.stride = 4
    executor = Executor(CPU, 200)

    with executor.workspace() as workspace:
        list(executor.run(network, MemoryPlane(torch.rand(1, 3, 150, 930)), workspace))

    seen = network.units[0].denoiser.seen
    assert seen[0] == (150, 468)  # two tiles of at most 4 x 200, and their halo
    assert max(seen[-1]) <= 64 + 2 * 4
    assert executor.tile == 64 // 4  # of one that has no stride


def test_a_try_that_fails_takes_no_room():
    network, image = cascade(Local(fails_above=100)), torch.rand(1, 3, 150, 230)
    executor = Executor(CPU, 200)
    room = image.nbytes + 4 * CLASSES * 38 * 58  # one estimate, and the logits

    with Workspace([("cpu", room)]) as workspace:
        (unit,) = executor.run(network, MemoryPlane(image), workspace)

        assert isinstance(unit.estimate, MemoryPlane)


def test_where_not_even_the_smallest_tile_fits_it_is_said():
    network = cascade(Local(fails_above=10))
    executor = Executor(CPU, 200)

    with (
        executor.workspace() as workspace,
        pytest.raises(SdabnError, match="too little memory for tiles of 64 pixels"),
    ):
        list(executor.run(network, MemoryPlane(torch.rand(1, 3, 150, 230)), workspace))


def test_values_that_are_no_numbers_are_refused():
    network = cascade(ddfn())
    nn.init.constant_(network.units[0].denoiser.reconstruct.weight, float("nan"))
    executor = Executor(CPU, 200)

    with (
        executor.workspace() as workspace,
        pytest.raises(SdabnError, match=r"(?s)not numbers.*--precision float32"),
    ):
        list(executor.run(network, MemoryPlane(torch.rand(1, 3, 40, 40)), workspace))


def test_the_middle_of_an_image_in_tiles_is_that_of_a_part_with_its_surroundings(monkeypatch):
    segmenter = networks.build_segmenter("hrnet", {"variant": "w18_small"}, num_classes=CLASSES)
    network = Cascade([Unit(segmenter, ddfn())]).requires_grad_(False).eval()
    image = torch.rand(1, 3, 800, 160)
    executor = small_memory(monkeypatch, 0)  # the smallest tiles: 64 pixels, 32 further every time
    part = slice(320, 640)

    with executor.workspace() as workspace:
        (unit,) = executor.run(network, MemoryPlane(image), workspace)
        (alone,) = executor.run(network, MemoryPlane(image[:, :, part]), workspace)
        inside = (slice(420, 540), slice(0, 160))
        moved = (slice(100, 220), slice(0, 160))

        torch.testing.assert_close(
            alone.estimate.read(moved), unit.estimate.read(inside), rtol=0, atol=1e-5
        )
        # Nearer to its edge it differs: it has other tiles there.
        assert not torch.allclose(
            alone.logits.read((slice(0, 64), slice(0, 160))),
            unit.logits.read((slice(320, 384), slice(0, 160))),
        )


def test_a_networks_need_of_memory_is_measured():
    class Wide(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            wide = image.repeat(1, 10, 1, 1)  # 30 channels
            return (wide + 1).mean(1, keepdim=True)  # and 30 more beside them

    assert memory.bytes_per_pixel(Wide(), torch.zeros(1, 3, 32, 32)) == pytest.approx(240, rel=0.1)


@pytest.mark.parametrize(
    ("text", "size"), [("3GB", 3 * 2**30), ("1.5 g", 1.5 * 2**30), ("2000MiB", 2000 * 2**20)]
)
def test_memory_is_given_in_the_usual_ways(text, size):
    assert memory.budget(text) == size


@pytest.mark.parametrize("text", ["much", "-3GB", "3TB", ""])
def test_what_is_no_size_of_memory_is_refused(text):
    with pytest.raises(SdabnError, match="is no size of memory"):
        memory.budget(text)


def test_too_little_memory_is_refused():
    with pytest.raises(SdabnError, match="500MB is too little"):
        memory.budget("500MB")


def test_a_full_disk_is_said_before_anything_is_computed(tmp_path):
    with (
        Workspace([("cpu", 0)]) as workspace,
        pytest.raises(SdabnError, match=r"needs .* GB of temporary files"),
    ):
        workspace.plane((3, 10_000_000, 10_000_000))
