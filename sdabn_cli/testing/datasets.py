"""Checks of data sets: open(root, split, *, <own options>) -> sized, indexable examples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sdabn_cli import data, registry
from sdabn_cli.choices import PluginChoice
from sdabn_cli.contracts import Dataset, Example
from sdabn_cli.errors import SdabnError
from sdabn_cli.examples import Guarded
from sdabn_cli.testing.subject import (
    NotApplicable,
    Subject,
    check_options,
    require,
    without_network,
)

SPLITS = ("train", "val")

#: Examples of a split that are decoded; evenly spaced where there are more.
DECODED = 24


def _opened(subject: Subject) -> Iterator[tuple[str, Dataset]]:
    """The splits, opened at the root given; without one, where the data set needs none."""
    root = subject.given.get("root")
    splits = subject.given.get("splits") or SPLITS
    for split in splits:
        try:
            yield split, subject.build(root=root, split=split)
        except SdabnError as error:
            if root is not None:
                raise
            raise NotApplicable(f"give its directory with --data ({error.problem})") from error


def it_says_what_it_needs(subject: Subject) -> None:
    """Without its directory, or with a wrong one, it works or says what is missing."""
    for root in (None, Path("a-directory-that-does-not-exist")):
        try:
            with without_network():
                subject.build(root=root, split="train")
        except SdabnError as error:
            own = not error.problem.startswith(f"The dataset plug-in {subject.name!r} of")
            require(own, f"with the root {root} it raises no DatasetError but fails: {error}")


def unknown_options_are_refused(subject: Subject) -> None:
    """Every option is explicit, typed and has a default."""
    check_options(subject, root=subject.given.get("root"), split="train")


def an_unknown_split_is_refused(subject: Subject) -> None:
    """A mistyped split is no empty one."""
    for _ in _opened(subject):
        break
    try:
        subject.build(root=subject.given.get("root"), split="a-split-that-does-not-exist")
    except SdabnError:
        return
    require(False, "the split 'a-split-that-does-not-exist' was opened")


def classes_and_colours_belong_together(subject: Subject) -> None:
    """Unique names, a colour each, and an ignored id that is no class."""
    for split, opened in _opened(subject):
        classes, palette, ignored = opened.classes, opened.palette, opened.ignore_index
        require(1 <= len(classes) <= 255, f"{split}: there are {len(classes)} classes")
        require(len(set(classes)) == len(classes), f"{split}: class names occur twice: {classes}")
        require(all(isinstance(c, str) and c for c in classes), f"{split}: a class has no name")
        require(
            len(palette) == len(classes),
            f"{split}: the palette has {len(palette)} colours for {len(classes)} classes",
        )
        right = all(len(c) == 3 and all(0 <= value <= 255 for value in c) for c in palette)
        require(right, f"{split}: colours are three numbers from 0 to 255 each")
        mapped = getattr(opened, "label_map", None) is not None
        require(
            mapped or ignored is None or len(classes) <= ignored <= 255,
            f"{split}: ignore_index is {ignored}, which is a class or no 8-bit value",
        )


def every_split_has_the_same_classes(subject: Subject) -> None:
    """A model trained on one split is judged on another."""
    found = {split: tuple(opened.classes) for split, opened in _opened(subject)}
    require(len(set(found.values())) <= 1, f"the splits have different classes: {found}")


def examples_have_unique_names_and_an_end(subject: Subject) -> None:
    """They can be counted, repeated, and end with IndexError."""
    for split, opened in _opened(subject):
        require(len(opened) > 0, f"the split {split} is empty")
        examples = [opened[index] for index in _chosen(opened)]
        require(all(isinstance(e, Example) for e in examples), f"{split}: examples must be Example")
        names = [example.name for example in examples]
        require(len(set(names)) == len(names), f"{split}: example names occur twice")
        require(_same(opened[0], opened[0]), f"{split}: the first example differs when asked again")
        try:
            opened[len(opened)]
        except IndexError:
            continue
        require(False, f"{split}: an index beyond the end raises no IndexError")


def images_and_labels_can_be_decoded(subject: Subject) -> None:
    """Every image has labels of its size, with known ids only."""
    for split, opened in _opened(subject):
        chosen = PluginChoice(name=subject.name, options=dict(subject.options))
        guarded = Guarded(opened, chosen, split)
        for index in _chosen(opened):
            image, labels = data.decode_at(guarded, index)
            name = guarded[index].name
            require(image.dtype in (np.uint8, np.uint16), f"{name}: the image is {image.dtype}")
            require(image.ndim == 3 and image.shape[2] == 3, f"{name}: the image is {image.shape}")
            require(labels.shape == image.shape[:2], f"{name}: labels are {labels.shape}")


def it_opens_as_training_opens_it(subject: Subject) -> None:
    """By name and options, as a recipe writes them."""
    spec = registry.format_spec(subject.name, subject.options)
    name, options = registry.parse(spec)
    for split, opened in _opened(subject):
        again = registry.build(
            "dataset", name, options, root=subject.given.get("root"), split=split
        )
        require(len(again) == len(opened), f"{spec} opens {len(again)} examples, not {len(opened)}")


def _chosen(opened: Dataset) -> list[int]:
    step = max(1, math.ceil(len(opened) / DECODED))
    return list(range(0, len(opened), step))


def _same(one: Example, other: Example) -> bool:
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)


CHECKS = (
    it_says_what_it_needs,
    unknown_options_are_refused,
    an_unknown_split_is_refused,
    classes_and_colours_belong_together,
    every_split_has_the_same_classes,
    examples_have_unique_names_and_an_end,
    images_and_labels_can_be_decoded,
    it_opens_as_training_opens_it,
)
