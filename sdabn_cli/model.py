"""A finished cascade as a directory: ``cascade.json`` and one safetensors file a network."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import sdabn_cli
from sdabn_cli import networks, probing, registry
from sdabn_cli.cascade import Cascade, Condition, ConditionForm, Unit, condition_channels
from sdabn_cli.contracts import NoiseModel
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.files import write_atomically

DESCRIPTION = "cascade.json"
FORMAT = 1


Channel = Annotated[int, Field(ge=0, le=255)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Network(_Part):
    """One network of the cascade: how to build it and where its weights lie."""

    plugin: str
    options: dict[str, Any] = {}
    weights: str = Field(pattern=r"^[A-Za-z0-9_-]+\.safetensors$")
    sha256: str = Field(default="", pattern=r"^[0-9a-f]{64}$")
    """Filled in when the model is written."""


class UnitDescription(_Part):
    """The two networks of a unit."""

    segmenter: Network
    denoiser: Network


class Description(_Part):
    """Everything ``cascade.json`` says."""

    format: Literal[1] = FORMAT
    units: list[UnitDescription] = Field(min_length=1)
    classes: list[str] = Field(min_length=1, max_length=255)
    palette: list[tuple[Channel, Channel, Channel]]
    condition: Condition = "segmentation"
    condition_form: ConditionForm = "probabilities"
    noise: str
    """Noise the cascade was trained on."""
    distributions: dict[str, str] = {}
    """Versions of the distributions it was trained with."""

    @model_validator(mode="after")
    def _check_palette(self) -> Description:
        if len(self.palette) != len(self.classes):
            raise ValueError(
                f"the palette has {len(self.palette)} colours for {len(self.classes)} classes"
            )
        return self


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


def resolve(name: str) -> Path:
    """Find a model: a registered name, a model directory or a run directory.

    Raises:
        SdabnError: If there is none; the nearest registered name is given.
    """
    path = Path(name)
    for candidate in (path, path / "model"):
        if (candidate / DESCRIPTION).is_file():
            return candidate
    if path.is_dir():
        raise SdabnError(
            f"The directory {path} holds no finished cascade ({DESCRIPTION}).",
            f"A run directory gets one when its first unit is trained: sdabn cascade --run {path}",
        )
    known = [plugin.name for plugin in registry.plugins("model")]
    if name not in known:
        raise SdabnError(
            f"There is no model {name!r}.",
            f"{did_you_mean(name, known)} Or give a model or run directory.",
        )
    return registry.model_directory(name)


def read_description(directory: Path) -> Description:
    """Read ``cascade.json``.

    Raises:
        SdabnError: If it is missing, damaged or of an unknown format.
    """
    path = directory / DESCRIPTION
    try:
        return Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SdabnError(f"{directory} holds no finished cascade: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SdabnError(
            f"{path} is damaged: {place + ': ' if place else ''}{first['msg']}."
        ) from error


def load(name: str, *, units: int | None = None) -> Model:
    """Load a model in eval mode.

    Args:
        name: See ``resolve``.
        units: Load only the first units.

    Raises:
        SdabnError: If it is not found, a hash does not match, or it has fewer units.
    """
    directory, description = find(name, units=units)
    built = [_load_unit(directory, unit, description) for unit in description.units[:units]]
    cascade = Cascade(built, condition=description.condition, form=description.condition_form)
    return Model(cascade.requires_grad_(False).eval(), description)


def find(name: str, *, units: int | None = None) -> tuple[Path, Description]:
    """Directory and description of a model, without loading it.

    Raises:
        SdabnError: If it is not found, or has fewer units.
    """
    directory = resolve(name)
    description = read_description(directory)
    if units is not None and not 1 <= units <= len(description.units):
        raise SdabnError(
            f"The model {name!r} has {len(description.units)} units; --units {units} was asked.",
            f"Allowed: 1 to {len(description.units)}.",
        )
    return directory, description


def _load_unit(directory: Path, unit: UnitDescription, description: Description) -> Unit:
    num_classes = len(description.classes)
    segmenter = networks.build_segmenter(
        unit.segmenter.plugin, unit.segmenter.options, num_classes=num_classes
    )
    denoiser = networks.build_denoiser(
        unit.denoiser.plugin,
        unit.denoiser.options,
        condition_channels=condition_channels(description.condition, num_classes),
    )
    for module, network in ((segmenter, unit.segmenter), (denoiser, unit.denoiser)):
        check_weights(directory, network)
        networks.load_weights(module, directory / network.weights)
    if not registry.find("segmenter", unit.segmenter.plugin).built_in:
        probing.try_segmenter(segmenter, unit.segmenter.plugin, num_classes=num_classes)
    if not registry.find("denoiser", unit.denoiser.plugin).built_in:
        channels = condition_channels(description.condition, num_classes)
        probing.try_denoiser(denoiser, unit.denoiser.plugin, condition_channels=channels)
    return Unit(segmenter, denoiser)


def check_weights(directory: Path, network: Network) -> None:
    """Make sure that a weights file is the one the model was written with.

    Raises:
        SdabnError: If its hash differs.
    """
    path = directory / network.weights
    if path.is_file() and sha256_of(path) != network.sha256:
        raise SdabnError(
            f"The weights {path} are not those {DESCRIPTION} describes (their hash differs).",
            "Copy the model again.",
        )


def save(
    directory: Path,
    description: Description,
    weights: dict[str, dict[str, torch.Tensor]],
) -> None:
    """Write a model; ``cascade.json`` comes last, so a half-written model is never taken for one.

    Args:
        directory: Where to.
        description: With the file names as keys of ``weights``; the hashes are filled in.
        weights: State dict of every network by file name.
    """
    (directory / DESCRIPTION).unlink(missing_ok=True)
    for name, tensors in weights.items():
        networks.save_weights(directory / name, tensors)
    filled = description.model_copy(deep=True)
    for unit in filled.units:
        for network in (unit.segmenter, unit.denoiser):
            network.sha256 = sha256_of(directory / network.weights)
    text = filled.model_dump_json(indent=2) + "\n"
    write_atomically(directory / DESCRIPTION, lambda file: file.write(text.encode()))


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


def versions() -> dict[str, str]:
    """Versions of sdabn and of every distribution it needs."""
    needed = importlib.metadata.requires("sdabn") or []
    names = [
        re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        for line in needed
        if "extra ==" not in line
    ]
    return {"sdabn": sdabn_cli.__version__} | {n: importlib.metadata.version(n) for n in names}


def sha256_of(path: Path) -> str:
    """Hash of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(file.read()).hexdigest()
        )
