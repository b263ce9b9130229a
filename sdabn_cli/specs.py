"""How a plug-in and its options are written: ``name:option=value,option=value``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdabn_cli.errors import SdabnError


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """Split ``name:option=value,option=value`` into the name and its options.

    A value in brackets may hold commas: a list, or a plug-in with options of its own as in
    ``sft:denoiser=[dncnn:depth=17,width=48]``. Brackets around the whole are left out.

    Raises:
        SdabnError: If an option is not of the form ``option=value``, or a bracket has no partner.
    """
    name, _, rest = without_brackets(spec).partition(":")
    options: dict[str, str] = {}
    for part in filter(None, split(rest)):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise SdabnError(
                f"{spec!r}: {part!r} is not of the form option=value.",
                f"Write it like {name}:option=value,option=value.",
            )
        options[key.strip()] = value.strip()
    return name.strip(), options


def split(text: str) -> list[str]:
    """Split at the commas outside brackets.

    Returns:
        The parts as they are written; an empty text gives an empty one.

    Raises:
        SdabnError: If a bracket has no partner.
    """
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if depth < 0:
            break
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise SdabnError(
            f"{text!r}: a bracket has no partner.",
            "Write it like option=[name:option=value,option=value].",
        )
    return parts


def without_brackets(text: str) -> str:
    """Leave out spaces and the brackets around a text."""
    text = text.strip()
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def format_spec(name: str, options: Mapping[str, Any]) -> str:
    """Write a name and its options the way ``parse`` reads them."""
    written = ",".join(f"{key}={_format_value(value)}" for key, value in options.items())
    return name + (":" if options else "") + written


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        written = format_spec(value["name"], value.get("options") or {})
        return f"[{written}]" if ":" in written else written
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_format_value, value))}]"
    return str(value)
