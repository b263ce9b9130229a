"""Options that several commands share, each with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdabn_cli.errors import SdabnError

RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="Name of a recipe or path of a .yaml file; by default that of an existing --run, "
        "otherwise scenes/quickstart.",
        show_default=False,
    ),
]
RunPath = Annotated[
    Path | None,
    typer.Option("--run", help="Run directory; runs/<recipe> by default.", show_default=False),
]
DataRoot = Annotated[
    Path | None, typer.Option("--data", help="Directory of the data set.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; repeatable."),
]
#: What may be given as a model, wherever one is taken.
MODEL_HELP = "Name of a model, a model or run directory, or hf:owner/name[@revision] on the Hub."
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
ReportPath = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Write a report for people: one HTML file with tables, charts and pictures.",
        show_default=False,
    ),
]
ReportImages = Annotated[
    str,
    typer.Option(
        metavar="N|NAMES",
        help="How many images a report shows, evenly spaced, or their names, with commas.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]
Units = Annotated[
    int | None,
    typer.Option(help="Use the first units only; all by default.", min=1, show_default=False),
]
Precision = Annotated[
    str, typer.Option(help="auto (bfloat16 where the processor has it), float32 or bfloat16.")
]
Engine = Annotated[
    str,
    typer.Option(help="auto (openvino for many images, where it is installed), torch or openvino."),
]


def check_report_images(ctx: typer.Context, report: Path | None) -> None:
    """Refuse ``--report-images`` where no report is asked for: it would do nothing.

    Raises:
        SdabnError: If it was given without ``--report``.
    """
    source = ctx.get_parameter_source("report_images")
    if report is None and source is not None and source.name == "COMMANDLINE":
        raise SdabnError(
            "--report-images says which images a report shows, but there is no --report.",
            "Add one, such as --report report.html.",
        )
