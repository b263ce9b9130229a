"""Data set ``folder``: images and labels of your own.

Layout, with one sub-folder a split or, if there are none, everything in one split::

    ROOT/classes.yaml
    ROOT/images/train/street1.jpg      ROOT/labels/train/street1.png
    ROOT/images/val/...                ROOT/labels/val/...

Hidden files and folders are not read. Label images have one channel of 8-bit class ids (grey or
palette PNG). ``classes.yaml`` lists the classes in the order of their ids::

    classes:
      - {name: background, color: [0, 0, 0]}
      - {name: cell, color: [220, 20, 60]}
    ignore: 255
"""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import yaml

from sdabn_cli.contracts import DatasetError, Example

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
CLASSES_FILE = "classes.yaml"
EXPECTED = (
    "Expected: ROOT/images/SPLIT/*.png, ROOT/labels/SPLIT/*.png of the same names, and "
    f"ROOT/{CLASSES_FILE}."
)


class Folder:
    """One split of a folder of images.

    Args:
        root: Directory that holds ``images/``, ``labels/`` and the classes file.
        split: Name of a sub-folder of both.

    Raises:
        DatasetError: If something is missing or malformed; the file is named.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        if root is None:
            raise DatasetError("The data set folder needs its directory.", "Give it with --data.")
        root = Path(root)
        self.classes, self.palette, self.ignore_index = _read_classes(root / CLASSES_FILE)
        self._examples = _find_pairs(*_split_directories(root, split))

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def _read_classes(path: Path) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...], int | None]:
    if not path.is_file():
        raise DatasetError(f"There is no classes file {path}.", EXPECTED)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = content["classes"]
        if not isinstance(entries, list):
            raise TypeError("classes is not a list")
        names = tuple(e if isinstance(e, str) else str(e["name"]) for e in entries)
        colours = tuple(_colour(e, number, len(entries)) for number, e in enumerate(entries))
        ignore = content.get("ignore")
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path} is malformed: {error}.",
            "It lists classes as {name: road, color: [128, 64, 128]} and may name one id to "
            "ignore.",
        ) from error
    if not 2 <= len(names) <= 255 or len(set(names)) != len(names):
        raise DatasetError(
            f"{path} lists {len(names)} classes.", "Allowed: 2 to 255, all of different names."
        )
    if ignore is not None and not (isinstance(ignore, int) and len(names) <= ignore <= 255):
        raise DatasetError(
            f"{path}: ignore is {ignore!r}.", f"Allowed: a number from {len(names)} to 255."
        )
    return names, colours, ignore


def _colour(entry: Any, number: int, count: int) -> tuple[int, ...]:
    colour = None if isinstance(entry, str) else entry.get("color")
    if colour is None:  # evenly spaced hues
        return tuple(round(255 * v) for v in colorsys.hsv_to_rgb(number / count, 0.65, 0.9))
    values = tuple(int(value) for value in colour)
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise ValueError(f"color {colour!r} is not three numbers from 0 to 255")
    return values


def _split_directories(root: Path, split: str) -> tuple[Path, Path]:
    images, labels = root / "images", root / "labels"
    for directory in (images, labels):
        if not directory.is_dir():
            raise DatasetError(f"There is no directory {directory}.", EXPECTED)
    splits = sorted(p.name for p in images.glob("[!.]*") if p.is_dir())
    if not splits:
        return images, labels
    if split not in splits:
        raise DatasetError(
            f"There is no split {split!r} in {images}.", f"There are: {', '.join(splits)}."
        )
    return images / split, labels / split


def _find_pairs(images: Path, labels: Path) -> list[Example]:
    found = sorted(p for p in images.glob("[!.]*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise DatasetError(f"There are no images in {images}.", EXPECTED)
    pairs = []
    for image in found:
        label = labels / f"{image.stem}.png"
        if not label.is_file():
            raise DatasetError(f"The image {image} has no label image {label}.", EXPECTED)
        pairs.append(Example(image.stem, image, label))
    return pairs
