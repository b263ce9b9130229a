"""Stages that systems share: trained once, taken over, and held to what they come from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from sdabn_cli import networks
from sdabn_cli.assembly import prefix_of
from sdabn_cli.description import sha256_of
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_atomically
from sdabn_cli.recipe import Recipe
from sdabn_cli.reproduction.systems import order
from sdabn_cli.runs import StageDirectory
from sdabn_cli.schedule import Stage


@dataclass(frozen=True)
class Copy:
    """A stage that is a copy of another system's.

    Attributes:
        source: What is copied.
        target: Its copy, or where that will be.
    """

    source: StageDirectory
    target: StageDirectory

    @property
    def is_outdated(self) -> bool:
        """Whether both are finished, with different weights."""
        if {self.source.status, self.target.status} != {"finished"}:
            return False
        return sha256_of(self.source.weights) != sha256_of(self.target.weights)

    @property
    def is_due(self) -> bool:
        """Whether there is something to take over."""
        missing = self.target.status != "finished"
        return self.source.status == "finished" and (missing or self.is_outdated)

    def take(self, build: Callable[[], nn.Module] | None = None) -> None:
        """Take it over. The weights come last, for they say that it is finished.

        Args:
            build: Builds the target's network with random weights; a copy of all needs none.
        """
        content = self.source.weights.read_bytes()
        _clear(self.target)
        for path in self.source.path.glob("metrics.jsonl"):
            shutil.copyfile(path, self.target.path / path.name)
        write_atomically(self.target.weights, lambda file: file.write(content))

    @property
    def replaced(self) -> str:
        """Says that other weights were there before."""
        return f"{self.target.path} had other weights than {self.source.path}: they are its now."

    def outdated(self, upon: Iterable[Stage]) -> SdabnError:
        """Says that stages were trained upon a copy of what was trained anew since.

        Args:
            upon: Stages beside the copy that were trained upon it.
        """
        ids, verb, remove = _told(self.target, upon)
        return SdabnError(
            f"{self.target.path} is no copy of {self.source.path} any more: their weights differ, "
            f"and {ids} beside the copy {verb} trained upon it.",
            f"{remove}, to have them trained upon the new weights. Or, if the older ones are to "
            f"stay, put {self.target.weights} into {self.source.path}.",
        )


@dataclass(frozen=True)
class Holder(Copy):
    """A larger network that starts with another system's network in it, random elsewhere.

    Attributes:
        places: Beginnings of names: where the copies lie in it.
    """

    places: tuple[str, ...]

    @property
    def is_outdated(self) -> bool:
        """Whether it holds something else, as a damaged one does, or different ones."""
        if self.target.status != "finished":
            return False
        try:
            held = networks.read_weights(self.target.weights)
        except SdabnError:
            return True
        if self.source.status == "finished":
            given = networks.read_weights(self.source.weights)
        else:  # one that was trained as a whole can be told all the same
            first = self.places[0]
            given = {n.removeprefix(first): w for n, w in held.items() if n.startswith(first)}
        return not all(
            name in held and held[name].equal(tensor) for name, tensor in self._placed(given)
        )

    def take(self, build: Callable[[], nn.Module]) -> None:
        """Make the larger network, and write its weights.

        Args:
            build: Builds it with random weights.
        """
        larger = build()
        networks.overlay(larger, dict(self._placed(networks.read_weights(self.source.weights))))
        _clear(self.target)
        networks.save_weights(self.target.weights, networks.weights_of(larger))

    @property
    def replaced(self) -> str:
        """Says that other weights were there before."""
        return f"{self.target.path} did not hold the weights of {self.source.path}: it does now."

    def outdated(self, upon: Iterable[Stage]) -> SdabnError:
        """Says that stages were trained upon another one.

        Args:
            upon: Stages beside it that were trained upon it.
        """
        ids, verb, remove = _told(self.target, upon)
        return SdabnError(
            f"{self.target.path} does not hold the weights of {self.source.path}, and "
            f"{ids} beside it {verb} trained upon it.",
            f"{remove}, to have them trained upon a network that does.",
        )

    def _placed(self, given: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
        return [(f"{place}{name}", w) for place in self.places for name, w in given.items()]


def trained_upon(stage: Stage, recipe: Recipe, begun: Iterable[Stage]) -> list[Stage]:
    """Stages that start from one, run or are judged behind it, and those that do so upon them.

    Args:
        stage: The one.
        recipe: Of the system.
        begun: Stages of the system that were trained, or begun, by itself.
    """
    found: list[Stage] = []
    for later in sorted(begun, key=order):
        needed = {recipe.starts_from(later), *prefix_of(recipe, later)}
        if getattr(recipe.for_stage(later), "semantic_weight", 0):
            needed.add("s0")  # which judges the estimates
        if needed & {each.id for each in (stage, *found)}:
            found.append(later)
    return found


def _clear(target: StageDirectory) -> None:
    if target.path.exists():
        shutil.rmtree(target.path)  # pictures, states and other weights of what it was
    target.path.mkdir(parents=True)


def _told(target: StageDirectory, upon: Iterable[Stage]) -> tuple[str, str, str]:
    """Names of the stages that stand upon a copy, their verb, and what to do about them."""
    ids = [stage.id for stage in upon]
    folders = " and ".join(str(target.path.parent / id_) for id_ in ids)
    return ", ".join(ids), "was" if len(ids) == 1 else "were", f"Remove {folders}"
