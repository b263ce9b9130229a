"""Models on the Hugging Face Hub: ``hf:owner/name`` and ``hf:owner/name@revision``.

A model on the Hub is a commit, which never changes: a branch or a tag is resolved to its commit
first, and every file is taken from that one. Only the files that are asked for by name are
downloaded, each after its size is known, into the cache that all programs of the Hub share
(``HF_HOME``). What is there already needs no network.

``huggingface_hub`` is imported when a name begins with ``hf:``, and only then. What it raises where
the network fails is another class in each of its major versions, so that is told by elimination.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sdabn_cli.errors import SdabnError

PREFIX = "hf:"

#: What may follow the prefix. Dots and hyphens in a row mean paths to the Hub's own tools.
REPOSITORY = r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*"
NAME = re.compile(rf"hf:(?P<repository>{REPOSITORY})(?:@(?P<revision>[A-Za-z0-9_][\w./-]*))?", re.A)

#: Most characters of an owner, and of a name.
LONGEST_NAME = 96

COMMIT = re.compile(r"[0-9a-f]{40}")

#: What the Hub calls the newest commit.
NEWEST = "main"

#: Most bytes of a text file, and of the weights of a model together.
MOST_TEXT, MOST_WEIGHTS = 2**20, 16 * 10**9

FORM = "Write hf:owner/name, or hf:owner/name@revision with a commit, a tag or a branch."


class Unreachable(SdabnError):
    """The Hub does not answer."""


class NotThere(SdabnError):
    """The repository has no such file."""


def is_on_hub(name: str) -> bool:
    """Whether a model's name is meant for the Hub."""
    return name.startswith(PREFIX)


def parse(name: str) -> tuple[str, str | None]:
    """Split ``hf:owner/name@revision`` into ``owner/name`` and the revision, if there is one.

    Raises:
        SdabnError: If it has another form.
    """
    match = NAME.fullmatch(name)
    if match is None or ".." in name or not _is_allowed(match["repository"]):
        raise SdabnError(f"{name!r} is no name of a model on the Hub.", FORM)
    return match["repository"], match["revision"]


def _is_allowed(repository: str) -> bool:
    """Further rules of the Hub's own tools, which would raise an error of theirs."""
    parts = repository.split("/")
    ends_well = not any(part.endswith((".", "-")) for part in parts)
    short = all(len(part) <= LONGEST_NAME for part in parts)
    return short and ends_well and "--" not in repository and not repository.endswith(".git")


@dataclass(frozen=True)
class Commit:
    """One commit of a repository.

    Attributes:
        repository: ``owner/name``.
        commit: 40 hexadecimal digits.
    """

    repository: str
    commit: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.commit}"

    def cached(self, filename: str) -> Path | None:
        """Where a file lies on this machine; None before it is fetched."""
        return _cached(self.repository, filename, self.commit)

    def size(self, filename: str) -> int:
        """Bytes of a file, which is not downloaded.

        Raises:
            SdabnError: If the repository has no such file, or the Hub cannot be reached.
        """
        path = self.cached(filename)
        return path.stat().st_size if path else _size(self.repository, filename, self.commit)

    def fetch(self, filenames: Sequence[str], *, most: int) -> list[Path]:
        """Download the files that are not on this machine yet.

        Args:
            filenames: Names of files; nothing else is downloaded.
            most: Bytes that all of them together may have.

        Returns:
            Where they lie, in one directory.

        Raises:
            SdabnError: If one is missing, they are too large, the disk has no room for them, or
                the Hub cannot be reached. Nothing is downloaded if that can be known before.
        """
        missing = [name for name in filenames if self.cached(name) is None]
        sizes = [_size(self.repository, name, self.commit) for name in missing]
        if missing:
            _check_room(str(self), sum(sizes), most)
        return [_download(self.repository, name, self.commit) for name in filenames]


def find(name: str, filename: str) -> tuple[Commit, Path]:
    """Resolve a name to its commit, and fetch the one small file that says what it is.

    A name that carries a commit needs no network where that file is on this machine. A branch or
    tag is asked for; if the Hub cannot be reached, the commit is taken that it was when it was
    last asked for, with a warning.

    Args:
        name: See ``parse``.
        filename: Such as ``cascade.json``, of ``MOST_TEXT`` bytes at most.

    Raises:
        SdabnError: If it has another form, there is no such repository, revision or file, or the
            Hub cannot be reached.
    """
    repository, revision = parse(name)
    if revision and COMMIT.fullmatch(revision):
        commit = Commit(repository, revision)
        return commit, commit.fetch([filename], most=MOST_TEXT)[0]
    try:
        _check_room(name, _size(repository, filename, revision or NEWEST), MOST_TEXT)
        # Asked for by the branch's name, so that the cache remembers which commit it was.
        path = _download(repository, filename, revision or NEWEST)
    except Unreachable as error:
        found = _cached(repository, filename, revision or NEWEST)
        if found is None:
            raise
        path = found
        commit = Commit(repository, path.parent.name)
        warnings.warn(f"{error.problem} {commit} is used, fetched earlier.", stacklevel=1)
    return Commit(repository, path.parent.name), path  # the cache has a folder a commit


