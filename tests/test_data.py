"""Samples: everything random follows from a number, and wrong examples are named."""

from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdabn_cli import data, datasets, registry
from sdabn_cli.augmentation import Augmentation
from sdabn_cli.contracts import DatasetError, Example
from sdabn_cli.data import DecodedCache, TrainingSamples
from sdabn_cli.errors import SdabnError
from sdabn_cli.labels import IGNORED, OUTSIDE
from sdabn_cli.randomness import generator
from sdabn_cli.recipe import DataSettings


class Drawn:
    """A data set of arrays: image number i is uniformly of value 10 * i, its labels are 0."""

    classes = ("a", "b", "c")
    palette = ((0, 0, 0), (1, 1, 1), (2, 2, 2))
    ignore_index = 11

    def __init__(self, count: int, size: tuple[int, int] = (8, 8)) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        image = np.full((*self.size, 3), 10 * index, np.uint8)
        return Example(f"drawn{index}", image, np.zeros(self.size, np.uint8))


class Broken(Drawn):
    """Gives every image once and fails from then on."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.given: set[int] = set()

    def __getitem__(self, index: int) -> Example:
        if index in self.given:
            raise DatasetError("the disk is gone", "Plug it in")
        self.given.add(index)
        return super().__getitem__(index)


class Given(Drawn):
    """One example, the one given."""

    def __init__(self, example: Example) -> None:
        super().__init__(1)
        self.example = example

    def __getitem__(self, index: int) -> Example:
        return self.example


class Mapped(Drawn):
    label_map = {7: 0, 8: 1, 20: 2}  # noqa: RUF012 - as a data set would declare it


def samples(dataset: Drawn, *, stage: str = "s1", noise: bool = True) -> TrainingSamples:
    model = registry.build("noise", "gaussian", {"sigma": "25"}) if noise else None
    return TrainingSamples(DecodedCache(dataset, 0), Augmentation((4, 4)), model, key=(0, stage))


def test_a_sample_depends_on_its_number_alone():
    first, second = samples(Drawn(5)), samples(Drawn(5))

    ascending = [first[n] for n in range(12)]
    descending = [second[n] for n in reversed(range(12))][::-1]

    for one, other in zip(ascending, descending, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_seed_stage_and_number_each_change_the_noise():
    noise = [
        sample.noisy - sample.clean
        for sample in (samples(Drawn(1))[0], samples(Drawn(1))[1], samples(Drawn(1), stage="d1")[0])
    ]

    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])


def test_without_noise_the_noisy_image_is_the_clean_one():
    sample = samples(Drawn(1), noise=False)[0]

    assert torch.equal(sample.noisy, sample.clean)


def test_every_image_occurs_once_an_epoch_in_an_order_of_its_own():
    drawn = samples(Drawn(7))

    epochs = [
        [round(float(drawn[7 * e + n].clean[0, 0, 0]) * 25.5) for n in range(7)] for e in range(4)
    ]

    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def drawn_batches(
    source: TrainingSamples, *, first_step: int = 0, last_step: int = 2, workers: int
) -> list[data.Sample]:
    steps = {"first_step": first_step, "last_step": last_step}
    return list(data.batches(source, **steps, batch_size=3, workers=workers, pin_memory=False))


def test_the_number_of_loader_processes_does_not_change_the_samples(camvid_tree):
    dataset = registry.build("dataset", "camvid", {}, root=camvid_tree, split="train")

    def drawn(workers: int, first_step: int) -> list[data.Sample]:
        noise = registry.build("noise", "gaussian", {})
        source = TrainingSamples(
            DecodedCache(dataset, 1), Augmentation((16, 16), (0.8, 1.2)), noise, key=(0, "s1")
        )
        return drawn_batches(source, first_step=first_step, last_step=5, workers=workers)

    alone, shared, resumed = drawn(0, 0), drawn(2, 0), drawn(0, 3)

    assert len(alone) == 5
    assert alone[0].clean.shape == (3, 3, 16, 16)
    for one, other in (*zip(alone, shared, strict=True), *zip(alone[3:], resumed, strict=True)):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_from_whichever_process(camvid_tree, workers):
    dataset = registry.build("dataset", "camvid", {}, root=camvid_tree, split="train")
    image = camvid_tree / "train/frame2.png"
    image.write_bytes(image.read_bytes()[:-400])

    with pytest.raises(SdabnError, match=r"^.*frame2\.png is damaged") as caught:
        drawn_batches(samples(dataset), workers=workers)

    assert type(caught.value) is SdabnError
    assert caught.value.problem.startswith(f"{image} is damaged")
    assert caught.value.hint == ""


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_before_a_damaged_one_are_drawn(workers):
    drawn = data.batches(
        samples(Broken(3)),
        first_step=0, last_step=4, batch_size=3, workers=workers, pin_memory=False,
    )  # fmt: skip

    for _ in range(max(workers, 1)):  # each process draws every image once
        assert next(drawn).clean.shape == (3, 3, 4, 4)
    with pytest.raises(DatasetError, match="the disk is gone\nPlug it in") as caught:
        next(drawn)
    assert (caught.value.problem, caught.value.hint) == ("the disk is gone", "Plug it in")


@pytest.mark.parametrize(
    "error", [SdabnError("a", "b"), SdabnError("a"), DatasetError("a\nb", "c")]
)
def test_an_error_survives_the_way_between_processes(error):
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert (copy.problem, copy.hint, str(copy)) == (error.problem, error.hint, str(error))


def test_class_table_knows_classes_the_ignored_and_everything_outside():
    table = datasets.class_table(Drawn(1))

    assert table[:3].tolist() == [0, 1, 2]
    assert table[11] == IGNORED
    assert {int(v) for i, v in enumerate(table) if i not in (0, 1, 2, 11)} == {OUTSIDE}


def test_a_label_map_ignores_what_it_does_not_list():
    table = datasets.class_table(Mapped(1))

    assert [int(table[i]) for i in (7, 8, 20)] == [0, 1, 2]
    assert {int(v) for i, v in enumerate(table) if i not in (7, 8, 20)} == {IGNORED}


def test_labels_are_translated_and_wrong_ones_named():
    labels = np.array([[0, 11], [2, 1]], np.uint8)
    example = Example("street", np.zeros((2, 2, 3), np.uint8), labels)

    assert data.read_labels(example, Drawn(1)).tolist() == [[0, IGNORED], [2, 1]]
    wrong = example._replace(labels=np.array([[3, 200]], np.uint8))
    with pytest.raises(SdabnError, match=r"street: label 3, 200 is outside .*\nAllowed are 0 to 2"):
        data.read_labels(wrong, Drawn(1))


def test_check_examples_names_the_file_and_the_value(camvid_tree):
    dataset = registry.build("dataset", "camvid", {}, root=camvid_tree, split="val")
    data.check_examples(dataset)
    Image.fromarray(np.full((44, 60), 77, np.uint8)).save(camvid_tree / "valannot/frame4.png")

    with pytest.raises(SdabnError, match=r"frame4\.png: label 77 is outside"):
        data.check_examples(dataset)


def test_labels_of_another_size_than_the_image_are_refused(camvid_tree):
    dataset = registry.build("dataset", "camvid", {}, root=camvid_tree, split="val")
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(camvid_tree / "valannot/frame5.png")

    for check in (lambda: data.decode(dataset[1], dataset), lambda: data.check_examples(dataset)):
        with pytest.raises(SdabnError, match=r"frame5\.png has 60 x 44 pixels, its labels 20 x 10"):
            check()


def test_a_size_is_compared_once_the_image_is_turned(tmp_path):
    wide, tall = np.zeros((10, 20, 3), np.uint8), np.zeros((20, 10), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(wide).save(tmp_path / "image.jpg", exif=exif)
    Image.fromarray(tall).save(tmp_path / "tall.png")
    Image.fromarray(tall.T).save(tmp_path / "wide.png")
    example = Example("image", tmp_path / "image.jpg", tmp_path / "tall.png")

    data.check_examples(Given(example))
    with pytest.raises(SdabnError, match=r"image\.jpg has 10 x 20 pixels, its labels 20 x 10"):
        data.check_examples(Given(example._replace(labels=tmp_path / "wide.png")))


def test_check_examples_names_a_file_that_is_no_image(camvid_tree):
    dataset = registry.build("dataset", "camvid", {}, root=camvid_tree, split="val")
    (camvid_tree / "val/frame5.png").write_text("a letter")

    with pytest.raises(SdabnError, match=r"val/frame5\.png is not an image"):
        data.check_examples(dataset)


def test_check_examples_draws_nothing_but_the_first_one():
    dataset = Broken(2)

    data.check_examples(dataset)

    assert dataset.given == {0}


def test_an_image_without_labels_cannot_be_trained_on():
    with pytest.raises(SdabnError, match="lonely has no labels"):
        data.read_labels(Example("lonely", Path("x.png"), None), Drawn(1))


class Counting(Drawn):
    """A hundred images of the value of their number; counts how often it is asked for one."""

    def __init__(self) -> None:
        super().__init__(100, (100, 100))
        self.asked = 0

    def __getitem__(self, index: int) -> Example:
        self.asked += 1
        image = np.full((100, 100, 3), index, np.uint8)
        return Example(str(index), image, np.zeros((100, 100), np.uint8))


def filled(dataset: Counting, share: float, *, shared: bool = True) -> DecodedCache:
    """A cache with room for a share of 100 images of 100 x 100 pixels: 4 MB in all."""
    cache = DecodedCache(dataset, 4 * share)
    cache.fill(shared=shared)
    return cache


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_as_large_a_share_of_a_pass_is_found_in_memory_as_fits_it(share):
    dataset = Counting()
    cache = filled(dataset, share)

    misses = []
    for epoch in range(3):
        dataset.asked = 0
        for index in torch.randperm(100, generator=generator("pass", epoch)).tolist():
            assert int(cache[index][0][0, 0, 0]) == index
        misses.append(dataset.asked)

    assert misses == [round(100 * (1 - share))] * 3


def test_loader_processes_that_are_not_forked_map_what_is_kept():
    dataset = Counting()
    cache = filled(dataset, 0.5)

    sent = bytes(ForkingPickler.dumps(cache))  # what a process that is spawned is given
    received = pickle.loads(sent)

    assert len(sent) < 50_000  # of 2 MB
    dataset.asked = received.dataset.asked = 0
    for copy in (cache, received):
        assert all(int(copy[index][0].max()) == index for index in range(50))
        assert (received.dataset.asked, dataset.asked) == (0, 0)
    for _ in range(2):  # and it keeps no more
        received[70]
    assert received.dataset.asked == 2


def test_images_that_are_drawn_are_drawn_beforehand_only_for_loader_processes():
    dataset = Counting()

    filled(dataset, 0.5, shared=False)
    assert dataset.asked == 1
    cache = filled(dataset, 2, shared=False)
    asked = dataset.asked
    for _ in range(2):
        cache[7]
    assert dataset.asked == asked + 1


def settings_of(*also: str) -> DataSettings:
    dataset = "scenes:count=3,width=96,height=64"
    return DataSettings.model_validate({"dataset": dataset, "also": list(also)})


def test_data_sets_of_the_same_classes_are_joined_one_behind_the_other():
    other = "scenes:count=2,width=64,height=96,seed=7"

    joined = datasets.open_training(settings_of(other))
    alone = datasets.open_training(settings_of())

    sizes = [joined[i].image.shape[:2] for i in range(len(joined))]
    assert sizes == [(64, 96)] * 3 + [(96, 64)] * 2
    assert all(np.array_equal(joined[i].image, alone[i].image) for i in range(3))
    assert joined.classes == alone.classes
    assert np.array_equal(joined[-1].image, joined[4].image)
    with pytest.raises(IndexError):
        joined[5]


def test_data_sets_of_other_classes_are_not_joined(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name / "train").mkdir(parents=True)
        Image.new("L", (64, 64)).save(tmp_path / name / "train" / "a.png")
    (tmp_path / "classes.yaml").write_text("classes: [sky, road]")
    settings = settings_of("folder").model_copy(update={"root": tmp_path})

    with pytest.raises(SdabnError, match="folder has the classes sky, road; scenes"):
        datasets.open_training(settings)
