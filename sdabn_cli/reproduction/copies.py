"""Stages that systems share: trained once, copied, and held to what they are copies of."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from torch import nn

from sdabn_cli import networks
from sdabn_cli.assembly import prefix_of
from sdabn_cli.description import sha256_of
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_atomically
from sdabn_cli.recipe import Recipe
from sdabn_cli.reproduction.systems import WHOLE, order
from sdabn_cli.runs import StageDirectory
from sdabn_cli.schedule import Stage


def is_outdated(
    source: StageDirectory, target: StageDirectory, within: tuple[str, ...] = WHOLE
) -> bool:
    """Whether both are finished, with different weights.

    Args:
        source: What is copied.
        target: Its copy, or a larger network that holds copies.
        within: Where they lie in the target; see ``systems.System``.
    """
    if {source.status, target.status} != {"finished"}:
        return False
    if within == WHOLE:
        return sha256_of(source.weights) != sha256_of(target.weights)
    held, given = networks.read_weights(target.weights), networks.read_weights(source.weights)
    return not all(
        (name := f"{beginning}{own}") in held and held[name].equal(tensor)
        for beginning in within
        for own, tensor in given.items()
    )


def take(
    source: StageDirectory,
    target: StageDirectory,
    within: tuple[str, ...] = WHOLE,
    larger: nn.Module | None = None,
) -> bool:
    """Copy a finished stage, unless the target is its copy already.

    The weights come last, for they say that it is finished.

    Args:
        source: What is copied.
        target: Where to.
        within: Where the copies lie in the target; see ``systems.System``.
        larger: The target's network with random weights, where it is not the source's.

    Returns:
        Whether the copy took the place of other weights.
    """
    outdated = is_outdated(source, target, within)
    if source.status != "finished" or (target.status == "finished" and not outdated):
        return False
    if target.path.exists():
        shutil.rmtree(target.path)  # pictures, states and other weights of what it was
    target.path.mkdir(parents=True)
    if larger is not None:
        given = networks.read_weights(source.weights)
        networks.overlay(
            larger, {f"{beginning}{own}": w for beginning in within for own, w in given.items()}
        )
        networks.save_weights(target.weights, networks.weights_of(larger))
        return outdated
    for path in source.path.glob("metrics.jsonl"):
        shutil.copyfile(path, target.path / path.name)
    content = source.weights.read_bytes()
    write_atomically(target.weights, lambda file: file.write(content))
    return outdated


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


def outdated(source: StageDirectory, target: StageDirectory, upon: Iterable[Stage]) -> SdabnError:
    """Says that stages were trained upon a copy of what was trained anew since.

    Args:
        source: What was trained anew.
        target: The copy of what it was before.
        upon: Stages beside the copy that were trained upon it.
    """
    ids = [stage.id for stage in upon]
    places = [str(target.path.parent / id_) for id_ in ids]
    verb = "was" if len(ids) == 1 else "were"
    return SdabnError(
        f"{target.path} is no copy of {source.path} any more: their weights differ, and "
        f"{', '.join(ids)} beside the copy {verb} trained upon it.",
        f"Remove {' and '.join(places)}, to have them trained upon the new weights. Or, if the "
        f"older ones are to stay, put {target.weights} into {source.path}.",
    )
