"""Reproduce a table of the paper: train, measure, compare, judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdabn_cli import evaluation, recipefiles, registry
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.job import Watcher
from sdabn_cli.metrics import Protocol
from sdabn_cli.reproduction import claims, tables
from sdabn_cli.reproduction.campaign import Campaign, file_name
from sdabn_cli.reproduction.claims import Comparison
from sdabn_cli.reproduction.figures import printed
from sdabn_cli.reproduction.measuring import Examiner, Figures, open_validation
from sdabn_cli.reproduction.statistics import Interval, miou_difference, psnr_difference
from sdabn_cli.reproduction.systems import SYSTEMS, Point
from sdabn_cli.reproduction.tables import Row, Table

#: Recipes of a budget by data set; ``full`` has one a noise.
CPU = {"camvid": "camvid/awgn50-cpu", "scenes": "scenes/quickstart"}
BUDGETS = ("cpu", "full")


@dataclass(frozen=True)
class Plan:
    """What a reproduction will do.

    Attributes:
        table: The table.
        dataset: Name of the data set.
        campaigns: A list a noise, with a campaign a seed.
        protocol: Name of the protocol.
        limit: Measure this many images; None for all.
        without: Systems that are left out.
    """

    table: Table
    dataset: str
    campaigns: dict[str, list[Campaign]]
    protocol: str
    limit: int | None
    without: tuple[str, ...] = ()

    @property
    def points(self) -> list[Point]:
        """Every point of the table and of the claims about it, each once."""
        texts = [text for row in self.table.rows for text in row.points]
        for claim in claims.about(self.table.name):
            texts += [text for c in claim.comparisons for text in (c.better, c.worse)]
        points = [Point.parse(text) for text in dict.fromkeys(texts)]
        return [point for point in points if point.system not in self.without]

    @property
    def rows(self) -> list[Row]:
        """Lines of the table that are measured."""
        measured = set(map(str, self.points))
        return [row for row in self.table.rows if measured.issuperset(row.points)]

    def missing(self) -> list[dict[str, Any]]:
        """Stages that will be trained: noise, seed, system and stage."""
        return [
            {"noise": noise, "seed": campaign.base.seed, "system": system, "stage": stage.id,
             "steps": campaign.recipe_of(system).for_stage(stage).steps}
            for noise, campaigns in self.campaigns.items()
            for campaign in campaigns
            for system, stage in campaign.missing(self.points)
        ]  # fmt: skip


def plan(
    name: str,
    *,
    dataset: str,
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
) -> Plan:
    """Say what reproducing a table needs.

    Args:
        name: Of the table, such as ``table3``.
        dataset: Data set plug-in with its options.
        data: Its directory.
        budget: ``cpu`` or ``full``: which recipe of the data set.
        recipe_name: A recipe of the user's own instead.
        overrides: Keys of the recipe, as ``KEY=VALUE``.
        noises: Noises instead of the table's own.
        seeds: Number of seeds.
        run: Directory of everything; ``runs/reproduce-DATASET-BUDGET`` by default.
        protocol: Name of the protocol.
        limit: Measure this many images.
        without: Systems to leave out, such as ``bm3d``.

    Raises:
        SdabnError: If a name or a value is wrong.
    """
    table = tables.find(name)
    plain, _ = registry.parse(dataset)
    registry.find("dataset", plain)
    if budget not in BUDGETS:
        raise SdabnError(f"There is no budget {budget!r}.", did_you_mean(budget, BUDGETS))
    Protocol.named(protocol, precision="", noise=None, seed=0)
    for system in without:
        if system not in SYSTEMS:
            raise SdabnError(f"There is no system {system!r}.", did_you_mean(system, SYSTEMS))
    path = run or Path("runs") / f"reproduce-{file_name(plain)}-{budget}"
    root = None if data is None else str(data)
    campaigns = {
        noise: [
            Campaign(
                recipefiles.load(
                    recipe_name or _recipe_name(plain, budget, noise),
                    [f"data.dataset={dataset}", *overrides] if ":" in dataset else overrides,
                    units=3,
                    noise=noise,
                    seed=seed,
                    data__root=root,
                ),
                path / f"seed{seed}",
            )
            for seed in range(seeds)
        ]
        for noise in noises or table.noises(plain)
    }
    return Plan(table, plain, campaigns, protocol, limit, tuple(without))


def _recipe_name(dataset: str, budget: str, noise: str) -> str:
    """The recipe that comes with sdabn for a data set, a budget and a noise."""
    if budget == "cpu":
        if dataset not in CPU:
            raise SdabnError(
                f"There is no recipe for {dataset} on a CPU's budget.",
                f"There are: {', '.join(CPU)}. Give your own with --recipe, or --budget full.",
            )
        return CPU[dataset]
    name, options = registry.parse(noise)
    level = f"awgn{options.get('sigma', '')}" if name == "gaussian" else name
    wanted = f"{dataset}/{level}"
    if wanted in recipefiles.names():
        return wanted
    fallback = f"{dataset}/awgn50"
    return fallback if fallback in recipefiles.names() else CPU.get(dataset, wanted)


def reproduce(
    planned: Plan,
    compute: Compute,
    watching: Callable[[], AbstractContextManager[Watcher]],
    bar: Callable[[str, int], AbstractContextManager[Callable[[], Any]]],
) -> dict[str, Any]:
    """Train what is missing, measure, and say which claims hold.

    Args:
        planned: From ``plan``.
        compute: Device and precision.
        watching: Gives whoever shows the trainings.
        bar: Shows the measuring of a number of images; what it gives is called after each.

    Returns:
        table, caption, dataset, seeds, images, protocol; tables: noise and rows (label, denoised,
        segmented, each with the paper's figures beside them, parameters); claims: see ``_judged``.
    """
    found, judged, images, protocol = [], [], 0, {}
    for noise, campaigns in planned.campaigns.items():
        measured: dict[str, list[Figures]] = {}
        for campaign in campaigns:
            with watching() as watcher:
                campaign.train(planned.points, compute, watcher)
            dataset = open_validation(campaign)
            images = len(evaluation.pick(len(dataset), planned.limit))
            with bar(f"seed {campaign.base.seed}, {noise}", images) as advance:
                examiner = Examiner(
                    campaign, dataset, compute, planned.protocol, planned.limit, advance
                )
                figures = examiner.measure(planned.points)
            for point in planned.points:
                measured.setdefault(str(point), []).append(figures[point])
        rows = [_row(row, planned, noise, measured) for row in planned.rows]
        found.append({"noise": noise, "rows": rows})
        judged += _judged(planned, noise, measured)
        protocol = Protocol.named(
            planned.protocol, precision=compute.precision, noise=noise, seed=0
        ).as_dict()
    return {
        "table": planned.table.name,
        "caption": planned.table.caption,
        "dataset": planned.dataset,
        "seeds": len(next(iter(planned.campaigns.values()))),
        "images": images,
        "protocol": protocol,
        "tables": found,
        "claims": judged,
    }


def _row(row: Row, planned: Plan, noise: str, measured: dict[str, list[Figures]]) -> dict[str, Any]:
    """A line of a table, with the mean over the seeds and the paper's figures."""

    def beside(point: str) -> dict[str, Any] | None:
        if not point:
            return None
        figures = measured[point]
        here = {
            name: float(np.mean([each.summary[name] for each in figures]))
            for name in figures[0].summary
        }
        paper = printed(planned.dataset, noise, point)
        return {"here": here, "paper": None if paper is None else paper._asdict()}

    last = row.segmented or row.denoised
    return {
        "label": row.label,
        "denoised": beside(row.denoised),
        "segmented": beside(row.segmented),
        "parameters": measured[last][0].parameters if planned.table.parameters else None,
    }


def _judged(planned: Plan, noise: str, measured: dict[str, list[Figures]]) -> list[dict[str, Any]]:
    """Claims about the table: verdict, and every comparison here and in the paper."""

    def difference(comparison: Comparison) -> Interval | None:
        if not measured.keys() >= {comparison.better, comparison.worse}:
            return None  # a system was left out
        of = psnr_difference if comparison.metric == "psnr" else miou_difference
        pair = (measured[comparison.better], measured[comparison.worse])
        better, worse = ([figures.per_image for figures in side] for side in pair)
        return of(better, worse)

    found = []
    for claim in claims.about(planned.table.name):
        verdict, judged = claims.judge(claim, difference)
        found.append({
            "claim": claim.name,
            "sentence": claim.sentence,
            "section": claim.section,
            "noise": noise,
            "verdict": verdict,
            "comparisons": [
                {
                    "better": each.comparison.better,
                    "worse": each.comparison.worse,
                    "metric": each.comparison.metric,
                    "verdict": each.verdict,
                    **(each.difference._asdict() if each.difference else {}),
                    "paper": _paper_difference(planned.dataset, noise, each.comparison),
                }
                for each in judged
            ],
        })  # fmt: skip
    return found


def _paper_difference(dataset: str, noise: str, comparison: Comparison) -> float | None:
    pair = [printed(dataset, noise, point) for point in (comparison.better, comparison.worse)]
    if None in pair:
        return None
    better, worse = (getattr(each, comparison.metric) for each in pair)
    return round(better - worse, 4)
