"""Data set ``cityscapes``: urban street scenes in their original layout, 19 classes.

Layout: ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` and
``gtFine/SPLIT/CITY/*_gtFine_labelIds.png``; the 34 label ids are mapped to the 19 training ids.
Hidden files are not read.

Reference:
    Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from sdabn_cli.contracts import DatasetError, Example

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
    (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
#: Label id of every class, in the order of ``CLASSES``.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
SPLITS = ("train", "val", "test")


class Cityscapes:
    """One split of Cityscapes.

    Args:
        root: Directory that holds ``leftImg8bit/`` and ``gtFine/``.
        split: ``train``, ``val`` or ``test``.

    Raises:
        DatasetError: If a directory or a label image is missing.
        ValueError: If there is no such split.
    """

    classes = CLASSES
    palette = PALETTE
    ignore_index = 255
    label_map = MappingProxyType({label: train for train, label in enumerate(LABEL_IDS)})

    def __init__(self, root: Path | None, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        if root is None:
            raise DatasetError(
                "The data set cityscapes needs its directory.", "Give it with --data DIR."
            )
        self._examples = _find_pairs(Path(root), split)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def _find_pairs(root: Path, split: str) -> list[Example]:
    images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
    pairs = []
    for image in sorted(images.glob("[!.]*/[!.]*_leftImg8bit.png")):
        name = image.name.removesuffix("_leftImg8bit.png")
        label = labels / image.parent.name / f"{name}_gtFine_labelIds.png"
        if not label.is_file():
            raise DatasetError(f"The image {image} has no label image {label}.")
        pairs.append(Example(name, image, label))
    if not pairs:
        raise DatasetError(
            f"There are no images {images}/CITY/*_leftImg8bit.png.",
            f"Their labels belong to {labels}/CITY/*_gtFine_labelIds.png.",
        )
    return pairs
