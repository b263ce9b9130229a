"""A small recipe to change in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def content() -> dict[str, Any]:
    """The smallest complete recipe."""
    stage = {"steps": 5, "batch_size": 2, "crop": [8, 8], "optimizer": "sgd",
             "learning_rate": 0.1}  # fmt: skip
    return {
        "data": {"dataset": "camvid"},
        "noise": "gaussian:sigma=50",
        "segmenter": "hrnet",
        "denoiser": "ddfn",
        "segment": dict(stage),
        "denoise": dict(stage),
    }


def changed(dotted: str, value: Any) -> dict[str, Any]:
    """The complete recipe with one key set."""
    whole = content()
    *parents, last = dotted.split(".")
    place = whole
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return whole


def write(mapping: dict[str, Any]) -> str:
    Path("mine.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    return "mine.yaml"
