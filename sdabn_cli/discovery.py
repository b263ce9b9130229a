"""Find what installed distributions register in the five entry-point groups, loading none of it.

One broken distribution never hides the others.
"""

from __future__ import annotations

import configparser
import contextlib
import importlib.metadata
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import entrypoints

import sdabn_cli
from sdabn_cli import unreadable
from sdabn_cli.errors import SdabnError, fault

GROUPS = {
    "segmenter": "sdabn.segmenters",
    "denoiser": "sdabn.denoisers",
    "noise": "sdabn.noises",
    "dataset": "sdabn.datasets",
    "model": "sdabn.models",
}

#: What an entry point's value must look like: a module, and usually an object in it.
TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)?")


@dataclass(frozen=True)
class Plugin:
    """A registered name, not yet loaded.

    Attributes:
        kind: One of the keys of ``GROUPS``.
        name: What users type.
        target: ``module:object`` of the entry point.
        distribution: Distribution that registers it, with its version where known.
    """

    kind: str
    name: str
    target: str
    distribution: str

    @property
    def owner(self) -> str:
        """Name of the distribution alone, as package indices write it."""
        return normalized(self.distribution.split()[0])

    @property
    def spec(self) -> str:
        """What users type where the name alone means another plug-in."""
        return f"{self.owner}/{self.name}"

    @property
    def built_in(self) -> bool:
        """Whether it comes with sdabn."""
        return self.owner == "sdabn"

    @property
    def is_malformed(self) -> bool:
        """Whether its target cannot be that of an entry point."""
        return not TARGET.fullmatch(self.target)

    def load(self) -> Any:
        """Import the entry point's object.

        Raises:
            SdabnError: If its entry point is malformed, it needs a newer sdabn or importing fails,
                naming the distribution.
        """
        if self.is_malformed:
            raise malformed_target(self)
        needed = unmet_requirement(self.owner)
        if needed:
            raise SdabnError(
                f"The {self.kind} plug-in {self.name!r} of {self.distribution} needs {needed}; "
                f"this is sdabn {sdabn_cli.__version__}.",
                f'Install it: pip install "{needed}"',
            )
        module, _, attribute = self.target.partition(":")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
                return entrypoints.EntryPoint(self.name, module, attribute).load()
        except BaseException as error:
            raise SdabnError(
                f"The {self.kind} plug-in {self.name!r} of {self.distribution} does not load: "
                f"{fault(error)}",
                f"Repair or uninstall the distribution {self.distribution.split()[0]}.",
            ) from error


def right_form(plugin: Plugin) -> str:
    """An entry point of a plug-in's kind as it should be written, with its name."""
    targets = {"dataset": "module:Class", "model": "module:directory"}
    return f"{plugin.name} = {targets.get(plugin.kind, 'module:build')}"


def malformed_target(plugin: Plugin) -> SdabnError:
    """What is written in the place of an entry point, and what would be right."""
    return SdabnError(
        f"The {plugin.kind} plug-in {plugin.name!r} of {plugin.distribution} is broken: its entry "
        f"point is {plugin.target!r}, which is not of the form module:object.",
        f"In the group {GROUPS[plugin.kind]} its author should write: {right_form(plugin)}. "
        f"Repair or uninstall the distribution {plugin.distribution.split()[0]}.",
    )


def normalized(name: str) -> str:
    """A distribution's name as package indices compare it.

    Reference:
        https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def unmet_requirement(owner: str) -> str:
    """Which sdabn an installed distribution needs, as ``unmet`` says it."""
    try:
        lines = importlib.metadata.requires(owner) or []
    except Exception:  # not found, or its metadata cannot be read
        return ""
    return unmet(lines)


def unmet(lines: Iterable[str]) -> str:
    """Which sdabn is needed by what a distribution requires, if this one is another; or empty."""
    from packaging.requirements import InvalidRequirement, Requirement

    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if normalized(requirement.name) != "sdabn":
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        fits = requirement.specifier.contains(sdabn_cli.__version__, prereleases=True)
        if applies and not fits:
            return f"sdabn{requirement.specifier}"
    return ""


@cache
def warn_of_malformed() -> None:
    """Warn once, whatever number of kinds is asked for."""
    problems = ", ".join(problem for _, problem in malformed())
    warnings.warn(f"A malformed entry_points.txt was passed over: {problems}", stacklevel=1)


@cache
def plugins(kind: str) -> tuple[Plugin, ...]:
    """List the plug-ins of a kind, loading none of them; a name may occur more than once."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            points = entrypoints.get_group_all(GROUPS[kind])
    except (configparser.Error, UnicodeDecodeError, OSError):
        # One malformed entry_points.txt makes entrypoints give up on every distribution.
        warn_of_malformed()
        found = {plugin for plugin in _first_ones() if plugin.kind == kind}
    else:
        found = {
            Plugin(
                kind,
                point.name,
                ":".join(filter(None, (point.module_name, point.object_name))),
                _distribution(*(point.distro.name, point.distro.version))
                if point.distro
                else "unknown",
            )
            for point in points
        }
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.distribution)))


