"""Reports in a browser: the divider moves, nothing is loaded, nothing is complained about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import devtools
import numpy as np
import pytest
from fixtures_cli import save_model, sdabn
from PIL import Image

from sdabn_cli.report import layers
from sdabn_cli.report.content import Claim, Claims, Comparison, Gallery, Page, Section
from sdabn_cli.report.page import write

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        devtools.browser() is None,
        reason=f"no browser: none of {', '.join(devtools.NAMES)} is installed",
    ),
]

RED, GREEN, BLUE, YELLOW = (220, 0, 0), (0, 160, 0), (0, 0, 220), (220, 220, 0)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[devtools.Tab]:
    """One browser for all tests of this file."""
    with devtools.opened(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture
def tab(browser: devtools.Tab) -> devtools.Tab:
    """A tab that has told nothing yet."""
    browser.events.clear()
    return browser


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((180, 240, 3), colour, np.uint8)


@pytest.fixture
def colours() -> Path:
    """A report of two comparisons: noisy red, estimate blue, labels green; and yellow for red."""
    labels = np.zeros((180, 240), np.uint8)
    comparisons = [
        Comparison(
            name,
            [
                layers.photo("noisy", plain(first), alt=f"noisy {name}", figure="14.00 dB"),
                layers.photo("unit 1: estimate", plain(BLUE), alt=f"estimate of {name}"),
                layers.class_map("unit 1: labels", labels, [GREEN]),
            ],
            right=1,
        )
        for name, first in (("one", RED), ("two", YELLOW))
    ]
    sections = [Section("Images", [Gallery(comparisons, [("green", GREEN)])])]
    write(Path("colours.html"), Page("Colours", "", sections, "sdabn"))
    return Path("colours.html")


def stage(tab: devtools.Tab, number: int = 0) -> tuple[float, float, float, float]:
    """Left, top, width and height of a comparison's pictures in the window."""
    box = tab.run(
        f"(() => {{ const stage = document.querySelectorAll('.stage')[{number}];"
        "stage.scrollIntoView({block: 'center'});"
        "const box = stage.getBoundingClientRect();"
        "return [box.left, box.top, box.width, box.height]; })()"
    )
    return tuple(box)


def seen(tab: devtools.Tab, share: float, number: int = 0) -> str:
    """Colour of a comparison at a share of its width, in its lower part, as it is painted."""
    left, top, width, height = stage(tab, number)
    pixel = tab.screenshot().getpixel((int(left + share * width), int(top + 0.9 * height)))
    known = {"red": RED, "green": GREEN, "blue": BLUE, "yellow": YELLOW}
    return next(
        (name for name, colour in known.items() if np.abs(np.subtract(pixel, colour)).max() < 25),
        str(pixel),
    )


def choose(tab: devtools.Tab, selector: str, number: int) -> None:
    """Choose an entry of a list by the keyboard, from its first one on."""
    tab.run(f"document.querySelector({selector!r}).focus()")
    tab.press("Home")
    tab.press("ArrowDown", times=number)


def test_left_of_the_divider_is_one_picture_and_right_of_it_another(tab, colours):
    tab.show(colours)

    assert [seen(tab, share) for share in (0.1, 0.4, 0.6, 0.9)] == ["red", "red", "blue", "blue"]


def test_the_keyboard_moves_the_divider(tab, colours):
    tab.show(colours)
    tab.run("document.querySelector('.slider').focus()")

    tab.press("ArrowRight", times=20)
    assert [seen(tab, share) for share in (0.6, 0.8)] == ["red", "blue"]
    tab.press("Home")
    assert [seen(tab, share) for share in (0.05, 0.95)] == ["blue", "blue"]
    tab.press("End")
    assert [seen(tab, share) for share in (0.05, 0.95)] == ["red", "red"]
    # The other comparison has a divider of its own.
    assert [seen(tab, share, 1) for share in (0.4, 0.6)] == ["yellow", "blue"]


