"""A finished cascade as a directory: ``cascade.json`` and one safetensors file a network.

Networks with equal weights share a file.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import sdabn_cli
from sdabn_cli import networks, probing, registry, sources
from sdabn_cli.cascade import Cascade, Unit, condition_channels
from sdabn_cli.contracts import NoiseModel
from sdabn_cli.description import (
    DESCRIPTION,
    Denoiser,
    Description,
    Network,
    UnitDescription,
    check_weights,
    read_description,
    sha256_of,
)
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_atomically
from sdabn_cli.sources import Source

__all__ = [
    "DESCRIPTION", "Denoiser", "Description", "Model", "Network", "UnitDescription", "build",
    "check_weights", "compact", "count_parameters", "halve", "load", "load_from",
    "read_description", "save", "sha256_of", "versions",
]  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A cascade ready to run, with what is needed to read its output."""

    cascade: Cascade
    description: Description

    def __len__(self) -> int:
        return len(self.cascade.units)

    @property
    def trained_on(self) -> NoiseModel | None:
        """The noise that the cascade was trained on; None if its plug-in is not installed."""
        try:
            return registry.build("noise", *registry.parse(self.description.noise))
        except SdabnError:
            return None


def load(name: str | Path, *, units: int | None = None) -> Model:
    """Load a model in eval mode.

    Args:
        name: See ``sources.find``.
        units: Load only the first units.

    Raises:
        SdabnError: If it is not found, a hash does not match, or it has fewer units.
    """
    return load_from(sources.find(name, units=units))


def load_from(source: Source) -> Model:
    """Load a model that was found; see ``load``."""
    source.fetch()
    description = source.description
    built = [_load_unit(source.directory, unit, description) for unit in description.units]
    cascade = Cascade(built, condition=description.condition, form=description.condition_form)
    return Model(cascade.requires_grad_(False).eval(), description)


def _load_unit(directory: Path, unit: UnitDescription, description: Description) -> Unit:
    segmenter = build("segmenter", unit.segmenter, description)
    denoiser = build("denoiser", unit.denoiser, description)
    for module, network in ((segmenter, unit.segmenter), (denoiser, unit.denoiser)):
        check_weights(directory, network)
        networks.load_weights(module, directory / network.weights)
    classes = len(description.classes)
    if not registry.find("segmenter", unit.segmenter.plugin).built_in:
        probing.try_segmenter(segmenter, unit.segmenter.plugin, num_classes=classes)
    if not registry.find("denoiser", unit.denoiser.plugin).built_in:
        channels = condition_channels(description.condition, classes)
        probing.try_denoiser(denoiser, unit.denoiser.plugin, condition_channels=channels)
    return Unit(segmenter, denoiser)


def build(role: str, network: Network, description: Description) -> nn.Module:
    """Build one network of a model with random weights.

    Args:
        role: ``segmenter`` or ``denoiser``.
        network: Which one.
        description: Of the model.

    Raises:
        SdabnError: If its plug-in is not installed, or refuses its options.
    """
    classes = len(description.classes)
    if role == "segmenter":
        return networks.build_segmenter(network.plugin, network.options, num_classes=classes)
    channels = condition_channels(description.condition, classes)
    return networks.build_denoiser(network.plugin, network.options, condition_channels=channels)


def count_parameters(role: str, network: Network, description: Description) -> int:
    """Parameters of one network of a model, without buffers; arguments as of ``build``."""
    return networks.count_parameters(build(role, network, description))


def save(
    directory: Path,
    description: Description,
    weights: dict[str, dict[str, torch.Tensor]],
) -> list[str]:
    """Write a model; ``cascade.json`` comes last, so a half-written model is never taken for one.

    Args:
        directory: Where to.
        description: With the file names as keys of ``weights``; the hashes are filled in.
        weights: State dict of every network by file name.

    Returns:
        The names of the files of weights, fewer than the networks where some have equal weights.
    """
    (directory / DESCRIPTION).unlink(missing_ok=True)
    for name, tensors in weights.items():
        networks.save_weights(directory / name, tensors)
    filled = description.model_copy(deep=True)
    files: dict[str, str] = {}
    for network in filled.networks():
        network.sha256 = sha256_of(directory / network.weights)
        file = files.setdefault(network.sha256, network.weights)
        if file != network.weights:
            (directory / network.weights).unlink()
            network.weights = file
    text = filled.model_dump_json(indent=2) + "\n"
    write_atomically(directory / DESCRIPTION, lambda file: file.write(text.encode()))
    return list(files.values())


def halve(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert float32 tensors to float16, which halves the size of a model.

    Raises:
        SdabnError: If a value is too large for float16.
    """
    halved = {k: v.half() if v.dtype == torch.float32 else v for k, v in weights.items()}
    for name, tensor in halved.items():
        if not bool(tensor.isfinite().all()):
            raise SdabnError(f"{name} does not fit into float16.", "Export without --half.")
    return halved


def compact(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert float32 tensors to float16 if that changes none of their values, else none."""
    halved = {k: v.half() if v.dtype == torch.float32 else v for k, v in weights.items()}
    same = all(torch.equal(halved[name].to(v.dtype), v) for name, v in weights.items())
    return halved if same else weights


def versions(names: Iterable[str] | None = None) -> dict[str, str]:
    """Versions of sdabn and of distributions that are installed.

    Args:
        names: Of the distributions; None for every one that sdabn needs.
    """
    if names is None:
        names = [
            re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
            for line in importlib.metadata.requires("sdabn") or []
            if "extra ==" not in line
        ]
    found = {"sdabn": sdabn_cli.__version__}
    for name in names:
        # Some are needed for some files only: a training does not end without them.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
