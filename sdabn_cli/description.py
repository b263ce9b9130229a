"""``cascade.json``: everything there is to know about a finished cascade but its weights.

Nothing here needs torch, so that models can be listed and found without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sdabn_cli.conditions import Condition, ConditionForm
from sdabn_cli.errors import SdabnError

DESCRIPTION = "cascade.json"
FORMAT = 1

#: Larger files are no descriptions; they are refused before they are read.
LARGEST = 2**20

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


class Denoiser(Network):
    """A network that gives an image."""

    border: int = Field(default=1, ge=0)
    """Outermost pixels that its loss left out, which nothing has taught it."""


class UnitDescription(_Part):
    """The two networks of a unit."""

    segmenter: Network
    denoiser: Denoiser


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

    def networks(self) -> Iterator[Network]:
        """Every network in the order of the equations: s1, d1, s2, d2, ..."""
        for unit in self.units:
            yield from (unit.segmenter, unit.denoiser)

    def apart(self) -> Description:
        """The same cascade with a file for every network, also where some share one."""
        copied = self.model_copy(deep=True)
        named = {network.weights for network in copied.networks()}
        met: set[str] = set()
        for number, network in enumerate(copied.networks()):
            name = network.weights
            if name in met:
                name = f"{'sd'[number % 2]}{number // 2 + 1}.safetensors"
                while name in named:
                    name = f"own-{name}"
            named.add(name)
            met.add(name)
            network.weights = name
        return copied

    def first(self, units: int | None) -> Description:
        """The same cascade, of its first units only; None keeps all."""
        return self.model_copy(update={"units": self.units[:units]})


def read_description(directory: Path) -> Description:
    """Read ``cascade.json``.

    Raises:
        SdabnError: If it is missing, too large, damaged or of an unknown format.
    """
    path = directory / DESCRIPTION
    try:
        if path.stat().st_size > LARGEST:
            raise SdabnError(f"{path} is damaged: it has more than {LARGEST:,} bytes.")
        return Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SdabnError(f"{directory} holds no finished cascade: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SdabnError(
            f"{path} is damaged: {place + ': ' if place else ''}{first['msg']}."
        ) from error


def check_weights(directory: Path, network: Network) -> None:
    """Make sure that a weights file is the one the model was written with.

    Raises:
        SdabnError: If its hash differs.
    """
    path = directory / network.weights
    if path.is_file() and sha256_of(path) != network.sha256:
        raise SdabnError(
            f"The weights {path} are not those {DESCRIPTION} describes (their hash differs).",
            "Copy the model again; what was downloaded, remove first.",
        )


def sha256_of(path: Path) -> str:
    """Hash of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()
