"""What can be told of models without running them: a list, and everything about one.

Nothing here needs torch, but for counting the parameters of networks.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdabn_cli import hub, registry, sources
from sdabn_cli.description import (
    DESCRIPTION,
    Description,
    Network,
    read_description,
    sha256_of,
)
from sdabn_cli.errors import SdabnError
from sdabn_cli.registry import Plugin
from sdabn_cli.sources import Source

#: The model card, in the form of the Hub: text, headed by keys between two lines of dashes.
CARD = "README.md"

LICENCE = re.compile(r"^licen[sc]e:[ \t]*(.+?)[ \t]*$", re.MULTILINE)

#: Counts the parameters of one network of a model, which must be built for that.
Counter = Callable[[str, Network, Description], int]


def installed() -> list[dict[str, Any]]:
    """List the models that distributions register; a broken one does not hide the others.

    Returns:
        For each: name, distribution, directory, units, classes, noise, megabytes and broken. The
        last says what is wrong with it, and the others that are not known then are None.
    """
    found = registry.plugins("model")
    names = [plugin.name for plugin in found]
    several = {name for name in names if names.count(name) > 1}
    return [_listed(p, p.spec if p.name in several and not p.built_in else p.name) for p in found]


def problem_of(plugin: Plugin) -> str:
    """What is wrong with an installed model as far as its description tells; empty if nothing."""
    return _listed(plugin, plugin.name)["broken"] or ""


def _listed(plugin: Plugin, name: str) -> dict[str, Any]:
    """A row; the name is one that means this model and no other."""
    row: dict[str, Any] = {"name": name, "distribution": plugin.distribution}
    row |= dict.fromkeys(("directory", "units", "classes", "noise", "megabytes", "broken"))
    try:
        directory = registry.directory_of(plugin)
        row["directory"] = str(directory)
        description = read_description(directory)
        row |= {
            "units": len(description.units),
            "classes": description.classes,
            "noise": description.noise,
        }
        files = {directory / network.weights for network in description.networks()}
        row["megabytes"] = _megabytes(path.stat().st_size for path in files)
    except SdabnError as error:
        row["broken"] = error.problem
    except OSError as error:
        row["broken"] = f"{error.strerror}: {error.filename}"
    return row


def _megabytes(sizes: Iterable[int]) -> float:
    return round(sum(sizes) / 1e6, 1)


@dataclass(frozen=True)
class _Weights:
    """What is known of a weights file.

    Attributes:
        size: In bytes; None if there is none.
        state: ``verified``, ``differs``, ``missing`` or ``not downloaded``.
    """

    size: int | None
    state: str


def describe(name: str, count: Counter) -> dict[str, Any]:
    """Tell everything about one model; its weights are read for their hashes, but not downloaded.

    Args:
        name: See ``sources.find``.
        count: Counts the parameters of its ``segmenter`` or ``denoiser``; ``SdabnError`` where the
            plug-in is not installed.

    Returns:
        name, directory, distribution, format, units (of each, segmenter and denoiser with plugin,
        options, parameters, weights, bytes and state; of denoisers, border), parameters and
        megabytes (of networks that share a file once), classes (id, name and colour), condition,
        condition_form, noise, distributions, licence, card (path and text), and problems: why it
        would not run here.

    Raises:
        SdabnError: If there is no such model, or its description is damaged.
    """
    source = sources.find(name)
    description, problems = source.description, []
    units = [
        {
            "unit": number,
            "segmenter": _network(source, "segmenter", unit.segmenter, count, problems),
            "denoiser": _network(source, "denoiser", unit.denoiser, count, problems)
            | {"border": unit.denoiser.border},
        }
        for number, unit in enumerate(description.units, start=1)
    ]
    networks = [unit[role] for unit in units for role in ("segmenter", "denoiser")]
    # Networks that share a file count once, as their bytes do.
    files = {network["weights"]: network for network in networks}
    parameters = [network["parameters"] for network in files.values()]
    card = _card(source)
    return {
        "name": source.name,
        "directory": str(source.directory),
        "distribution": _distribution(source),
        "format": description.format,
        "units": units,
        "parameters": None if None in parameters else sum(parameters),
        "megabytes": _megabytes(network["bytes"] or 0 for network in files.values()),
        "classes": [
            {"id": number, "name": name, "colour": list(colour)}
            for number, (name, colour) in enumerate(
                zip(description.classes, description.palette, strict=True)
            )
        ],
        "condition": description.condition,
        "condition_form": description.condition_form,
        "noise": description.noise,
        "distributions": description.distributions,
        "licence": _licence(source, card),
        "card": card,
        "problems": list(dict.fromkeys(problems)),
    }


def _network(
    source: Source, role: str, network: Network, count: Counter, problems: list[str]
) -> dict[str, Any]:
    """What is told of one network; what is wrong with it is added to the problems."""
    weights = _weights(source, network)
    if weights.state in ("differs", "missing"):
        what = (
            "is missing" if weights.state == "missing" else f"is not what {DESCRIPTION} describes"
        )
        problems.append(f"{network.weights} {what}.")
    parameters = None
    try:
        parameters = count(role, network, source.description)
    except SdabnError as error:
        problems.append(error.problem)
    return {
        "plugin": network.plugin,
        "options": network.options,
        "parameters": parameters,
        "weights": network.weights,
        "bytes": weights.size,
        "state": weights.state,
    }


def _weights(source: Source, network: Network) -> _Weights:
    path = source.directory / network.weights
    if path.is_file():
        state = "verified" if sha256_of(path) == network.sha256 else "differs"
        return _Weights(path.stat().st_size, state)
    if source.commit is None:
        return _Weights(None, "missing")
    try:
        return _Weights(source.commit.size(network.weights), "not downloaded")
    except hub.NotThere:
        return _Weights(None, "missing")
    except hub.Unreachable:  # it need not be known
        return _Weights(None, "not downloaded")


def _distribution(source: Source) -> str | None:
    """The distribution that registers a model under its name; None for others."""
    if Path(source.name).is_dir() or not registry.is_registered("model", source.name):
        return None
    return registry.find("model", source.name).distribution


def _card(source: Source) -> dict[str, str] | None:
    """Path and text of the model card; None without one."""
    path = source.directory / CARD
    if source.commit is not None:
        try:
            path = source.commit.fetch([CARD], most=hub.MOST_TEXT)[0]
        except SdabnError:  # there is none, or it cannot be had now
            return None
    try:
        with path.open("rb") as file:
            text = file.read(hub.MOST_TEXT).decode("utf-8", errors="replace")
    except OSError:
        return None
    return {"path": str(path), "text": text}


def _licence(source: Source, card: dict[str, str] | None) -> str | None:
    """The licence that the card's head states, else that of the distribution; None if unknown."""
    stated = LICENCE.search(_head(card["text"])) if card else None
    if stated:
        return stated[1].strip("\"'")
    owner = _distribution(source)
    if owner is None:
        return None
    try:
        metadata = importlib.metadata.metadata(owner.split()[0])
    except Exception:  # not found, or its metadata cannot be read
        return None
    return metadata.get("License-Expression") or metadata.get("License")


def _head(card: str) -> str:
    """The keys that head a card, between two lines of dashes."""
    lines = [line.rstrip() for line in card.splitlines()]
    if not lines or lines[0] != "---":
        return ""
    rest = lines[1:]
    return "\n".join(rest[: rest.index("---")] if "---" in rest else [])
