"""Pictures of a reproduced table: what its systems make of the same images."""

from __future__ import annotations

from sdabn_cli import evaluation, registry
from sdabn_cli.device import Compute
from sdabn_cli.evaluation import Looked
from sdabn_cli.report.album import Album
from sdabn_cli.report.content import Comparison, Gallery
from sdabn_cli.report.looking import compare, merge
from sdabn_cli.report.measured import gallery
from sdabn_cli.reproduction.campaign import CLEAN, FIRST, order
from sdabn_cli.reproduction.measuring import Examiner, open_validation
from sdabn_cli.reproduction.reproducing import Plan
from sdabn_cli.reproduction.systems import Point


def galleries(planned: Plan, compute: Compute, wanted: int) -> dict[str, Gallery]:
    """Run the deepest cascade of every system of a table on a few images, with the first seed.

    Args:
        planned: A plan whose stages are all trained.
        compute: Device and precision.
        wanted: How many images, evenly spaced.

    Returns:
        A gallery a noise; none where nothing is shown.
    """
    found = {}
    for noise, campaigns in planned.campaigns.items():
        dataset = open_validation(campaigns[0])
        examiner = Examiner(campaigns[0], dataset, compute, planned.protocol)
        album = Album(wanted)
        _fill(album, examiner, _deepest(planned.points), noise, wanted)
        if shown := gallery(dataset, album):
            found[noise] = shown
    return found


def _deepest(points: list[Point]) -> list[Point]:
    """The last stage of every system, of those that are measured on the table's own noise."""
    last: dict[str, Point] = {}
    for point in sorted(points, key=lambda each: order(each.stage)):
        if point.stage != CLEAN and not point.behind:
            last[point.system] = point
    # The paper's own system last: what is shown first is the last estimate.
    return sorted(last.values(), key=lambda point: point.system == FIRST)


def _fill(album: Album, examiner: Examiner, points: list[Point], noise: str, wanted: int) -> None:
    """Evaluate every system on the images of an album, one system after the other."""
    if not wanted:
        return
    dataset, protocol = examiner.dataset, examiner.protocol_of(noise)
    made: dict[int, list[Comparison]] = {}
    for point in points:

        def look(looked: Looked, system: str = point.system) -> None:
            shown = compare(looked, dataset, protocol, unit=system)
            made.setdefault(looked.index, []).append(shown)

        evaluation.evaluate(
            examiner.compute.place(examiner.assembled(point)),
            dataset,
            registry.build("noise", *registry.parse(noise)),
            protocol=protocol,
            compute=examiner.compute,
            limit=wanted,
            with_ssim=False,
            look=look,
        )
    for index, found in made.items():
        album.put(index, merge(found))
    album.collect(examiner.compute.processes)
