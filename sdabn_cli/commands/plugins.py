"""``sdabn plugins``: which there are, what they are, whether they keep the contract, new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sdabn_cli.commands import LOOK, app
from sdabn_cli.commands.options import DataRoot, DryRun, Json

plugins = typer.Typer(no_args_is_help=True, help="See, check and write plug-ins.")
app.add_typer(plugins, name="plugins", rich_help_panel=LOOK)

Spec = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Plug-in, such as ddfn or smp:arch=FPN,encoder=resnet18."),
]
Kind = Annotated[
    str | None,
    typer.Option(
        help="segmenter, denoiser, noise, dataset or model; all that have the name by default.",
        show_default=False,
    ),
]


@plugins.command("list")
def list_plugins(
    load: Annotated[
        bool, typer.Option("--load", help="Also load each of them, in a process of its own.")
    ] = False,
    json: Json = False,
) -> None:
    """List every plug-in with its kind, distribution, version and state.

    States: ok; broken: it cannot be used; duplicate: several distributions have the name, write
    distribution/name; shadowed: the name means another plug-in. Without --load only what files
    show is found.
    """
    from sdabn_cli import inspection
    from sdabn_cli.console import emit, say, show_table

    entries = inspection.survey()
    if load:
        entries = inspection.try_loading(entries)
    rows = [entry.row() for entry in entries]
    if json:
        emit(rows)
        return
    columns = ["name", "kind", "distribution", "version", "state"]
    show_table("Plug-ins", columns, [[row[column] for column in columns] for row in rows])
    for row in rows:
        if row["state"] != "ok":
            what = f"{row['kind']} {row['name']} of " if row["name"] else ""
            say(f"{row['state']}: {what}{row['distribution']} {row['version']}: {row['reason']}")


@plugins.command("show")
def show_plugin(
    name: Spec,
    kind: Kind = None,
    classes: Annotated[
        int, typer.Option(help="Number of classes that networks are built for.", min=1, max=255)
    ] = 11,
    json: Json = False,
) -> None:
    """Show a plug-in: options, parameters, stride, receptive field, cost, licence, reference."""
    from sdabn_cli import facts, registry
    from sdabn_cli.console import emit

    plain, options = registry.parse(name)
    found = [
        facts.of_plugin(each, plain, options, num_classes=classes)
        for each in registry.kinds_of(plain, kind)
    ]
    if json:
        emit(found)
        return
    for each in found:
        _show(each)


def _show(facts: dict[str, Any]) -> None:
    from sdabn_cli.console import say, show_table

    say(facts["summary"] or f"{facts['kind']} {facts['name']}")
    for key, value in facts.items():
        if key not in ("options", "summary") and value not in (None, ""):
            shown = f"{value:,}" if isinstance(value, int) else str(value)
            say(f"  {key.replace('_', ' '):24} {shown}")
    rows = [[o["name"], o["type"], o["default"], o["help"]] for o in facts["options"]]
    if rows:
        show_table("Options", ["option", "type", "default", "meaning"], rows)
    else:
        say("It has no options.")


@plugins.command("check")
def check_plugin(
    name: Spec,
    kind: Kind = None,
    data: DataRoot = None,
    json: Json = False,
) -> None:
    """Hold a plug-in to the contract; exit code 1 if it fails.

    Data sets that need a directory are checked with --data. The same checks are for your own
    pytest: see sdabn_cli.testing.
    """
    from sdabn_cli import datasets, registry
    from sdabn_cli.console import emit, say
    from sdabn_cli.testing import examine

    plain, options = registry.parse(name)
    results = []
    for each in registry.kinds_of(plain, kind):
        given = {"root": data} if each == "dataset" else {}
        told = ""
        if not json:
            say(f"{each} {name} of {registry.find(each, plain).distribution}")
        for outcome in examine(each, plain, options, **given):
            results.append({"kind": each, **outcome._asdict()})
            if not json:
                # What does not build fails every check for the same reason.
                reason = "as above" if outcome.reason and outcome.reason == told else outcome.reason
                say(f"  {outcome.state:7} {outcome.check}{': ' if reason else ''}{reason}")
                told = outcome.reason or told
    failed, skipped = (
        sum(result["state"] == state for result in results) for state in ("failed", "skipped")
    )
    # What does not even load has failed, and is not asked what it reads.
    lacks_data = (
        not failed
        and data is None
        and any(result["kind"] == "dataset" for result in results)
        and datasets.reads_root(plain)
    )
    if json:
        emit({"name": name, "passed": failed == 0, "checks": results})
    else:
        say(_verdict(results, failed, skipped, lacks_data=lacks_data))
    if failed:
        raise typer.Exit(1)


def _verdict(results: list[dict[str, Any]], failed: int, skipped: int, *, lacks_data: bool) -> str:
    number = len(results)
    if failed:
        return f"{failed} of {number} checks failed." + (f" {skipped} skipped." if skipped else "")
    kept = "Nothing failed." if lacks_data and skipped else "The contract is kept."
    if not skipped:
        return kept
    why = "need --data DIR" if lacks_data else "do not apply, see above"
    return f"{kept} {skipped} of {number} checks {why}."


@plugins.command("new")
def new_plugin(
    name: Annotated[str, typer.Argument(help="What users will type, such as mynet.")],
    kind: Annotated[str, typer.Option(help="segmenter, denoiser, noise or dataset.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Directory to write; sdabn-NAME by default.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write a complete, installable package with a working plug-in, its tests and a README."""
    from sdabn_cli import scaffold
    from sdabn_cli.console import emit, say

    package = scaffold.plan(name, kind, output)
    if not dry_run:
        scaffold.write(package)
    if json:
        files = [str(package.directory / path) for path in package.files]
        emit({"directory": str(package.directory), "files": files, "next": package.commands})
        return
    say(("Would write" if dry_run else "Wrote") + f" {package.directory}:")
    for path in package.files:
        say(f"  {path}")
    say("Next:")
    for command in package.commands:
        say(f"  {command}")
