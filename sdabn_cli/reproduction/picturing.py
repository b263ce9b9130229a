"""Pictures of a reproduced table: what its systems make of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from sdabn_cli import evaluation, registry
from sdabn_cli.evaluation import pick
from sdabn_cli.report.album import Album
from sdabn_cli.report.content import Comparison, Gallery
from sdabn_cli.report.looking import NOISY, compare, merge
from sdabn_cli.report.measured import gallery
from sdabn_cli.reproduction.campaign import CLEAN, order
from sdabn_cli.reproduction.measuring import Examiner, open_validation
from sdabn_cli.reproduction.planning import Plan
from sdabn_cli.reproduction.systems import FIRST, Point


def galleries(planned: Plan, wanted: int) -> dict[str, Gallery]:
    """Run the deepest cascade of every system of a table on a few images, with the first seed.

    Args:
        planned: A plan whose stages are all trained.
        wanted: How many of the measured images, evenly spaced.

    Returns:
        A gallery a noise; none where nothing is shown.
    """
    found = {}
    for noise, campaigns in planned.campaigns.items():
        dataset = open_validation(campaigns[0])
        examiner = Examiner(campaigns[0], dataset, planned.compute, planned.protocol, planned.limit)
        places = pick(len(examiner.images), wanted) if wanted else []
        album = Album(wanted)
        if places:
            _fill(album, examiner, _shown(planned.points), [examiner.images[p] for p in places])
        if shown := gallery(dataset, album):
            if len(campaigns) > 1:
                note = "All by the first seed's networks; the tables have the means over the seeds."
                shown = replace(shown, notes=[note, *shown.notes])
            found[planned.table.under(noise)] = shown
    return found


def _shown(points: Sequence[Point]) -> list[Point]:
    """What is looked at: the last stage of every system, and s0 under each noise of its own.

    The last stage stands for all before it. The clean segmenter on clean images is not shown.
    """
    last: dict[str, Point] = {}
    for point in sorted(points, key=lambda each: (order(each.stage), each.behind)):
        if point.stage != CLEAN:
            last[point.system] = point
    # The paper's own system last: what is shown first is the last estimate.
    systems = sorted(last.values(), key=lambda point: point.system == FIRST)
    return [*systems, *(point for point in points if point.noise)]


def _fill(album: Album, examiner: Examiner, points: Sequence[Point], images: Sequence[int]) -> None:
    """Evaluate every point on the images of an album, one after the other."""
    made: dict[int, list[Comparison]] = {}
    for point in points:
        noise = point.noise or examiner.campaign.noise
        protocol = examiner.protocol_of(noise)
        cascade = examiner.assembled(point)
        names = _names(point, len(cascade.units))
        noisy = f"{names[0]}: {NOISY}" if point.noise else NOISY

        pictured = partial(
            compare, dataset=examiner.dataset, protocol=protocol, names=names, noisy=noisy
        )

        evaluation.evaluate(
            examiner.compute.place(cascade),
            examiner.dataset,
            registry.build("noise", *registry.parse(noise)),
            protocol=protocol,
            compute=examiner.compute,
            only=images,
            with_ssim=False,
            look=lambda looked, of=pictured: made.setdefault(looked.index, []).append(of(looked)),
        )
    for index, found in made.items():
        album.put(index, merge(found))
    album.collect(examiner.compute.processes)


def _names(point: Point, units: int) -> list[str]:
    """What the units of a point's cascade are called in pictures."""
    if point.noise:
        return [point.noise.partition(":")[2].replace("=", " = ")]
    names = [f"{point.system} {number + 1}" for number in range(units)]
    return [*names[:-1], f"{point.system} + s0"] if point.behind else names
