"""A report as one HTML file that loads nothing: styles, script and pictures lie within it."""

from __future__ import annotations

import base64
import hashlib
import platform
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from sdabn_cli.console import printable
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import require_writable, write_atomically
from sdabn_cli.report import charts, figures
from sdabn_cli.report.content import Column, Gallery, Layer, Page
from sdabn_cli.report.words import as_printed

#: What a report may be called.
SUFFIXES = (".html", ".htm")

#: Letters of a name that is no longer kept on one line.
LONG = 20


def check_target(path: Path) -> None:
    """Make sure that a report can be written, before anything is computed.

    Raises:
        SdabnError: If the name is not that of an HTML file, or the place cannot be written to.
    """
    if path.is_dir():
        raise SdabnError(f"--report {path} is a directory.", f"Name a file: {path / 'report.html'}")
    if path.suffix.lower() not in SUFFIXES:
        raise SdabnError(
            f"--report {path}: a report is an HTML file.",
            f"Name it {path.with_name(path.stem + '.html')}",
        )
    require_writable(path, "--report")


def write(path: Path, page: Page) -> int:
    """Write a report in one piece or not at all.

    Returns:
        Size of the file in bytes.

    Raises:
        SdabnError: If it cannot be written.
    """
    # Names of files may hold bytes that are no text.
    data = render(page).encode("utf-8", "replace")
    write_atomically(path, lambda file: file.write(data))
    return len(data)


def render(page: Page) -> str:
    """Make the HTML of a report."""
    environment = Environment(
        autoescape=True,
        finalize=_finalized,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bars=charts.bars,
        figure=_figure,
        lines=charts.lines,
        long=_long,
        swatch=charts.swatch,
        uri=_uri,
    )
    style, script = _part("style.css"), _part("script.js")
    pictures = [
        layer
        for section in page.sections
        for block in section.blocks
        if isinstance(block, Gallery)
        for comparison in block.comparisons
        for layer in comparison.layers
    ]
    return environment.from_string(_part("page.html.j2")).render(
        page=page,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        python=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        pictures=len(pictures),
        pictures_size=figures.megabytes(sum(len(layer.data) for layer in pictures)),
        bar_ticks=charts.bar_ticks,
        key=charts.key,
    )


def _policy(style: str, script: str) -> str:
    """Content-Security-Policy: this style, this script, pictures within the file; nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _part(name: str) -> str:
    return resources.files("sdabn_cli.report").joinpath(name).read_text(encoding="utf-8")


def _finalized(value: Any) -> Any:
    """Texts without control characters, which turn the direction of letters or are no HTML."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _figure(value: Any, column: str | Column | int) -> Markup:
    """A cell of a table, with the figure as it was before rounding."""
    digits = column.digits if isinstance(column, Column) else column
    if isinstance(value, str) or not isinstance(digits, int):
        return Markup("{}").format(printable(figures.written(value)))
    text = figures.written(value, digits)
    if not figures.is_known(value):
        return Markup("{}").format(text)
    if isinstance(column, Column) and column.as_printed:
        text = as_printed(value, digits=digits).replace("-", figures.MINUS)
    return Markup('<data value="{}">{}</data>').format(repr(value), text)


def _long(value: Any) -> Markup:
    """Attribute of a cell whose text may be broken anywhere."""
    return Markup(' class="long"' if isinstance(value, str) and len(value) > LONG else "")


def _uri(layer: Layer) -> str:
    return f"data:{layer.media};base64,{base64.b64encode(layer.data).decode()}"
