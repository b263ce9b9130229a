"""Reports load nothing, run nothing of a stranger's, and are written whole or not at all."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import fixtures_report
import pytest
from fixtures_cli import assert_refused, files, save_model, save_picture, sdabn
from fixtures_report import HOSTILE
from fixtures_report_runs import evaluate, run

#: Files have no slash in their names; this looks like one.
SLASH = "\N{DIVISION SLASH}"


#: Attributes by which a page can load or go somewhere.
ADDRESSES = {"src", "href", "srcset", "action", "formaction", "data", "poster", "background",
             "xlink:href", "ping", "cite", "manifest"}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    return save_model(tmp_path / "model")


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
