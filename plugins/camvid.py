"""Data set ``camvid``: CamVid road scenes as distributed with the SegNet tutorial.

Layout: ``train/``, ``val/`` and ``test/`` hold 480x360 RGB PNG images, ``trainannot/`` and so on
label PNGs of the same names, one byte a pixel. Hidden files and the lists ``train.txt`` and so on
are not read.

Reference:
    Brostow et al., "Semantic Object Classes in Video: A High-Definition Ground Truth Database",
    Pattern Recognition Letters 2009.
"""

from __future__ import annotations

from pathlib import Path

from sdabn_cli.contracts import DatasetError, Example

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
VOID = 11
SPLITS = ("train", "val", "test")


class CamVid:
    """One split of CamVid.

    Args:
        root: Directory that holds ``train/``, ``trainannot/`` and so on.
        split: ``train``, ``val`` or ``test``.

    Raises:
        DatasetError: If a directory or a label image is missing.
        ValueError: If there is no such split.
    """

    classes = CLASSES
    palette = PALETTE
    ignore_index = VOID

    def __init__(self, root: Path | None, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        if root is None:
            raise DatasetError(
                "The data set camvid needs its directory.", "Give it with --data DIR."
            )
        self._examples = _find_pairs(Path(root) / split, Path(root) / f"{split}annot")

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def _find_pairs(images: Path, labels: Path) -> list[Example]:
    for directory in (images, labels):
        if not directory.is_dir():
            raise DatasetError(
                f"There is no directory {directory}.",
                f"CamVid holds {images.name}/ with images and {labels.name}/ with labels of equal "
                "names.",
            )
    found = sorted(images.glob("[!.]*.png"))
    pairs = [Example(path.stem, path, labels / path.name) for path in found]
    if not pairs:
        raise DatasetError(f"There are no PNG images in {images}.")
    for pair in pairs:
        if not Path(pair.labels).is_file():
            raise DatasetError(f"The image {pair.image} has no label image {pair.labels}.")
    return pairs
