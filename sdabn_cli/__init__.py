"""sdabn: semantic segmentation and image denoising that boost each other.

    import sdabn_cli

    model = sdabn_cli.load("street")
    result = model(image)
    result.denoised, result.labels

What works with torch comes from ``sdabn_cli.api`` when it is first used: importing the package is
as fast as ``sdabn --help``.
"""

from __future__ import annotations

import importlib
from typing import Any

from sdabn_cli.errors import SdabnError, Stopped

__version__ = "0.1.0"

#: The model that comes with sdabn.
DEFAULT_MODEL = "street"

__all__ = [
    "LoadedModel", "Result", "SdabnError", "Stopped", "UnitResult", "evaluate", "load", "save",
    "train_cascade", "train_stage",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("sdabn_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
