"""What a reproduction says in text, in Markdown and in its report alike."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any


def difference(comparison: Mapping[str, Any], *, minus: str = "-") -> str:
    """A measured difference with its 95 % confidence interval, the paper's, and what to know."""
    parts = []
    if all(isfinite(comparison.get(key, nan)) for key in ("mean", "low", "high")):
        unit = "dB" if comparison["metric"] == "psnr" else "% mIoU"
        low, high = comparison["low"], comparison["high"]
        parts.append(f"{comparison['mean']:+.2f} {unit} [{low:+.2f}, {high:+.2f}]")
    if comparison["paper"] is not None:
        parts.append(f"paper {comparison['paper']:+.2f}")
    said = "; ".join(parts).replace("-", minus)
    below = " and ".join(comparison["below_noisy"])
    warning = f"{below} not better than the noisy image" if below else ""
    return "; ".join(part for part in (said, comparison["reason"], warning) if part)


def protocol_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result's protocol, whose seed is that of the noise: one or several."""
    told: dict[str, Any] = {}
    for key, value in result["protocol"].items():
        if key == "seed" and isinstance(value, list):
            *first, last = map(str, value)
            told["noise seeds"] = f"{', '.join(first)} and {last}"
        else:
            told["noise seed" if key == "seed" else key] = value
    return told
