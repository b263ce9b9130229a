"""Files that are there as a whole or not at all, whatever their content."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from sdabn_cli.errors import SdabnError

#: Names of temporary files, as ``tempfile`` makes them beside their targets.
TEMPORARY = re.compile(r"\.(?P<target>.+)\.[a-z0-9_]{8}")

Writer = Callable[[IO[bytes]], object]
"""Writes a file's content to a stream."""


def write_atomically(path: Path, write: Writer) -> None:
    """Write a file in one piece or not at all.

    Raises:
        SdabnError: If the directory cannot be written to.
    """
    write_together({path: write})


def write_together(files: Mapping[Path, Writer]) -> None:
    """Write files to temporary ones beside them, then put each in its place.

    All content is on disk before the first one is put in place. So a writer that fails, or a full
    disk, changes no file; only a move that fails leaves the files before it in their new places.

    Raises:
        SdabnError: If a file cannot be written or moved; the file is named.
    """
    ready: dict[Path, Path] = {}
    path = Path()
    try:
        for path, write in files.items():
            if path.is_dir():
                raise SdabnError(f"{path} cannot be written: it is a directory.")
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=f".{path.name}.", delete=False
            ) as file:
                ready[path] = Path(file.name)
                write(file)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in ready.items():
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    except OSError as error:
        raise SdabnError(f"{path} cannot be written: {error}.") from error
    finally:
        for temporary in ready.values():
            temporary.unlink(missing_ok=True)


def sweep(folder: Path, *names: str) -> None:
    """Remove what writes that were killed have left: the temporary files beside their targets.

    Args:
        folder: Where to; nothing below it is looked at.
        names: Names of the targets; ``*`` stands for anything, as in ``*.png``.
    """
    for path in folder.glob(".*") if folder.is_dir() else ():
        found = TEMPORARY.fullmatch(path.name)
        if found and any(fnmatch(found["target"], name) for name in names) and path.is_file():
            path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def require_writable(path: Path, option: str) -> None:
    """Make sure that a new file could be made, with the folders that it lies in.

    Args:
        path: The file.
        option: What it was given with, such as ``--report``.

    Raises:
        SdabnError: If the first folder there is cannot be written to, or is none.
    """
    existing = next(place for place in path.absolute().parents if os.path.lexists(place))
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise SdabnError(f"{option} {path}: {existing} cannot be written to.", "Name another file.")
