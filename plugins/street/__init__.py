"""Model ``street``: the cascade that comes with sdabn."""

from __future__ import annotations

from pathlib import Path


def directory() -> Path:
    """Directory of ``cascade.json`` and its weights."""
    return Path(__file__).parent
