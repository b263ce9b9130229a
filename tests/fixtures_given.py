"""Weights as if trained, the files that they lie in, and cascades that start from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fixtures_cli import sdabn
from safetensors.torch import load_file, save_file
from torch import Tensor

from sdabn_cli import networks

CLASSES = 11

#: A run whose stages do a step that changes no weight but batch norm's statistics.
STILL = ["--set", "segment.learning_rate=1.0e-30", "--set", "denoise.learning_rate=1.0e-30",
         "--set", "segment.steps=1", "--set", "denoise.steps=1"]  # fmt: skip


def segmenter(num_classes: int = CLASSES) -> dict[str, Tensor]:
    """Weights of the segmenter ``tiny`` as if trained: random, with statistics."""
    torch.manual_seed(5)
    module = networks.build_segmenter("tiny", {}, num_classes=num_classes)
    module(torch.rand(2, 3, 8, 8))
    return networks.weights_of(module)


def denoiser(channels: int = CLASSES) -> dict[str, Tensor]:
    torch.manual_seed(6)
    return networks.weights_of(networks.build_denoiser("tiny", {}, condition_channels=channels))


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def sha256(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def cascade(recipe_name: str, *settings: str, run: str = "run", more: tuple[str, ...] = ()) -> Any:
    sets = [part for setting in settings for part in ("--set", setting)]
    return sdabn("cascade", "--recipe", recipe_name, "--run", run, *sets, *more)


def planned(recipe_name: str, *settings: str, run: str = "run") -> dict[str, dict[str, Any]]:
    result = cascade(recipe_name, *settings, run=run, more=("--dry-run", "--json"))
    assert result.exit_code == 0, result.stderr
    return {stage["id"]: stage for stage in json.loads(result.stdout)["stages"]}


def weights(stage: str, run: str = "run") -> dict[str, Tensor]:
    return load_file(Path(run) / stage / "weights.safetensors")


def with_prefix(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: t.half() if t.is_floating_point() else t for n, t in state.items()}


FILES: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain.safetensors": lambda state: state,
    "plain.pt": lambda state: state,
    "lightning.ckpt": lambda state: {"state_dict": with_prefix("model.", state), "epoch": 3},
    "parallel.pth": lambda state: {"model": with_prefix("module.", state)},
    "compiled.bin": lambda state: with_prefix("_orig_mod.", state),
    "averaged.pt": lambda state: {"ema": state, "decay": 0.999},
}


def write(name: str, state: dict[str, Tensor]) -> str:
    content = FILES.get(name, FILES["plain.pt"])(state)
    if name.endswith(".safetensors"):
        save_file(content, name)
    else:
        torch.save(content, name)
    return name
