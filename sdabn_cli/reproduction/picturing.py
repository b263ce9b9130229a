"""Pictures of a reproduced table: what its systems make of the same images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sdabn_cli import assembly, evaluation, registry
from sdabn_cli.evaluation import pick
from sdabn_cli.report.album import Album, Wanted
from sdabn_cli.report.content import Comparison, Gallery
from sdabn_cli.report.looking import NOISY, Names, compare, merge
from sdabn_cli.report.measured import gallery
from sdabn_cli.reproduction.campaign import CLEAN, Campaign
from sdabn_cli.reproduction.measuring import Examiner, open_validation
from sdabn_cli.reproduction.planning import Plan
from sdabn_cli.reproduction.systems import FIRST, Point, order
from sdabn_cli.schedule import Stage


def chosen(planned: Plan, wanted: Wanted) -> list[int]:
    """Numbers of the images that are shown, of those that are measured.

    Raises:
        SdabnError: If an image is wanted by a name that there is none of.
    """
    dataset = open_validation(next(iter(planned.campaigns.values()))[0])
    album = Album(wanted)
    album.expect(pick(len(dataset), planned.limit), lambda index: dataset[index].name)
    return album.chosen


def galleries(planned: Plan, wanted: Wanted) -> dict[str, Gallery]:
    """Run the systems of a table on a few images, with the first seed.

    Args:
        planned: A plan whose stages are all trained.
        wanted: Which of the measured images.

    Returns:
        A gallery a noise; none where nothing is shown.
    """
    found = {}
    for noise, campaigns in planned.campaigns.items():
        dataset = open_validation(campaigns[0])
        examiner = Examiner(campaigns[0], dataset, planned.compute, planned.protocol, planned.limit)
        album = Album(wanted)
        if images := chosen(planned, wanted):
            _fill(album, examiner, _called(planned), images)
        if shown := gallery(dataset, album):
            if len(campaigns) > 1:
                note = "All by the first seed's networks; the tables have the means over the seeds."
                shown = replace(shown, notes=[note, *shown.notes])
            found[planned.table.under(noise)] = shown
    return found


def _called(planned: Plan) -> dict[Point, str]:
    """Every point of a table by the label of its row, which names its pictures."""
    return {Point.parse(text): row.label for row in planned.rows for text in row.points}


def _shown(campaign: Campaign, points: Iterable[Point]) -> list[Point]:
    """Points whose cascades are run: every one that no other such cascade contains.

    A segmenter behind unguided denoisers stands in no cascade but its own. The clean segmenter on
    clean images is not shown.
    """
    points = [point for point in points if point.noise or point.stage != CLEAN]
    kept, contained = set(), set()
    for point in sorted(points, key=lambda each: (order(each.stage), each.behind), reverse=True):
        if point not in contained:
            kept.add(point)
            contained |= _within(campaign, point)
    # The paper's own system last: what is shown first is the last estimate.
    return sorted((p for p in points if p in kept), key=lambda point: point.system == FIRST)


def _within(campaign: Campaign, point: Point) -> set[Point]:
    """What the cascade that ends in a point finds besides it."""
    before = assembly.prefix_of(campaign.recipe_of(point.system), point.stage)
    stages = [*map(Stage.parse, before), *([point.stage] if point.behind else [])]
    return {Point(point.system, stage) for stage in stages}


def _fill(
    album: Album, examiner: Examiner, called: Mapping[Point, str], images: Sequence[int]
) -> None:
    """Evaluate every cascade on the images of an album, one after the other."""
    made: dict[int, list[Comparison]] = {}
    for point in _shown(examiner.campaign, called):
        noise = point.noise or examiner.campaign.noise
        protocol = examiner.protocol_of(noise)
        cascade = examiner.assembled(point)
        names = _names(point, len(cascade.units), called)
        noisy = f"{called[point]}: {NOISY}" if point.noise else NOISY

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


def _names(point: Point, units: int, called: Mapping[Point, str]) -> list[Names]:
    """What the pictures of a cascade's units are called; stages that no row shows have none."""
    stages = [(Stage(unit, "denoise"), Stage(unit, "seg")) for unit in range(1, units + 1)]
    names = [Names(*(called.get(Point(point.system, each), "") for each in two)) for two in stages]
    # The clean segmenter stands in the place of the last unit's own.
    return [*names[:-1], Names(labels=called[point])] if point.behind or point.noise else names
