"""Requests that cannot be granted, refused with what to ask for instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sdabn_cli import networks, probing, recipefiles, registry, training
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.networks import count_parameters
from sdabn_cli.plan import check_plugins
from sdabn_cli.recipe import Recipe
from sdabn_cli.reproduction.campaign import Campaign
from sdabn_cli.reproduction.systems import FIRST, SYSTEMS, Point
from sdabn_cli.reproduction.tables import Table
from sdabn_cli.schedule import stages

#: Keys of a recipe that the command or the systems decide, and what to do instead.
DECIDED = {
    "seed": "--seeds N trains with the seeds 0 to N - 1.",
    "units": "A table's rows say how many units there are; sdabn cascade --units trains others.",
    "noise": "Give --noise.",
    "data.dataset": "Give --dataset.",
    "data.root": "Give --data.",
    "condition": "Every system has its own; sdabn cascade --set condition=... trains another.",
    "segment.from_first": "Segmenters behind unguided denoisers do so, others start from the one "
    "before.",
    "denoise.semantic_weight": "The system dms alone has one: --set dms:denoise.semantic_weight=W.",
}

#: What S1+ is a wider and deeper version of.
PAPERS_SEGMENTER, PAPERS_VARIANT = "hrnet", "w18_small_v2"


def check_without(table: Table, without: Sequence[str]) -> None:
    """Refuse to leave out a system that does not exist, or all of a table.

    Raises:
        SdabnError: With the nearest match, or the systems of the table.
    """
    for system in without:
        if system not in SYSTEMS:
            raise SdabnError(f"There is no system {system!r}.", did_you_mean(system, SYSTEMS))
    if all({Point.parse(point).system for point in row.points} & {*without} for row in table.rows):
        raise SdabnError(
            f"Without {' and '.join(without)} nothing of {table.name} is left.",
            f"Its systems are: {', '.join(table.systems)}.",
        )


def check_noises(table: Table, noises: Sequence[str]) -> None:
    """Refuse noises that are none, and any for a table that has its own in its rows.

    Raises:
        SdabnError: With the noises of the rows.
    """
    if noises and table.own_noises:
        raise SdabnError(
            f"--noise {noises[0]} is not for {table.name}: it measures the clean segmenter, which "
            f"is trained without noise, at {table.under(noises[0])}.",
            "Leave --noise out; sdabn evaluate --stage s0 --noise measures it on any noise.",
        )
    for noise in noises:
        name, options = registry.parse(noise)
        probing.try_noise(registry.build("noise", name, options), name)


def check_overrides(overrides: Iterable[str]) -> None:
    """Refuse to set what the command or the systems decide.

    Raises:
        SdabnError: With what to do instead.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        whole = recipefiles.value_of(override, value)
        inside = [f"{key.strip()}.{name}" for name in whole] if isinstance(whole, dict) else []
        for decided, instead in DECIDED.items():
            if any(k == decided or k.startswith(f"{decided}.") for k in (key.strip(), *inside)):
                raise SdabnError(f"--set {override}: reproduce decides {decided} itself.", instead)


