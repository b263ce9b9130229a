"""Say what reproducing a table needs, and refuse what cannot be done before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdabn_cli import datasets, recipefiles, registry
from sdabn_cli.device import Compute, choose
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.files import require_writable
from sdabn_cli.metrics import Protocol
from sdabn_cli.recipe import Recipe
from sdabn_cli.reproduction import claims, fingerprints, requests, spelling, tables
from sdabn_cli.reproduction.campaign import CLEAN, Campaign, file_name
from sdabn_cli.reproduction.systems import FIRST, Point
from sdabn_cli.reproduction.tables import Row, Table
from sdabn_cli.training import check_class_weights

#: Endings of the recipes of a budget; ``full`` has one a noise, and this where there is none.
FALLBACK = {"cpu": "awgn50-cpu", "full": "awgn50"}


@dataclass(frozen=True)
class Plan:
    """What a reproduction will do.

    Attributes:
        table: The table.
        dataset: Name of the data set.
        campaigns: A list a noise, with a campaign a seed.
        recipes: The recipe of each noise, by name or path.
        settings: What was changed of it, as ``KEY=VALUE`` or ``SYSTEM:KEY=VALUE``.
        protocol: Name of the protocol.
        limit: Measure this many images; None for all.
        without: Systems that are left out.
        data: Digests of the splits ``train`` and ``val`` by noise.
        compute: Device, and the precision that everything is trained and measured in.
    """

    table: Table
    dataset: str
    campaigns: dict[str, list[Campaign]]
    recipes: dict[str, str]
    settings: tuple[str, ...]
    protocol: str
    limit: int | None
    without: tuple[str, ...]
    data: dict[str, dict[str, str]]
    compute: Compute

    @property
    def points(self) -> list[Point]:
        """Every point of the table and of the claims about it, each once."""
        texts = [text for row in self.rows for text in row.points]
        for claim in claims.about(self.table.name):
            pairs = ((each.better, each.worse) for each in claim.comparisons)
            texts += [text for pair in pairs if not self._leaves_out(*pair) for text in pair]
        return [Point.parse(text) for text in dict.fromkeys(texts)]

    @property
    def rows(self) -> list[Row]:
        """Lines of the table that are measured."""
        return [row for row in self.table.rows if not self._leaves_out(*row.points)]

    def _leaves_out(self, *points: str) -> bool:
        return any(Point.parse(point).system in self.without for point in points)

    def missing(self) -> list[dict[str, Any]]:
        """Stages that will be trained, each once: noise, seed, system and stage."""
        found, clean = [], set()
        for noise, campaigns in self.campaigns.items():
            for campaign in campaigns:
                for system, stage in campaign.missing(self.points):
                    if (system, stage) == (FIRST, CLEAN):
                        if campaign.clean.path in clean:
                            continue  # another noise's, which is trained before it
                        clean.add(campaign.clean.path)
                    steps = campaign.recipe_of(system).for_stage(stage).steps
                    found.append({"noise": noise, "seed": campaign.base.seed, "system": system,
                                  "stage": stage.id, "steps": steps})  # fmt: skip
        return found


def plan(
    name: str,
    *,
    dataset: str | None,
    data: Path | None,
    budget: str,
    recipe_name: str | None,
    overrides: Sequence[str],
    noises: Sequence[str],
    seeds: int,
    run: Path | None,
    protocol: str,
    limit: int | None,
    without: Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
) -> Plan:
    """Say what reproducing a table needs.

    Args:
        name: Of the table, such as ``table3``.
        dataset: Data set plug-in with its options; None for that of the recipe, or drawn scenes.
        data: Its directory.
        budget: ``cpu`` or ``full``: which recipe of the data set, or of the table on it.
        recipe_name: A recipe of the user's own instead.
        overrides: Keys of the recipe, as ``KEY=VALUE``, or of a system, as ``SYSTEM:KEY=VALUE``.
        noises: Noises instead of the table's own.
        seeds: Number of seeds.
        run: Directory of everything; ``runs/reproduce-DATASET-BUDGET`` by default, and ``-TABLE``
            behind it where the table has a recipe of its own.
        protocol: Name of the protocol.
        limit: Measure this many images.
        without: Systems to leave out, such as ``bm3d``.
        device: As ``device.choose`` takes it.
        precision: The same, instead of the recipe's; what is chosen is written into every recipe,
            so that a directory never holds trainings in two precisions.

    Raises:
        SdabnError: If a name or a value is wrong, or if it cannot be done: with the noise, without
            a package, with these data, in a directory that holds something else.
    """
    table, settings = tables.find(name), tuple(overrides)
    overrides, own = requests.divided(overrides, table, without)
    if dataset is None:
        dataset = _own_dataset(recipe_name, overrides) if recipe_name else "scenes"
    plain, _ = registry.parse(dataset)
    registry.find("dataset", plain)
    if budget not in FALLBACK:
        raise SdabnError(f"There is no budget {budget!r}.", did_you_mean(budget, FALLBACK))
    Protocol.named(protocol, precision="", noise=None, seed=0)
    requests.check_without(table, without)
    requests.check_noises(table, noises)
    requests.check_overrides(overrides)
    own_recipe = _own_recipe(plain, budget, table)
    recipe_name = recipe_name or own_recipe
    # What a table trains with settings of its own has nothing in common with the others.
    ending = f"-{table.name}" if own_recipe and _is_file_of(recipe_name, own_recipe) else ""
    path = run or Path("runs") / f"reproduce-{file_name(plain)}-{budget}{ending}"
    _check_place(path)
    recipes = {
        noise: recipe_name or _recipe_name(plain, budget, noise)
        for noise in spelling.written_once(noises or table.noises(plain))
    }
    root = None if data is None else str(data)
    campaigns = {
        noise: [
            Campaign(
                _recipe(recipe, dataset, overrides, noise=noise, seed=seed, data__root=root),
                path / f"seed{seed}",
                own,
            )
            for seed in range(seeds)
        ]
        for noise, recipe in recipes.items()
    }
    chosen = next(iter(campaigns.values()))[0].base.data
    datasets.check_root(chosen.root, chosen.dataset.name, *(each.name for each in chosen.also))
    asked = next(iter(campaigns.values()))[0].base.precision if precision == "auto" else precision
    compute = choose(device, asked)
    campaigns = {
        noise: [_in_precision(campaign, compute.precision) for campaign in several]
        for noise, several in campaigns.items()
    }
    planned = Plan(
        table, plain, campaigns, recipes, settings, protocol, limit, tuple(without), {}, compute
    )
    _check(planned)
    return planned


def _check_place(path: Path) -> None:
    """Refuse a place where no directory is and none can be made."""
    try:
        for each in (path, *path.parents):
            if each.exists() and not each.is_dir():
                raise SdabnError(
                    f"--run {path}: {each} is a file.", "Give a directory, or a new one."
                )
    except OSError as error:
        raise SdabnError(f"--run {path}: {error.strerror}.", "Give another directory.") from error
    if not path.exists():
        require_writable(path, "--run")


def _own_dataset(recipe_name: str, overrides: Sequence[str]) -> str:
    return recipefiles.load(recipe_name, overrides, units=3).data.dataset.name


def _recipe(name: str, dataset: str, overrides: Sequence[str], **replacements: Any) -> Recipe:
    """A recipe for one noise and one seed, with the data set that was asked for."""
    found = recipefiles.load(name, overrides, units=3, **replacements)
    if ":" not in dataset and found.data.dataset.name == dataset:
        return found  # with the options that the recipe gives it
    # The recipe's directory holds its own data set.
    changes = [f"data.dataset={dataset}", "data.root=null", *overrides]
    return recipefiles.load(name, changes, units=3, **replacements)


def _in_precision(campaign: Campaign, precision: str) -> Campaign:
    return replace(campaign, base=campaign.base.model_copy(update={"precision": precision}))


def _check(planned: Plan) -> None:
    """Refuse what would fail later; takes down which data every noise is trained on.

    Raises:
        SdabnError: As ``plan``.
    """
    known: dict[str, tuple[dict[str, str], int]] = {}
    tried: set[str] = set()
    for noise, campaigns in planned.campaigns.items():
        for campaign in campaigns:
            settings = campaign.base.data
            text = settings.model_dump_json()
            requests.check_systems(campaign, planned.points)
            if text not in known:
                train = datasets.open_training(settings)
                check_class_weights(campaign.base, train)
                validation = datasets.open_split(settings, settings.validation_split)
                splits = {"train": train, "val": validation}
                digests = {name: fingerprints.of_split(split) for name, split in splits.items()}
                known[text] = (digests, len(train.classes))
            planned.data[noise], classes = known[text]
            campaign.check(planned.points, planned.data[noise])
            requests.try_networks(campaign, planned.points, classes, tried)


def _own_recipe(dataset: str, budget: str, table: Table) -> str | None:
    """The recipe of a data set and a budget that is for one table alone, if there is one."""
    name = f"{dataset}/{table.name}-{budget}"
    return name if name in recipefiles.names() else None


def _is_file_of(name: str, shipped: str) -> bool:
    """Whether a recipe's name or path leads to a recipe that comes with sdabn."""
    return recipefiles.path_of(name).resolve() == recipefiles.path_of(shipped).resolve()


def _recipe_name(dataset: str, budget: str, noise: str) -> str:
    """The recipe that comes with sdabn for a data set, a budget and a noise."""
    if dataset == "scenes" and budget == "cpu":
        return recipefiles.DEFAULT_RECIPE
    names, ending = recipefiles.names(), f"/{FALLBACK[budget]}"
    if dataset + ending not in names:
        known = [name.removesuffix(ending) for name in names if name.endswith(ending)]
        known += ["scenes"] if budget == "cpu" else []
        other = {"cpu": "full", "full": "cpu"}[budget]
        has_other = dataset == "scenes" or f"{dataset}/{FALLBACK[other]}" in names
        raise SdabnError(
            f"There is no recipe for {dataset} on the budget {budget}.",
            f"There are: {', '.join(sorted(known))}. Give your own with --recipe"
            + (f", or --budget {other}." if has_other else "."),
        )
    if budget == "cpu":
        return dataset + ending
    name, options = registry.parse(noise)
    wanted = f"{dataset}/" + (f"awgn{options.get('sigma', '')}" if name == "gaussian" else name)
    return wanted if wanted in names else dataset + ending
