"""One spelling for noises that are the same: directories and the paper's figures go by it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

from sdabn_cli import registry
from sdabn_cli.signatures import annotations_of, convert, members, options_of

#: An option that is told even where it has its default: the paper's figures and BM3D go by it.
ALWAYS_TOLD = ("gaussian", "sigma")

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def written_once(noises: Sequence[str]) -> list[str]:
    """Noises in one spelling, each once.

    Options come in one order and without those that have their defaults, numbers in one form:
    ``gaussian`` and ``gaussian:sigma=50.0,clip=false`` are ``gaussian:sigma=50``.
    """
    return list(dict.fromkeys(map(_written, noises)))


def _written(noise: str) -> str:
    name, options = registry.parse(noise)
    build = registry.find("noise", name).load()
    types = annotations_of(build)
    defaults = {key: option.default for key, option in options_of(build).items()}
    told: dict[str, str] = {}
    for key, value in options.items():
        hint = types.get(key, str)
        plain = _plainly(value, hint)
        if plain != _plainly(str(defaults[key]), hint) and not _means(value, hint, defaults[key]):
            told[key] = plain
    plugin, option = ALWAYS_TOLD
    if name == plugin and option not in told:
        told[option] = _plainly(str(defaults[option]), types[option])
    return registry.format_spec(name, dict(sorted(told.items())))


def _means(text: str, hint: Any, default: Any) -> bool:
    """Whether a text stands for a default, as ``no`` does for False."""
    values, problems = convert({"value": hint}, {"value": default}, {"value": text})
    return not problems and values["value"] == default


def _plainly(value: str, hint: Any) -> str:
    """A number, or both ends of a range of numbers, in one form; anything else as it is."""
    ends = value.split("..")
    if not {int, float} & set(members(hint)) or len(ends) > 2:
        return value
    if not all(NUMBER.fullmatch(end) for end in ends):
        return value
    numbers = [float(end) for end in ends]
    if not all(map(isfinite, numbers)):
        return value
    return "..".join(f"{number:.15g}" for number in numbers)
