"""How much faster sdabn trains than the straightforward way, in one run on one machine.

    python benchmarks/training.py                     # drawn scenes
    python benchmarks/training.py --data CAMVID       # CamVid
    python benchmarks/training.py --data CAMVID --device cuda --steps 40 \
        --set data.workers=8 --set cuda_graphs=true
    python benchmarks/training.py --data CAMVID --stages s1 --set segmenter=joint

Both ways train the same stages of the recipe ``camvid/awgn50-cpu``: the same networks, crops, batch
sizes, optimisers and losses. The straightforward way is eager, float32, NCHW, decodes the PNG of
every sample anew, converts and makes noisy whole images and crops them then, and runs the frozen
prefix as it is. sdabn's side is the stage loop itself, with its files.

Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdabn_cli import device, networks, recipefiles, registry, training
from sdabn_cli.assembly import frozen_prefix
from sdabn_cli.cascade import segment, strengthen
from sdabn_cli.console import TrainingDisplay, show_table
from sdabn_cli.contracts import Dataset, NoiseModel
from sdabn_cli.recipe import DenoiseSettings, Recipe, SegmentSettings
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage

STAGES = ("s1", "d1", "s2", "d2")

#: Steps in front of the timed ones: buffers are allocated, caches filled.
WARM_UP = 2


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings(options, Path(folder))
        run = Run(Path(folder) / "run")
        compute = device.choose(options.device)
        prepare(run, chosen)
        rows = [
            measure(Stage.parse(name), chosen, run, compute, options) for name in options.stages
        ]
    show_table(
        f"Seconds a step, median of {options.steps}; {compute}; torch {torch.__version__}",
        ["stage", "straightforward", "sdabn", "ratio", "waiting for data"],
        rows,
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="directory of CamVid; drawn scenes by default")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--steps", type=int, default=6, help="timed steps of every stage")
    parser.add_argument("--stages", choices=STAGES, default=STAGES, nargs="+")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of sdabn's recipe")
    return parser.parse_args()


def settings(options: argparse.Namespace, folder: Path) -> Recipe:
    """The recipe with as many steps as are timed."""
    steps = WARM_UP + options.steps
    changes = [f"{kind}.steps={steps}" for kind in ("segment", "denoise")]
    changes += [f"{kind}.validation_images=1" for kind in ("segment", "denoise")]
    changes += [f"{kind}.log_every=1" for kind in ("segment", "denoise")]
    changes += ["stages={}", "segment.pictures=0", "denoise.pictures=0", "segment.warmup_steps=0"]
    root = options.data
    if root is None:
        root = draw_scenes(folder / "scenes")
        changes.append("data.dataset=folder")
    return recipefiles.load("camvid/awgn50-cpu", changes + options.set, data__root=str(root))


def draw_scenes(root: Path) -> Path:
    """Write drawn scenes of CamVid's size as a user's own folder of images and labels."""
    for split, count in (("train", 24), ("val", 1)):
        scenes = registry.build(
            "dataset", "scenes", {"count": count, "width": 480, "height": 360},
            root=None, split=split,
        )  # fmt: skip
        for number in range(count):
            example = scenes[number]
            for kind, array in (("images", example.image), ("labels", example.labels)):
                path = root / kind / split / f"{example.name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                iio.imwrite(path, array)
        names = "\n".join(
            f'- {{name: "{name}", color: {list(colour)}}}'
            for name, colour in zip(scenes.classes, scenes.palette, strict=True)
        )
    (root / "classes.yaml").write_text(f"classes:\n{names}\n", encoding="utf-8")
    return root


def open_train(chosen: Recipe) -> Dataset:
    own = chosen.data.dataset
    return registry.build("dataset", own.name, own.options, root=chosen.data.root, split="train")


def prepare(run: Run, chosen: Recipe) -> None:
    """Give every stage random weights, so that any stage can be the one in training."""
    classes = open_train(chosen).classes
    run.claim(chosen, classes)
    for name in ("s0", *STAGES):
        torch.manual_seed(0)
        network = networks.for_kind(chosen, Stage.parse(name).kind, num_classes=len(classes))
        networks.save_weights(run.stage(name).weights, networks.weights_of(network))


def measure(
    stage: Stage, chosen: Recipe, run: Run, compute: device.Compute, options: argparse.Namespace
) -> list[str]:
    """Time one stage both ways."""
    naive = statistics.median(straightforward(stage, chosen, run, compute, options.steps))
    run.stage(stage).weights.rename(run.path / "kept")
    with TrainingDisplay() as display:
        with training.opened(chosen, run, compute, display) as opened:
            training.train_stage(opened, stage)
    (run.path / "kept").replace(run.stage(stage).weights)
    lines = [line for line in run.stage(stage).read_log() if "loss" in line][WARM_UP:]
    size = chosen.for_stage(stage).batch_size
    seconds = [size / line["images_per_second"] for line in lines]
    waited = sum(line["data_wait"] * s for line, s in zip(lines, seconds, strict=True))
    ours = statistics.median(seconds)
    return [
        stage.id, f"{naive:.3f}", f"{ours:.3f}", f"{naive / ours:.1f}x",
        f"{waited / sum(seconds):.1%}",
    ]  # fmt: skip


def straightforward(
    stage: Stage, chosen: Recipe, run: Run, compute: device.Compute, steps: int
) -> list[float]:
    """The loop that one would write first; returns the seconds of every timed step."""
    own = chosen.for_stage(stage)
    dataset = open_train(chosen)
    classes = len(dataset.classes)
    network = networks.for_kind(chosen, stage.kind, num_classes=classes).to(compute.device)
    prefix = frozen_prefix(chosen, run, stage, classes).module.to(compute.device)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kind[own.optimizer](
        network.parameters(), lr=own.learning_rate, weight_decay=own.weight_decay
    )
    noise = registry.build("noise", chosen.noise.name, chosen.noise.options)
    random = torch.Generator().manual_seed(0)
    network.train()
    times = []
    for _ in range(WARM_UP + steps):
        began = time.perf_counter()
        samples = [sample(dataset, own, noise, random) for _ in range(own.batch_size)]
        clean, noisy, labels = (
            torch.stack(part).to(compute.device) for part in zip(*samples, strict=True)
        )
        loss = loss_of(stage, own, network, prefix, clean, noisy, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        times.append(time.perf_counter() - began)
    return times[WARM_UP:]


def sample(
    dataset: Dataset,
    own: SegmentSettings | DenoiseSettings,
    noise: NoiseModel,
    random: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode an image, make it noisy as a whole, scale it, cut a crop."""
    example = dataset[int(torch.randint(len(dataset), (), generator=random))]
    clean = torch.from_numpy(iio.imread(example.image).astype(np.float32) / 255).permute(2, 0, 1)
    labels = torch.from_numpy(iio.imread(example.labels).astype(np.int64))
    low, high = own.scale
    scale = low + (high - low) * float(torch.rand((), generator=random))
    if scale != 1:
        sides = zip(labels.shape, own.crop, strict=True)
        size = [max(round(side * scale), crop) for side, crop in sides]
        clean = F.interpolate(clean[None], size=size, mode="bilinear", antialias=True)[0]
        labels = F.interpolate(labels[None, None].float(), size=size, mode="nearest")[0, 0].long()
    labels[labels >= len(dataset.classes)] = 255
    noisy = noise(clean, random)
    top, left = (
        int(torch.randint(side - crop + 1, (), generator=random))
        for side, crop in zip(labels.shape, own.crop, strict=True)
    )
    window = (..., slice(top, top + own.crop[0]), slice(left, left + own.crop[1]))
    return clean[window], noisy[window], labels[window]


def loss_of(
    stage: Stage, own: SegmentSettings | DenoiseSettings, network: nn.Module, prefix: nn.Module,
    clean: Tensor, noisy: Tensor, labels: Tensor,
) -> Tensor:  # fmt: skip
    with torch.no_grad():
        outputs = prefix(noisy)
    estimates = [output.estimate for output in outputs if output.estimate is not None]
    estimate = estimates[-1] if estimates else None
    if stage.kind == "seg":
        logits = segment(network, noisy if estimate is None else estimate)
        return F.cross_entropy(logits, labels, ignore_index=255)
    condition = outputs[-1].logits.softmax(1)
    error = network(strengthen(noisy, estimate), condition) - clean
    inside = error[..., own.border : -own.border, own.border : -own.border]
    return 0.5 * inside.square().sum() / len(clean)


if __name__ == "__main__":
    main()
