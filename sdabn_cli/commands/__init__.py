"""The command line: signatures and help; every body imports what it needs and calls it.

Nothing here imports torch, so that ``sdabn --help`` answers at once.
"""

from __future__ import annotations

import shlex
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import sdabn_cli
from sdabn_cli.errors import SdabnError, Stopped


def _show_warning(message: Any, category: Any, filename: str, *_: Any) -> None:
    """Show warnings of sdabn itself; those of libraries are for programmers."""
    if "sdabn_cli" in filename:
        from sdabn_cli.console import warn

        warn(str(message))


#: Where the arguments of the command line lie in a context.
ARGUMENTS = "sdabn.arguments"

#: Longer command lines, such as those of a glob that the shell has expanded, are cut.
MOST_ARGUMENTS = 60


def command_line(ctx: typer.Context) -> str:
    """The command line as it was typed, for reports."""
    arguments = list(ctx.meta[ARGUMENTS])
    line = shlex.join(["sdabn", *arguments[: MOST_ARGUMENTS // 2]])
    if (left_out := len(arguments) - MOST_ARGUMENTS) > 0:
        line += f" ... ({left_out} more)"
    rest = arguments[MOST_ARGUMENTS // 2 :][-MOST_ARGUMENTS // 2 :]
    return f"{line} {shlex.join(rest)}" if rest else line


class _Commands(TyperGroup):
    """Turns a user's mistake into a panel and exit code 2, and shows our warnings as lines."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            warnings.showwarning = _show_warning
            return super().invoke(ctx)
        except SdabnError as error:
            from sdabn_cli.console import show_error

            show_error(error)
            raise typer.Exit(2) from error
        except Stopped as stopped:
            from sdabn_cli.console import say

            say(str(stopped))
            raise typer.Exit(128 + stopped.signal) from stopped
        except KeyboardInterrupt as error:
            from sdabn_cli.console import say

            say(
                "Stopped. Finished images are kept: --skip-existing goes on after them. A training "
                "goes on from its last saved state with the same command."
            )
            raise typer.Exit(130) from error


USE, TRAIN, LOOK = "Use a model", "Train and measure", "Look around"

app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Semantic segmentation and image denoising that boost each other.",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"sdabn {sdabn_cli.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version


# Importing them registers them at app, in the order in which --help lists them.
# isort: off
from sdabn_cli.commands import run  # noqa: E402
from sdabn_cli.commands import train  # noqa: E402
from sdabn_cli.commands import evaluate  # noqa: E402
from sdabn_cli.commands import reproduce  # noqa: E402
from sdabn_cli.commands import export  # noqa: E402
from sdabn_cli.commands import runs  # noqa: E402
from sdabn_cli.commands import models  # noqa: E402
from sdabn_cli.commands import plugins  # noqa: E402
from sdabn_cli.commands import recipes  # noqa: E402
# isort: on

__all__ = ["app", "evaluate", "export", "models", "plugins", "recipes", "reproduce", "run", "runs",
           "train"]  # fmt: skip
