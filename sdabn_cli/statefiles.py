"""Training states as files, looked at without torch: is every byte sound, how far are they?

A state is the ZIP archive that ``torch.save`` writes: stored members, each with its CRC-32, the
first a pickle that begins with ``step`` and ``seconds``.
"""

from __future__ import annotations

import contextlib
import pickletools
import zipfile
from pathlib import Path
from typing import NamedTuple

#: Names of a stage's states, the newest first. A save that is cut short between its two moves
#: leaves the newest state as the fresh one.
FRESH, NEWEST, PREVIOUS = NAMES = ("state.fresh.pt", "state.pt", "state.previous.pt")

#: How far ``step`` and ``seconds`` are looked for in the pickle, in bytes.
HEADER = 256


class Progress(NamedTuple):
    """How far a stage has come.

    Attributes:
        step: Steps done.
        seconds: Time spent on them.
    """

    step: int
    seconds: float


def existing(folder: Path) -> list[Path]:
    """The states of a stage, the newest first."""
    return [folder / name for name in NAMES if (folder / name).is_file()]


def progress(folder: Path) -> Progress | None:
    """How far the newest state of a stage is, of those that say it; None without any."""
    for path in existing(folder):
        with contextlib.suppress(Exception):  # damaged, or replaced at this moment
            return _read_progress(path)
    return None


def _read_progress(path: Path) -> Progress:
    """Read the first values of a state's pickle, without running any of it."""
    with zipfile.ZipFile(path) as archive, archive.open(archive.infolist()[0]) as content:
        header = content.read(HEADER)
    found: dict[str, float] = {}
    key = ""
    for code, value, _ in pickletools.genops(header):
        if isinstance(value, str):
            key = value
        elif key in Progress._fields and "PUT" not in code.name:  # a PUT has a number of its own
            found[key] = value
        if len(found) == len(Progress._fields):
            return Progress(int(found["step"]), float(found["seconds"]))
    raise ValueError(f"{path} does not begin with step and seconds")


def is_sound(path: Path) -> bool:
    """Whether every byte of a state that matters is as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch writes members as they are and gives them no attributes; it would unpack
            # compressed ones to any size, and read nothing where they are marked as folders.
            plain = all(
                member.compress_type == zipfile.ZIP_STORED and member.external_attr == 0
                for member in archive.infolist()
            )
            return plain and archive.testzip() is None
    except Exception:  # a damaged archive fails in many ways
        return False
