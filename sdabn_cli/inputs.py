"""Which images a command works on, and where their results go."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdabn_cli.errors import SdabnError
from sdabn_cli.images import SUFFIXES

#: What is written for an image, by the name it has in ``--json``.
PRODUCTS = ("denoised", "labels", "overlay", "noisy")

TIFF_SUFFIXES = (".tif", ".tiff")

#: Endings of results.
RESULTS = tuple(f".{product}{suffix}" for product in PRODUCTS for suffix in (".png", ".tif"))


@dataclass(frozen=True)
class Job:
    """One image and the stem of its results.

    Attributes:
        image: File to read.
        stem: Path of the results without their ending: ``OUT/sub/name``.
        number: Place in the list of all images; it decides the noise that is added.
    """

    image: Path
    stem: Path
    number: int = 0

    @property
    def is_tiff(self) -> bool:
        """Whether the image is a TIFF, whose results are TIFFs: pages, floats and any size."""
        return self.image.suffix.lower() in TIFF_SUFFIXES

    def output(self, product: str) -> Path:
        """File of a product: ``OUT/sub/name.denoised.png``."""
        return self.stem.with_name(
            f"{self.stem.name}.{product}{'.tif' if self.is_tiff else '.png'}"
        )


def collect(inputs: Sequence[str], output: Path) -> list[Job]:
    """Find the images that files, folders and globs name.

    Folders are searched with their sub-folders, which the output mirrors; results of earlier
    runs, hidden files and the output directory itself are passed over.

    Args:
        inputs: What the user typed.
        output: Directory of the results.

    Raises:
        SdabnError: If a file is missing, a folder or glob holds no images, or two images would
            have the same results.
    """
    found: dict[Path, Path] = {}
    for text in inputs:
        try:
            for image, relative in _expand(text, output):
                found.setdefault(image, relative)
        except OSError as error:  # a name too long, a folder that may not be read
            raise SdabnError(f"{text} cannot be read: {error.strerror}.") from error
    jobs = [
        Job(image, output / relative.with_suffix(""), number)
        for number, (image, relative) in enumerate(found.items())
    ]
    _refuse_collisions(jobs)
    return jobs


def unfinished(jobs: Sequence[Job], products: Sequence[str]) -> list[Job]:
    """The images that lack a result; results are written in one piece, so one there is whole."""
    return [job for job in jobs if not all(job.output(product).is_file() for product in products)]


def check_output(output: Path) -> None:
    """Make sure that results can be written, before anything is computed.

    Raises:
        SdabnError: If the place is a file, or neither it nor what will hold it can be written to.
    """
    try:
        existing = next(p for p in (output.absolute(), *output.absolute().parents) if p.exists())
    except OSError as error:  # too long a name, or a place that may not be looked into
        raise SdabnError(
            f"{output} cannot be written: {error.strerror}.", "Give another --output."
        ) from error
    if not existing.is_dir():
        shown = output if existing == output.absolute() else existing
        raise SdabnError(f"{shown} is a file, not a directory.", "Give another --output.")
    if not os.access(existing, os.W_OK):
        raise SdabnError(f"{existing} cannot be written to.", "Give another --output.")


def _expand(text: str, output: Path) -> list[tuple[Path, Path]]:
    path = Path(text)
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if _is_source(p, path, output)]
        if not files:
            raise SdabnError(f"There are no images in the folder {path}.", _kinds())
        return [(file, file.relative_to(path)) for file in files]
    if path.exists():
        return [(path, Path(path.name))]
    if glob.has_magic(text):
        files = [Path(p) for p in sorted(glob.glob(text, recursive=True))]
        files = [p for p in files if _is_image(p)]
        if not files:
            raise SdabnError(f"Nothing matches {text!r}.", _kinds())
        return [(file, Path(file.name)) for file in files]
    raise SdabnError(f"There is no file {text}.", _nearest(path))


def _is_image(path: Path) -> bool:
    """Whether a file is named like an image, and not like a result of an earlier run."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    return not path.name.endswith(RESULTS)


def _is_source(path: Path, folder: Path, output: Path) -> bool:
    if not _is_image(path):
        return False
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return False
    results = output.resolve()
    return folder.resolve() not in results.parents or results not in path.resolve().parents


def _kinds() -> str:
    return f"Images end in {', '.join(sorted(SUFFIXES))}."


def _nearest(path: Path) -> str:
    from difflib import get_close_matches

    parent = path.parent
    names = [p.name for p in parent.iterdir()] if parent.is_dir() else []
    nearest = get_close_matches(path.name, names, n=1)
    return f"Did you mean {parent / nearest[0]}?" if nearest else ""


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    owners: dict[Path, Path] = {}
    for job in jobs:
        if (result := job.output(PRODUCTS[0])) in owners:
            raise SdabnError(
                f"{owners[result]} and {job.image} would write the same file {result}.",
                "Run them one after the other with different --output directories.",
            )
        owners[result] = job.image
