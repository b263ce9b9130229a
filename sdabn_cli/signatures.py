"""Own options of a plug-in as its signature declares them: names, types, bounds, text as values."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from sdabn_cli.errors import SdabnError
from sdabn_cli.specs import split, without_brackets

#: Parameters that the framework fills in; a user cannot set them.
FRAMEWORK_PARAMETERS = {"num_classes", "condition_channels", "in_channels", "root", "split"}

#: How None is written.
NOTHING = ("none", "null")

#: What stands in front of an option's name in the model that checks it: pydantic has names of its
#: own (``copy``, ``json``, ``model_config``), which options may have as well.
PREFIX = "option_"

#: How the bounds of ``annotated_types`` and pydantic are written.
BOUNDS = {
    "gt": "> {}", "ge": ">= {}", "lt": "< {}", "le": "<= {}", "multiple_of": "multiple of {}",
    "min_length": "length >= {}", "max_length": "length <= {}", "pattern": "like {}",
}  # fmt: skip


def options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Own options of a plug-in: keyword-only parameters that the framework does not fill in.

    Those that begin with an underscore are the author's own affair, as everywhere in Python.

    Raises:
        SdabnError: If it has no signature, as a type that is written in C.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise SdabnError(f"The options of {function!r} cannot be told: {error}.") from error
    return {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
        and name not in FRAMEWORK_PARAMETERS
        and not name.startswith("_")
    }


def unwrapped(target: Any) -> Any:
    """What a ``functools.partial`` calls; anything else as it is."""
    while isinstance(target, functools.partial):
        target = target.func
    return target


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Types of the options with their bounds, without those that only a type checker resolves."""
    function = unwrapped(function)
    if inspect.isclass(function):
        function = function.__init__
    elif not inspect.isroutine(function):  # an object that can be called
        function = function.__call__
    resolved: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        holder = type("Holder", (), {"__annotations__": {name: annotation}})
        names = getattr(function, "__globals__", {})
        try:
            resolved |= get_type_hints(holder, globalns=names, include_extras=True)
        except (NameError, AttributeError):
            continue
    return resolved


def bare(hint: Any) -> Any:
    """A type without its bounds."""
    return bare(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def convert(
    hints: Mapping[str, Any], defaults: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Convert options to their types and hold them to their bounds.

    Args:
        hints: Type of every option.
        defaults: Default of every option, ``...`` where it has none.
        given: Values by option; text is read as ``value_of`` says.

    Returns:
        The given options' values, and what is wrong with them, sentence by sentence.
    """
    from pydantic import ConfigDict, ValidationError, create_model

    config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)
    fields = {PREFIX + name: (hints[name], defaults[name]) for name in hints}
    model = create_model("Options", __config__=config, **fields)
    read = {name: value_of(value, hints[name]) for name, value in given.items()}
    try:
        values = model(**{PREFIX + name: value for name, value in read.items()})
    except ValidationError as error:
        found = [(str(e["loc"][0]).removeprefix(PREFIX), e["msg"]) for e in error.errors()]
        return {}, [f"{name}={given.get(name)!r}: {message}" for name, message in found]
    return {name: getattr(values, PREFIX + name) for name in given}, []


def value_of(value: Any, hint: Any) -> Any:
    """What text stands for where it does not say it by itself; the rest is left to conversion.

    ``none`` is None where the type has it, one of the choices of a ``Literal`` is written as it
    reads, and a list is written in brackets.
    """
    hint = bare(hint)
    if not isinstance(value, str):
        return value
    parts = list(members(hint))
    literals = [choice for m in parts if get_origin(m) is Literal for choice in get_args(m)]
    for choice in literals:
        if value == choice or value == str(choice):
            return choice
    if type(None) in parts and value.lower() in NOTHING:
        return None
    for member in parts:
        is_meant = len(parts) == 1 or value.startswith("[")
        if is_meant and (get_origin(member) or member) in (list, tuple):
            return _listed(value, get_args(member))
    return value


def members(hint: Any) -> Iterable[Any]:
    """The types of a union; a type that is none stands for itself."""
    hint = bare(hint)
    if get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from members(part)
    else:
        yield hint


def _listed(value: str, hints: tuple[Any, ...]) -> list[Any]:
    """``[1,2]`` as a list; ``hints`` stand in the brackets of its type."""
    parts = [part.strip() for part in split(without_brackets(value)) if part.strip()]
    if not hints:
        return parts
    of_each = len(hints) == len(parts) and Ellipsis not in hints
    return [value_of(part, hints[i] if of_each else hints[0]) for i, part in enumerate(parts)]


def written(hint: Any) -> str:
    """A type with its bounds as people read it, such as ``int, >= 1`` or ``small | large``."""
    if hint is inspect.Parameter.empty:
        return ""
    if get_origin(hint) is Annotated:
        return ", ".join([written(bare(hint)), *_bounds(hint.__metadata__)])
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(
            f"({written(part)})" if get_origin(part) is Annotated else written(part)
            for part in get_args(hint)
        )
    if get_origin(hint) in (list, tuple):
        parts = ["..." if part is Ellipsis else written(part) for part in get_args(hint)]
        return f"{get_origin(hint).__name__}[{', '.join(parts)}]"
    return "None" if hint is type(None) else inspect.formatannotation(hint)


def _bounds(metadata: Iterable[Any]) -> list[str]:
    """What is written of ``Annotated``; pydantic's ``Field`` keeps its bounds as metadata."""
    found: list[str] = []
    for item in metadata:
        found += [
            text.format(getattr(item, name))
            for name, text in BOUNDS.items()
            if getattr(item, name, None) is not None
        ]
        inner = getattr(item, "metadata", None)
        found += _bounds(inner) if isinstance(inner, list) else []
    return found
