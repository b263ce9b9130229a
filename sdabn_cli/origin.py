"""Where the weights that a run was given came from: a record beside them, read without torch.

RUN/init/segmenter.json, segmenter.safetensors     what s0 holds or starts from
         denoiser.json, denoiser.safetensors       what every D_i starts from
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

FOLDER = "init"

#: What the networks of a kind of stage are called in a recipe.
ROLES = {"seg": "segmenter", "denoise": "denoiser"}


class Origin(BaseModel):
    """What is known of given weights, without the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    init: str
    """As the recipe says it."""
    path: str
    """The file, absolute."""
    sha256: str
    tensors: int
    """How many were taken."""
    drawn: list[str] = []
    """Tensors of the network that are drawn anew."""
    redraws: bool = False
    """Whether drawing anew was allowed."""
    widens: bool = False
    """Whether the weights of a narrower network were allowed."""
    place: str = ""
    """Keys in the file that lead to the state dict, joined by dots."""
    renamed: dict[str, str] = {}
    """What stands in front of the file's names, and in its place of the network's."""
    notes: list[str] = []
    """What a person should know: other state dicts that fit, tensors that were left out."""

    def describe(self, *, trained: bool) -> dict[str, Any]:
        """What a listing says about a stage that holds these weights or is trained from them."""
        shown = self.model_dump(include={"path", "sha256", "place", "renamed", "drawn", "notes"})
        return shown | {"trained": trained}

    def __str__(self) -> str:
        return label(self.path, self.sha256)


def label(path: str | Path, sha256: str) -> str:
    """Name a file and its content."""
    return f"{path} (sha256 {sha256[:12]})"


def record_path(run: Path, kind: str) -> Path:
    """Where a run keeps the record of a kind's weights."""
    return run / FOLDER / f"{ROLES[kind]}.json"


def weights_path(run: Path, kind: str) -> Path:
    """Where a run keeps a copy of a kind's weights."""
    return run / FOLDER / f"{ROLES[kind]}.safetensors"


def read(run: Path, kind: str) -> Origin | None:
    """Read a run's record; None if there is none, or none that can be read."""
    try:
        return Origin.model_validate_json(record_path(run, kind).read_bytes())
    except (OSError, ValidationError):
        return None
