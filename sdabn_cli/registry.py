"""The plug-in registry: finds, checks and builds what the five entry-point groups offer.

Nothing is loaded until a name is used.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sdabn_cli.contracts import DenoiserBuilder, SegmenterBuilder
from sdabn_cli.discovery import (
    GROUPS,
    Plugin,
    malformed_target,
    normalized,
    plugins,
    with_malformed_target,
)
from sdabn_cli.errors import SdabnError, did_you_mean, fault
from sdabn_cli.signatures import annotations_of, bare, convert, options_of
from sdabn_cli.specs import format_spec, parse

__all__ = ["GROUPS", "Plugin", "format_spec", "parse", "plugins"]

#: Types of options that are plug-ins themselves, and the kinds they name.
NESTED = {DenoiserBuilder: "denoiser", SegmenterBuilder: "segmenter"}


def find(kind: str, name: str) -> Plugin:
    """Find the one plug-in of that kind and name.

    What comes with sdabn keeps its names, whoever else registers them: recipes and models that
    name it go on working. ``distribution/name`` picks another's.

    Raises:
        SdabnError: If none is registered (the nearest match is named), or several are.
    """
    owner, _, plain = name.rpartition("/")
    matches = [plugin for plugin in plugins(kind) if plugin.name == plain]
    if owner:
        matches = [plugin for plugin in matches if plugin.owner == normalized(owner)]
    if not matches:
        raise _unknown(kind, name)
    own = [plugin for plugin in matches if plugin.built_in]
    if len(matches) == 1 or not own:
        return _only(matches)
    others = [plugin for plugin in matches if not plugin.built_in]
    also = " and ".join(f"{p.distribution} registers one too ({p.spec})" for p in others)
    warnings.warn(f"The {kind} {name!r} is sdabn's own; {also}.", stacklevel=1)
    return own[0]


def _unknown(kind: str, name: str) -> SdabnError:
    for plugin in with_malformed_target(name, kind):
        return malformed_target(plugin)
    known = {plugin.name for plugin in plugins(kind)} | {plugin.spec for plugin in plugins(kind)}
    plain = sorted(entry for entry in known if "/" not in entry)
    other = [k for k in GROUPS if k != kind and any(p.name == name for p in plugins(k))]
    also = f" There is a {' and a '.join(other)} of that name." if other else ""
    return SdabnError(
        f"There is no {kind} plug-in called {name!r}.{also}",
        f"{did_you_mean(name, known if '/' in name else plain)} See: sdabn plugins list",
    )


def _only(matches: list[Plugin]) -> Plugin:
    if len(matches) > 1:
        first = matches[0]
        raise SdabnError(
            f"The {first.kind} plug-in {first.name!r} is registered by "
            + " and ".join(plugin.distribution for plugin in matches)
            + ".",
            f"Write {' or '.join(plugin.spec for plugin in matches)}, or uninstall all but one.",
        )
    return matches[0]


def is_registered(kind: str, name: str) -> bool:
    """Whether a plug-in of that kind has the name, which may be ``distribution/name``."""
    owner, _, plain = name.rpartition("/")
    return any(
        plugin.name == plain and (not owner or plugin.owner == normalized(owner))
        for plugin in plugins(kind)
    )


def kinds_of(name: str, kind: str | None = None) -> list[str]:
    """The kinds of plug-in that have a name; only the one asked, if one is.

    Raises:
        SdabnError: If there is no such kind, or no plug-in of that name.
    """
    if kind is not None:
        if kind not in GROUPS:
            raise SdabnError(f"There is no kind {kind!r}.", did_you_mean(kind, GROUPS))
        find(kind, name)
        return [kind]
    found = [each for each in GROUPS if is_registered(each, name)]
    if not found:
        for plugin in with_malformed_target(name):
            raise malformed_target(plugin)
        known = {plugin.name for each in GROUPS for plugin in plugins(each)}
        raise SdabnError(
            f"There is no plug-in called {name!r}.",
            f"{did_you_mean(name, known)} See: sdabn plugins list",
        )
    return found


def build(kind: str, name: str, options: Mapping[str, Any], **given: Any) -> Any:
    """Load a plug-in and call it with its own options and what the framework gives.

    Args:
        kind: One of the keys of ``GROUPS``.
        name: Registered name.
        options: The plug-in's own options; strings are converted to the annotated types.
        **given: Framework parameters, such as ``num_classes``.

    Raises:
        SdabnError: For unknown options, values that do not fit, or a failure inside the plug-in.
    """
    plugin = find(kind, name)
    function = plugin.load()
    checked = check_options(plugin, function, options)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            return function(**given, **checked)
    except SdabnError:
        raise
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise SdabnError(f"{kind} {format_spec(name, options)}: {reason}.") from error
    except BaseException as error:
        raise SdabnError(
            f"The {kind} plug-in {name!r} of {plugin.distribution} failed: {fault(error)}"
        ) from error


def check_options(
    plugin: Plugin, function: Callable[..., Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Convert options to the types the plug-in's signature declares.

    Raises:
        SdabnError: Naming the first unknown option with its nearest match, or every bad value.
    """
    if not callable(function):
        raise SdabnError(
            f"The {plugin.kind} plug-in {plugin.name!r} of {plugin.distribution} is a "
            f"{type(function).__name__}, not a function or class."
        )
    allowed = options_of(function)
    for key in options:
        if key not in allowed:
            raise SdabnError(
                f"The {plugin.kind} {plugin.name!r} has no option {key!r}.",
                did_you_mean(key, allowed),
            )
    types = annotations_of(function)
    hints = {name: types.get(name, Any) for name in allowed}
    nested = _nested(function)
    plain = {name: parameter for name, parameter in allowed.items() if name not in nested}
    values, problems = convert(
        {name: hints[name] for name in plain},
        {name: ... if p.default is p.empty else p.default for name, p in plain.items()},
        {name: value for name, value in options.items() if name in plain},
    )
    if problems:
        raise SdabnError(f"The {plugin.kind} {plugin.name!r} refuses {'; '.join(problems)}.")
    builders = {
        name: _builder(kind, options.get(name, allowed[name].default))
        for name, kind in nested.items()
    }
    return values | builders


