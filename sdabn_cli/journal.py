"""The log of a stage, ``metrics.jsonl``: a line of JSON for every logged step and validation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_atomically
from sdabn_cli.jsonable import finite


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Append a line.

    Raises:
        SdabnError: If it cannot be written, such as on a full disk.
    """
    line = json.dumps(finite(entry), allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise SdabnError(f"{path} cannot be written: {error}.") from error


def rewind(path: Path, step: int) -> None:
    """Drop lines past a step: they belong to work that was lost and is done again."""
    if path.exists():
        kept = [line for line in read(path) if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(path, lambda file: file.write(text.encode()))


def read(path: Path) -> list[dict[str, Any]]:
    """All lines that can be read and name a step; none without a file.

    A line that was being written when the power went, or that a disk has spoilt, is left out.
    """
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
    return entries


def figure(entry: Mapping[str, Any], *keys: str) -> float | None:
    """A figure of a line, however deep it lies; None if there is no such number."""
    value: Any = entry
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) else None