def test_the_tab_key_reaches_everything_that_is_needed(tab, colours):
    tab.show(colours)
    reached = []
    for _ in range(11):
        tab.press("Tab")
        reached.append(tab.run("document.activeElement.className || document.activeElement.type"))

    # For all images; then the first one's lists, divider and pictures, then the second's.
    one = ["left", "right", "slider", "button", "button", "button"]
    assert reached == ["left", "right", *one, *one[:3]]


def test_the_mouse_moves_the_divider(tab, colours):
    tab.show(colours)
    left, top, width, height = stage(tab)
    middle = top + height / 2

    tab.drag((left + 0.5 * width, middle), (left + 0.8 * width, middle))

    assert [seen(tab, share) for share in (0.7, 0.9)] == ["red", "blue"]
    assert tab.run("document.querySelector('.slider').value") == "80"


def test_both_sides_can_show_every_layer(tab, colours):
    tab.show(colours)

    choose(tab, ".comparison select.left", 2)
    choose(tab, ".comparison select.right", 0)

    assert [seen(tab, share) for share in (0.4, 0.6)] == ["green", "red"]
    assert tab.run("document.querySelector('.over').alt") == "unit 1: labels"
    assert tab.run("document.querySelector('.under').alt") == "noisy one"
    assert [seen(tab, share, 1) for share in (0.4, 0.6)] == ["yellow", "blue"]


def test_one_choice_serves_all_images(tab, colours):
    tab.show(colours)

    choose(tab, ".all select.right", 2)

    assert [seen(tab, share, 0) for share in (0.4, 0.6)] == ["red", "green"]
    assert [seen(tab, share, 1) for share in (0.4, 0.6)] == ["yellow", "green"]


def test_a_small_picture_is_shown_large_when_it_is_pressed(tab, colours):
    tab.show(colours)

    tab.run("document.querySelectorAll('.strip button')[2].click()")

    assert seen(tab, 0.6) == "green"
    assert tab.run("document.querySelector('.comparison select.right').value") == "2"
    pressed = "document.querySelectorAll('.strip button')[{}].ariaPressed"
    assert [tab.run(pressed.format(number)) for number in (1, 2)] == ["false", "true"]


def test_a_screen_reader_is_told_where_the_divider_stands(tab, colours):
    tab.show(colours)
    slider = "document.querySelector('.slider').ariaValueText"

    assert tab.run(slider) == "50 %: left noisy  14.00 dB, right unit 1: estimate"
    tab.run("document.querySelector('.slider').focus()")
    tab.press("ArrowLeft", times=2)
    assert tab.run(slider).startswith("48 %")


@pytest.fixture
def reported(tmp_path: Path, tiny_recipe: str, camvid_tree: Path) -> Callable[[str], Path]:
    """Have a command write the report of a model, or of a table, with a long name."""
    data = ["--dataset", "camvid", "--data", camvid_tree]
    name = "m" * 120

    def make(command: str) -> Path:
        arguments = {
            "evaluate": [*data, "--model", tmp_path / name],
            "run": [camvid_tree / "val", "--add-noise", "gaussian:sigma=20",
                    "--model", tmp_path / name],
            "reproduce": ["table3", *data, "--recipe", tiny_recipe, "--run", name],
        }  # fmt: skip
        if command != "reproduce":
            save_model(tmp_path / name)
        result = sdabn(command, *arguments[command], "--report", "report.html")
        assert result.exit_code == 0, result.stderr
        return Path("report.html")

    return make


@pytest.mark.parametrize("command", ["evaluate", "run", "reproduce"])
def test_a_report_loads_nothing_and_the_console_stays_empty(tab, reported, command):
    report = reported(command)

    for width, dark in ((1600, False), (390, True)):
        tab.show(report, width=width, dark=dark)
        tab.run("document.querySelector('.slider').focus()")
        before = tab.screenshot(whole=True)
        tab.press("ArrowRight", times=30)
        after = tab.screenshot(whole=True)
        assert before.size == after.size
        assert before.tobytes() != after.tobytes()

    asked = tab.requested()
    assert [url for url in asked if not url.startswith("data:")] == [report.resolve().as_uri()] * 2
    assert tab.complaints() == []


