"""What a model makes of noise that is the same in all colours: PSNR before and behind every unit.

    python benchmarks/grey.py CAMVID/val
    python benchmarks/grey.py CAMVID/val --sigmas 25 --limit 17 --model runs/street

Every image is taken twice: made grey, as a grey camera takes it, and in its colours, with
the same noise in each as film's grain has it. The noise is white, neither clipped nor rounded;
estimates are clipped to what an image can show, edges included, and means are those of the images'
PSNR.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as iio
import numpy as np

import sdabn_cli
from sdabn_cli.console import progress, show_table

#: Share of red, green and blue in the brightness of a colour (ITU-R BT.601).
BRIGHTNESS = np.array([0.299, 0.587, 0.114])


def main() -> None:
    options = arguments()
    paths = spread(sorted(options.directory.glob("*.png")), options.limit)
    if not paths:
        raise SystemExit(f"{options.directory} holds no PNG files.")
    model = sdabn_cli.load(options.model, images=2 * len(paths), device=options.device)
    rows = []
    with progress() as bar:
        task = bar.add_task("images", total=2 * len(options.sigmas) * len(paths), info="")
        for sigma in options.sigmas:
            kinds: dict[str, list[list[float]]] = {"grey": [], "colour": []}
            for number, path in enumerate(paths):
                colour = coloured(path)
                noise = np.random.default_rng(number).normal(0, sigma / 255, colour.shape[:2])
                for kind, clean, noisy in (
                    ("grey", grey := colour @ BRIGHTNESS, grey + noise),
                    ("colour", colour, colour + noise[..., None]),
                ):
                    estimates = [unit.denoised for unit in model(noisy, units=True).units]
                    kinds[kind].append([psnr(each, clean) for each in (noisy, *estimates)])
                    bar.advance(task)
            for kind, figures in kinds.items():
                means = np.mean(figures, axis=0)
                rows.append([f"{sigma:g}", kind, *(f"{value:.2f}" for value in means)])
    heads = ["sigma", "images", "noisy", *(f"unit {n + 1}" for n in range(len(model)))]
    show_table(f"PSNR in dB, {len(paths)} images; {model.name}", heads, rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="clean colour images, PNG")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[10, 25, 50])
    parser.add_argument("--model", default="street", help="what sdabn run --model takes")
    parser.add_argument("--limit", type=int, help="this many images, evenly spaced")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args()


def coloured(path: Path) -> np.ndarray:
    """Colours of a PNG file of 8 bits, (H, W, 3) in [0, 1]."""
    image = iio.imread(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] < 3:
        raise SystemExit(f"{path} is no colour image of 8 bits.")
    return image[..., :3] / 255.0


def spread(paths: list[Path], limit: int | None) -> list[Path]:
    """At most ``limit`` of the paths, evenly spaced."""
    count = min(limit or len(paths), len(paths))
    return [paths[number * len(paths) // count] for number in range(count)]


def psnr(image: np.ndarray, clean: np.ndarray) -> float:
    """Of an image, clipped to [0, 1], in dB."""
    return float(-10 * np.log10(np.mean((image.clip(0, 1) - clean) ** 2)))


if __name__ == "__main__":
    main()
