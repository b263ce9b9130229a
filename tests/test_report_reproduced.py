"""``sdabn reproduce --report``: this run beside the paper, claims, the same images by all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fixtures_report
import numpy as np
import pytest
from fixtures_cli import assert_refused, files, sdabn
from fixtures_report import pictures, tables

from sdabn_cli.metrics import Protocol
from sdabn_cli.report.figures import DASH, MINUS
from sdabn_cli.report.page import render
from sdabn_cli.report.reproduced import page as report_of


@pytest.fixture
def reproduced(tiny_recipe: str, camvid_tree: Path) -> Any:
    """Reproduce a table with the tiny networks on the tiny tree, and read its report."""

    def make(table: str, *options: Any) -> tuple[dict[str, Any], fixtures_report.Element]:
        result = sdabn("reproduce", table, "--dataset", "camvid", "--data", camvid_tree,
                       "--recipe", tiny_recipe, "--run", "all", "--without", "bm3d",
                       "--report", "report.html", "--json", *options)  # fmt: skip
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout), fixtures_report.read("report.html")

    return make


def test_a_reproduced_table_stands_beside_the_papers(reproduced):
    told, page = reproduced("table3")

    rows = {row[0]: row[1:] for row in tables(page)[told["caption"]]}
    for row in told["tables"][0]["rows"]:
        expected = []
        for half, keys in (("denoised", ("psnr", "ssim")),
                           ("segmented", ("miou", "pixel_accuracy", "mean_accuracy"))):  # fmt: skip
            for key in keys:
                for whose in ("here", "paper"):
                    expected.append(row[half][whose][key] if (row[half] or {}).get(whose) else DASH)
        assert rows[row["label"]] == expected
    assert rows["SDB x 3"][1] == 34.42  # the paper's Table 3, Cityscapes, sigma 50
    notes = [note.text for note in page.one("div", "block").all("p", "note")]
    assert notes[0] == "Noise: gaussian:sigma=50."
    assert "2 images of camvid" in notes[1]
    trained = [note.text for note in page.all("p", "note") if note.text.startswith("Trained by")]
    assert len(trained) == 1
    assert "tiny.yaml; crops of " in trained[0]
    assert told["report"] == "report.html"


def test_a_reproduced_table_draws_this_runs_curves_and_the_papers(reproduced):
    _, page = reproduced("table3")

    charts = {figure.one("strong").text: figure for figure in page.all("figure", "lines")}
    assert list(charts) == [
        "PSNR over units, here", "PSNR over units, in the paper",
        "mIoU of SDB over units, here", "mIoU of SDB over units, in the paper",
    ]  # fmt: skip
    for title, figure in charts.items():
        dashed = " dashed" if title.endswith("paper") else ""
        drawn = [group.attributes["class"] for group in figure.one("svg", "chart").all("g")]
        both = [f"series s0{dashed}", f"series s1{dashed}"]
        assert drawn == (both if title.startswith("PSNR") else both[1:])  # DDFN, SDB
        if title.startswith("PSNR"):
            assert [item.text for item in figure.one("ul", "legend").all("li")] == ["DDFN", "SDB"]


MADE = {"name": "mine.yaml", "settings": [], "crops": {"d1": [8, 16]}}


def reported(lines: dict[str, dict[str, list[float]]], table: str = "table3") -> Any:
    """The report of PSNR here and in the paper along units, by the beginning of the labels."""
    rows = [
        {
            "label": f"{name} x {number + 1}",
            "denoised": {
                whose: {"psnr": values[number]} for whose, values in figures.items() if values
            },
            "segmented": None, "class_iou": None, "parameters": None,
        }
        for name, figures in lines.items()
        for number in range(3)
    ]  # fmt: skip
    told = {
        "table": table, "caption": "Units", "dataset": "camvid", "paper_dataset": "cityscapes",
        "seeds": 1, "images": 101, "claims": [],
        "protocol": Protocol.named("default", precision="float32", noise=None, seed=0).as_dict(),
        "tables": [{"noise": "poisson", "recipe": MADE, "rows": rows, "systems": []}],
    }  # fmt: skip
    made = report_of(told, {}, command="sdabn", versions={}, device="cpu")
    return fixtures_report.parse(render(made))


def heights(figure: fixtures_report.Element) -> list[list[float]]:
    """Where the points of every curve of a chart lie, from above."""
    return [
        [float(point.split(",")[1]) for point in line.attributes["points"].split()]
        for line in figure.one("svg", "chart").all("polyline")
    ]


def test_gains_can_be_seen_and_compared_however_far_from_the_papers_a_run_is():
    report = reported({
        "DDFN": {"here": [26.10, 26.18, 26.20], "paper": [34.157, 34.28, 34.34]},
        "SDB": {"here": [26.20, 26.27, 26.30], "paper": [34.231, 34.34, 34.42]},
    })  # fmt: skip

    here, paper = report.all("figure", "lines")
    (ddfn, sdb), (papers_ddfn, papers_sdb) = heights(here), heights(paper)
    pixels = (ddfn[0] - sdb[0]) / 0.1  # a decibel
    assert ddfn[0] - ddfn[2] == pytest.approx(0.1 * pixels, abs=0.05)
    assert papers_sdb[0] - papers_sdb[2] == pytest.approx(0.189 * pixels, abs=0.05)
    assert papers_ddfn[0] - papers_sdb[0] == pytest.approx(0.074 * pixels, abs=0.05)
    assert 0.1 * pixels > 20  # markers are 8 high
    assert "same scale" in here.text
    assert "same scale" in paper.text


def test_the_papers_figures_have_the_digits_that_it_prints():
    report = reported({"SDB": {"here": [26.1234, 26.2, 26.3], "paper": [34.157, 34.23, 34.3]}})

    cells = [row.all("td") for row in report.one("table").one("tbody").all("tr")]
    assert [[cell.text for cell in row] for row in cells] == [
        ["26.12", "34.157"], ["26.20", "34.23"], ["26.30", "34.30"],
    ]  # fmt: skip
    assert {cell.attributes["class"] for row in cells for cell in row} == {"number"}


def test_a_run_of_a_far_larger_range_does_not_flatten_the_papers_curve():
    report = reported({"SDB": {"here": [12.0, 20.0, 26.0], "paper": [34.231, 34.34, 34.42]}})

    here, paper = report.all("figure", "lines")
    ((first, _, last),) = heights(paper)
    assert first - last > 50
    assert "a scale of its own" in here.text


def test_curves_that_the_paper_lacks_stand_alone():
    report = reported({"SDB": {"here": [26.0, 26.1, float("inf")], "paper": []}})

    (here,) = report.all("figure", "lines")
    assert here.one("strong").text == "PSNR of SDB over units, here"
    assert len(heights(here)[0]) == 2
    assert not here.all("p", "note")


def test_a_reproduced_claim_has_its_verdict_sentence_and_differences(reproduced):
    told, page = reproduced("table4")

    shown = page.one("ul", "claims").all("li")
    assert len(shown) == len(told["claims"]) == 4
    for item, claim in zip(shown, told["claims"], strict=True):
        assert item.one("span", "verdict").text == claim["verdict"]
        assert claim["claim"] in item.text
        assert claim["sentence"] in item.text
        assert claim["remark"] in item.text
        details = item.all("span", "detail")[1 : 1 + len(claim["comparisons"])]
        for line, each in zip(details, claim["comparisons"], strict=True):
            rows = f"{each['better_label']} minus {each['worse_label']}"
            assert line.text.startswith(f"{each['verdict']}: {rows}: ")
            assert (
                f"{each['mean']:+.{3 if each['metric'] == 'psnr' else 2}f}".replace("-", MINUS)
                in line.text
            )


def test_a_reproduced_table_shows_the_same_images_by_every_system(reproduced):
    _, page = reproduced("table4", "--report-images", 1)

    (found,) = pictures(page)
    rows = ["DDFN x 1", "DDFN x 2", "Gt D1", "S1 D1"]
    assert list(found) == [
        "noisy", *(f"{row}: estimate" for row in rows), "clean",
        *(f"{row}: labels" for row in rows), "true labels",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "estimates", "labels"),
    [
        ("table1", ["D0", "ImgD", "SD"], ["S on denoised images", "S on noisy images"]),
        ("table3", [f"{name} x {unit}" for name in ("DDFN", "SDB") for unit in (1, 2, 3)],
         ["SDB x 1", "SDB x 2", "SDB x 3"]),
        ("table5", [], ["S1 D1 S2, joint", "S1", "S1 D1 S2"]),
    ],
)  # fmt: skip
def test_a_picture_is_called_by_the_row_that_it_belongs_to(reproduced, table, estimates, labels):
    without = ["--without", "plus"] if table == "table5" else []  # needs hrnet

    _, page = reproduced(table, "--report-images", 1, *without)

    (found,) = pictures(page)
    assert list(found) == [
        "noisy", *(f"{row}: estimate" for row in estimates), "clean",
        *(f"{row}: labels" for row in labels), "true labels",
    ]  # fmt: skip


def test_a_picture_has_the_figure_of_its_row(reproduced):
    told, page = reproduced("table4", "--limit", 1, "--report-images", 1)

    figures = {
        button.one(name="name").text: button.all(name="figure")[0].text
        for button in page.one("figure", "comparison").all("button")
        if button.all(name="figure")
    }
    for row in told["tables"][0]["rows"][1:]:
        psnr, miou = row["denoised"]["here"]["psnr"], row["segmented"]["here"]["miou"]
        assert figures[f"{row['label']}: estimate"] == f"{psnr:.2f} dB"
        assert figures[f"{row['label']}: labels"] == f"mIoU {miou:.1f} %"


def test_the_papers_figure_is_a_curve_over_the_noise(reproduced):
    told, page = reproduced("figure2")

    assert told["tables"][0]["noise"] == "gaussian:sigma=0 to gaussian:sigma=50"
    (chart,) = page.all("figure", "lines")
    # The paper's own curve has no figures; the one of Table 1 stands in the table.
    assert chart.one("strong").text == "mIoU over sigma, here"
    values = [row["segmented"]["here"]["miou"] for row in told["tables"][0]["rows"]]
    assert [title.text for title in chart.all("title")] == [
        f"here: {value:.2f} at {level}"
        for value, level in zip(values, range(0, 51, 10), strict=True)
    ]


def test_the_papers_figure_shows_what_noise_does_to_the_clean_segmenter(reproduced):
    _, page = reproduced("figure2", "--report-images", 1)

    (found,) = pictures(page)
    levels = [f"sigma = {level}" for level in range(0, 51, 10)]
    assert list(found) == [
        *(f"{level}: noisy" for level in levels), "clean",
        *(f"{level}: labels" for level in levels), "true labels",
    ]  # fmt: skip
    clean = np.asarray(found["clean"], float)
    away = [np.abs(np.asarray(found[f"{level}: noisy"], float) - clean).mean() for level in levels]
    assert away[0] == 0
    assert away == sorted(away)


def test_a_fixed_segmenter_behind_denoisers_is_shown_with_its_labels(reproduced):
    _, page = reproduced("table2", "--report-images", 1)

    (found,) = pictures(page)
    rows = ["DDFN + Seg.", "DMS", "SDB"]
    assert list(found) == [
        "noisy", *(f"{row}: estimate" for row in rows), "clean",
        *(f"{row}: labels" for row in rows), "true labels",
    ]  # fmt: skip


def test_only_images_that_were_measured_are_shown(reproduced, camvid_tree):
    for number in range(8):  # ten in all, of which 0, 3 and 7 are measured
        for folder in ("val", "valannot"):
            source = sorted((camvid_tree / folder).glob("frame*.png"))[0]
            shutil.copy(source, source.with_name(f"more{number}.png"))
    names = [path.stem for path in sorted((camvid_tree / "val").glob("*.png"))]

    told, page = reproduced("figure2", "--limit", 3, "--report-images", 2)

    assert told["images"] == 3
    shown = [figure.text for figure in page.all("figure", "comparison")]
    assert len(shown) == 2
    for text, number in zip(shown, (0, 7), strict=True):  # of three, the first and the last
        assert names[number] in text


def test_every_class_has_a_bar_of_every_segmenter(reproduced):
    told, page = reproduced("table3")

    rows = [row for row in told["tables"][0]["rows"] if row["class_iou"]]
    assert [row["label"] for row in rows] == ["SDB x 1", "SDB x 2", "SDB x 3", "S on clean images"]
    bars = tables(page)["IoU of every class %"]
    for number, row in enumerate(rows):
        known = [value for value in row["class_iou"].values() if value is not None]
        assert sum(known) / len(known) == pytest.approx(row["segmented"]["here"]["miou"])
        shown = {name: values[number] for name, _, *values in bars}
        assert shown == {k: DASH if v is None else v for k, v in row["class_iou"].items()}


def test_what_intervals_are_over_stands_below_the_claims(reproduced):
    told, page = reproduced("table1")

    notes = [note.text for note in page.all("p", "note")]
    assert told["intervals"] in notes
    assert any("noise seed 0;" in note for note in notes)
    for claim in told["claims"]:
        assert "2 images are too few for an interval" in page.one("ul", "claims").text, claim


def test_a_dry_run_of_a_reproduction_names_the_files_it_would_write(tiny_recipe, camvid_tree):
    arguments = ["table1", "--dataset", "camvid", "--data", camvid_tree, "--recipe", tiny_recipe]

    told = sdabn("reproduce", *arguments, "--report", "r.html", "--markdown", "results.md",
                 "--dry-run", "--json")  # fmt: skip

    named = json.loads(told.stdout)
    assert (named["report"], named["markdown"]) == ("r.html", "results.md")
    assert "Markdown: results.md" in told.stderr
    assert files(Path()) == set()
    assert_refused(
        sdabn("reproduce", *arguments, "--report", "r.png"), "a report is an HTML file", "r.html"
    )
