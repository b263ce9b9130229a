"""A server that answers as the Hugging Face Hub does, on this machine, and models to publish."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from huggingface_hub import constants


@dataclass
class Repository:
    """A repository on the server.

    Attributes:
        commits: Files by name, of every commit.
        refs: Commits that branches and tags name.
        refusal: What the server answers instead: status and error code.
        told_sizes: Sizes that the server claims, where they are not the true ones.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None
    told_sizes: dict[str, int] = field(default_factory=dict)

    def push(self, files: dict[str, bytes], *, branch: str = "main") -> str:
        """Add a commit with exactly these files; returns its digits."""
        told = repr((len(self.commits), sorted(files.items())))
        commit = hashlib.sha1(told.encode()).hexdigest()
        self.commits[commit], self.refs[branch] = files, commit
        return commit


class Hub:
    """The server; ``requests`` holds what it was asked, as ``GET file``."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.address = f"http://127.0.0.1:{server.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        return {line.removeprefix("GET ") for line in self.requests if line.startswith("GET ")}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def log_message(self, format: str, *arguments: object) -> None:
        del format, arguments

    def _answer(self, *, with_content: bool) -> None:
        parts = [unquote(part) for part in self.path.strip("/").split("/", 4)]
        owner, name, word, revision, filename = [*parts, "", "", ""][:5]
        self.hub.requests.append(f"{self.command} {filename or self.path}")
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if repository is None or word != "resolve":
            return self._refuse(401, "RepoNotFound")
        if repository.refusal:
            return self._refuse(*repository.refusal)
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            return self._refuse(404, "RevisionNotFound")
        content = repository.commits[commit].get(filename)
        if content is None:
            return self._refuse(404, "EntryNotFound", commit)
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(repository.told_sizes.get(filename, len(content))))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def _refuse(self, status: int, code: str, commit: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving() -> Iterator[Hub]:
    """A server without any repository."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    handler.hub = hub = Hub(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def content_of(directory: Path) -> dict[str, bytes]:
    """Files of a directory by name, to be pushed."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def turn_to(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub, which reads the environment when it is imported, ask a server."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def nobody() -> str:
    """Address of a server that does not answer."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}"
