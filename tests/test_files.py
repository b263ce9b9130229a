"""Written files: as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pytest

from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_atomically, write_together


def fail(file: IO[bytes]) -> None:
    file.write(b"half of it")
    raise RuntimeError("the power went")


def test_folders_are_made_and_nothing_is_left_beside_the_file():
    write_atomically(Path("deep/folder/file"), lambda file: file.write(b"content"))

    assert Path("deep/folder/file").read_bytes() == b"content"
    assert [p.name for p in Path("deep/folder").iterdir()] == ["file"]


def test_a_written_file_has_the_permissions_of_any_other():
    write_atomically(Path("file"), lambda file: file.write(b"content"))
    Path("other").touch()

    assert Path("file").stat().st_mode == Path("other").stat().st_mode


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else():
    Path("kept").write_bytes(b"old")

    with pytest.raises(RuntimeError, match="the power went"):
        write_atomically(Path("kept"), fail)

    assert Path("kept").read_bytes() == b"old"
    assert [p.name for p in Path().iterdir()] == ["kept"]


def test_if_one_writer_fails_no_file_changes():
    Path("first").write_bytes(b"old")

    with pytest.raises(RuntimeError, match="the power went"):
        write_together({Path("first"): lambda file: file.write(b"new"), Path("second"): fail})

    assert Path("first").read_bytes() == b"old"
    assert [p.name for p in Path().iterdir()] == ["first"]


def test_a_move_that_fails_is_named_and_leaves_no_temporary_file(monkeypatch):
    move = Path.replace

    def refuse_second(source: Path, target: Path) -> Path:
        if target.name == "second":
            raise PermissionError(13, os.strerror(13))
        return move(source, target)

    monkeypatch.setattr(Path, "replace", refuse_second)
    writers = {Path(name): lambda file: file.write(b"new") for name in ("first", "second")}

    with pytest.raises(SdabnError, match=r"second cannot be written: .*Permission denied"):
        write_together(writers)

    assert [p.name for p in Path().iterdir()] == ["first"]


@pytest.mark.parametrize("place", ["file/image.png", "folder"])
def test_a_place_that_cannot_be_written_to_is_named(place):
    Path("file").write_text("in the way")
    Path("folder").mkdir()

    with pytest.raises(SdabnError, match=f"{place} cannot be written"):
        write_atomically(Path(place), lambda file: file.write(b"content"))
