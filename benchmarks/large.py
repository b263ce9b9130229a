"""A large TIFF within a memory limit, and whether its middle is what a part of it gives.

    python benchmarks/large.py                                  # 10,000 x 10,000 pixels, 3 GB
    python benchmarks/large.py --side 5000 --image photo.png

Writes a noisy TIFF (an image repeated), runs ``sdabn run`` on it in a process of its own, prints
its time and the peak of its resident memory, then runs a part around the middle, cut where tiles of
segmenters begin, and compares the middle of both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile

from sdabn_cli.console import show_table
from sdabn_cli.execution import OVERLAP, SIDE

#: Rows that are made noisy and written at once.
BAND = 256

#: Tiles of segmenters begin at multiples of this.
STEP = SIDE - OVERLAP

#: Side of what is compared.
MIDDLE = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--memory", default="3GB")
    parser.add_argument("--units", type=int, default=3)
    parser.add_argument("--sigma", type=float, default=50)
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--image", type=Path, help="image to repeat; a drawn street by default")
    options = parser.parse_args()
    image = options.image or Path(__file__).parent.parent / "examples" / "street.png"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "large.tif", image, options)
        rows = [run(folder / "large.tif", options)]
        first = (options.side // 2 - 3 * STEP // 2) // STEP * STEP
        part = slice(max(first, 0), min(first + 3 * STEP + OVERLAP, options.side))
        cut(folder / "large.tif", folder / "part.tif", part)
        rows.append(run(folder / "part.tif", options))
        show_table(
            f"{options.units} units, --memory {options.memory}, {options.engine}",
            ["image", "seconds", "peak resident memory"],
            rows,
        )
        compare(folder, part)


def make(path: Path, image: Path, options: argparse.Namespace) -> None:
    """Write an image repeated to the side, noisy and in 8 bits, as a tiled TIFF."""
    pattern = iio.imread(image)[..., :3]
    random = np.random.default_rng(0)
    side = options.side
    columns = np.arange(side) % pattern.shape[1]

    def tiles():
        for top in range(0, side, BAND):
            rows = np.arange(top, min(top + BAND, side)) % pattern.shape[0]
            band = pattern[rows][:, columns]
            noisy = band + random.normal(0, options.sigma, band.shape)
            band = np.clip(noisy, 0, 255).round().astype(np.uint8)
            for left in range(0, side, BAND):
                part = band[:, left : left + BAND]
                yield np.pad(part, [(0, BAND - n) for n in part.shape[:2]] + [(0, 0)])

    tifffile.imwrite(
        path, tiles(), shape=(side, side, 3), dtype=np.uint8, tile=(BAND, BAND),
        photometric="rgb", compression="zlib",
    )  # fmt: skip


def cut(whole: Path, target: Path, part: slice) -> None:
    tifffile.imwrite(target, tifffile.imread(whole)[part, part], photometric="rgb")


def run(path: Path, options: argparse.Namespace) -> list[str]:
    """Run the program on an image; a row of the table."""
    command = [
        sys.executable, "-m", "sdabn_cli", "run", str(path), "--units", str(options.units),
        "--memory", options.memory, "--engine", options.engine, "--json",
        "--output", str(path.parent / "out"), "--max-pixels", str(options.side**2),
    ]  # fmt: skip
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = json.loads(process.stdout.read())
    _, _, usage = os.wait4(process.pid, 0)
    assert not said["failed"]
    with tifffile.TiffFile(path) as file:
        height, width = file.pages[0].shape[:2]
    seconds = time.perf_counter() - began
    return [f"{width} x {height}", f"{seconds:.0f}", f"{usage.ru_maxrss / 2**20:.2f} GiB"]


def compare(folder: Path, part: slice) -> None:
    """Compare the middle of the part with the same pixels of the whole."""
    margin = (part.stop - part.start - MIDDLE) // 2
    inner = slice(margin, margin + MIDDLE)
    outer = slice(part.start + margin, part.start + margin + MIDDLE)
    pairs = {}
    for product in ("denoised", "labels"):
        whole = tifffile.imread(folder / "out" / f"large.{product}.tif")[outer, outer]
        alone = tifffile.imread(folder / "out" / f"part.{product}.tif")[inner, inner]
        pairs[product] = whole.astype(int), alone.astype(int)
    difference = np.abs(np.subtract(*pairs["denoised"]))
    equal = np.mean(pairs["labels"][0] == pairs["labels"][1])
    show_table(
        f"The middle ({MIDDLE} x {MIDDLE}) of the part and of the whole",
        ["mean difference", "largest (8-bit steps)", "equal pixels", "equal labels"],
        [[
            f"{difference.mean():.4f}", str(difference.max()),
            f"{np.mean(difference == 0):.3%}", f"{equal:.3%}",
        ]],
    )  # fmt: skip


if __name__ == "__main__":
    main()