def _cached(repository: str, filename: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, filename, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _size(repository: str, filename: str, revision: str) -> int:
    """Bytes of a file, as the server tells them."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        told = get_hf_file_metadata(hf_hub_url(repository, filename, revision=revision))
    except Exception as error:
        _explain(error, repository, filename, revision)
    if told.size is None:
        raise SdabnError(
            f"{_endpoint()} does not tell the size of {filename} in {PREFIX}{repository}.",
            "HF_ENDPOINT must name a server that speaks as the Hub does.",
        )
    return told.size


def _download(repository: str, filename: str, revision: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, filename, revision=revision))
    except OSError as error:
        if error.errno is not None:  # the disk's answer; those of the network have no number
            raise SdabnError(
                f"{filename} of {PREFIX}{repository} cannot be stored: {error}.",
                "HF_HOME names another place for what is downloaded.",
            ) from error
        _explain(error, repository, filename, revision)
    except Exception as error:
        _explain(error, repository, filename, revision)


def _check_room(name: str, size: int, most: int) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    if size > most:
        raise SdabnError(
            f"The files of {name} have {size:,} bytes, more than the {most:,} that are downloaded.",
            "Check that it is the model you mean; download it yourself and give its directory.",
        )
    place = next(p for p in (Path(HF_HUB_CACHE).absolute(), *Path(HF_HUB_CACHE).absolute().parents)
                 if p.exists())  # fmt: skip
    free = shutil.disk_usage(place).free
    if size > free:
        raise SdabnError(
            f"The files of {name} have {size / 1e6:.0f} MB, but {place} has room for "
            f"{free / 1e6:.0f} MB.",
            "Make room, or name another place in HF_HOME.",
        )


def _endpoint() -> str:
    from huggingface_hub.constants import ENDPOINT

    return ENDPOINT


def _explain(error: Exception, repository: str, filename: str, revision: str) -> NoReturn:
    """Say in our words what the Hub or the network has answered."""
    from huggingface_hub import errors

    page = f"{_endpoint()}/{repository}"
    if isinstance(error, errors.GatedRepoError):
        raise SdabnError(
            f"{PREFIX}{repository} is gated: its owner decides who may have it.",
            f"Ask for access at {page}, then log in with: hf auth login",
        ) from error
    if isinstance(error, errors.RepositoryNotFoundError):
        raise SdabnError(
            f"There is no model {repository} at {_endpoint()}, or it is private.",
            "Check owner and name; for a private one log in with: hf auth login",
        ) from error
    if isinstance(error, errors.RevisionNotFoundError):
        raise SdabnError(
            f"{PREFIX}{repository} has no revision {revision!r}.",
            f"Give a branch, a tag or all 40 digits of a commit: {page}/commits/main",
        ) from error
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(
        error, errors.LocalEntryNotFoundError
    ):
        raise NotThere(
            f"{PREFIX}{repository}@{revision} holds no {filename}, so it is no model of sdabn.",
            "Models are written with: sdabn export",
        ) from error
    raise _unreachable(error, repository) from error


def _unreachable(error: Exception, repository: str) -> SdabnError:
    """Everything else: no network, a timeout, a server in trouble."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    hint = (
        "Without the Hub, give a directory, an installed model (sdabn models list), or "
        f"{PREFIX}{repository}@COMMIT that was fetched before."
    )
    cause: Any = error.__cause__ if isinstance(error, FileNotFoundError) else error
    if isinstance(cause, OfflineModeIsEnabled):
        return Unreachable(f"HF_HUB_OFFLINE keeps {PREFIX}{repository} from being looked up.", hint)
    if isinstance(cause, HfHubHTTPError):
        status = cause.response.status_code
        if status < 500:
            return SdabnError(
                f"{_endpoint()} refuses {PREFIX}{repository}: status {status}.",
                "Try again later, or log in with: hf auth login",
            )
        return Unreachable(f"{_endpoint()} is in trouble: status {status}.", hint)
    reason = str(cause).strip().splitlines()
    told = f": {reason[0]}" if reason else ""
    return Unreachable(f"{_endpoint()} cannot be reached: {type(cause).__name__}{told}.", hint)
