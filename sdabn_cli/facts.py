"""What can be said about a plug-in: from its signature, docstrings, distribution and network."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sdabn_cli import datasets, networks, registry, signatures
from sdabn_cli.cascade import segment, stride_of
from sdabn_cli.discovery import Plugin
from sdabn_cli.errors import SdabnError, fault

#: Side of the square image that the cost is counted on, at least.
SIDE = 128


def of_plugin(
    kind: str, name: str, options: Mapping[str, Any], *, num_classes: int
) -> dict[str, Any]:
    """Everything ``sdabn plugins show`` prints.

    Args:
        kind: One of the keys of ``registry.GROUPS``.
        name: Registered name.
        options: Own options that a network is built with.
        num_classes: Classes that a network is built for, also the channels of its condition.

    Returns:
        kind, name, summary, distribution, version, licence, entry_point, reference, options
        (name, type, default, help), and for networks parameters, stride, receptive_field (pixels
        to each side), multiply_adds_per_pixel and classes.

    Raises:
        SdabnError: If it does not load, refuses the options or cannot be built.
    """
    plugin = registry.find(kind, name)
    target = plugin.load()
    distribution, _, version = plugin.distribution.partition(" ")
    facts: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "summary": summary(target),
        "distribution": distribution,
        "version": version,
        "licence": licence(plugin),
        "entry_point": plugin.target,
        "reference": reference(target),
        "options": described_options(target) if callable(target) else [],
    }
    if kind in ("segmenter", "denoiser"):
        facts |= _of_network(kind, name, options, num_classes)
    elif kind == "dataset":
        facts["classes"] = ", ".join(datasets.declared_classes(target))
    elif kind == "model":
        facts["directory"] = str(registry.model_directory(name))
    if kind != "model":
        registry.check_options(plugin, target, options)
    return facts


def _of_network(
    kind: str, name: str, options: Mapping[str, Any], num_classes: int
) -> dict[str, Any]:
    if kind == "segmenter":
        module = networks.build_segmenter(name, options, num_classes=num_classes)
        stride = stride_of(module)
    else:
        module = networks.build_denoiser(name, options, condition_channels=num_classes)
        stride = stride_of(module, default=1)
    reach = getattr(module, "receptive_field", None)
    return {
        "classes": num_classes,
        "parameters": networks.count_parameters(module),
        "stride": stride if kind == "segmenter" or stride > 1 else None,
        "receptive_field": "the whole image" if reach is None else reach,
        "multiply_adds_per_pixel": _cost(module, kind, name, num_classes, stride),
    }


@torch.no_grad()
def _cost(module: nn.Module, kind: str, name: str, channels: int, stride: int) -> int:
    """Multiplications of convolutions and matrix products a pixel, on a square image."""
    side = -(-SIDE // stride) * stride
    image = torch.zeros(1, 3, side, side)
    try:
        with FlopCounterMode(display=False) as counter:
            if kind == "segmenter":
                segment(module.eval(), image)
            else:
                module.eval()(image, torch.zeros(1, channels, side, side))
    except BaseException as error:
        raise SdabnError(
            f"The {kind} plug-in {name!r} of {registry.find(kind, name).distribution} fails on a "
            f"black image of {side} x {side} pixels: {fault(error)}",
            f"See more with: sdabn plugins check {name} --kind {kind}",
        ) from error
    return round(counter.get_total_flops() / 2 / side**2)


def summary(target: object) -> str:
    """First line of the module's docstring or, if there is none, of the object's.

    A text or a path is documented by its type only, which says nothing of the plug-in: empty.
    """
    if not callable(target):
        return ""
    target = signatures.unwrapped(target)
    module = sys.modules.get(getattr(target, "__module__", ""))
    text = (inspect.getdoc(module) if module else None) or inspect.getdoc(target) or ""
    return text.partition("\n")[0].replace("``", "")


def reference(target: object) -> str:
    """The section ``Reference:`` of the object's or its module's docstring, in one line."""
    module = sys.modules.get(getattr(target, "__module__", ""))
    for text in (inspect.getdoc(target), inspect.getdoc(module) if module else None):
        section = sections(text or "").get("Reference", "")
        if section:
            return " ".join(section.split())
    return ""


def sections(docstring: str) -> dict[str, str]:
    """The sections of a docstring in Google's style, by their headings."""
    found: dict[str, str] = {}
    heading = ""
    for line in docstring.splitlines():
        if re.fullmatch(r"[A-Z][A-Za-z ]*:", line):
            heading = line[:-1]
            found[heading] = ""
        elif line.strip() and not line.startswith(" "):
            heading = ""
        elif heading:
            found[heading] += line + "\n"
    return found


def described_options(target: Callable[..., Any]) -> list[dict[str, str]]:
    """Own options with type, default and what the docstring says about them."""
    texts = _arguments(inspect.getdoc(target) or "")
    if inspect.isclass(target):
        texts = _arguments(inspect.getdoc(target.__init__) or "") | texts
    hints = signatures.annotations_of(target)
    return [
        {
            "name": name,
            "type": signatures.written(hints.get(name, parameter.annotation)),
            "default": "" if parameter.default is parameter.empty else str(parameter.default),
            "help": texts.get(name, ""),
        }
        for name, parameter in signatures.options_of(target).items()
    ]


def _arguments(docstring: str) -> dict[str, str]:
    """Names and texts of the section ``Args:``."""
    found: dict[str, str] = {}
    name = ""
    for line in sections(docstring).get("Args", "").splitlines():
        start = re.fullmatch(r" {4}(\w+)(?: \([^)]*\))?: (.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def licence(plugin: Plugin) -> str:
    """What the distribution says about its licence; empty if it says nothing."""
    try:
        metadata = importlib.metadata.metadata(plugin.owner)
    except Exception:  # not found, or its metadata cannot be read
        return ""
    stated = metadata.get("License-Expression") or metadata.get("License") or ""
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    return stated.partition("\n")[0] or ", ".join(classifiers)
