"""The data sets on disk and the drawn one: what they give and what they refuse."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_data import CLASSES_FILE, save

from sdabn_cli import data, registry
from sdabn_cli.augmentation import Augmentation
from sdabn_cli.contracts import Dataset
from sdabn_cli.errors import SdabnError
from sdabn_cli.labels import IGNORED

SMALL = {"width": 96, "height": 64}


def open_split(name: str, root: Path | None, split: str = "train", **options: Any) -> Dataset:
    return registry.build("dataset", name, options, root=root, split=split)


def test_a_folder_has_the_splits_of_its_sub_folders(folder):
    train, val = open_split("folder", folder), open_split("folder", folder, "val")

    assert [train[i].name for i in range(len(train))] == ["a", "b"]
    assert [example.name for example in (val[0],)] == ["c"]
    assert train[1].image == folder / "images/train/b.jpg"
    assert train[1].labels == folder / "labels/train/b.png"
    assert train.classes == ("background", "cell")
    assert train.palette == ((0, 0, 0), (220, 20, 60))
    assert train.ignore_index == 255
    image, labels = data.decode(train[1], train)
    assert image.shape == (12, 16, 3)
    assert np.array_equal(labels, np.ones((12, 16)))


def test_a_folder_without_sub_folders_is_every_split(tmp_path):
    save(tmp_path / "images/a.png", 90)
    save(tmp_path / "labels/a.png", 0)
    (tmp_path / "classes.yaml").write_text(CLASSES_FILE)

    for split in ("train", "val"):
        assert open_split("folder", tmp_path, split)[0].labels == tmp_path / "labels/a.png"


def test_an_unknown_split_of_a_folder_is_answered_with_those_there_are(folder):
    with pytest.raises(SdabnError, match=r"no split 'test' in .*images\.\nThere are: train, val\."):
        open_split("folder", folder, "test")


def test_classes_without_colours_get_colours_of_their_own(folder):
    (folder / "classes.yaml").write_text("classes: [sky, {name: road}, {name: car}]\n")

    opened = open_split("folder", folder)

    assert opened.classes == ("sky", "road", "car")
    assert len(set(opened.palette)) == 3
    assert all(0 <= value <= 255 for colour in opened.palette for value in colour)
    assert opened.ignore_index is None


@pytest.mark.parametrize(
    "content",
    ["", "classes", "[sky, road]", "classes: 3", "classes: [1, 2]", "classes: [{color: [1, 2, 3]}]",
     "names: [sky, road]", "classes: [sky, road", "classes: [{name: sky, color: [1, 2]}, road]",
     "classes: [{name: sky, color: [1, 2, 256]}, road]", "classes: [{name: sky, color: red}, road]",
     "classes: sky", "classes: {sky: [1, 2, 3], road: [4, 5, 6]}"],
)  # fmt: skip
def test_a_malformed_classes_file_is_named(folder, content):
    (folder / "classes.yaml").write_text(content)

    with pytest.raises(SdabnError, match=r"(?s)classes\.yaml is malformed: .*\nIt lists classes"):
        open_split("folder", folder)


def test_a_classes_file_that_is_no_text_is_named(folder):
    (folder / "classes.yaml").write_bytes(b"\xff\xfe\x00\x81")

    with pytest.raises(SdabnError, match=r"classes\.yaml is malformed"):
        open_split("folder", folder)


@pytest.mark.parametrize("classes", ["[sky]", "[sky, road, sky]", "[]"])
def test_too_few_or_equal_classes_are_refused(folder, classes):
    (folder / "classes.yaml").write_text(f"classes: {classes}\n")

    with pytest.raises(SdabnError, match="Allowed: 2 to 255, all of different names"):
        open_split("folder", folder)


@pytest.mark.parametrize("ignore", ["1", "256", "-1", "void", "2.5", "true"])
def test_an_ignored_id_must_lie_behind_the_classes(folder, ignore):
    (folder / "classes.yaml").write_text(f"classes: [sky, road]\nignore: {ignore}\n")

    with pytest.raises(SdabnError, match=r"ignore is .*\nAllowed: a number from 2 to 255"):
        open_split("folder", folder)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("classes.yaml", r"no classes file .*classes\.yaml\.\nExpected: ROOT/images/SPLIT"),
        ("images", r"no directory .*images\.\nExpected"),
        ("labels", r"no directory .*labels\.\nExpected"),
        ("labels/train", r"a\.png has no label image .*labels/train/a\.png"),
        ("labels/train/b.png", r"b\.jpg has no label image .*labels/train/b\.png"),
    ],
)
def test_a_missing_part_of_a_folder_is_named_with_the_layout(folder, missing, message):
    (folder / missing).rename(folder.parent / "elsewhere")

    with pytest.raises(SdabnError, match=message):
        open_split("folder", folder)


def test_a_folder_without_images_is_refused(folder):
    (folder / "images/empty").mkdir()

    with pytest.raises(SdabnError, match=r"no images in .*images/empty"):
        open_split("folder", folder, "empty")


@pytest.mark.parametrize("name", ["folder", "camvid", "cityscapes"])
def test_a_data_set_on_disk_needs_its_directory(name):
    with pytest.raises(SdabnError, match=f"{name} needs its directory.\nGive it with --data"):
        open_split(name, None)


def test_cityscapes_is_read_in_its_original_layout(cityscapes):
    opened = open_split("cityscapes", cityscapes)

    assert [opened[i].name for i in range(len(opened))] == [
        "bonn_000001_000019", "ulm_000004_000019",
    ]  # fmt: skip
    assert len(opened.classes) == len(opened.palette) == 19
    data.check_examples(opened)


def test_cityscapes_label_ids_become_the_19_classes_and_the_others_are_ignored(cityscapes):
    opened = open_split("cityscapes", cityscapes)
    _, labels = data.decode(opened[0], opened)
    of_id = dict(zip(range(34), labels.ravel()[:34].tolist(), strict=True))

    kept = {id_: opened.classes[label] for id_, label in of_id.items() if label != IGNORED}
    assert kept == {
        7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
        19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
        24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train",
        32: "motorcycle", 33: "bicycle",
    }  # fmt: skip
    assert set(labels.ravel()[34:].tolist()) == {IGNORED}


def test_a_missing_label_image_of_cityscapes_is_named(cityscapes):
    (cityscapes / "gtFine/train/ulm/ulm_000004_000019_gtFine_labelIds.png").unlink()

    with pytest.raises(SdabnError, match=r"no label image .*ulm_000004_000019_gtFine_labelIds\."):
        open_split("cityscapes", cityscapes)


def test_cityscapes_elsewhere_is_answered_with_the_layout(tmp_path):
    with pytest.raises(SdabnError, match=r"leftImg8bit/val/CITY.*\n.*gtFine/val/CITY"):
        open_split("cityscapes", tmp_path, "val")


@pytest.mark.parametrize("name", ["camvid", "cityscapes", "folder"])
def test_hidden_files_are_passed_over(name, request):
    root = request.getfixturevalue("camvid_tree" if name == "camvid" else name)
    names = [example.name for example in open_split(name, root)]

    for image in [p for p in root.rglob("*") if p.suffix in (".png", ".jpg")]:
        image.with_name(f"._{image.name}").write_bytes(b"")  # as macOS leaves them
        hidden = image.parent.with_name(f".{image.parent.name}")
        hidden.mkdir(exist_ok=True)
        (hidden / image.name).write_bytes(b"")

    assert [example.name for example in open_split(name, root)] == names


def test_hidden_folders_are_no_splits(tmp_path):
    save(tmp_path / "images/a.png", 90)
    save(tmp_path / "labels/a.png", 0)
    (tmp_path / "classes.yaml").write_text(CLASSES_FILE)
    (tmp_path / "images/.thumbnails").mkdir()

    assert len(open_split("folder", tmp_path)) == 1


@pytest.mark.parametrize("name", ["camvid", "cityscapes", "folder", "scenes"])
@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_samples_can_be_sent_to_a_loader_process(name, noise, request):
    fixture = {"camvid": "camvid_tree", "scenes": None}.get(name, name)
    root = request.getfixturevalue(fixture) if fixture else None
    options = {"count": 2, **SMALL} if name == "scenes" else {}
    samples = data.TrainingSamples(
        data.DecodedCache(open_split(name, root, **options), 1),
        Augmentation((8, 8)),
        registry.build("noise", noise, {}),
        key=(0, "s1"),
    )

    before = samples[0]
    sent = pickle.loads(pickle.dumps(samples))

    for number, sample in ((0, before), (1, samples[1])):
        assert all(torch.equal(a, b) for a, b in zip(sample, sent[number], strict=True))


@pytest.mark.parametrize("name", ["camvid", "cityscapes", "scenes"])
def test_an_unknown_split_is_answered_with_those_there_are(name, tmp_path):
    with pytest.raises(SdabnError, match="split must be one of train, val, test, not 'dev'"):
        open_split(name, tmp_path, "dev")


def test_a_scene_depends_on_seed_split_and_index_alone():
    forward = [open_split("scenes", None, count=3, **SMALL)[i] for i in range(3)]
    opened = open_split("scenes", None, count=9, **SMALL)
    backward = [opened[i] for i in (2, 1, 0)][::-1]
    other = open_split("scenes", None, count=3, seed=1, **SMALL)

    for first, second in zip(forward, backward, strict=True):
        assert first.name == second.name
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.labels, second.labels)
    assert not np.array_equal(forward[0].image, other[0].image)


def test_no_scene_is_in_two_splits():
    splits = [open_split("scenes", None, s, count=4, **SMALL) for s in ("train", "val", "test")]
    scenes = [opened[i] for opened in splits for i in range(4)]

    assert len({scene.image.tobytes() for scene in scenes}) == 12
    assert len({scene.name for scene in scenes}) == 12


@pytest.mark.parametrize("size", [(96, 64), (64, 64), (101, 67), (64, 180)])
def test_a_scene_has_the_size_asked_for(size):
    opened = open_split("scenes", None, count=1, width=size[0], height=size[1])
    image, labels = data.decode(opened[0], opened)

    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == labels.dtype == np.uint8
    assert labels.shape == (size[1], size[0])


def test_twelve_scenes_hold_every_class_and_no_other_label():
    opened = open_split("scenes", None, count=12, width=160, height=120)

    found = set().union(*(np.unique(opened[i].labels).tolist() for i in range(12)))

    assert found >= set(range(len(opened.classes)))
    assert found <= {*range(len(opened.classes)), opened.ignore_index}
    assert len(opened.classes) == len(opened.palette) == 11


def test_scenes_are_as_many_as_their_split_has_by_default():
    sizes = [len(open_split("scenes", None, split)) for split in ("train", "val", "test")]

    assert sizes == [400, 60, 60]
    with pytest.raises(IndexError):
        open_split("scenes", None, count=3)[3]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("width", 63, "width must be between 64 and 4096, not 63"),
        ("height", "5000", "height must be between 64 and 4096, not 5000"),
        ("count", 0, "count must be at least 1, not 0"),
        ("seed", -1, "seed must be at least 0, not -1"),
        ("count", "many", "'scenes' refuses count='many'"),
        ("heigth", 64, "no option 'heigth'.\nDid you mean 'height'?"),
    ],
)
def test_a_wrong_option_of_scenes_is_refused(option, value, message):
    with pytest.raises(SdabnError, match=message.replace("?", r"\?")):
        open_split("scenes", None, **{option: value})


def test_scenes_are_drawn_without_torch():
    code = (
        "import sys\nfrom sdabn_plugins.scenes import Scenes\n"
        "Scenes(None, 'train', width=64, height=64)[0]\nsys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_outdoorseg_as_distributed_gives_every_ninth_image_to_val(outdoorseg):
    train, val = open_split("outdoorseg", outdoorseg), open_split("outdoorseg", outdoorseg, "val")

    assert (len(train), len(val)) == (16, 2)
    assert [val[i].name for i in range(2)] == ["scene08", "scene17"]
    assert not {train[i].name for i in range(16)} & {val[i].name for i in range(2)}
    image, labels = data.decode(train[9], train)  # scene10: the ninth is in val
    assert image.shape == (12, 16, 3)
    assert labels[0, :3].tolist() == [IGNORED, IGNORED, 2]
    assert (labels[1:] == 2).all()


def test_outdoorseg_takes_a_split_of_ones_own(tmp_path):
    for split, names in (("training", "ab"), ("validation", "c")):
        for name in names:
            save(tmp_path / "images" / split / f"{name}.jpg", 90)
            save(tmp_path / "annotations" / split / f"{name}.png", 7)

    train, val = (open_split("outdoorseg", tmp_path, split) for split in ("train", "val"))

    assert [train[i].name for i in range(2)] == ["a", "b"]
    assert len(val) == 1
    assert val[0].labels == tmp_path / "annotations/validation/c.png"


def test_outdoorseg_names_what_is_missing(outdoorseg, tmp_path):
    with pytest.raises(SdabnError, match="There is no split 'train' of OutdoorSeg in"):
        open_split("outdoorseg", tmp_path / "nowhere")
    (outdoorseg / "OutdoorSeg_anno/scene03.png").unlink()
    with pytest.raises(SdabnError, match=r"scene03.jpg has no label image .*scene03.png"):
        open_split("outdoorseg", outdoorseg)
    with pytest.raises(SdabnError, match="split must be one of train, val"):
        open_split("outdoorseg", outdoorseg, "test")
