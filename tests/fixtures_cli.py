"""Helpers of the command-line tests: call the program, read its panels, save a small model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from typer.testing import CliRunner

from sdabn_cli import model, networks
from sdabn_cli.commands import app
from sdabn_plugins.camvid import CLASSES, PALETTE

SHIPPED_MODEL = Path(__file__).parents[1] / "plugins" / "street" / "cascade.json"


def sdabn(*arguments: Any) -> Any:
    """Run a command in this process; a result with exit_code, stdout and stderr.

    An exception that would reach the user as a traceback fails the test at once.
    """
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def flat(text: str) -> str:
    """Text without spaces, line ends and the frames of panels, which break long names."""
    return re.sub(r"[\s│╭╮╰╯─]+", "", text)


def assert_refused(result: Any, *parts: Any) -> None:
    """The user's mistake: exit code 2, nothing on stdout and a panel that says all parts."""
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "─ Error ─" in result.stderr
    for part in parts:
        assert flat(str(part)) in flat(result.stderr), f"{part!r} is not in\n{result.stderr}"


def files(directory: Path) -> set[str]:
    """Every file below a directory, hidden ones included; empty if there is none."""
    return {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}


def save_model(directory: Path, *, units: int = 2, classes: Sequence[str] = CLASSES) -> Path:
    """Save a cascade of the plug-ins ``tiny`` whose estimates are known.

    The first denoiser returns its input; every other one returns the 3x3 mean of half its input,
    so that the second estimate of a clean image is that image blurred. Segmenters are random.
    """
    weights, described = {}, []
    for unit in range(1, units + 1):
        torch.manual_seed(unit)
        segmenter = networks.build_segmenter("tiny", {}, num_classes=len(classes))
        denoiser = networks.build_denoiser("tiny", {}, condition_channels=len(classes))
        torch.nn.init.normal_(segmenter.conv.weight)
        torch.nn.init.zeros_(denoiser.conv.weight)
        torch.nn.init.zeros_(denoiser.conv.bias)
        for channel in range(3):
            kernel = denoiser.conv.weight.data[channel, channel]
            if unit == 1:
                kernel[1, 1] = 1
            else:
                kernel[:] = 1 / 18
        names = [f"s{unit}.safetensors", f"d{unit}.safetensors"]
        for name, module in zip(names, (segmenter, denoiser), strict=True):
            weights[name] = networks.weights_of(module)
        described.append(
            model.UnitDescription(
                segmenter=model.Network(plugin="tiny", weights=names[0]),
                denoiser=model.Denoiser(plugin="tiny", weights=names[1]),
            )
        )
    description = model.Description(
        units=described,
        classes=list(classes),
        palette=list(PALETTE[: len(classes)]),
        noise="gaussian:sigma=25",
    )
    model.save(directory, description, weights)
    return directory


def picture(height: int = 45, width: int = 61, *, seed: int = 0) -> np.ndarray:
    """Soft patches of colour, uint8 (H, W, 3), of mid brightness."""
    coarse = np.random.default_rng(seed).integers(60, 200, (5, 7, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def save_picture(path: Path, height: int = 45, width: int = 61, *, seed: int = 0) -> Path:
    """Write ``picture`` to a file, with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(height, width, seed=seed)).save(path)
    return path
