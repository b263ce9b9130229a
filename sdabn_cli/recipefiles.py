"""Recipes as YAML files: found by name, read with what they extend, changed by ``KEY=VALUE``."""

from __future__ import annotations

import copy
import importlib.resources
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sdabn_cli.choices import spec_to_mapping
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.recipe import GROUPS, MOMENTUM, Recipe, group_of, validate

DEFAULT_RECIPE = "scenes/quickstart"


def names() -> list[str]:
    """Names of the recipes that come with sdabn, such as ``camvid/awgn50``."""
    root = _shipped()
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))


def _shipped() -> Path:
    return Path(str(importlib.resources.files("sdabn_recipes")))


def path_of(name: str) -> Path:
    """File of a recipe: a path of the user's own or the name of one that comes with sdabn.

    Raises:
        SdabnError: If there is neither; the nearest match is named.
    """
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise SdabnError(f"There is no recipe file {name}.", "See: sdabn recipes list")
    shipped = _shipped() / f"{name}.yaml"
    if name not in names():
        raise SdabnError(
            f"There is no recipe called {name!r}.",
            f"{did_you_mean(name, names())} Or give the path of a .yaml file.",
        )
    return shipped


def load(name: str, overrides: Iterable[str] = (), **replacements: Any) -> Recipe:
    """Read a recipe, apply ``KEY=VALUE`` overrides and validate the result.

    Args:
        name: Name or path, see ``path_of``.
        overrides: Such as ``segment.steps=100`` or ``stages.s0.steps=10``; values are YAML. Whole
            groups come before single keys of theirs, in whatever order they are given. A key of a
            group counts for all its stages, whatever the file says of single ones; an override of
            a single stage counts more.
        **replacements: Values for top-level keys or, with ``__`` for the dot, for deeper ones;
            None leaves the recipe as it is.

    Raises:
        SdabnError: Naming every problem at once.
    """
    content, overrides = _read(path_of(name), ()), list(overrides)
    _drop_overruled(content, overrides)
    for override in sorted(overrides, key=lambda text: text.partition("=")[0].count(".")):
        key, equals, value = override.partition("=")
        if not equals:
            raise SdabnError(
                f"--set {override!r} is not of the form KEY=VALUE.",
                "For example: --set segment.steps=100",
            )
        _set(content, key.strip(), value_of(override, value))
    for key, value in replacements.items():
        if value is not None:
            _set(content, key.replace("__", "."), value)
    return validate(content, source=str(name))


def _read(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """Read a recipe file on top of the one that it extends, if it does.

    Args:
        path: The file.
        extending: The files whose chain of ``extends`` has led here.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SdabnError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(content, dict):
        raise SdabnError(f"{path} is not a recipe: it holds no keys.", "See: sdabn recipes show")
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise SdabnError(
            f"{path}: extends must be the name of a recipe, not {base!r}.",
            "For example: extends: cityscapes/awgn50",
        )
    beside = path.parent / base
    found = beside if base.endswith((".yaml", ".yml")) and beside.is_file() else path_of(base)
    if found.resolve() in (file.resolve() for file in (path, *extending)):
        raise SdabnError(f"{path} extends itself by way of {found}.", "Remove one extends.")
    return _merged(_read(found, (path, *extending)), content)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Groups of keys are merged; plug-ins, lists and single values replace each other."""
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        if isinstance(value, dict):
            inner = spec_to_mapping(inner)  # its keys may be extended by init
        both = isinstance(inner, dict) and isinstance(value, dict) and "name" not in value
        result[key] = _merged(inner, value) if both else value
    return result


def _drop_overruled(content: dict[str, Any], overrides: Iterable[str]) -> None:
    """Drop keys of single stages in a file where an override sets them for the whole group.

    Who asks for ``segment.steps=10`` means every segmenter, and may not know that the recipe has
    steps of its own for s0.
    """
    stages = content.get("stages")
    for override in overrides if isinstance(stages, dict) else ():
        group, _, key = override.partition("=")[0].strip().partition(".")
        if group not in GROUPS:
            continue
        value = None if key else value_of(override, override.partition("=")[2])
        keys = [key] if key else value if isinstance(value, dict) else []
        for name, own in stages.items():
            if group_of(str(name)) == group and isinstance(own, dict):
                stages[name] = {k: v for k, v in own.items() if k not in keys}


def value_of(override: str, text: str) -> Any:
    """The value of an override, which is YAML.

    Raises:
        SdabnError: If it is not.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SdabnError(f"--set {override!r}: the value is not readable: {error}") from error


def _set(content: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    place = content
    for parent in parents:
        inner = place.get(parent)
        if isinstance(inner, str):  # a plug-in written as name:option=value
            inner = spec_to_mapping(inner)
        place[parent] = inner = {} if inner is None else copy.copy(inner)
        if not isinstance(inner, dict):
            raise SdabnError(f"--set {dotted}: {parent} holds a value, not keys.")
        place = inner
    place[last] = value


def read_resolved(path: Path) -> Recipe:
    """Read the recipe of a run, which ``dump`` wrote.

    Raises:
        SdabnError: If it is missing or damaged.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SdabnError(f"{path} is not readable: {error}") from error
    content = content if isinstance(content, dict) else {}
    _drop_idle_momentum(content)
    return validate(content, source=str(path))


def _drop_idle_momentum(content: dict[str, Any]) -> None:
    """Forget what had no effect: there are runs from before momentum beside Adam was refused."""
    groups = [(content.get(group), {}) for group in GROUPS]
    stages = content.get("stages")
    if isinstance(stages, dict):
        groups += [(own, content.get(group_of(str(name)))) for name, own in stages.items()]
    for settings, above in groups:
        if isinstance(settings, dict) and isinstance(above, dict):
            every = above | settings
            if every.get("optimizer", "sgd") != "sgd" and "momentum" in every:
                settings["momentum"] = MOMENTUM


def dump(recipe: Recipe) -> str:
    """Write a resolved recipe as YAML; ``validate`` reads it back equal."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
