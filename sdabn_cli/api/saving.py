"""Write a model to a directory, for sdabn or for other programs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from torch import Tensor

from sdabn_cli import export, networks, sources
from sdabn_cli import model as models
from sdabn_cli.api.checking import checked
from sdabn_cli.api.loaded import LoadedModel
from sdabn_cli.description import DESCRIPTION, Description, check_weights
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.inputs import check_output
from sdabn_cli.sources import Source


@checked()
def save(
    model: LoadedModel | str | Path,
    directory: str | Path,
    *,
    format: str = "sdabn",
    units: int | None = None,
    half: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Write a model; ``load`` reads it back from the directory.

    Args:
        model: A loaded model, whose weights are written as they are now, in half precision where
            that changes none of a network's values; or the name of one, as of ``load``, whose
            files are copied without being built.
        directory: New directory.
        format: ``sdabn``, or ``onnx`` or ``openvino``: one graph for other programs, checked
            against torch.
        units: Write the first units of a model that is given by name; all by default.
        half: Store float16 whatever it changes (format ``sdabn``).
        dry_run: Only say what would be written; networks that turn out equal will share a file.

    Returns:
        What ``sdabn export --json`` prints: model, format, dry_run, source, units and, by format,
        networks or differences.

    Raises:
        SdabnError: If there is no such model or format, the directory holds a model already or
            cannot be written to, a package is missing, or a graph differs from torch.
    """
    if format not in export.FORMATS:
        raise SdabnError(f"There is no format {format!r}.", did_you_mean(format, export.FORMATS))
    if half and format != "sdabn":
        raise SdabnError(f"--half does not go with --format {format}.", "Leave it out.")
    given = _given(model, units)
    output = Path(directory)
    check_output(output)
    if (output / DESCRIPTION).exists():
        raise SdabnError(f"{output} holds a model already.", "Give a new directory.")
    export.require(format)
    told = {
        "model": sources.as_name(output),
        "format": format,
        "dry_run": dry_run,
        "source": given.name,
        "units": len(given.description.units),
    }
    if format == "sdabn":
        # In memory, networks that share a file may have been trained apart.
        own = given.description.apart() if isinstance(given, LoadedModel) else given.description
        weights = _weights(given, own, half=half, only_names=dry_run)
        written = list(weights) if dry_run else models.save(output, own, weights)
        return told | {"networks": written}
    if dry_run:
        return told
    return told | {"differences": export.write(_on_cpu(given), output, format)}


def _given(given: LoadedModel | str | Path, units: int | None) -> LoadedModel | Source:
    if not isinstance(given, LoadedModel):
        return sources.find(given, units=units)
    if units is not None:
        raise SdabnError("A loaded model is written with all units it has.", "Give units to load.")
    return given


def _weights(
    given: LoadedModel | Source, description: Description, *, half: bool, only_names: bool
) -> dict[str, dict[str, Tensor]]:
    """State dict of every network by the name of its file; empty ones if only names are needed."""
    files = list({network.weights: None for network in description.networks()})
    if isinstance(given, Source):
        if not only_names:
            given.fetch()
        for network in description.networks():
            check_weights(given.directory, network)
    if only_names:
        return {name: {} for name in files}
    if isinstance(given, LoadedModel):
        return _weights_in_memory(given, files, half=half)
    stored = {name: networks.read_weights(given.directory / name) for name in files}
    return {name: models.halve(w) if half else w for name, w in stored.items()}


def _weights_in_memory(
    given: LoadedModel, files: list[str], *, half: bool
) -> dict[str, dict[str, Tensor]]:
    modules = [m for unit in given.cascade.units for m in (unit.segmenter, unit.denoiser)]
    weights = [networks.weights_of(module) for module in modules]
    smaller = models.halve if half else models.compact
    return {name: smaller(w) for name, w in zip(files, weights, strict=True)}


def _on_cpu(given: LoadedModel | Source) -> models.Model:
    """The model as graphs are made of it."""
    if isinstance(given, Source):
        return models.load_from(given)
    return models.Model(copy.deepcopy(given.cascade).cpu(), given.description)
