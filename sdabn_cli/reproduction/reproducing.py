"""Reproduce a table of the paper: train, measure, compare, judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from math import isfinite
from typing import Any

import numpy as np

from sdabn_cli import evaluation
from sdabn_cli.job import Watcher
from sdabn_cli.metrics import Protocol
from sdabn_cli.reproduction import claims
from sdabn_cli.reproduction.campaign import Campaign, Watching
from sdabn_cli.reproduction.claims import Comparison
from sdabn_cli.reproduction.figures import PARAMETERS, printed, source
from sdabn_cli.reproduction.measuring import Examiner, Figures, open_validation
from sdabn_cli.reproduction.planning import Plan
from sdabn_cli.reproduction.statistics import Interval, basis, miou_difference, psnr_difference
from sdabn_cli.reproduction.systems import FIRST, SYSTEMS, order
from sdabn_cli.reproduction.tables import Row


def reproduce(
    planned: Plan,
    watching: Callable[[str], AbstractContextManager[Watcher]],
    bar: Callable[[str, int], AbstractContextManager[Callable[[], Any]]],
) -> dict[str, Any]:
    """Train what is missing, measure, and say which claims hold.

    Args:
        planned: From ``plan``.
        watching: Gives whoever shows the training of a system, by what it is called.
        bar: Shows the measuring of a number of images; what it gives is called after each.

    Returns:
        table, caption, dataset, paper_dataset (whose figures in the paper stand beside those
        here), seeds, images, protocol (without noise, which every table tells; its seed is a list
        where there are several); tables: noise, recipe (see ``_recipe``), rows (label, denoised,
        segmented, parameters, each with the paper's figures beside them, IoU of every class) and
        systems (see ``_systems``);
        claims: see ``_judged``; intervals: what their intervals are over.
    """
    found, judged, images = [], [], 0
    for noise, campaigns in planned.campaigns.items():
        measured: dict[str, list[Figures]] = {}
        for campaign in campaigns:
            titled = _titled(watching, planned, campaign)
            campaign.train(planned.points, planned.data[noise], planned.compute, titled)
            dataset = open_validation(campaign)
            images = len(evaluation.pick(len(dataset), planned.limit))
            with bar(f"seed {campaign.base.seed}, {noise}", images) as advance:
                examiner = Examiner(
                    campaign, dataset, planned.compute, planned.protocol, planned.limit, advance
                )
                figures = examiner.measure(planned.points)
            for point in planned.points:
                measured.setdefault(str(point), []).append(figures[point])
        classes = dataset.classes
        rows = [_row(row, planned, noise, measured, classes) for row in planned.rows]
        rows = _noisy_row(planned, measured) + rows
        found.append({
            "noise": planned.table.under(noise),
            "recipe": _recipe(planned, noise),
            "rows": rows,
            "systems": _systems(planned, campaigns[0]),
        })  # fmt: skip
        judged += _judged(planned, noise, measured, images)
    campaigns = next(iter(planned.campaigns.values()))
    return {
        "table": planned.table.name,
        "caption": planned.table.caption,
        "dataset": planned.dataset,
        "paper_dataset": source(planned.dataset),
        "seeds": len(campaigns),
        "images": images,
        "protocol": _protocol(planned),
        "tables": found,
        "claims": judged,
        "intervals": basis(len(campaigns)),
    }


def _titled(
    watching: Callable[[str], AbstractContextManager[Watcher]], planned: Plan, campaign: Campaign
) -> Watching:
    """Names seed and noise of a training, too, where there are several."""
    several = sum(map(len, planned.campaigns.values())) > 1
    which = f"seed {campaign.base.seed}, {campaign.noise}: " if several else ""
    return lambda system: watching(f"{which}{system}")


def _recipe(planned: Plan, noise: str) -> dict[str, Any]:
    """What everything was trained by: name (or path), changed settings, and crops by stage.

    Crops are told because figures of equal steps on other crops cannot be compared.
    """
    campaign = planned.campaigns[noise][0]
    stages = {stage for found in campaign.stages(planned.points).values() for stage in found}
    return {
        "name": planned.recipes[noise],
        "settings": list(planned.settings),
        "crops": {
            stage.id: list(campaign.base.for_stage(stage).crop)
            for stage in sorted(stages, key=order)
        },
    }


def _systems(planned: Plan, campaign: Campaign) -> list[dict[str, Any]]:
    """What was trained: system, meaning, segmenter, denoiser, and steps by stage.

    ``shared`` names, of those stages, the ones that another system has trained, by stage.
    The semantic weight of a denoiser's loss belongs to its meaning. Networks that no stage of the
    table needs are None.
    """
    found = []
    for name, stages in campaign.stages(planned.points).items():
        recipe, system = campaign.recipe_of(name), SYSTEMS[name]
        weight, kinds = recipe.denoise.semantic_weight, {stage.kind for stage in stages}
        found.append({
            "system": name,
            "meaning": system.meaning + (f", times {weight:g}" if weight else ""),
            "segmenter": str(recipe.segmenter) if "seg" in kinds else None,
            "denoiser": str(recipe.denoiser) if "denoise" in kinds else None,
            "steps": {s.id: recipe.for_stage(s).steps for s in stages if system.trains(s)},
            "shared": {s.id: FIRST for s in stages if s.id in system.shares},
        })  # fmt: skip
    return found


def _protocol(planned: Plan) -> dict[str, Any]:
    """How everything was measured, but for the noise."""
    seeds = [campaign.base.seed for campaign in next(iter(planned.campaigns.values()))]
    named = Protocol.named(
        planned.protocol, precision=planned.compute.precision, noise=None, seed=seeds[0]
    ).as_dict()
    del named["noise"]
    return named | ({"seed": seeds} if len(seeds) > 1 else {})


def _row(
    row: Row,
    planned: Plan,
    noise: str,
    measured: dict[str, list[Figures]],
    classes: Sequence[str],
) -> dict[str, Any]:
    """A line of a table, with the mean over the seeds and the paper's figures."""

    def beside(point: str) -> dict[str, Any] | None:
        if not point:
            return None
        figures = measured[point]
        here = {
            name: _mean([each.summary[name] for each in figures]) for name in figures[0].summary
        }
        paper = printed(planned.dataset, noise, point)
        return {"here": here, "paper": None if paper is None else paper._asdict()}

    last = row.segmented or row.denoised
    sizes = {"here": measured[last][0].parameters, "paper": PARAMETERS.get(last)}
    return {
        "label": row.label,
        "denoised": beside(row.denoised),
        "segmented": beside(row.segmented),
        "class_iou": _class_iou(measured[row.segmented], classes) if row.segmented else None,
        "parameters": sizes if planned.table.parameters else None,
    }


def _noisy(figures: Sequence[Figures]) -> dict[str, float | None] | None:
    """PSNR and SSIM of the noisy images, the mean over the seeds; None without noise."""
    known = [each.noisy for each in figures if each.noisy is not None]
    return {name: _mean([each[name] for each in known]) for name in known[0]} if known else None


def _noisy_row(planned: Plan, measured: dict[str, list[Figures]]) -> list[dict[str, Any]]:
    """The images before any denoiser, first in a table of denoisers: what they have to beat."""
    denoised = next((row.denoised for row in planned.rows if row.denoised), None)
    figures = _noisy(measured[denoised]) if denoised else None
    if figures is None:
        return []
    return [{
        "label": "noisy image",
        "denoised": {"here": figures, "paper": None},
        "segmented": None,
        "class_iou": None,
        "parameters": None,
    }]  # fmt: skip


def _below_noisy(figures: Sequence[Figures]) -> bool:
    """Whether a denoiser is no better than leaving images as they are.

    Where some images have no noise at all the mean of the noisy ones is infinite, and says nothing.
    """
    noisy, psnr = _noisy(figures), _mean([each.summary.get("psnr") for each in figures])
    limit = None if noisy is None else noisy["psnr"]
    return None not in (limit, psnr) and isfinite(limit) and psnr <= limit


def _mean(values: Sequence[float | None]) -> float | None:
    """Over the seeds; None where nothing was measured, as SSIM of tiny images."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _class_iou(figures: Sequence[Figures], classes: Sequence[str]) -> dict[str, float | None]:
    """IoU of every class in percent, the mean over the seeds; None for absent classes."""
    found = []
    for each in figures:
        hits, true, predicted = each.per_image.sum(0)
        union = true + predicted - hits
        found.append([100 * h / u if u else None for h, u in zip(hits, union, strict=True)])
    known = [
        [value for value in column if value is not None] for column in zip(*found, strict=True)
    ]
    return {
        name: float(np.mean(values)) if values else None
        for name, values in zip(classes, known, strict=True)
    }


def _judged(
    planned: Plan, noise: str, measured: dict[str, list[Figures]], images: int
) -> list[dict[str, Any]]:
    """Claims about the table: verdict, every comparison here and in the paper, and a remark.

    A comparison tells better and worse as points and (``_label``) as rows of the table, metric,
    verdict, why it is open (``reason``), on how many images; mean, low and high of the difference
    where that was measured, and in how many ``blocks`` the images were resampled for it; the
    paper's difference, and ``below_noisy``: the rows among both whose denoisers do not even better
    the noisy images.
    """
    protocol = Protocol.named(planned.protocol, precision="", noise=None, seed=0)

    def difference(comparison: Comparison) -> Interval | None:
        if not measured.keys() >= {comparison.better, comparison.worse}:
            return None  # a system was left out
        pair = (measured[comparison.better], measured[comparison.worse])
        better, worse = ([figures.per_image for figures in side] for side in pair)
        if comparison.metric == "psnr":
            return psnr_difference(better, worse)
        return miou_difference(better, worse, absent_classes=protocol.absent_classes)

    found = []
    for claim in claims.about(planned.table.name):
        verdict, judged = claims.judge(claim, difference, images=images)
        found.append({
            "claim": claim.name,
            "sentence": claim.sentence,
            "section": claim.section,
            "noise": planned.table.under(noise),
            "verdict": verdict,
            "remark": claim.remark,
            "comparisons": [
                {
                    "better": each.comparison.better,
                    "worse": each.comparison.worse,
                    "better_label": planned.table.label(each.comparison.better),
                    "worse_label": planned.table.label(each.comparison.worse),
                    "metric": each.comparison.metric,
                    "verdict": each.verdict,
                    "reason": each.reason,
                    "images": images,
                    **(each.difference._asdict() if each.difference else {}),
                    "paper": _paper_difference(planned.dataset, noise, each.comparison),
                    "below_noisy": [
                        planned.table.label(point)
                        for point in (each.comparison.better, each.comparison.worse)
                        if _below_noisy(measured.get(point, ()))
                    ],
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
