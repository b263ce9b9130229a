"""Small trees in the layouts of the data sets, as fixtures of their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES_FILE = """
classes:
  - {name: background, color: [0, 0, 0]}
  - {name: cell, color: [220, 20, 60]}
ignore: 255
"""


def save(path: Path, values: int | np.ndarray, *, size: tuple[int, int] = (12, 16)) -> Path:
    """Write a grey image of one value, or an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(size, values, np.uint8) if isinstance(values, int) else values
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def camvid_tree(tmp_path: Path) -> Path:
    """CamVid's layout with tiny images: bands of all classes and of void (11) in noisy colours."""
    root = tmp_path / "camvid"
    rows, columns = np.mgrid[:44, :60]
    for number, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        labels = ((columns // 5 + rows // 15 + number) % 12).astype(np.uint8)
        texture = np.random.default_rng(number).integers(0, 30, (44, 60, 3))
        image = (labels[..., None] * np.array([20, 7, 13]) % 220 + texture).astype(np.uint8)
        for folder, array in ((split, image), (f"{split}annot", labels)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"frame{number}.png")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two splits of the data set ``folder``: two images to train, one to validate."""
    root = tmp_path / "cells"
    for name, image in (("train/a", "png"), ("train/b", "jpg"), ("val/c", "png")):
        save(root / "images" / f"{name}.{image}", 90)
        save(root / "labels" / f"{name}.png", 1)
    (root / "classes.yaml").write_text(CLASSES_FILE)
    return root


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    """Two cities to train and one to validate, as distributed; every image has ids 0 to 33."""
    root = tmp_path / "cityscapes"
    ids = np.arange(36, dtype=np.uint8).reshape(4, 9)
    ids[ids > 33] = 255
    cities = ("train/bonn/bonn_000001_000019", "train/ulm/ulm_000004_000019")
    for name in (*cities, "val/lindau/lindau_000000_000019"):
        save(root / "leftImg8bit" / f"{name}_leftImg8bit.png", 90, size=(4, 9))
        save(root / "gtFine" / f"{name}_gtFine_labelIds.png", ids)
    return root


@pytest.fixture
def outdoorseg(tmp_path: Path) -> Path:
    """OutdoorSeg's layout as distributed: 18 images without a split."""
    root = tmp_path / "outdoorseg"
    for number in range(18):
        save(root / "OutdoorSeg_img" / f"scene{number:02d}.jpg", 90)
        labels = np.full((12, 16), number % 8, np.uint8)
        labels[0, :2] = (8, 255)
        save(root / "OutdoorSeg_anno" / f"scene{number:02d}.png", labels)
    return root
