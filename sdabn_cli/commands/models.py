"""``sdabn models``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from sdabn_cli.commands import LOOK, app
from sdabn_cli.commands.options import MODEL_HELP, Json
from sdabn_cli.commands.pinning import pinned

models = typer.Typer(
    no_args_is_help=True, help="See which models are installed, and what is in one."
)
app.add_typer(models, name="models", rich_help_panel=LOOK)


@models.command("list")
def list_models(json: Json = False) -> None:
    """List the models that are installed; a broken one is listed with what is wrong with it."""
    from sdabn_cli import catalogue
    from sdabn_cli.console import emit, show_table, warn

    found = catalogue.installed()
    if json:
        emit(found)
        return
    columns = ["name", "distribution", "units", "classes", "trained on", "MB"]
    show_table("Models", columns, [_row(model) for model in found])
    for model in found:
        if model["broken"]:
            warn(f"{model['name']} of {model['distribution']} is broken: {model['broken']}")


def _row(model: Mapping[str, Any]) -> list[str]:
    if model["broken"]:
        return [model["name"], model["distribution"], "-", "-", "-", "-"]
    return [
        model["name"],
        model["distribution"],
        str(model["units"]),
        str(len(model["classes"])),
        model["noise"],
        f"{model['megabytes']:.1f}",
    ]


@models.command("show")
def show_model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    card: Annotated[
        bool, typer.Option("--card", help="Print the model card alone, on stdout.")
    ] = False,
    json: Json = False,
) -> None:
    """Show networks, classes, noise, files and licence of a model; exit code 1 if it is damaged."""
    from sdabn_cli import catalogue, model
    from sdabn_cli.console import emit, emit_text, warn
    from sdabn_cli.errors import SdabnError

    told = catalogue.describe(pinned(name), model.count_parameters)
    if card and not told["card"]:
        raise SdabnError(f"The model {name} has no card ({catalogue.CARD}).")
    if card:
        emit_text(told["card"]["text"])
        return
    if json:
        emit(told)
    else:
        _show(told)
    for problem in told["problems"]:
        warn(problem)
    if told["problems"]:
        raise typer.Exit(1)


def _show(told: Mapping[str, Any]) -> None:
    from sdabn_cli.console import say, show_table

    rows = [
        [f"{role[0]}{unit['unit']}", _spec(unit[role]), _number(unit[role]["parameters"]),
         unit[role]["weights"], _size(unit[role]["bytes"]), unit[role]["state"]]
        for unit in told["units"]
        for role in ("segmenter", "denoiser")
    ]  # fmt: skip
    show_table(told["name"], ["", "network", "parameters", "file", "MB", "hash"], rows)
    classes = [
        [str(entry["id"]), entry["name"], "#{:02x}{:02x}{:02x}".format(*entry["colour"])]
        for entry in told["classes"]
    ]
    show_table("", ["label", "class", "colour"], classes)
    width = max(len(key) for key, _ in _facts(told))
    for key, value in _facts(told):
        say(f"  {key:<{width}}  {value}")


def _facts(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is told in a line each."""
    yield "parameters", _number(told["parameters"])
    yield "size", f"{told['megabytes']:.1f} MB"
    yield "trained on", told["noise"]
    yield "condition", f"{told['condition']} ({told['condition_form']})"
    yield "trained with", ", ".join(f"{k} {v}" for k, v in told["distributions"].items()) or "-"
    yield "licence", told["licence"] or "not stated"
    yield "card", told["card"]["path"] if told["card"] else "none"
    yield "distribution", told["distribution"] or "none"
    yield "directory", told["directory"]


def _spec(network: Mapping[str, Any]) -> str:
    from sdabn_cli.registry import format_spec

    return format_spec(network["plugin"], network["options"])


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.1f}"
