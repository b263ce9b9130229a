"""What an ``init`` means: which file holds the weights, and what lies beside it about them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sdabn_cli import description, hub, origin, recipefiles, registry, signatures, sources
from sdabn_cli.choices import NetworkChoice
from sdabn_cli.conditions import Condition
from sdabn_cli.errors import SdabnError, fault
from sdabn_cli.origin import ROLES, Origin
from sdabn_cli.recipe import Recipe

#: What weights are called in folders: by libraries, and by a stage of a run.
WEIGHTS_NAMES = ("model.safetensors", "weights.safetensors", "pytorch_model.bin")
CONFIG = "config.json"
MOST_CONFIG_BYTES = 1_000_000

#: The first stage of a run, and the network of a model, whose weights stand for a kind.
FIRST_STAGE = {"seg": "s0", "denoise": "d1"}

WHAT = (
    "Give a weight file (.safetensors, .pt, .pth, .bin, .ckpt), a folder that save_pretrained "
    "wrote, a run directory, or a model's directory or name."
)


@dataclass(frozen=True)
class Source:
    """A weight file and what is known about it.

    Attributes:
        init: As the user wrote it.
        file: The weight file.
        plugin: Plug-in that builds the network, where something beside the file tells.
        options: Its options.
        classes: The classes it was trained on, where something beside the file tells.
        condition: What guided it, if it is a denoiser and something beside the file tells.
    """

    init: str
    file: Path
    plugin: str | None = None
    options: Mapping[str, Any] | None = None
    classes: list[str] | None = None
    condition: Condition | None = None


def locate(init: str, kind: str, first: str | None = None) -> Source:
    """Find the weight file that an ``init`` means.

    Args:
        init: A file, a folder that holds one, a run, a model directory or a model's name.
        kind: ``seg`` or ``denoise``.
        first: Name of the plug-in that is asked first what a library's ``config.json`` means.

    Raises:
        SdabnError: If there is none; the nearest name is given.
    """
    if hub.is_on_hub(init):
        return _in_model(init, init, kind)
    path = Path(init).expanduser()
    try:
        return _found(init, path, kind, first)
    except OSError as error:
        raise SdabnError(f"{ROLES[kind]}.init: {path} cannot be read: {error}.", WHAT) from error


def _found(init: str, path: Path, kind: str, first: str | None) -> Source:
    if registry.is_registered("model", init):  # as everywhere: ./NAME is a file or folder of it
        return _in_model(init, init, kind)
    if path.is_file():
        return Source(init, path)
    if (path / "recipe.yaml").is_file():
        return _in_run(init, path, kind)
    if (path / description.DESCRIPTION).is_file():
        return _in_model(init, path, kind)
    if path.is_dir():
        return _in_folder(init, path, kind, first)
    if path.exists():
        raise SdabnError(f"{path} is neither a file nor a folder.", WHAT)
    raise _nothing_there(path, kind)


def _nothing_there(path: Path, kind: str) -> SdabnError:
    folder = path.parent
    if not folder.is_dir():
        return SdabnError(
            f"{ROLES[kind]}.init: there is no file {path}: its folder does not exist.", WHAT
        )
    names = sorted(entry.name for entry in folder.iterdir())
    nearest = get_close_matches(path.name, names, n=1, cutoff=0.5)
    near = f"Did you mean {str(folder / nearest[0])!r}? " if nearest else ""
    return SdabnError(f"{ROLES[kind]}.init: there is no file {path}.", near + WHAT)


def _in_run(init: str, run: Path, kind: str) -> Source:
    stage = FIRST_STAGE[kind]
    weights = run / stage / "weights.safetensors"
    if not weights.is_file():
        raise SdabnError(
            f"The run {run} has no finished stage {stage}, whose weights are wanted.",
            f"Finish it (sdabn cascade --run {run}), or give a weight file.",
        )
    recipe = recipefiles.read_resolved(run / "recipe.yaml")
    chosen = recipe.network(kind)
    try:
        classes = json.loads((run / "classes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SdabnError(f"{run / 'classes.json'} is not readable: {error}.") from error
    return Source(init, weights, chosen.name, chosen.options, classes, recipe.condition)


def _in_model(init: str, name: str | Path, kind: str) -> Source:
    """The first unit's network of a model, downloaded if it lies on the Hub."""
    found = sources.find(name, units=1)
    network = getattr(found.description.units[0], ROLES[kind])
    found.fetch()
    description.check_weights(found.directory, network)
    file = found.directory / network.weights
    if not file.is_file():
        raise SdabnError(f"The weights {file} are missing.", "Copy the model again.")
    model = found.description
    return Source(init, file, network.plugin, network.options, model.classes, model.condition)


