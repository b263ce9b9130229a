"""A small model as the Python API loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_cli import save_model

import sdabn_cli
from sdabn_cli import model as models

EXACT = {"device": "cpu", "precision": "float32", "engine": "torch"}


@pytest.fixture
def directory(tmp_path: Path, tiny_plugins: Path) -> Path:
    """Two units; the first estimate is the input, the second a blurred one."""
    return save_model(tmp_path / "model")


@pytest.fixture
def model(directory: Path) -> sdabn_cli.LoadedModel:
    return sdabn_cli.load(directory, **EXACT)


@pytest.fixture
def first(directory: Path) -> sdabn_cli.LoadedModel:
    """One unit, whose estimate is its input but for the outermost pixels."""
    return sdabn_cli.load(directory, units=1, **EXACT)


def inside(array: Any) -> Any:
    """Without the outermost pixels of (..., H, W) or (H, W, 3)."""
    if array.shape[-1] == 3:
        return array[1:-1, 1:-1]
    return array[..., 1:-1, 1:-1]


def expected(directory: Path, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (K, H, W) and estimate (3, H, W) as the equations give them, by torch alone."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        last = models.load(directory).cascade(tensor)[-1]
    return last.logits[0].numpy(), last.estimate[0].numpy()
