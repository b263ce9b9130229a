"""Training states: what a stopped stage goes on from, the newest and the one before it."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from sdabn_cli import statefiles
from sdabn_cli.files import write_atomically
from sdabn_cli.stopping import Judge

#: What a state holds. ``step`` and ``seconds`` come first: ``statefiles`` reads them there.
KINDS = {
    "step": int,
    "seconds": float,
    "judge": dict,
    "lap_loss": float,
    "lap_step": int,
    "network": dict,
    "optimizer": dict,
    "average": dict,
}

#: What versions of sdabn before these keys have left out.
ABSENT = {"average": {}}


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Keep a training state; the one before it stays as a reserve.

    Args:
        folder: Of the stage.
        state: With the keys of ``KINDS``.

    Raises:
        SdabnError: If it cannot be written; the states that are there are kept.
    """
    fresh, newest, previous = (folder / name for name in statefiles.NAMES)
    content = io.BytesIO()  # an interrupted torch.save hides the interrupt behind its own error
    torch.save({key: state[key] for key in KINDS}, content)
    write_atomically(fresh, lambda file: file.write(content.getbuffer()))
    if newest.exists():
        os.replace(newest, previous)
    os.replace(fresh, newest)


def load(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Read the newest sound state, and a warning for each one that is damaged.

    Damaged ones are removed: the next save would put them in the place of the good one before.
    """
    warnings = []
    for path in statefiles.existing(folder):
        state = _read(path)
        if state is not None:
            return state, warnings
        warnings.append(f"{path} is damaged and is removed.")
        path.unlink(missing_ok=True)
    return None, warnings


def drop(folder: Path) -> None:
    """Remove the states of a stage."""
    for path in statefiles.existing(folder):
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """Read a state; None if it is damaged or lacks anything."""
    if not statefiles.is_sound(path):
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = ABSENT | state
    except Exception:  # it is an archive, but holds something else
        return None
    return state if _is_complete(state) else None


def _is_complete(state: Any) -> bool:
    if not isinstance(state, dict):
        return False
    right = all(isinstance(state.get(key), kind) for key, kind in KINDS.items())
    return right and state["judge"].keys() == {field.name for field in fields(Judge)}
