"""Which packages decide figures, and in which versions they are installed."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdabn_cli import registry
from sdabn_cli.contracts import Example
from sdabn_cli.model import versions
from sdabn_cli.registry import Plugin

#: Compute in every figure. Others, such as those that print, decide none.
ALWAYS = ("torch", "numpy", "torchmetrics")

#: What sdabn's own plug-ins compute with beside that, and what that computes with in its turn.
OF_OWN = {
    "hrnet": ("timm",),
    "smp": ("segmentation-models-pytorch", "timm", "torchvision"),
    "bm3d": ("bm3d", "bm4d", "scipy", "PyWavelets"),
    "jpeg": ("pillow",),
}

#: Decode image files,
DECODERS = ("pillow", "tifffile", "imagecodecs")

#: of which these give the same numbers in every version.
EXACT = {".png", ".bmp"}


def deciding(
    chosen: Iterable[tuple[str, str, Mapping[str, Any]]], decoders: Iterable[str] = ()
) -> dict[str, str]:
    """Versions of everything that computes the figures of a cascade.

    Args:
        chosen: Kind, name and options of its networks and of its noise.
        decoders: What reads the images, from ``decoders_of``.

    Returns:
        Versions by the name of the distribution, and which distribution every plug-in is from.
    """
    plugins = [each for one in chosen for each in registry.named_in(*one)]
    names = {*ALWAYS, *decoders, *(name for plugin in plugins for name in _behind(plugin))}
    owners = {f"{plugin.kind} {plugin.name}": plugin.distribution for plugin in plugins}
    return versions(sorted(names)) | owners


def decoders_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """Distributions that decide what is read from the files of examples; none where nothing can."""
    files = (part for _, *both in examples for part in both if isinstance(part, Path))
    return DECODERS if any(file.suffix.lower() not in EXACT for file in files) else ()


def _behind(plugin: Plugin) -> Iterable[str]:
    """Distributions that a plug-in may compute with; of another's, all that it asks for."""
    if plugin.built_in:
        return OF_OWN.get(plugin.name, ())
    try:
        asked = importlib.metadata.requires(plugin.owner) or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    plain = (line for line in asked if "extra ==" not in line)
    return [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in plain]
