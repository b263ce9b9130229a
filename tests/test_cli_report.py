"""``--report`` of ``evaluate`` and ``run``: what it holds and shows."""

from __future__ import annotations

import base64
import json
import re
import shlex
from pathlib import Path

import fixtures_report
import numpy as np
import pytest
from fixtures_cli import assert_refused, files, save_model, save_picture, sdabn
from fixtures_report import pictures, tables
from fixtures_report_runs import evaluate, run
from PIL import Image

import sdabn_cli
from sdabn_cli.report.figures import DASH
from sdabn_plugins.camvid import CLASSES, PALETTE


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    """Two units: the first estimate is the input, the second a blurred one."""
    return save_model(tmp_path / "model")


def test_the_figures_of_an_evaluation_are_those_of_json(model, camvid_tree):
    measured = evaluate(model, camvid_tree)

    page = fixtures_report.read("report.html")
    noisy, *units = tables(page)["Every unit"]
    keys = ("psnr", "ssim", "miou", "pixel_accuracy", "mean_accuracy")
    assert noisy == [
        "noisy image",
        measured["noisy"]["psnr"],
        measured["noisy"]["ssim"],
        *[DASH] * 3,
    ]
    assert units == [
        [f"unit {unit['unit']}", *(unit[key] for key in keys)] for unit in measured["units"]
    ]
    rounded = page.one("table").one("tbody").all("tr")[1].all("td")[0].text
    assert rounded == f"{measured['units'][0]['psnr']:.2f}"
    bars = {row[0]: row[2:] for row in tables(page)["IoU of every class %"]}
    assert list(bars) == list(CLASSES)
    for name, values in bars.items():
        iou = [unit["class_iou"][name] for unit in measured["units"]]
        assert values == [DASH if value is None else value for value in iou]


def test_every_table_of_an_evaluation_says_its_protocol(model, camvid_tree):
    evaluate(model, camvid_tree, "--noise", "gaussian:sigma=30", "--seed", 5,
             "--protocol", "paper", "--precision", "float32")  # fmt: skip

    page = fixtures_report.read("report.html")
    blocks = [block for block in page.all("div", "block") if block.all("table")]
    assert len(blocks) == 2
    for block in blocks:
        note = block.one("p", "note").text
        assert note == (
            "Protocol paper: 2 images of camvid/val; precision float32; noise gaussian:sigma=30; "
            "noise seed 5; estimates not clipped; PSNR without a border of 1 pixel; SSIM in "
            "windows of 11 x 11 pixels, Gaussian of sigma 1.5, whole ones only; both with a data "
            "range of 1, mean over images; absent classes counted as 0."
        )


def test_a_report_tells_what_made_it(model, camvid_tree):
    evaluate(model, camvid_tree)

    page = fixtures_report.read("report.html")
    assert page.one("title").text == page.one("h1").text == f"{model} on camvid/val"
    command = ["sdabn", "evaluate", "--dataset", "camvid", "--data", str(camvid_tree),
               "--model", str(model), "--report", "report.html", "--json"]  # fmt: skip
    assert shlex.split(page.one("code").text) == command
    assert re.fullmatch(
        rf"sdabn {sdabn_cli.__version__}, \d{{4}}-\d\d-\d\d \d\d:\d\d UTC",
        page.one("p", "made").text,
    )
    made = page.one("footer").text
    assert f"sdabn {sdabn_cli.__version__}" in made
    assert re.search(r"\btorch \d", made)
    assert "CPU" in made


def test_curves_over_units_pass_through_the_figures(model, camvid_tree):
    measured = evaluate(model, camvid_tree)

    charts = fixtures_report.read("report.html").all("figure", "lines")
    assert [chart.one("strong").text for chart in charts] == ["PSNR over units", "mIoU over units"]
    for chart, key in zip(charts, ("psnr", "miou"), strict=True):
        titles = [title.text for title in chart.all("title")]
        values = [unit[key] for unit in measured["units"]]
        assert titles[0].endswith(f"{values[0]:.2f} at 1")
        assert titles[1].endswith(f"{values[1]:.2f} at 2")


def test_one_unit_alone_has_no_curve(model, camvid_tree):
    evaluate(model, camvid_tree, "--units", 1)

    assert not fixtures_report.read("report.html").all("figure", "lines")