def _in_folder(init: str, folder: Path, kind: str, first: str | None) -> Source:
    file = next((folder / name for name in WEIGHTS_NAMES if (folder / name).is_file()), None)
    if file is None:
        raise SdabnError(
            f"The folder {folder} holds no weights: none of {', '.join(WEIGHTS_NAMES)}.", WHAT
        )
    plugin, options = _asked_for(folder / CONFIG, kind, first)
    return Source(init, file, plugin, options)


def _asked_for(
    config: Path, kind: str, first: str | None
) -> tuple[str | None, Mapping[str, Any] | None]:
    """Plug-in and options that a library's ``config.json`` asks for, if a plug-in knows it.

    The plug-in called ``first`` is asked before the others, which are loaded only if it knows
    nothing of the file.
    """
    if not config.is_file() or config.stat().st_size > MOST_CONFIG_BYTES:
        return None, None
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SdabnError(f"{config} is not readable: {error}.") from error
    if not isinstance(content, dict):
        return None, None
    known = registry.plugins(ROLES[kind])
    for plugin in sorted(known, key=lambda plugin: first not in (plugin.name, plugin.spec)):
        options = _options_from(plugin, content)
        if options is not None:
            return plugin.name, options
    return None, None


def _options_from(plugin: registry.Plugin, content: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a plug-in makes of a ``config.json``; None if nothing, or nothing that can be used."""
    try:
        options = getattr(plugin.load(), "options_from", lambda _: None)(dict(content))
        return {str(k): v for k, v in options.items()} if isinstance(options, Mapping) else None
    except BaseException as error:  # a broken plug-in is another one's matter
        fault(error)  # but a Ctrl-C goes on its way
        return None


def check_network(source: Source, kind: str, choice: NetworkChoice) -> None:
    """Make sure that weights belong to the network that a recipe chooses, where that is known.

    Raises:
        SdabnError: With both networks and what to type.
    """
    if source.plugin is None:
        return
    own = registry.format_spec(source.plugin, source.options or {})
    if _is_one(kind, source.plugin, choice.name):
        options = [_effective(kind, choice.name, o) for o in (source.options or {}, choice.options)]
        if options[0] == options[1] or choice.widens:
            return
    role = ROLES[kind]
    wider = "; a wider one may go on from them, if its plug-in can: --set denoiser.widen=true"
    may_widen = kind == "denoise" and _is_one(kind, source.plugin, choice.name)
    raise SdabnError(
        f"The weights in {source.init} are those of {own}; the recipe's {role} is {choice}.",
        f"Choose their network: {settings(**{role: own, f'{role}.init': source.init})}"
        + (wider if may_widen else ""),
    )


def settings(**values: str) -> str:
    """What to type for settings; what a stranger's file says cannot become a command of its own."""
    return " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in values.items())


def _is_one(kind: str, first: str, second: str) -> bool:
    """Whether two names mean one plug-in; either may name its distribution as well."""
    try:
        return registry.find(ROLES[kind], first) == registry.find(ROLES[kind], second)
    except SdabnError:
        return False


def _effective(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the defaults filled in, in the types that the plug-in declares."""
    plugin = registry.find(ROLES[kind], name)
    function = plugin.load()
    defaults = {key: option.default for key, option in signatures.options_of(function).items()}
    return defaults | registry.check_options(plugin, function, options)


def is_same(recorded: Origin, init: str, kind: str) -> bool:
    """Whether an ``init`` means the content that a run has recorded, wherever it lies now.

    Raises:
        SdabnError: As ``locate``, unless it is the recorded file that is gone: the run has a copy.
    """
    try:
        file = locate(init, kind).file
    except SdabnError:
        if init == recorded.init and not Path(init).expanduser().exists():
            return True
        raise
    return sha256_of(file) == recorded.sha256


def sha256_of(file: Path) -> str:
    """Hash of a weight file.

    Raises:
        SdabnError: If it cannot be read.
    """
    try:
        return description.sha256_of(file)
    except OSError as error:
        raise SdabnError(f"The weights {file} cannot be read: {error}.") from error


def by_content(old: Recipe, new: Recipe, run: Path) -> tuple[Recipe, Recipe]:
    """A run's recipe and another one, both with given weights named by their content.

    So a file that was moved is no difference, and one that was written anew is.

    Raises:
        SdabnError: As ``is_same``.
    """
    for kind, role in ROLES.items():
        recorded = origin.read(run, kind)
        if recorded is None or old.network(kind).init is None:
            continue
        old = _labelled(old, role, str(recorded))
        init = new.network(kind).init
        if init is not None and is_same(recorded, init, kind):
            new = _labelled(new, role, str(recorded))
        elif init is not None:
            file = locate(init, kind).file
            new = _labelled(new, role, origin.label(file, sha256_of(file)))
    return old, new


def _labelled(recipe: Recipe, role: str, text: str) -> Recipe:
    choice: NetworkChoice = getattr(recipe, role)
    return recipe.model_copy(update={role: choice.model_copy(update={"init": text})})
