"""``--report`` of ``evaluate`` and ``run``: what it holds; that it is whole, safe and complete."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import resource
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fixtures_report
import numpy as np
import pytest
from fixtures_cli import assert_refused, files, save_model, save_picture, sdabn
from fixtures_report import HOSTILE, pictures, tables
from PIL import Image

import sdabn_cli
from sdabn_cli.report.figures import DASH
from sdabn_plugins.camvid import CLASSES, PALETTE

#: Files have no slash in their names; this looks like one.
SLASH = "\N{DIVISION SLASH}"

#: Attributes by which a page can load or go somewhere.
ADDRESSES = {"src", "href", "srcset", "action", "formaction", "data", "poster", "background",
             "xlink:href", "ping", "cite", "manifest"}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    """Two units: the first estimate is the input, the second a blurred one."""
    return save_model(tmp_path / "model")


def evaluate(model: Path, root: Path, *arguments: Any) -> dict[str, Any]:
    result = sdabn("evaluate", "--dataset", "camvid", "--data", root, "--model", model,
                   "--report", "report.html", "--json", *arguments)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def run(model: Path, *arguments: Any) -> dict[str, Any]:
    result = sdabn("run", "--model", model, "--report", "report.html", "--json", *arguments)
    assert result.exit_code in (0, 1), result.stderr
    return json.loads(result.stdout)


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
    measured = evaluate(model, camvid_tree, "--noise", "gaussian:sigma=30", "--seed", 5,
                        "--protocol", "paper")  # fmt: skip

    page = fixtures_report.read("report.html")
    blocks = [block for block in page.all("div", "block") if block.all("table")]
    assert len(blocks) == 2
    for block in blocks:
        note = block.one("p", "note").text
        assert "2 images of camvid/val" in note
        for key, value in measured["protocol"].items():
            word = {"clip": "no"}.get(key, value)
            assert f"{key.replace('_', ' ')}: {word}" in note


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


def test_a_report_refers_to_nothing_outside_itself(model, camvid_tree):
    evaluate(model, camvid_tree)

    text = Path("report.html").read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text
    page = fixtures_report.parse(text)
    for element in page.all():
        for name in ADDRESSES & element.attributes.keys():
            address = element.attributes[name]
            assert address.startswith(("data:", "#")), f"{element.tag} {name}={address:.60}"


def test_the_policy_allows_this_style_and_this_script_alone(model, camvid_tree):
    evaluate(model, camvid_tree)

    page = fixtures_report.read("report.html")
    (policy,) = [
        meta.attributes["content"]
        for meta in page.all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed.keys() == {"default-src", "img-src", "style-src", "script-src", "base-uri",
                              "form-action"}  # fmt: skip
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    assert allowed["img-src"] == "data:"
    for tag in ("style", "script"):
        (element,) = page.all(tag)
        digest = hashlib.sha256("".join(element.children).encode()).digest()
        assert allowed[f"{tag}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    # The policy would block these.
    for element in page.all():
        assert not [name for name in element.attributes if name == "style" or name[:2] == "on"]


def test_hostile_names_of_files_are_text(model):
    name = HOSTILE.replace("/", SLASH) + "\u202e\x1b[31m\n.png"
    save_picture(Path("photos", name))

    run(model, "photos", "--add-noise", "gaussian:sigma=5")

    page = fixtures_report.read("report.html")
    assert len(page.all("script")) == 1
    assert not [element for element in page.all() if "onerror" in element.attributes]
    title = page.one("h1").text
    assert title.startswith(f"photos/{HOSTILE.replace('/', SLASH)}")
    assert not {"\u202e", "\x1b"} & set(Path("report.html").read_text(encoding="utf-8"))
    assert "<img src=x" in page.one("button").one("img").attributes["alt"]


def test_names_that_are_no_text_do_not_stop_a_report(model):
    name = os.fsdecode(b"photo\xff.png")
    try:
        save_picture(Path(name))
    except OSError:
        pytest.skip("this file system has no names that are no text")

    run(model, name)

    assert fixtures_report.read("report.html").one("h1").text == "photo?.png"


def test_hostile_names_of_classes_and_models_are_text(tmp_path, tiny_plugins, camvid_tree):
    directory = save_model(tmp_path / "<b>model")
    path = directory / "cascade.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    described["classes"][0] = HOSTILE
    path.write_text(json.dumps(described), encoding="utf-8")
    save_picture(Path("photo.png"))

    run(directory, "photo.png")

    page = fixtures_report.read("report.html")
    assert len(page.all("script")) == 1
    assert not [element for element in page.all() if "onerror" in element.attributes]
    assert page.one("ul", "classes").all("li")[0].text == " ".join(HOSTILE.split())
    assert "<b>model, 2 units" in page.one("p", "summary").text


@contextlib.contextmanager
def small_disk() -> Iterator[None]:
    """A limit on the size of files stands for the disk; no longer than pytest writes nothing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_a_report_is_written_whole_or_not_at_all_and_nothing_else_is_lost(
    model, camvid_tree, command
):
    save_picture(Path("photo.png"), 16, 16)
    Path("report.html").write_text("the last one")
    what = {"run": ["photo.png"], "evaluate": ["--dataset", "camvid", "--data", camvid_tree]}

    options = ["--model", model, "--report", "report.html", "--json"]
    with small_disk():
        result = sdabn(command, *what[command], *options)

    assert result.exit_code == 2
    assert "report.html cannot be written" in " ".join(result.stderr.split())
    assert "Report:" not in result.stderr
    assert "report" not in json.loads(result.stdout)
    assert Path("report.html").read_text() == "the last one"
    assert {name for name in files(Path()) if "report" in name} == {"report.html"}


@pytest.mark.parametrize("command", ["run", "evaluate"])
@pytest.mark.parametrize(
    ("place", "problem", "hint"),
    [
        ("folder", "is a directory", "Name a file: folder/report.html"),
        ("folder.html", "is a directory", "Name a file"),
        ("photo.png", "a report is an HTML file", "Name it photo.html"),
        ("photo.png/r.html", "photo.png cannot be written to", "Name another file"),
    ],
)
def test_a_place_that_takes_no_report_is_refused_at_once(
    model, camvid_tree, command, place, problem, hint
):
    Path("folder").mkdir()
    Path("folder.html").mkdir()
    save_picture(Path("photo.png"))
    what = {"run": ["photo.png"], "evaluate": ["--dataset", "camvid", "--data", camvid_tree]}

    result = sdabn(command, *what[command], "--model", model, "--report", place)

    assert_refused(result, f"--report {place}", problem, hint)
    assert files(Path()) == {"photo.png"}


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