@pytest.mark.parametrize("command", ["evaluate", "reproduce"])
def test_nothing_is_wider_than_the_window(tab, reported, command):
    report = reported(command)

    for width in (390, 1600):
        tab.show(report, width=width)
        assert tab.run("document.documentElement.scrollWidth") == width


def test_a_long_claim_is_not_wider_than_the_window(tab):
    words, letters = "segmentation helps denoising " * 20, "sdb:d1" * 60
    claims = [
        Claim(text, verdict, "open", [text, text])
        for text, verdict in ((words, "open"), (letters, "open"), (words, letters))
    ]
    write(Path("claims.html"), Page("Claims", "", [Section("All", [Claims(claims)])], "sdabn"))

    tab.show(Path("claims.html"), width=390)

    assert tab.run("document.documentElement.scrollWidth") == 390
    right = (
        "[...document.querySelectorAll('.claims *')].map((e) => e.getBoundingClientRect().right)"
    )
    assert max(tab.run(right)) <= 390


def test_every_picture_is_decoded(tab, colours):
    tab.show(colours)

    widths = tab.run(
        "Promise.all([...document.images].map((image) => image.decode().then("
        "() => image.naturalWidth)))"
    )
    assert widths == [240] * 10


def test_a_dark_scheme_is_dark(tab, colours):
    def brightness(dark: bool) -> float:
        tab.show(colours, dark=dark)
        return float(np.asarray(tab.screenshot())[:20, :20].mean())

    assert brightness(dark=False) > 240
    assert brightness(dark=True) < 40


def test_a_hostile_name_runs_nothing(tab, tmp_path, tiny_plugins):
    Path("photos").mkdir()
    name = "<img src=x onerror=document.title='owned'>\"'.png"
    Image.fromarray(plain(RED)).save(Path("photos", name))
    model = save_model(tmp_path / "model")
    assert sdabn("run", "photos", "--model", model, "--report", "r.html").exit_code == 0

    tab.show(Path("r.html"))

    assert tab.run("document.title") == f"photos/{name}"
    assert tab.run("document.querySelector('h1').textContent") == f"photos/{name}"
    assert tab.complaints() == []


def test_the_policy_stops_a_script_that_gets_in(tab, colours):
    """Were a name not escaped, the browser would still refuse what it says."""
    text = colours.read_text(encoding="utf-8")
    inserted = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
    Path("attacked.html").write_text(text.replace("<main>", f"<main>{inserted}"), encoding="utf-8")

    tab.show(Path("attacked.html"))

    assert tab.run("document.title") == "Colours"
    assert any("Content Security Policy" in str(complaint) for complaint in tab.complaints())


def test_a_printed_report_shows_every_layer_and_no_controls(tab, colours):
    tab.show(colours)
    tab.call("Emulation.setEmulatedMedia", media="print", features=[])

    visible = "[...document.querySelectorAll('{}')].filter((e) => e.offsetParent).length"
    try:
        assert tab.run(visible.format(".strip img")) == 6
        assert tab.run(visible.format(".slider, select, .stage")) == 0
    finally:
        tab.call("Emulation.setEmulatedMedia", media="", features=[])


def test_without_scripts_every_layer_is_there(tab, colours):
    text = colours.read_text(encoding="utf-8")
    Path("still.html").write_text(text.partition("<script>")[0], encoding="utf-8")

    tab.show(Path("still.html"))

    visible = "[...document.querySelectorAll('{}')].filter((e) => e.offsetParent).length"
    assert tab.run(visible.format(".strip img")) == 6
    assert tab.run(visible.format(".viewer")) == 0
