"""``sdabn recipes``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdabn_cli.commands import LOOK, app
from sdabn_cli.commands.options import DryRun, Json

recipes = typer.Typer(no_args_is_help=True, help="See, copy and check recipes.")
app.add_typer(recipes, name="recipes", rich_help_panel=LOOK)


@recipes.command("list")
def list_recipes(json: Json = False) -> None:
    """List the recipes that come with sdabn."""
    from sdabn_cli import recipefiles
    from sdabn_cli.console import emit, say

    if json:
        emit(recipefiles.names())
        return
    for name in recipefiles.names():
        say(name)


@recipes.command("show")
def show_recipe(
    name: Annotated[str, typer.Argument(help="Name or path of a recipe.")], json: Json = False
) -> None:
    """Print a recipe with its comments or, with --json, with every default filled in."""
    from sdabn_cli import recipefiles
    from sdabn_cli.console import emit, emit_text

    if json:
        emit(recipefiles.load(name).model_dump(mode="json"))
        return
    emit_text(recipefiles.path_of(name).read_text(encoding="utf-8"))


@recipes.command("copy")
def copy_recipe(
    name: Annotated[str, typer.Argument(help="Name of a recipe.")],
    target: Annotated[Path, typer.Argument(help="New .yaml file.")],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Copy a recipe to a file of your own, to be changed and given with --recipe."""
    from sdabn_cli import recipefiles
    from sdabn_cli.console import emit, say
    from sdabn_cli.errors import SdabnError
    from sdabn_cli.files import write_atomically

    source = recipefiles.path_of(name)
    if target.exists():
        raise SdabnError(f"{target} exists already.", "Give the name of a new file.")
    if target.suffix not in (".yaml", ".yml"):
        raise SdabnError(f"{target} does not end in .yaml.", f"For example: {target}.yaml")
    if not dry_run:
        write_atomically(target, lambda file: file.write(source.read_bytes()))
    if json:
        emit({"recipe": str(target), "copied_from": name, "dry_run": dry_run})
    verb = "Would be copied; then edit" if dry_run else "Edit"
    say(f"{verb} {target}, then: sdabn cascade --recipe {target}")


@recipes.command("check")
def check_recipe(
    name: Annotated[str, typer.Argument(help="Name or path of a recipe.")], json: Json = False
) -> None:
    """Validate a recipe, its plug-ins, their options and given weights; the data is not needed."""
    from sdabn_cli import recipefiles
    from sdabn_cli.console import emit, say
    from sdabn_cli.plan import check_given, check_plugins

    loaded = recipefiles.load(name)
    check_plugins(loaded)
    check_given(loaded)
    if json:
        emit({"recipe": name, "valid": True})
    say(f"{name} is a valid recipe.")
