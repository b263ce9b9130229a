"""Commands that write a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fixtures_cli import sdabn


def evaluate(model: Path, root: Path, *arguments: Any) -> dict[str, Any]:
    result = sdabn("evaluate", "--dataset", "camvid", "--data", root, "--model", model,
                   "--report", "report.html", "--json", *arguments)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def run(model: Path, *arguments: Any) -> dict[str, Any]:
    result = sdabn("run", "--model", model, "--report", "report.html", "--json", *arguments)
    assert result.exit_code in (0, 1), result.stderr
    return json.loads(result.stdout)