def test_pictures_are_what_was_seen_found_and_true(model, camvid_tree):
    evaluate(model, camvid_tree, "--noise", "gaussian:sigma=10")

    first, second = pictures(fixtures_report.read("report.html"))
    assert list(first) == list(second) == [
        "noisy", "unit 1: estimate", "unit 2: estimate", "clean",
        "unit 1: labels", "unit 2: labels", "true labels",
    ]  # fmt: skip
    names = sorted((camvid_tree / "val").iterdir())
    clean = np.asarray(Image.open(names[0]), dtype=float)
    labels = np.asarray(Image.open(camvid_tree / "valannot" / names[0].name))
    colours = np.array([*PALETTE, (0, 0, 0)])
    assert np.array_equal(np.asarray(first["true labels"].convert("RGB")), colours[labels])

    def apart(name: str) -> float:
        return float(np.abs(np.asarray(first[name].convert("RGB")) - clean).mean())

    assert apart("clean") == 0
    # The mean of the absolute value of a normal variable is its sigma times sqrt(2 / pi).
    assert apart("noisy") == pytest.approx(10 * np.sqrt(2 / np.pi), rel=0.05)
    assert apart("unit 1: estimate") == pytest.approx(apart("noisy"), abs=0.1)  # its input


def test_large_pictures_show_noise_as_strong_as_it_is(model):
    """Formats that store colours at half the resolution would take a third of it away."""
    Image.fromarray(np.full((300, 400, 3), 128, np.uint8)).save("grey.png")

    run(model, "grey.png", "--add-noise", "gaussian:sigma=30")

    (found,) = pictures(fixtures_report.read("report.html"))
    assert found["noisy"].format == "JPEG"
    assert np.asarray(found["noisy"], dtype=float).std() == pytest.approx(30, rel=0.05)


def test_pictures_say_what_was_measured_of_them(model, camvid_tree):
    (camvid_tree / "val" / "frame5.png").unlink()
    measured = evaluate(model, camvid_tree)

    figure = fixtures_report.read("report.html").one("figure", "comparison")
    told = {b.one(name="name").text: b.one(name="figure").text
            for b in figure.all("button") if b.all(name="figure")}  # fmt: skip
    units = measured["units"]
    assert told == {
        "noisy": f"{measured['noisy']['psnr']:.2f} dB",
        "unit 1: estimate": f"{units[0]['psnr']:.2f} dB",
        "unit 2: estimate": f"{units[1]['psnr']:.2f} dB",
        "unit 1: labels": f"mIoU {units[0]['miou']:.1f} %",
        "unit 2: labels": f"mIoU {units[1]['miou']:.1f} %",
    }


def test_every_picture_and_control_has_words(model, camvid_tree):
    evaluate(model, camvid_tree)

    page = fixtures_report.read("report.html")
    assert page.one("html").attributes["lang"] == "en"
    for button in page.all("button"):
        assert len(button.one("img").attributes["alt"]) > 5
    assert re.search(r": .+ \d+ %", page.all("button")[-1].one("img").attributes["alt"])
    assert all(slider.attributes["aria-label"] for slider in page.all("input", "slider"))
    assert all(label.text for label in page.all("label"))
    assert all(chart.attributes["aria-label"] for chart in page.all("svg", "chart"))


@pytest.mark.parametrize(("wanted", "count"), [(0, 0), (1, 1), (2, 2), (9, 2)])
def test_as_many_images_are_shown_as_were_asked_for(model, camvid_tree, wanted, count):
    evaluate(model, camvid_tree, "--report-images", wanted)

    assert len(pictures(fixtures_report.read("report.html"))) == count


@pytest.mark.parametrize(
    "command", [("evaluate", "--dataset", "scenes"), ("run", "a.png"), ("reproduce", "table1")]
)
def test_a_number_of_images_without_a_report_is_refused(command):
    save_picture(Path("a.png"))

    result = sdabn(*command, "--report-images", 3)

    assert_refused(result, "--report-images", "Add one, such as --report report.html.")


def test_images_are_shown_by_their_names(model, camvid_tree):
    names = sorted(path.stem for path in camvid_tree.glob("val/*"))
    for number in range(4):
        save_picture(Path(f"photos/{number}.png"), seed=number)

    evaluate(model, camvid_tree, "--report-images", names[-1])
    of_evaluate = fixtures_report.read("report.html")
    run(model, "photos", "--report-images", "3, 1.png")
    of_run = fixtures_report.read("report.html")

    titles = [
        [figure.one("strong").text for figure in page.all("figure", "comparison")]
        for page in (of_evaluate, of_run)
    ]
    assert titles == [[names[-1]], ["photos/1.png", "photos/3.png"]]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize("command", ["evaluate", "reproduce"])
