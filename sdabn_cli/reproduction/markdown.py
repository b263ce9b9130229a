"""Reproduced tables and claims in a Markdown file, which keeps what else it holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdabn_cli.errors import SdabnError
from sdabn_cli.files import require_writable, write_atomically
from sdabn_cli.reproduction import wording


def check_target(path: Path, table: str, dataset: str) -> None:
    """Refuse a file that a table could not be put into, before anything is trained for it.

    Raises:
        SdabnError: If it is no text file or cannot be written, or a table begins in it without an
            end.
    """
    _parts(path, table, dataset)


def _target(path: Path) -> Path:
    """The file that a link leads to, so that the link stays one."""
    return Path(os.path.realpath(path))


def put(path: Path, result: Mapping[str, Any], command: str) -> None:
    """Put a reproduced table into a file, in the place where an earlier call has put it.

    Args:
        path: The file; it is made if there is none, and a new table comes last.
        result: What ``sdabn reproduce --json`` prints.
        command: Command line that made it.

    Raises:
        SdabnError: As ``check_target``, and if the file cannot be written.
    """
    before, after = _parts(path, result["table"], result["dataset"])
    begin, end = _marks(result["table"], result["dataset"])
    text = f"{before}{begin}\n{render(result, command)}{end}\n{after}"
    write_atomically(_target(path), lambda file: file.write(text.encode()))


def _marks(table: str, dataset: str) -> tuple[str, str]:
    """Comments around a table, which Markdown does not show."""
    name = f"{table} of {dataset}"
    return f"<!-- reproduced: {name} -->", f"<!-- end: {name} -->"


def _parts(path: Path, table: str, dataset: str) -> tuple[str, str]:
    """What stands before and after the table in a file."""
    target = _target(path)
    require_writable(target, "--markdown")  # a new file takes the place of an old one
    if {path.suffix.lower(), target.suffix.lower()} & {".html", ".htm"}:
        raise SdabnError(
            f"--markdown {path}: that is a web page, by its name.",
            "Name a text file, or a new one; --report writes a page to look at.",
        )
    if not os.path.lexists(target):
        return "", ""
    if not path.is_file():
        raise SdabnError(f"--markdown {path} is no file.", "Name a text file, or a new one.")
    try:
        text = path.read_bytes().decode("utf-8")  # line ends as they are
    except (OSError, UnicodeDecodeError) as error:
        raise SdabnError(f"--markdown {path}: it is no text file: {error}.") from error
    if not os.access(path, os.W_OK):
        raise SdabnError(f"--markdown {path} cannot be written to.", "Name another file.")
    begin, end = _marks(table, dataset)
    lines = text.splitlines(keepends=True)
    marks = [line.strip() for line in lines]
    if begin not in marks:
        return text and text.rstrip("\r\n") + "\n\n", ""
    first = marks.index(begin)
    if end not in marks[first:]:
        raise SdabnError(
            f"--markdown {path}: {table} begins there, but its end is missing.",
            f"Put the line {end} behind it, or remove {begin}.",
        )
    last = marks.index(end, first)
    return "".join(lines[:first]), "".join(lines[last + 1 :])


def render(result: Mapping[str, Any], command: str) -> str:
    """A table, how it was measured, and what it says of the paper's claims, as Markdown."""
    lines = [f"### {result['table']}: {result['caption']}", "", "```bash", command, "```", ""]
    for each in result["tables"]:
        heads, rows = wording.table(each["rows"])
        lines += [f"Noise: {each['noise']}.", "", *_table(heads, rows), ""]
        lines += [wording.below(result), "", *_table(*wording.systems(each)), ""]
        lines += [wording.recipe(each), ""]
    if result["claims"]:
        heads = ["claim", "differences, with 95 % intervals", "verdict"]
        lines += [*_table(heads, map(_claim, result["claims"])), "", result["intervals"], ""]
    return "\n".join(lines)


def _claim(claim: Mapping[str, Any]) -> list[str]:
    differences = [wording.compared(each) for each in claim["comparisons"]]
    differences += [claim["remark"]] if claim["remark"] else []
    return [
        f"{claim['claim']} ({claim['noise']}): {wording.cited(claim, quotes='“”')}",
        "<br>".join(differences),
        f"**{claim['verdict']}**",
    ]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return [f"| {' | '.join(line)} |" for line in escaped]
