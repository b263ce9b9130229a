"""The state of every registered plug-in, as ``sdabn plugins list`` shows it.

``survey`` looks at files only, so a hundred plug-ins take no time and none can do harm. What shows
only when a module runs is found by ``try_loading``, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from typing import Any, Literal

import sdabn_cli
from sdabn_cli.discovery import (
    GROUPS,
    Installation,
    Plugin,
    installations,
    malformed,
    registered,
    right_form,
)

State = Literal["ok", "broken", "duplicate", "shadowed"]

#: Seconds that one plug-in may take to load.
PATIENCE = 120


@dataclass(frozen=True)
class Entry:
    """A plug-in and how it stands.

    Attributes:
        plugin: What is registered. Kind, name and target are empty for a distribution whose entry
            points cannot be read.
        state: ``ok``; ``broken``: it cannot be used; ``duplicate``: other distributions register
            the name as well, so it must be written ``distribution/name``; ``shadowed``: the name
            means another plug-in.
        reason: Why it is not ok, with what to do.
    """

    plugin: Plugin
    state: State
    reason: str = ""

    def row(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        name, _, version = self.plugin.distribution.partition(" ")
        return {
            "name": self.plugin.name,
            "kind": self.plugin.kind,
            "distribution": name,
            "version": version,
            "state": self.state,
            "reason": self.reason,
            "target": self.plugin.target,
        }


def survey() -> list[Entry]:
    """Every plug-in of every distribution with its state; nothing is imported."""
    installed = list(installations())
    found = list(registered(installed))
    owners = Counter((kind, name) for _, kind, name in {
        (p.owner, p.kind, p.name) for _, p in found if not p.built_in
    })  # fmt: skip
    built_in = {(p.kind, p.name) for _, p in found if p.built_in}
    first: dict[str, Installation] = {}
    entries: dict[Plugin, Entry] = {}
    for installation, plugin in found:
        current = first.setdefault(plugin.owner, installation)
        if plugin in entries:
            continue  # a second look at the same installation
        entries[plugin] = _examined(plugin, installation, current, owners, built_in)
    broken = [
        Entry(
            Plugin("", "", "", installation.title),
            "broken",
            f"its entry points cannot be read ({problem}): repair or uninstall it",
        )
        for installation, problem in malformed(installed)
    ]
    kinds = list(GROUPS)
    order = sorted(entries.values(), key=lambda e: (kinds.index(e.plugin.kind), e.plugin.name))
    return order + broken


def _examined(
    plugin: Plugin,
    installation: Installation,
    current: Installation,
    owners: Counter[tuple[str, str]],
    built_in: set[tuple[str, str]],
) -> Entry:
    """One plug-in's state; ``current`` is the installation of its distribution that counts."""
    key = (plugin.kind, plugin.name)
    if installation.place != current.place:
        return Entry(
            plugin,
            "shadowed",
            f"{installation.place} is not used: {current.title} at {current.place} comes before it "
            f"on the path; uninstall {plugin.owner} until none is left, and install one",
        )
    problem = _problem(plugin, installation)
    if problem:
        return Entry(plugin, "broken", problem)
    if key in built_in and not plugin.built_in:
        return Entry(
            plugin, "shadowed", f"sdabn's own {plugin.name} comes first: write {plugin.spec}"
        )
    if owners[key] > 1:
        return Entry(
            plugin, "duplicate", f"another distribution has the name too: write {plugin.spec}"
        )
    return Entry(plugin, "ok")


def _problem(plugin: Plugin, installation: Installation) -> str:
    """What is wrong with a plug-in as far as its files tell; empty if nothing is."""
    if plugin.is_malformed:
        return (
            f"its entry point {plugin.target!r} is not of the form module:object, such as "
            f"{right_form(plugin)}"
        )
    needed, place = installation.unmet, installation.place
    if needed:
        return f"it needs {needed}; this is {sdabn_cli.__version__}: pip install {needed!r}"
    module = plugin.target.partition(":")[0]
    if not module_exists(module):
        if place.endswith(".egg-info"):
            return f"there is no module {module}: {place} is a left-over; delete it"
        return f"there is no module {module}: install {plugin.owner} again"
    return ""


def module_exists(name: str) -> bool:
    """Whether a module can be found, without importing it or the packages it lies in."""
    search: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    for end in range(1, name.count(".") + 2):
        full = ".".join(name.split(".")[:end])
        spec = _find_spec(full, search)
        if spec is None:
            return False
        search = list(spec.submodule_search_locations or [])
    return spec is not None


def _find_spec(name: str, search: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, search)
        except (ImportError, ValueError, AttributeError):
            continue
        if spec is not None:
            return spec
    return None


def try_loading(entries: Iterable[Entry]) -> list[Entry]:
    """Load what seems ok, each in turn, in another process: nothing can take this one down.

    Where a plug-in ends that process, it is the culprit, and another process goes on after it.
    """
    entries = list(entries)
    waiting = [entry for entry in entries if entry.state != "broken" and entry.plugin.kind]
    results: dict[Plugin, str] = {}
    while waiting:
        found, ending = _load_in_a_process([entry.plugin for entry in waiting])
        done = [entry.plugin for entry in waiting[: len(found)]]
        results |= dict(zip(done, found, strict=True))
        if len(found) < len(waiting):
            results[waiting[len(found)].plugin] = ending
        waiting = waiting[len(found) + 1 :]
    return [
        replace(entry, state="broken", reason=results[entry.plugin])
        if results.get(entry.plugin)
        else entry
        for entry in entries
    ]


def _load_in_a_process(plugins: list[Plugin]) -> tuple[list[str], str]:
    """What went wrong with each plug-in, empty where nothing did, and how the process ended.

    The list is shorter than the plug-ins where one of them ended the process.
    """
    wanted = [[p.kind, p.name, p.target, p.distribution] for p in plugins]
    request = json.dumps({"path": sys.path, "plugins": wanted})
    process = subprocess.Popen(
        [sys.executable, "-m", "sdabn_cli.loading"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    found: list[str] = []
    finished = True
    try:
        process.stdin.write(request)
        process.stdin.close()
        for _ in plugins:
            line, finished = _answer(process)
            if not line:
                break
            found.append(json.loads(line)["problem"])
        if len(found) == len(plugins):
            process.kill()  # nothing is left to be said
        code = process.wait()
    finally:
        process.kill()  # a Ctrl-C ends this wait; the other process does not listen to it
        process.wait()
        process.stdout.close()
    if not finished:
        return found, f"it does not finish loading within {PATIENCE} seconds"
    return found, f"loading it ended the process ({code})"


def _answer(process: subprocess.Popen[str]) -> tuple[str, bool]:
    """A process's next line, empty where it has ended, and whether it came in time."""
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        return process.stdout.readline(), watchdog.is_alive()
    finally:
        watchdog.cancel()
