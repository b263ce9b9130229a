"""The plug-in registry: finds, checks and builds what the five entry-point groups offer.

Nothing is loaded until a name is used, and one broken distribution never hides the others.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import entrypoints

from sdabn_cli.contracts import DenoiserBuilder, SegmenterBuilder
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.specs import format_spec, parse, split, without_brackets

GROUPS = {
    "segmenter": "sdabn.segmenters",
    "denoiser": "sdabn.denoisers",
    "noise": "sdabn.noises",
    "dataset": "sdabn.datasets",
    "model": "sdabn.models",
}

#: Types of options that are plug-ins themselves, and the kinds they name.
NESTED = {DenoiserBuilder: "denoiser", SegmenterBuilder: "segmenter"}

#: Parameters that the framework fills in; a user cannot set them.
FRAMEWORK_PARAMETERS = {"num_classes", "condition_channels", "in_channels", "root", "split"}


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

    def load(self) -> Any:
        """Import the entry point's object.

        Raises:
            SdabnError: If importing fails, naming the distribution.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return entrypoints.EntryPoint(self.name, module, attribute).load()
        except (Exception, SystemExit) as error:
            raise SdabnError(
                f"The {self.kind} plug-in {self.name!r} of {self.distribution} does not load: "
                f"{type(error).__name__}: {error}",
                f"Repair or uninstall the distribution {self.distribution.split()[0]}.",
            ) from error


@cache
def plugins(kind: str) -> tuple[Plugin, ...]:
    """List the plug-ins of a kind, loading none of them; a name may occur more than once."""
    group = GROUPS[kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            points = entrypoints.get_group_all(group)
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        # One malformed entry_points.txt makes entrypoints give up on every distribution.
        found, culprits = _scan_one_by_one(kind)
        warnings.warn(
            f"A malformed entry_points.txt was passed over: {', '.join(culprits) or error}",
            stacklevel=1,
        )
        return found
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


def _scan_one_by_one(kind: str) -> tuple[tuple[Plugin, ...], list[str]]:
    """Plug-ins of every distribution that can be read, and the files of those that cannot."""
    found, culprits = set(), []
    for distribution in importlib.metadata.distributions():
        try:
            points = distribution.entry_points.select(group=GROUPS[kind])
            owner = f"{distribution.metadata['Name']} {distribution.version}"
            found |= {
                Plugin(kind, point.name, f"{point.module}:{point.attr}", owner) for point in points
            }
        except Exception as error:
            place = getattr(distribution, "_path", "?")
            culprits.append(f"{place}: {error}")
    ordered = sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))
    return tuple(ordered), culprits


def _distribution(raw_name: str) -> str:
    name = raw_name.replace("_", "-")
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return name


def find(kind: str, name: str) -> Plugin:
    """Find the one plug-in of that kind and name.

    Raises:
        SdabnError: If none is registered (the nearest match is named), or more than one is.
    """
    matches = [plugin for plugin in plugins(kind) if plugin.name == name]
    if not matches:
        names = [plugin.name for plugin in plugins(kind)]
        raise SdabnError(
            f"There is no {kind} plug-in called {name!r}.",
            f"{did_you_mean(name, names)} See: sdabn plugins list",
        )
    if len(matches) > 1:
        owners = " and ".join(plugin.distribution for plugin in matches)
        raise SdabnError(
            f"The {kind} plug-in {name!r} is registered by {owners}.",
            "Uninstall all of them but one.",
        )
    return matches[0]


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
        return function(**given, **checked)
    except SdabnError:
        raise
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise SdabnError(f"{kind} {format_spec(name, options)}: {reason}.") from error
    except (Exception, SystemExit) as error:
        raise SdabnError(
            f"The {kind} plug-in {name!r} of {plugin.distribution} failed: "
            f"{type(error).__name__}: {error}"
        ) from error


def options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Own options of a plug-in: keyword-only parameters that the framework does not fill in."""
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in FRAMEWORK_PARAMETERS
    }


def check_options(
    plugin: Plugin, function: Callable[..., Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Convert options to the types the plug-in's signature declares.

    Raises:
        SdabnError: Naming the first unknown option with its nearest match, or every bad value.
    """
    from pydantic import ConfigDict, ValidationError, create_model

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
    hints = _annotations(function.__init__ if inspect.isclass(function) else function)
    nested = {n: kind for n in allowed for t, kind in NESTED.items() if hints.get(n) is t}
    fields = {
        name: (hints.get(name, Any), ... if p.default is p.empty else p.default)
        for name, p in allowed.items()
        if name not in nested
    }
    model = create_model("Options", __config__=ConfigDict(arbitrary_types_allowed=True), **fields)
    given = {name: value for name, value in options.items() if name not in nested}
    try:
        values = model(**{n: _listed(value, hints.get(n)) for n, value in given.items()})
    except ValidationError as error:
        problems = "; ".join(
            f"{e['loc'][0]}={options.get(str(e['loc'][0]))!r}: {e['msg']}" for e in error.errors()
        )
        raise SdabnError(f"The {plugin.kind} {plugin.name!r} refuses {problems}.") from error
    builders = {
        name: _builder(kind, options.get(name, allowed[name].default))
        for name, kind in nested.items()
    }
    return {name: getattr(values, name) for name in given} | builders


def _listed(value: Any, hint: Any) -> Any:
    """``[1,2]`` as a list where the option is one."""
    if isinstance(value, str) and get_origin(hint) in (list, tuple):
        return [part.strip() for part in split(without_brackets(value)) if part.strip()]
    return value


def _builder(kind: str, choice: Any) -> Callable[..., Any]:
    """The function that builds the plug-in which an option names.

    Args:
        kind: Its kind.
        choice: Text that ``parse`` reads, or a mapping of ``name`` and ``options``.

    Raises:
        SdabnError: If it is neither, or there is no such plug-in.
    """
    if isinstance(choice, str):
        name, options = parse(choice)
    elif isinstance(choice, Mapping) and isinstance(choice.get("name"), str):
        unknown = sorted(choice.keys() - {"name", "options"})
        if unknown:
            raise SdabnError(
                f"The {kind} {choice['name']!r} is given with {unknown[0]!r}.",
                "Allowed: name, options.",
            )
        name, options = choice["name"], choice.get("options") or {}
    else:
        raise SdabnError(
            f"{choice!r} names no {kind}.",
            f"Write it like name, or [name:option=value]. "
            f"{did_you_mean('', (plugin.name for plugin in plugins(kind)))}",
        )
    find(kind, name)
    return partial(build, kind, name, options)


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Types of the options, without those that only a type checker can resolve."""
    resolved: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        holder = type("Holder", (), {"__annotations__": {name: annotation}})
        try:
            resolved |= get_type_hints(holder, globalns=getattr(function, "__globals__", {}))
        except NameError:
            continue
    return resolved


def model_directory(name: str) -> Path:
    """Directory of the finished cascade registered under that name."""
    plugin = find("model", name)
    found = plugin.load()
    try:
        return Path(found() if callable(found) else found)
    except (Exception, SystemExit) as error:
        raise SdabnError(
            f"The model plug-in {name!r} of {plugin.distribution} gives no directory: "
            f"{type(error).__name__}: {error}"
        ) from error
