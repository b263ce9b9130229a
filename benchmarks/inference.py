"""How much faster sdabn runs a model than the straightforward way, in one run on one machine.

    python benchmarks/inference.py --sizes 384x480 1024x2048
    python benchmarks/inference.py --sizes 4096x4096 --memory 4GB
    python benchmarks/inference.py --device cuda --ways straightforward torch
    python benchmarks/inference.py --images CAMVID/val        # quality on photographs

Both ways run the same weights on the same noisy images. The straightforward way is eager, float32,
NCHW and the whole image at once. Every measurement runs in a process of its own, which gives the
peak of its resident memory; converted networks are in OpenVINO's cache before it is timed. With the
time come the PSNR of the last estimate against the clean image and the share of equal labels.

Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from sdabn_cli.console import show_table

WAYS = ("straightforward", "float32", "torch", "openvino")

#: Values of an image from which on the straightforward way is run once, without a warm-up.
LARGE = 3_000_000

#: Standard deviation of the noise in parts of 255: that of the shipped model.
SIGMA = 50


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            rows = compare(size, options, Path(folder))
            show_table(
                f"{size}, {options.units} units, {options.device}",
                ["way", "seconds", "ratio", "peak memory", "PSNR (dB)", "equal labels"],
                rows,
            )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["384x480"], help="HEIGHTxWIDTH")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--images", type=Path, help="folder of clean images; drawn by default")
    parser.add_argument("--model", default="street")
    parser.add_argument("--units", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--memory", default="auto", help="what sdabn may use, such as 4GB")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs; the median counts")
    return parser.parse_args()


def compare(size: str, options: argparse.Namespace, folder: Path) -> list[list[str]]:
    """Measure every way at one size; the first one is what the others are compared with."""
    rows, first = [], None
    for way in options.ways:
        found = in_own_process(way, size, options, folder / f"{size}-{way}.npy")
        if found is None:
            rows.append([way, "out of memory", "", "", "", ""])
            continue
        labels = np.load(folder / f"{size}-{way}.npy")
        first = first or (found, labels)
        rows.append([
            way, f"{found['seconds']:.3f}", f"{first[0]['seconds'] / found['seconds']:.1f}x",
            f"{found['memory'] / 2**20:,.0f} MiB", f"{found['psnr']:.3f}",
            f"{np.mean(labels == first[1]):.3%}",
        ])  # fmt: skip
    return rows


def in_own_process(
    way: str, size: str, options: argparse.Namespace, labels: Path
) -> dict[str, Any] | None:
    """Run ``measure`` in a fresh process; None if it has run out of memory."""
    context = multiprocessing.get_context("spawn")
    answer = labels.with_suffix(".json")
    process = context.Process(target=measure, args=(way, size, options, labels, answer))
    process.start()
    process.join()
    return json.loads(answer.read_text()) if answer.is_file() else None


def measure(way: str, size: str, options: argparse.Namespace, labels: Path, answer: Path) -> None:
    """Time one way and write its figures as JSON, its labels as an array."""
    import torch

    from sdabn_cli.metrics import psnr

    limit = int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    clean = clean_image(size, options.images)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = clean + SIGMA / 255 * noise
    runs = {"straightforward": straightforward}.get(way, toolkit)
    try:
        run = runs(way, options)
        times = []
        # The straightforward way takes minutes on a large image: it is run once there.
        once = way == "straightforward" and noisy.numel() > LARGE
        for _ in range(1 if once else options.repeats + 1):
            began = time.perf_counter()
            estimate, ids = run(noisy)
            times.append(time.perf_counter() - began)
        times = times[-options.repeats :]
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        return
    np.save(labels, ids)
    figures = {
        "seconds": statistics.median(times),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "psnr": psnr(estimate.clamp(0, 1), clean, border=1),
    }
    if options.device != "cpu":
        figures["memory"] = torch.cuda.max_memory_allocated()
    answer.write_text(json.dumps(figures))


def clean_image(size: str, folder: Path | None) -> Any:
    """A clean image of the size, float32 (1, 3, H, W): photographs or a drawn street, tiled."""
    import torch

    from sdabn_cli.pixels import to_unit

    if folder is None:
        files = [Path(__file__).parent.parent / "examples" / "street.png"]
    else:
        files = sorted(folder.glob("*.png"))
    height, width = map(int, size.split("x"))
    tile = to_unit(iio.imread(files[0]))
    repeats = (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1)
    whole = np.tile(tile, repeats)[:height, :width]
    return torch.from_numpy(whole).permute(2, 0, 1)[None].contiguous()


def straightforward(way: str, options: argparse.Namespace) -> Any:
    """The networks as they are on the image as it is, one after the other."""
    import torch
    from torch import nn

    from sdabn_cli import model as models
    from sdabn_cli.cascade import segment, strengthen

    del way
    cascade = models.load(options.model, units=options.units).cascade.to(options.device)
    assert isinstance(cascade, nn.Module)

    @torch.no_grad()
    def run(noisy: Any) -> tuple[Any, np.ndarray]:
        y, estimate = noisy.to(options.device), None
        for unit in cascade.units:
            logits = segment(unit.segmenter, y if estimate is None else estimate)
            estimate = unit.denoiser(strengthen(y, estimate), logits.softmax(1))
        return estimate.cpu(), logits.argmax(1)[0].to(torch.uint8).cpu().numpy()

    return run


def toolkit(way: str, options: argparse.Namespace) -> Any:
    """The toolkit's own runner."""
    from sdabn_cli import device, inference, memory, planes
    from sdabn_cli import model as models

    precision = "float32" if way == "float32" else "auto"
    engine = "openvino" if way == "openvino" else "torch"
    runner = inference.Runner(
        models.load(options.model, units=options.units),
        device.choose(options.device, precision),
        engine=engine,
        budget=memory.budget(options.memory),
    )

    def run(noisy: Any) -> tuple[Any, np.ndarray]:
        with runner.workspace() as workspace:
            result = runner(noisy, workspace)
            return planes.whole(result.estimate).cpu(), result.labels.numpy()

    return run


if __name__ == "__main__":
    main()
