"""Figures as JSON knows them: it has neither infinities nor values that are not numbers."""

from __future__ import annotations

import math
from typing import Any


def finite(data: Any) -> Any:
    """Replace figures that are not finite by None, however deep they lie."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    return [finite(value) for value in data] if isinstance(data, list | tuple) else data
