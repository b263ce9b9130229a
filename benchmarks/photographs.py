"""What a model makes of real camera noise: PSNR before and behind every unit, camera by camera.

    python benchmarks/photographs.py POLYU                  # the model that comes with sdabn
    python benchmarks/photographs.py POLYU --model runs/street --limit 10

POLYU is a directory of pairs as the PolyU data set has them: ``CAMERA_..._real.JPG`` is a noisy
photograph, ``CAMERA_..._mean.JPG`` the mean of many of the same scene. Estimates are compared as
files hold them, in 8 bits and with their edges; means are those of the photographs' PSNR.

Reference:
    Xu et al., "Real-world Noisy Image Denoising: A New Benchmark",
    https://arxiv.org/abs/1804.02603.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import imageio.v3 as iio
import numpy as np

import sdabn_cli
from sdabn_cli.console import progress, show_table


def main() -> None:
    options = arguments()
    pairs = spread(found(options.directory, options.noisy, options.clean), options.limit)
    model = sdabn_cli.load(options.model, images=len(pairs), device=options.device)
    figures: dict[str, list[list[float]]] = defaultdict(list)
    with progress() as bar:
        task = bar.add_task("photographs", total=len(pairs), info="")
        for noisy, clean in pairs:
            image, truth = iio.imread(noisy), iio.imread(clean)
            estimates = [unit.denoised for unit in model(image, units=True).units]
            row = [psnr(each, truth) for each in (image, *estimates)]
            figures[noisy.name.split("_")[0]].append(row)
            bar.advance(task)
    show(figures, model)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--model", default="street", help="what sdabn run --model takes")
    parser.add_argument("--noisy", default="_real", help="how names of photographs end")
    parser.add_argument("--clean", default="_mean", help="how names of their references end")
    parser.add_argument("--limit", type=int, help="this many pairs, evenly spaced")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args()


def found(directory: Path, noisy: str, clean: str) -> list[tuple[Path, Path]]:
    """Every photograph with its reference, in the order of their names."""
    photographs = sorted(path for path in directory.glob("*") if path.stem.endswith(noisy))
    if not photographs:
        raise SystemExit(f"{directory} holds no file whose name ends with {noisy}.")
    pairs = [(path, path.with_stem(path.stem.removesuffix(noisy) + clean)) for path in photographs]
    lacking = [truth for _, truth in pairs if not truth.is_file()]
    if lacking:
        raise SystemExit(f"{lacking[0]} is missing: the reference of a photograph.")
    return pairs


def spread(pairs: list[tuple[Path, Path]], limit: int | None) -> list[tuple[Path, Path]]:
    """At most ``limit`` of the pairs, evenly spaced."""
    count = min(limit or len(pairs), len(pairs))
    return [pairs[number * len(pairs) // count] for number in range(count)]


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Of two images of 8 bits, in dB."""
    error = np.mean((image.astype(np.float64) - truth) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def show(figures: dict[str, list[list[float]]], model: sdabn_cli.LoadedModel) -> None:
    """A line a camera, and one of all photographs."""
    every = [row for rows in figures.values() for row in rows]
    lines = [
        [camera, str(len(rows)), *(f"{value:.2f}" for value in np.mean(rows, axis=0))]
        for camera, rows in [*sorted(figures.items()), ("all", every)]
    ]
    heads = ["camera", "pairs", "photograph", *(f"unit {n + 1}" for n in range(len(model)))]
    show_table(f"PSNR in dB, 8 bits; {model.name}, trained on {model.noise}", heads, lines)


if __name__ == "__main__":
    main()
