"""Find what installed distributions register in the five entry-point groups, loading none of it.

One broken distribution never hides the others.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import entrypoints

import sdabn_cli
from sdabn_cli.errors import SdabnError

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

    def load(self) -> Any:
        """Import the entry point's object.

        Raises:
            SdabnError: If it needs a newer sdabn or importing fails, naming the distribution.
        """
        needed = unmet_requirement(self.owner)
        if needed:
            raise SdabnError(
                f"The {self.kind} plug-in {self.name!r} of {self.distribution} needs {needed}; "
                f"this is sdabn {sdabn_cli.__version__}.",
                f'Install it: pip install "{needed}"',
            )
        module, _, attribute = self.target.partition(":")
        try:
            return entrypoints.EntryPoint(self.name, module, attribute).load()
        except (Exception, SystemExit) as error:
            raise SdabnError(
                f"The {self.kind} plug-in {self.name!r} of {self.distribution} does not load: "
                f"{type(error).__name__}: {error}",
                f"Repair or uninstall the distribution {self.distribution.split()[0]}.",
            ) from error


def normalized(name: str) -> str:
    """A distribution's name as package indices compare it.

    Reference:
        https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def unmet_requirement(owner: str) -> str:
    """Which sdabn a distribution needs, if this one is another; empty where it fits."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        lines = importlib.metadata.requires(owner) or []
    except importlib.metadata.PackageNotFoundError:
        return ""
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
def plugins(kind: str) -> tuple[Plugin, ...]:
    """List the plug-ins of a kind, loading none of them; a name may occur more than once."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            points = entrypoints.get_group_all(GROUPS[kind])
    except (configparser.Error, UnicodeDecodeError, OSError):
        # One malformed entry_points.txt makes entrypoints give up on every distribution.
        warnings.warn(
            f"A malformed entry_points.txt was passed over: {', '.join(malformed().values())}",
            stacklevel=1,
        )
        found = {plugin for _, plugin in registered() if plugin.kind == kind}
    else:
        found = {
            Plugin(
                kind,
                point.name,
                f"{point.module_name}:{point.object_name or ''}",
                _distribution(point.distro.name if point.distro else "unknown"),
            )
            for point in points
        }
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.distribution)))


def registered() -> Iterator[tuple[importlib.metadata.Distribution, Plugin]]:
    """Everything of ours that can be read, distribution by distribution in the path's order."""
    kinds = {group: kind for kind, group in GROUPS.items()}
    for distribution in importlib.metadata.distributions():
        try:
            points = [point for point in distribution.entry_points if point.group in kinds]
        except Exception:
            continue  # ``malformed`` names it
        for point in points:
            target = point.value.split("[")[0].strip()
            owner = f"{distribution.metadata['Name']} {distribution.version}"
            yield distribution, Plugin(kinds[point.group], point.name, target, owner)


def malformed() -> dict[str, str]:
    """Distributions whose entry_points.txt cannot be read: name, and the file with its mistake."""
    found = {}
    for distribution in importlib.metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt")
            parser = configparser.ConfigParser(delimiters=("=",))
            parser.optionxform = str  # entry points tell upper from lower case
            parser.read_string(text or "")
            for group in filter(parser.has_section, GROUPS.values()):
                parser.items(group)  # a stray % shows only now
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            place = getattr(distribution, "_path", "?")
            found[str(distribution.metadata["Name"])] = f"{place}: {' '.join(str(error).split())}"
    return found


def _distribution(raw_name: str) -> str:
    name = raw_name.replace("_", "-")
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return name
