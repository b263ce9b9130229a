"""The benchmarks of quality: what they measure, and what they say of wrong data."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from fixtures_cli import picture, save_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = pytest.mark.filterwarnings("ignore:This image")


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    """A model whose first unit returns what it is given, and whose second blurs it."""
    return save_model(tmp_path / "model")


@pytest.fixture
def benchmark(monkeypatch, capsys):
    """Run a benchmark: the numbers of the table's lines that begin with a word."""

    def run(name: str, *arguments: object) -> dict[str, list[float]]:
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        lines = re.findall(
            r"^ +(\S+(?: +[a-z]+)?)((?: +[\d.]+)+) *$", "".join(capsys.readouterr()), re.M
        )
        return {
            " ".join(head.split()): [float(part) for part in rest.split()] for head, rest in lines
        }

    return run


def test_noise_that_is_the_same_in_all_colours_is_measured_on_grey_and_coloured_images(
    benchmark, model
):
    for number in range(3):
        iio.imwrite(f"{number}.png", picture(96, 96, seed=number))

    rows = benchmark("grey", ".", "--sigmas", 20, "--model", model, "--limit", 2)

    assert rows.keys() == {"20 grey", "20 colour"}
    for noisy, first, second in rows.values():
        assert noisy == pytest.approx(22.1, abs=0.8)  # clipped, where the image is black or white
        assert first == pytest.approx(noisy, abs=0.05)
        assert second > noisy


def test_photographs_are_measured_camera_by_camera(benchmark, model):
    random = np.random.default_rng(0)
    for name in ("Canon_a", "Canon_b", "Sony_a"):
        clean = np.full((64, 64, 3), 128, np.uint8)
        noisy = (clean + random.choice([-8, 8], clean.shape)).astype(np.uint8)
        iio.imwrite(f"{name}_mean.png", clean)
        iio.imwrite(f"{name}_real.png", noisy)

    rows = benchmark("photographs", ".", "--model", model)

    assert rows.keys() == {"Canon", "Sony", "all"}
    assert [row[0] for row in rows.values()] == [2, 1, 3]
    for _, photograph, first, second in rows.values():
        assert photograph == pytest.approx(20 * np.log10(255 / 8), abs=0.01)
        assert first == pytest.approx(photograph, abs=0.2)
        assert second > photograph + 5


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("grey", "nothing", "holds no PNG files"),
        ("grey", "a.png", "a.png is no colour image of 8 bits"),
        ("photographs", "nothing", "holds no file whose name ends with _real"),
        ("photographs", "a_real.png", "a_mean.png is missing"),
    ],
)
def test_wrong_data_is_said_in_a_sentence(benchmark, model, name, file, message):
    Path("data").mkdir()
    if file != "nothing":
        iio.imwrite(f"data/{file}", np.zeros((32, 32), np.uint8))

    with pytest.raises(SystemExit, match=message):
        benchmark(name, "data", "--model", model)