def test_a_name_of_no_image_is_refused_with_the_nearest(
    model, camvid_tree, tiny_recipe, command, dry
):
    (name, *_) = sorted(path.stem for path in camvid_tree.glob("val/*"))
    given = {
        "evaluate": ("--model", model, "--dataset", "camvid", "--data", camvid_tree),
        "reproduce": ("table1", "--dataset", "camvid", "--data", camvid_tree,
                      "--recipe", tiny_recipe),
    }[command]  # fmt: skip

    result = sdabn(command, *given, "--report", "r.html", "--report-images", f"{name}x", *dry)

    assert_refused(result, f"none of the 2 images is called '{name}x'", name)
    assert not Path("runs").exists()
    assert_refused(
        sdabn(command, *given, "--report", "r.html", "--report-images", " , ", *dry),
        "neither a number nor a name",
    )


def test_the_images_shown_are_evenly_spaced(model):
    for number in range(8):
        save_picture(Path(f"photos/{number}.png"), seed=number)

    run(model, "photos", "--report-images", 4)

    page = fixtures_report.read("report.html")
    titles = [figure.one("strong").text for figure in page.all("figure", "comparison")]
    assert titles == [f"photos/{number}.png" for number in (0, 2, 4, 6)]
    assert len(tables(page)["Every image"]) == 9  # and the mean


def test_large_images_are_shown_smaller(model):
    save_picture(Path("large.png"), 120, 2400)

    run(model, "large.png")

    page = fixtures_report.read("report.html")
    (found,) = pictures(page)
    assert {picture.size for picture in found.values()} == {(1024, 51)}
    assert (
        "2400 \N{MULTIPLICATION SIGN} 120 pixels, shown at 43 %"
        in page.one("figure", "comparison").text
    )


def test_the_size_of_the_pictures_is_stated(model, camvid_tree):
    evaluate(model, camvid_tree)

    page = fixtures_report.read("report.html")
    size = sum(
        len(base64.b64decode(image.attributes["src"].partition(",")[2]))
        for image in page.all("img")
        if "src" in image.attributes
    )
    assert f"14, {size / 1e3:.1f} kB together" in page.one("footer").text


def test_a_run_tells_sigma_seconds_and_pictures_of_every_unit(model):
    save_picture(Path("photo.png"))

    told = run(model, "photo.png", "--sigma", 7)

    page = fixtures_report.read("report.html")
    assert tables(page)["Every image"] == [["photo.png", 7.0, told["images"][0]["seconds"]]]
    (found,) = pictures(page)
    assert list(found) == [
        "input", "unit 1: estimate", "unit 2: estimate", "unit 1: overlay", "unit 2: overlay",
    ]  # fmt: skip
    assert told["report"] == "report.html"
    assert "as given by --sigma" in page.text


def test_a_run_on_clean_images_tells_psnr_of_every_unit(model):
    for name in ("a", "b"):
        save_picture(Path(f"{name}.png"), seed=ord(name))

    told = run(model, "a.png", "b.png", "--add-noise", "gaussian:sigma=20", "--seed", 3)

    page = fixtures_report.read("report.html")
    mean, *rows = tables(page)["Every image"]
    figures = [[i["psnr"]["noisy"], *i["psnr"]["units"]] for i in told["images"]]
    assert [row[3:] for row in rows] == figures
    assert mean[0] == "mean of 2"
    assert mean[3:] == pytest.approx(np.mean(figures, axis=0))
    assert "gaussian:sigma=20, seed 3" in page.one("div", "block").text
    assert list(pictures(page)[0])[:4] == ["noisy", "unit 1: estimate", "unit 2: estimate", "clean"]
    chart = page.one("figure", "lines")
    assert [t.text.split(" at ")[0] for t in chart.all("title")] == [
        f"PSNR: {value:.2f}" for value in mean[4:]
    ]
    first = page.one("figure", "comparison").one("button").one(name="figure")
    assert first.text == f"{figures[0][0]:.2f} dB"


def test_segmenting_alone_shows_no_last_estimate(model):
    save_picture(Path("photo.png"))

    result = sdabn("segment", "photo.png", "--model", model, "--report", "r.html")

    assert result.exit_code == 0
    (found,) = pictures(fixtures_report.read("r.html"))
    assert list(found) == ["input", "unit 1: estimate", "unit 1: overlay", "unit 2: overlay"]


def test_an_ensemble_shows_the_last_unit_alone(model):
    save_picture(Path("photo.png"))

    run(model, "photo.png", "--self-ensemble")

    (found,) = pictures(fixtures_report.read("report.html"))
    assert list(found) == ["input", "unit 2: estimate", "unit 2: overlay"]


