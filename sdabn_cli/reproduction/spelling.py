"""One spelling for noises that are the same: directories and the paper's figures go by it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from math import isfinite
from typing import Any

from sdabn_cli import registry
from sdabn_cli.discovery import Plugin
from sdabn_cli.errors import SdabnError
from sdabn_cli.signatures import annotations_of, convert, members, options_of

#: An option that is told even where it has its default: the paper's figures and BM3D go by it.
ALWAYS_TOLD = ("gaussian", "sigma")

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def written_once(noises: Sequence[str]) -> list[str]:
    """Noises in one spelling, each once.

    Options come in one order and without those that have their defaults, numbers, truth values and
    names of plug-ins in one form: ``gaussian``, ``gaussian:sigma=50.0,clip=no`` and
    ``sdabn/gaussian:sigma=50..50`` are ``gaussian:sigma=50``.
    """
    return list(dict.fromkeys(map(_written, noises)))


def _written(noise: str) -> str:
    given, options = registry.parse(noise)
    plugin = registry.find("noise", given)
    name = _shortest(plugin, given)
    build = plugin.load()
    types = annotations_of(build)
    defaults = {key: option.default for key, option in options_of(build).items()}
    told: dict[str, str] = {}
    for key, value in options.items():
        hint = types.get(key, str)
        plain = _plainly(value, hint)
        if plain != _plainly(str(defaults[key]), hint) and not _means(value, hint, defaults[key]):
            told[key] = plain
    always, option = ALWAYS_TOLD
    if name == always and option not in told:
        told[option] = _plainly(str(defaults[option]), types[option])
    return registry.format_spec(name, dict(sorted(told.items())))


def _shortest(plugin: Plugin, given: str) -> str:
    """The name alone where it means the same plug-in, else with its distribution."""
    if "/" not in given:
        return given
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever names the distribution knows of the others
            return plugin.name if registry.find("noise", plugin.name) == plugin else plugin.spec
    except SdabnError:  # several have the name
        return plugin.spec


def _means(text: str, hint: Any, default: Any) -> bool:
    """Whether a text stands for a default, as ``no`` does for False."""
    return _values(text, hint, default) == [default]


def _values(text: str, hint: Any, default: Any = ...) -> list[Any]:
    """What a text stands for; nothing if it does not fit the type."""
    values, problems = convert({"value": hint}, {"value": default}, {"value": text})
    return [] if problems else [values["value"]]


def _plainly(value: str, hint: Any) -> str:
    """A truth value, a number or a range of numbers in one form; anything else as it is."""
    kinds = set(members(hint))
    for meant in _values(value, hint) if kinds & {bool, int} else ():
        if isinstance(meant, bool):
            return str(meant).lower()
        if isinstance(meant, int):
            return str(meant)
    ends = value.split("..")
    if not {int, float} & kinds or len(ends) > 2:
        return value
    if not all(NUMBER.fullmatch(end) and isfinite(float(end)) for end in ends):
        return value
    numbers = [_number(end, whole=int in kinds) for end in ends]
    return "..".join(dict.fromkeys(numbers))  # a range of equal ends is a number


def _number(text: str, *, whole: bool) -> str:
    """A number in one form that holds all of it, ``whole`` if it may be an integer."""
    if whole and text.lstrip("+-").isdecimal():
        return str(int(text))
    number = float(text)
    short = f"{number:.15g}"
    return short if float(short) == number else repr(number)
