"""Where models come from: installed names, model and run directories, the Hugging Face Hub.

Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sdabn_cli import hub, registry
from sdabn_cli.description import DESCRIPTION, Description, read_description
from sdabn_cli.errors import SdabnError, did_you_mean

#: Characters of a name that messages show.
LONGEST_NAME = 200


@dataclass(frozen=True)
class Source:
    """A model that was found; its weights may not be on this machine yet.

    Attributes:
        name: Finds the same model again: a name on the Hub carries its commit.
        directory: Of ``cascade.json``.
        description: What that says, of the units that are wanted.
        commit: On the Hub; None for other models.
    """

    name: str
    directory: Path
    description: Description
    commit: hub.Commit | None = None

    def fetch(self) -> None:
        """Download the weights of the wanted units, if they are not on this machine yet.

        Raises:
            SdabnError: If they cannot be downloaded.
        """
        if self.commit is not None:
            files = list({network.weights: None for network in self.description.networks()})
            self.commit.fetch(files, most=hub.MOST_WEIGHTS)


def find(name: str | Path, *, units: int | None = None) -> Source:
    """Find a model without reading or downloading its weights.

    Args:
        name: A registered name, a model or run directory, or ``hf:owner/name[@revision]``; a
            ``Path`` is always a directory, also where a model of its name is installed.
        units: Only the first units are wanted; None wants all.

    Raises:
        SdabnError: If there is none, its description is damaged, or it has fewer units.
    """
    source = _at(name) if isinstance(name, Path) else _locate(name)
    count = len(source.description.units)
    if units is not None and not 1 <= units <= count:
        raise SdabnError(
            f"The model {str(name)!r} has {count} units; --units {units} was asked.",
            f"Allowed: 1 to {count}.",
        )
    return replace(source, description=source.description.first(units))


def as_name(directory: Path) -> str:
    """What a directory is found by, also where a model of its name is installed."""
    text = str(directory)
    return f"./{text}" if registry.is_registered("model", text) else text


def _at(directory: Path) -> Source:
    found = _directory(str(directory))
    return Source(as_name(directory), found, read_description(found))


def _locate(name: str) -> Source:
    if registry.is_registered("model", name):  # before a folder that happens to have the name
        installed = registry.model_directory(name)
        return Source(name, installed, read_description(installed))
    if hub.is_on_hub(name):
        commit, path = hub.find(name, DESCRIPTION)
        return Source(str(commit), path.parent, read_description(path.parent), commit)
    directory = _directory(name)
    return Source(name, directory, read_description(directory))


def _directory(name: str) -> Path:
    """Directory of a model on this machine."""
    path = Path(name)
    try:
        found = [p for p in (path, path / "model") if (p / DESCRIPTION).is_file()]
        is_directory = path.is_dir()
    except (OSError, ValueError) as error:  # too long a name, no permission, a null character
        raise SdabnError(
            f"The model {name[:LONGEST_NAME]!r} cannot be looked for: "
            f"{getattr(error, 'strerror', None) or error}.",
            "Give a model or run directory, or a name: sdabn models list",
        ) from error
    if found:
        return found[0]
    if is_directory:
        raise SdabnError(
            f"The directory {path} holds no finished cascade ({DESCRIPTION}).",
            f"A run directory gets one when its first unit is trained: sdabn cascade --run {path}",
        )
    known = [plugin.name for plugin in registry.plugins("model")]
    elsewhere = f"Or give a model or run directory, or {hub.PREFIX}owner/name."
    if hub.NAME.fullmatch(hub.PREFIX + name):  # owner/name, as the Hub's own tools take it
        elsewhere = f"Or give a model or run directory. On the Hub it is {hub.PREFIX}{name}."
    raise SdabnError(f"There is no model {name!r}.", f"{did_you_mean(name, known)} {elsewhere}")
