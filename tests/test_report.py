"""Reports of plain data: tables, claims, charts, and that every text is a text."""

from __future__ import annotations

from typing import Any

import fixtures_report
import numpy as np
import pytest
import torch
from fixtures_report import HOSTILE

from sdabn_cli import registry
from sdabn_cli.evaluation import Found, Looked
from sdabn_cli.metrics import Protocol
from sdabn_cli.report import layers, looking
from sdabn_cli.report.album import Album
from sdabn_cli.report.content import (
    BarChart,
    Claim,
    Claims,
    Column,
    Comparison,
    LineChart,
    Page,
    Section,
    Series,
    Table,
    Text,
)
from sdabn_cli.report.figures import DASH, MINUS, ticks_alike
from sdabn_cli.report.page import render


def shown(*blocks: Any, **page: Any) -> fixtures_report.Element:
    """Render a page of one section."""
    page = {"title": "Title", "summary": "", "command": "sdabn"} | page
    return fixtures_report.parse(render(Page(sections=[Section("Heading", blocks)], **page)))


def test_pictures_beyond_the_budget_are_left_out():
    layer = layers.photo("noisy", np.zeros((8, 8, 3), np.uint8))
    album = Album(3, budget=2 * len(layer.data))
    album.expect([0, 1, 2], str)
    for number in (2, 0, 1):
        album.put(number, Comparison(str(number), [layer]))

    assert [comparison.title for comparison in album.comparisons()] == ["0", "1"]
    assert album.left_out == 1


def test_every_text_of_every_kind_of_block_is_escaped():
    page = shown(
        Table(HOSTILE, [HOSTILE, Column(HOSTILE)], [[HOSTILE, 1.0]], [HOSTILE]),
        Claims([Claim(HOSTILE, HOSTILE, "open", [HOSTILE])], [HOSTILE]),
        LineChart(HOSTILE, HOSTILE, HOSTILE, [Series(HOSTILE, [(1, 2.0)]), Series("b", [(1, 3.0)])],
                  notes=[HOSTILE]),
        BarChart(HOSTILE, HOSTILE, [HOSTILE], [(HOSTILE, [1.0])], notes=[HOSTILE]),
        Text(HOSTILE),
        title=HOSTILE, summary=HOSTILE, command=HOSTILE, versions={HOSTILE: HOSTILE},
        facts={HOSTILE: HOSTILE},
    )  # fmt: skip

    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert page.text.count("{{ 7*7 }}") > 20


def test_a_model_without_figures_of_one_kind_shows_dashes():
    page = shown(Table("t", ["", Column("PSNR"), Column("n", 0)], [
        ["a", None, 3], ["b", float("nan"), -2], ["c", float("inf"), 1.25],
    ]))  # fmt: skip

    cells = [[cell.text for cell in row.all("td")] for row in page.one("tbody").all("tr")]
    assert cells == [[DASH, "3"], [DASH, f"{MINUS}2"], ["\N{INFINITY}", "1"]]


def test_points_of_a_curve_lie_where_its_axes_say():
    chart = LineChart(
        "t",
        "sigma",
        "%",
        [
            Series("a", [(0, 0.0), (25, None), (50, 100.0)]),
            Series("b", [(10, 50.0), (40, 20.0)], dashed=True),
        ],
    )
    svg = shown(chart).one("svg", "chart")

    numbers = {
        (text.attributes["text-anchor"], text.text): text.attributes
        for text in svg.all("text", "number")
    }
    across = {n: float(numbers["middle", str(n)]["x"]) for n in (0, 10, 40, 50)}
    up = {n: float(numbers["end", str(n)]["y"]) - 4 for n in (0, 20, 100)}
    first, second = (
        [tuple(map(float, point.split(","))) for point in line.attributes["points"].split()]
        for line in svg.all("polyline")
    )
    assert first == [(across[0], up[0]), (across[50], up[100])]
    assert second[1] == pytest.approx((across[40], up[20]), abs=0.02)
    # Equal steps are equally long.
    assert across[10] - across[0] == pytest.approx(across[50] - across[40], abs=0.02)
    assert svg.all("g", "dashed") == [svg.all("g", "series")[1]]


def test_small_differences_do_not_fill_a_chart_with_a_least_extent():
    chart = LineChart("t", "unit", "dB", [Series("a", [(1, 26.20), (2, 26.21)])], span=0.5)

    line = shown(chart).one("polyline").attributes["points"].split()
    heights = [float(point.split(",")[1]) for point in line]
    assert 0 < heights[0] - heights[1] < 10  # of 204


@pytest.mark.parametrize("least", [0.0, 0.5, 5.0])
def test_axes_that_are_alike_have_equally_many_ticks_equally_far_apart(least):
    ranges = [(26.1, 26.3), (34.157, 34.42), (0.0, 0.5), (5.0, 5.01)]

    found = ticks_alike(ranges, least=least)

    for (low, high), values in zip(ranges, found, strict=True):
        assert values[0] <= low + 1e-9
        assert high - 1e-9 <= values[-1]
        assert values[-1] - values[0] >= least
        assert np.diff(values) == pytest.approx(found[0][1] - found[0][0])
    assert len(set(map(len, found))) == 1


def test_a_curve_without_any_figure_is_left_out():
    assert not shown(LineChart("t", "x", "y", [Series("a", [(1, None)])])).all("svg", "chart")


def test_bars_are_as_long_as_their_figures():
    chart = BarChart("t", "%", ["one", "two"], [("a", [50.0, 100.0]), ("b", [None, 12.5])], top=100)

    rows = shown(chart).one("tbody").all("tr")
    widths = [[float(bar.attributes["width"]) for bar in row.all("rect")] for row in rows]
    assert widths == [[50, 100], [0, 12.5]]
    assert [mark.text for mark in shown(chart).one("div", "marks").all("span")] == [
        "0", "25", "50", "75", "100",
    ]  # fmt: skip


SCENES = {"count": 1, "width": 64, "height": 64}


@pytest.mark.parametrize(("absent", "told"), [("left out", "100.0"), ("counted as 0", "9.1")])
def test_a_picture_counts_absent_classes_as_its_protocol_does(absent, told):
    dataset = registry.build("dataset", "scenes", SCENES, root=None, split="val")
    image, one_of_eleven = torch.zeros(3, 64, 64), torch.zeros(64, 64, dtype=torch.uint8)
    found = Found(one_of_eleven, None)
    looked = Looked(0, image, image, one_of_eleven.long(), [found])
    protocol = Protocol("float32", None, 0, absent_classes=absent)

    made = looking.compare(looked, dataset, protocol)

    assert [layer.figure for layer in made.layers] == ["", f"mIoU {told} %", ""]


def test_claims_say_their_verdict_in_words():
    page = shown(Claims([Claim("More units help", "contradicted", "bad", ["26.2 after 26.3 dB"])]))

    assert page.one("ul", "claims").text == "contradicted More units help 26.2 after 26.3 dB"
