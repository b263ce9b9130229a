"""What callers from Python give, held to the types that a function's signature states.

The command line converts and checks its texts itself. From Python anything may come, and would end
deep inside in a traceback, or be taken for something else: a text for a list of letters.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_type_hints

import numpy as np

from sdabn_cli.errors import SdabnError
from sdabn_cli.signatures import members

P = ParamSpec("P")
R = TypeVar("R")

#: Types that are checked, and what they are called. A parameter of any other type is left alone.
#: Classes of the API add themselves.
KINDS: dict[type, str] = {
    bool: "True or False", int: "a whole number", str: "a text", Path: "a path",
    type(None): "None",
}  # fmt: skip


def checked(**least: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function check its arguments before it does anything.

    Args:
        **least: The smallest value of parameters that are whole numbers.

    Returns:
        A decorator; the function raises ``SdabnError`` for a value of a wrong type or too small,
        naming the parameter, its value and what is allowed.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature, hints = inspect.signature(function), get_type_hints(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python's own error names the function, too
            for name, value in bound.arguments.items():
                if name not in hints:  # self
                    continue
                allowed = list(members(hints[name]))
                bound.arguments[name] = _checked(name, value, allowed, least.get(name))
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def _checked(name: str, value: Any, allowed: list[Any], least: int | None) -> Any:
    if not all(kind in KINDS for kind in allowed):
        return value
    if not any(_is(value, kind) for kind in allowed):
        raise SdabnError(
            f"{name}={value!r} is of the type {type(value).__name__}.",
            f"Allowed: {_listed([KINDS[kind] for kind in allowed])}.",
        )
    if not isinstance(value, Integral) or isinstance(value, bool):
        return value
    if least is not None and value < least:
        raise SdabnError(f"{name}={value} is too small.", f"Allowed: whole numbers from {least}.")
    return int(value)  # numpy's integers cannot be written as JSON


def _is(value: Any, kind: type) -> bool:
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
    if kind is Path:
        return isinstance(value, os.PathLike)
    return isinstance(value, (bool, np.bool_) if kind is bool else kind)


def _listed(words: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def texts_of(overrides: object) -> list[str]:
    """Overrides of a recipe as ``KEY=VALUE``; values are YAML, of which JSON is a part.

    Raises:
        SdabnError: If they are neither a mapping of keys nor texts, or a value cannot be written.
            Nor may they be one text alone, which would be taken letter by letter.
    """
    if isinstance(overrides, str | bytes) or not isinstance(overrides, Iterable):
        raise _no_override(f"overrides={overrides!r}", overrides)
    entries = list(overrides)
    for entry in entries:
        if not isinstance(entry, str):
            raise _no_override(f"overrides: {entry!r}", entry)
    if isinstance(overrides, Mapping):
        return [f"{key}={_written(key, value)}" for key, value in overrides.items()]
    return entries


def _written(key: str, value: object) -> str:
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:  # such as a list that holds itself
        raise SdabnError(
            f"overrides: the value of {key!r} cannot be written as YAML: {error}.",
            "Allowed: numbers, texts, True, False, None, and lists and mappings of them.",
        ) from error


def _plain(value: object) -> object:
    """A value that JSON does not know as one that it knows."""
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__array__"):
        raise TypeError(f"it holds a {type(value).__name__}; give a list: value.tolist()")
    return str(value)


def _no_override(what: str, value: object) -> SdabnError:
    return SdabnError(
        f"{what} is of the type {type(value).__name__}.",
        'Allowed: {"segment.steps": 100} or ["segment.steps=100"].',
    )