def _nested(function: Callable[..., Any]) -> dict[str, str]:
    """Options of a plug-in that are plug-ins themselves, and their kinds."""
    types = annotations_of(function)
    options = ((name, bare(types.get(name, Any))) for name in options_of(function))
    return {name: kind for name, hint in options for t, kind in NESTED.items() if hint is t}


def named_in(kind: str, name: str, options: Mapping[str, Any]) -> list[Plugin]:
    """A plug-in, and those that its options name, and theirs.

    Args:
        kind: One of the keys of ``GROUPS``.
        name: Registered name.
        options: The plug-in's own options.

    Raises:
        SdabnError: If one is not registered or does not load.
    """
    plugin = find(kind, name)
    function = plugin.load()
    found, defaults = [plugin], options_of(function)
    for option, nested in _nested(function).items():
        choice = options.get(option, defaults[option].default)
        found += named_in(nested, *_chosen(nested, choice))
    return found


def _builder(kind: str, choice: Any) -> Callable[..., Any]:
    """The function that builds the plug-in which an option names.

    Raises:
        SdabnError: As ``_chosen``, or if there is no such plug-in.
    """
    name, options = _chosen(kind, choice)
    find(kind, name)
    return partial(build, kind, name, options)


def _chosen(kind: str, choice: Any) -> tuple[str, dict[str, Any]]:
    """Name and options of the plug-in that an option names.

    Args:
        kind: Its kind.
        choice: Text that ``parse`` reads, or a mapping of ``name`` and ``options``.

    Raises:
        SdabnError: If it is neither.
    """
    if isinstance(choice, str):
        return parse(choice)
    if isinstance(choice, Mapping) and isinstance(choice.get("name"), str):
        unknown = sorted(choice.keys() - {"name", "options"})
        if unknown:
            raise SdabnError(
                f"The {kind} {choice['name']!r} is given with {unknown[0]!r}.",
                "Allowed: name, options.",
            )
        return choice["name"], choice.get("options") or {}
    raise SdabnError(
        f"{choice!r} names no {kind}.",
        f"Write it like name, or [name:option=value]. "
        f"{did_you_mean('', (plugin.name for plugin in plugins(kind)))}",
    )


def model_directory(name: str) -> Path:
    """Directory of the finished cascade registered under that name."""
    return directory_of(find("model", name))


def directory_of(plugin: Plugin) -> Path:
    """Directory of the finished cascade that a plug-in registers.

    Raises:
        SdabnError: If it does not load or gives no directory.
    """
    found = plugin.load()
    try:
        return Path(found() if callable(found) else found)
    except BaseException as error:
        raise SdabnError(
            f"The model plug-in {plugin.name!r} of {plugin.distribution} gives no directory: "
            f"{fault(error)}"
        ) from error