def divided(
    overrides: Iterable[str], table: Table, without: Sequence[str] = ()
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Tell changes of the recipe from ``SYSTEM:KEY=VALUE``, those of one system alone.

    Returns:
        The former as they are; the latter as values by system and key.

    Raises:
        SdabnError: If there is no such system in the table, or the key is none that it may have of
            its own.
    """
    within = [system for system in table.systems if system not in without]
    common: list[str] = []
    own: dict[str, dict[str, Any]] = {}
    for override in overrides:
        name, equals, value = override.partition("=")
        system, colon, key = (part.strip() for part in name.partition(":"))
        if not colon:
            common.append(override)
            continue
        if system not in SYSTEMS:
            raise SdabnError(
                f"--set {override}: there is no system {system!r}.", did_you_mean(system, SYSTEMS)
            )
        if system not in within:
            raise SdabnError(
                f"--set {override}: {system} is no system of what {table.name} is made of here.",
                f"Its systems are: {', '.join(within)}.",
            )
        if not key or key != SYSTEMS[system].own_key:
            owners = [f"{name}:{one.own_key}=..." for name, one in SYSTEMS.items() if one.own_key]
            raise SdabnError(
                f"--set {override}: {system} has no {key or 'key'} of its own.",
                f"What one system alone may have: {' or '.join(owners)}. All else is the same for "
                "every system: leave the system's name out.",
            )
        if not equals:
            raise SdabnError(
                f"--set {override!r} is not of the form SYSTEM:KEY=VALUE.",
                f"For example: --set {system}:{key}=...",
            )
        own.setdefault(system, {})[key] = recipefiles.value_of(override, value)
    return common, own


def check_systems(campaign: Campaign, points: Iterable[Point]) -> None:
    """Refuse a recipe that does not fit the systems asked for.

    Raises:
        SdabnError: If it would make another system of one of the paper's, or a plug-in does not
            know its options.
    """
    systems = campaign.stages(points)
    _check_base(campaign.base)
    if "plus" in systems:
        _check_plus(campaign)
    if "dms" in systems:
        _check_dms(campaign)
    for system in systems:
        recipe = campaign.recipe_of(system)
        _check_starts(recipe)
        check_plugins(recipe)


def _check_base(recipe: Recipe) -> None:
    """The recipe must be that of the system sdb, whatever file it is from."""
    if recipe.condition != "segmentation":
        raise SdabnError(
            f"The recipe has condition={recipe.condition}; reproduce needs condition=segmentation.",
            "Every system has its own condition: take it out of the recipe.",
        )
    starts = [name for name, own in recipe.stages.items() if own.get("from_first")]
    for place in [f"stages.{name}" for name in starts] or ["segment"] * recipe.segment.from_first:
        raise SdabnError(
            f"{place}.from_first is set, in the recipe or by --set; reproduce decides "
            "segment.from_first itself.",
            DECIDED["segment.from_first"] + " Take it out.",
        )
    # Beside a stage's own weight that of dms would not count, not even beside 0.
    weights = {
        f"stages.{name}": own["semantic_weight"]
        for name, own in recipe.stages.items()
        if "semantic_weight" in own
    }
    if recipe.denoise.semantic_weight:
        weights["denoise"] = recipe.denoise.semantic_weight
    for place, weight in weights.items():
        raise SdabnError(
            f"The recipe has {place}.semantic_weight={weight}.",
            DECIDED["denoise.semantic_weight"] + " Take it out of the recipe.",
        )
    idle = [stage.id for stage in stages(recipe.units) if recipe.for_stage(stage).steps == 0]
    if idle:
        raise SdabnError(
            f"The stage {idle[0]} has no steps in the recipe or by --set; reproduce trains every "
            "stage.",
            "Without steps it would stand in the table as if it had been trained: take it out.",
        )


def _check_starts(recipe: Recipe) -> None:
    """Every network is trained from nothing, that of one system alone as well."""
    for kind in ("segmenter", "denoiser"):
        given = getattr(recipe, kind).init
        if given is not None:
            raise SdabnError(
                f"The recipe has {kind}.init={given}; reproduce trains every system from nothing.",
                "A system that begins with weights of its own is no longer comparable to the "
                "others: leave it out. sdabn cascade trains from given weights.",
            )


def _check_plus(campaign: Campaign) -> None:
    chosen = campaign.base.segmenter
    if "plus" in campaign.own:
        return  # whether it is larger than S1 is counted in ``_check_larger``
    variant = chosen.options.get("variant", PAPERS_VARIANT)
    if (chosen.name, variant) != (PAPERS_SEGMENTER, PAPERS_VARIANT):
        raise SdabnError(
            f"S1+ is a wider and deeper {PAPERS_SEGMENTER}:variant={PAPERS_VARIANT}; beside the "
            f"segmenter {chosen} it says nothing.",
            "Name a larger one of its kind, --set plus:segmenter=..., or leave S1+ out: "
            "--without plus.",
        )


def _check_dms(campaign: Campaign) -> None:
    weight = campaign.recipe_of("dms").denoise.semantic_weight
    if not weight:
        raise SdabnError(
            f"--set dms:denoise.semantic_weight={weight:g}: that is DDFN itself, no segmenter has "
            "a part in its loss.",
            "Give a weight above 0, or leave DMS out: --without dms.",
        )


def _check_larger(campaign: Campaign, classes: int) -> None:
    """What stands for S1+ has more parameters than S1, however both are spelt."""
    own, chosen = campaign.recipe_of("plus"), campaign.base
    size, least = (
        count_parameters(networks.for_kind(recipe, "seg", num_classes=classes))
        for recipe in (own, chosen)
    )
    if size <= least:
        raise SdabnError(
            f"--set plus:segmenter={own.segmenter} has {size:,} parameters; S1, "
            f"{chosen.segmenter}, has {least:,}.",
            "S1+ is the larger one of both: name a larger segmenter, or leave S1+ out: "
            "--without plus.",
        )


def try_networks(
    campaign: Campaign, points: Iterable[Point], classes: int, tried: set[str]
) -> None:
    """Build the networks of every system and try them on a small image.

    Args:
        campaign: Whose.
        points: What is asked for.
        classes: Number of classes.
        tried: Networks that were tried before; those of this campaign are added.

    Raises:
        SdabnError: If one cannot be built, is no network of its kind, or stands for S1+ and is no
            larger than S1.
    """
    systems = campaign.stages(points)
    for system in systems:
        recipe = campaign.recipe_of(system)
        key = f"{recipe.segmenter!r} {recipe.denoiser!r} {recipe.condition} {classes}"
        if key in tried:
            continue
        tried.add(key)
        try:
            training.try_networks(recipe, classes)
        except SdabnError as error:
            if system == FIRST:
                raise
            hint = f"Or leave this system out: --without {system}."
            raise SdabnError(error.problem, f"{error.hint} {hint}".strip()) from error
    if "plus" in systems and "plus" in campaign.own:
        _check_larger(campaign, classes)
