"""The Python API: what ``sdabn_cli`` offers by name, and what the commands call themselves.

``import sdabn_cli`` alone imports nothing of this, so that it stays as fast as ``sdabn --help``.
"""

from __future__ import annotations

from sdabn_cli.api.evaluating import evaluate
from sdabn_cli.api.loaded import LoadedModel, Result, UnitResult
from sdabn_cli.api.loading import load
from sdabn_cli.api.saving import save
from sdabn_cli.api.training import train_cascade, train_stage

__all__ = [
    "LoadedModel", "Result", "UnitResult", "evaluate", "load", "save", "train_cascade",
    "train_stage",
]  # fmt: skip