@dataclass(frozen=True, eq=False)
class Installation:
    """A distribution as it lies on the path; the first of a name is the one that counts.

    Its files are read when they are asked for, and once.

    Attributes:
        place: Directory of its metadata.
        distribution: What ``importlib.metadata`` knows of it.
    """

    place: str
    distribution: importlib.metadata.Distribution

    @cached_property
    def _identity(self) -> tuple[str, str]:
        """Name and version as the metadata say or, where they cannot be read, the directory's."""
        try:
            metadata = self.distribution.metadata
            name, version = metadata["Name"], metadata["Version"]
        except Exception:  # missing, or not UTF-8
            name = version = None
        last = self.place.replace("\\", "/").rpartition("/")[2]
        first, _, second = re.sub(r"\.(dist-info|egg-info)$", "", last).partition("-")
        return name or first, version or second.partition("-")[0]

    @property
    def title(self) -> str:
        """Name and, where it is told, version."""
        return " ".join(self._identity).strip()

    @cached_property
    def unmet(self) -> str:
        """As ``unmet`` says it of what the distribution requires."""
        try:
            return unmet(self.distribution.requires or [])
        except Exception:  # its metadata cannot be read
            return ""


def installations() -> Iterator[Installation]:
    """Every distribution in the path's order, those of damaged metadata included."""
    for distribution in importlib.metadata.distributions():
        with contextlib.suppress(AttributeError):
            # Its properties read the files anew each time, and there may be hundreds of them.
            distribution.read_text = cache(unreadable.strict(distribution))
        yield Installation(str(getattr(distribution, "_path", "?")), distribution)


def registered(
    found: Iterable[Installation] | None = None,
) -> Iterator[tuple[Installation, Plugin]]:
    """Everything of ours that can be read, installation by installation in the path's order.

    Args:
        found: Where to look; by default everything that is installed.
    """
    kinds = {group: kind for kind, group in GROUPS.items()}
    for installation in installations() if found is None else found:
        try:
            points = [p for p in installation.distribution.entry_points if p.group in kinds]
        except Exception:
            continue  # ``malformed`` names it
        for point in points:
            target = point.value.split("[")[0].strip()
            yield installation, Plugin(kinds[point.group], point.name, target, installation.title)


def with_malformed_target(name: str, kind: str | None = None) -> list[Plugin]:
    """Plug-ins of a name, which may be ``distribution/name``, whose entry point is malformed.

    The package ``entrypoints`` passes most of them over, so that ``plugins`` may lack them.
    """
    owner, _, plain = name.rpartition("/")
    return [
        plugin
        for _, plugin in registered()
        if plugin.name == plain
        and kind in (None, plugin.kind)
        and (not owner or plugin.owner == normalized(owner))
        and plugin.is_malformed
    ]


def _first_ones() -> set[Plugin]:
    """Plug-ins of the first installation of every distribution, as ``entrypoints`` finds them."""
    places: dict[str, str] = {}
    return {
        plugin
        for installation, plugin in registered()
        if places.setdefault(plugin.owner, installation.place) == installation.place
    }


def malformed(
    among: Iterable[Installation] | None = None,
) -> list[tuple[Installation, str]]:
    """Distributions whose entry_points.txt cannot be read, and the file with its mistake.

    Args:
        among: Where to look; by default everything that is installed.
    """
    found = []
    for installation in installations() if among is None else among:
        try:
            text = installation.distribution.read_text("entry_points.txt")
            parser = configparser.ConfigParser(delimiters=("=",))
            parser.optionxform = str  # entry points tell upper from lower case
            parser.read_string(text or "")
            for group in filter(parser.has_section, GROUPS.values()):
                parser.items(group)  # a stray % shows only now
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            found.append((installation, f"{installation.place}: {' '.join(str(error).split())}"))
    return found


def _distribution(raw_name: str, raw_version: str | None) -> str:
    name = raw_name.replace("_", "-")
    try:
        version = importlib.metadata.version(name)
    except Exception:  # not found, or its metadata cannot be read
        version = raw_version
    return f"{name} {version or ''}".strip()
