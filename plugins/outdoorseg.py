"""Data set ``outdoorseg``: outdoor scenes from ADE20K, COCO and Flickr, 8 classes, 9,900 images.

Layout, as distributed: ``OutdoorSeg_img/*.jpg`` and ``OutdoorSeg_anno/*.png`` of the same names
(the contents of ``OutdoorSeg_img.zip`` and ``OutdoorSeg_anno.zip``), without a split. The paper
takes 8,800 images for training and 1,100 for testing and does not say which, so every ninth image
in the order of the names is taken for ``val``. A split of your own is read as
``images/training/*.jpg``, ``annotations/training/*.png``, ``images/validation/...``. Hidden files
are not read. Label values other than 0 to 7 are ignored; the set writes void as 255 or 8.

Reference:
    Wang et al., "Recovering Realistic Texture in Image Super-resolution by Deep Spatial Feature
    Transform", CVPR 2018.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from sdabn_cli.contracts import DatasetError, Example

CLASSES = ("background", "sky", "water", "grass", "mountain", "building", "plant", "animal")
PALETTE = (
    (90, 90, 90), (70, 130, 180), (0, 80, 200), (124, 200, 60), (140, 100, 70), (180, 60, 60),
    (30, 110, 50), (230, 170, 30),
)  # fmt: skip

#: Names that a split's folder may have.
FOLDERS = {"train": ("train", "training"), "val": ("val", "validation", "test")}
SUFFIXES = {".jpg", ".jpeg", ".png"}

#: Every so many images one belongs to ``val``, where the set comes without a split.
VALIDATION_EVERY = 9
EXPECTED = (
    "OutdoorSeg holds OutdoorSeg_img/*.jpg and OutdoorSeg_anno/*.png, or images/training/*.jpg, "
    "annotations/training/*.png, images/validation/ and annotations/validation/."
)


class OutdoorSeg:
    """One split of OutdoorSeg.

    Args:
        root: Directory of the set.
        split: ``train`` or ``val``.

    Raises:
        DatasetError: If a directory or a label image is missing.
        ValueError: If there is no such split.
    """

    classes = CLASSES
    palette = PALETTE
    ignore_index = 255
    label_map = MappingProxyType({value: value for value in range(len(CLASSES))})

    def __init__(self, root: Path | None, split: str) -> None:
        if split not in FOLDERS:
            raise ValueError(f"split must be one of {', '.join(FOLDERS)}, not {split!r}")
        if root is None:
            raise DatasetError(
                "The data set outdoorseg needs its directory.", "Give it with --data DIR."
            )
        self._examples = _find(Path(root), split)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def _find(root: Path, split: str) -> list[Example]:
    for folder in FOLDERS[split]:
        if (root / "images" / folder).is_dir():
            return _pairs(root / "images" / folder, root / "annotations" / folder)
    if not (root / "OutdoorSeg_img").is_dir():
        raise DatasetError(f"There is no split {split!r} of OutdoorSeg in {root}.", EXPECTED)
    pairs = _pairs(root / "OutdoorSeg_img", root / "OutdoorSeg_anno")
    chosen = [
        pair
        for number, pair in enumerate(pairs, start=1)
        if (number % VALIDATION_EVERY == 0) == (split == "val")
    ]
    if not chosen:
        raise DatasetError(f"{root} holds too few images for a split {split!r}.", EXPECTED)
    return chosen


def _pairs(images: Path, labels: Path) -> list[Example]:
    found = sorted(path for path in images.glob("[!.]*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DatasetError(f"There are no images in {images}.", EXPECTED)
    pairs = [Example(path.stem, path, labels / f"{path.stem}.png") for path in found]
    for pair in pairs:
        if not Path(pair.labels).is_file():
            raise DatasetError(
                f"The image {pair.image} has no label image {pair.labels}.", EXPECTED
            )
    return pairs