def test_a_file_of_several_pages_shows_its_first(model):
    images = [Image.fromarray(np.full((20, 30, 3), grey, np.uint8)) for grey in (50, 200)]
    images[0].save("pages.tif", save_all=True, append_images=images[1:])

    run(model, "pages.tif")

    page = fixtures_report.read("report.html")
    (found,) = pictures(page)
    assert np.asarray(found["input"].convert("RGB")).mean() == pytest.approx(50, abs=2)
    assert "The first of 2 pages." in page.text


def test_images_that_fail_and_warnings_are_told(model):
    save_picture(Path("photos/good.png"))
    Path("photos/bad.png").write_bytes(b"no image")

    told = run(model, "photos", "--sigma", 200)

    page = fixtures_report.read("report.html")
    messages = [block.text for block in page.all("p", "warning")]
    assert messages == [*told["warnings"], told["failed"][0]["error"].replace("\n", " ")]
    assert len(messages) == 2
    assert [figure.one("strong").text for figure in page.all("figure", "comparison")] == [
        "photos/good.png"
    ]


def test_a_dry_run_of_an_evaluation_says_what_would_be_measured_and_written(model, camvid_tree):
    plan = evaluate(model, camvid_tree, "--dry-run", "--limit", 1)
    said = sdabn("evaluate", "--dataset", "camvid", "--data", camvid_tree, "--model", model,
                 "--dry-run", "--report", "r.html")  # fmt: skip

    assert plan["units"] == [{"unit": 1}, {"unit": 2}]
    assert plan["images"] == 1
    assert plan["protocol"]["noise"] == "gaussian:sigma=25"
    assert plan["report"] == "report.html"
    assert said.stdout == ""
    assert "2 images" in said.stderr
    assert "Would write r.html" in said.stderr
    assert files(Path()) == set()


def test_a_dry_run_names_the_report(model):
    save_picture(Path("photo.png"))

    told = run(model, "photo.png", "--dry-run")
    said = sdabn("run", "photo.png", "--model", model, "--dry-run", "--report", "r.html")

    assert told["report"] == "report.html"
    assert "Report: r.html" in said.stderr
    assert files(Path()) == {"photo.png"}


def test_nothing_to_run_is_no_report(model):
    save_picture(Path("photo.png"))
    sdabn("run", "photo.png", "--model", model)

    result = sdabn("run", "photo.png", "--model", model, "--skip-existing", "--report", "r.html")

    assert result.exit_code == 0
    assert "No report: there is nothing to run." in result.stderr
    assert not Path("r.html").exists()


def test_without_report_nothing_is_told_of_one(model, camvid_tree):
    result = sdabn("evaluate", "--dataset", "camvid", "--data", camvid_tree, "--model", model,
                   "--json")  # fmt: skip

    assert "report" not in json.loads(result.stdout)


def test_the_clean_stage_alone_is_called_by_its_name(tiny_recipe, camvid_tree):
    arguments = ["--index", 0, "--kind", "seg", "--recipe", tiny_recipe, "--run", "run"]
    assert sdabn("train-stage", *arguments).exit_code == 0

    result = sdabn("evaluate", "--run", "run", "--stage", "s0", "--dataset", "camvid",
                   "--data", camvid_tree, "--report", "r.html")  # fmt: skip

    assert result.exit_code == 0
    page = fixtures_report.read("r.html")
    assert [row[0] for row in tables(page)["Every unit"]] == ["s0"]
    assert list(pictures(page)[0]) == ["clean", "s0: labels", "true labels"]
    assert "Evaluation of s0 alone on 2 images, as they are" in page.one("p", "summary").text


def test_from_python_a_report_says_the_command_that_does_the_same(model, camvid_tree):
    measured = sdabn_cli.evaluate(
        model, dataset="camvid", data=camvid_tree, noise="gaussian:sigma=9", limit=1, seed=4,
        precision="float32", report="report.html",
    )  # fmt: skip
    command = shlex.split(fixtures_report.read("report.html").one("code").text)

    again = sdabn(*command[1:], "--json")

    assert measured["report"] == "report.html"
    assert json.loads(again.stdout) | {"report": "report.html"} == json.loads(
        json.dumps(measured, default=str)
    )


def test_a_command_line_of_very_many_files_is_cut(model):
    names = [str(save_picture(Path(f"{number:03}.png"), 16, 16)) for number in range(80)]

    run(model, *names, "--report-images", 1)

    command = fixtures_report.read("report.html").one("code").text
    assert command.startswith(f"sdabn run --model {model} --report report.html --json 000.png")
    assert command.endswith("079.png --report-images 1")
    assert re.search(r" \.\.\. \(\d+ more\) ", command)
