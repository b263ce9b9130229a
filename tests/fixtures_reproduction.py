"""``sdabn reproduce`` with tiny networks on a tiny tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures_cli import sdabn


@pytest.fixture
def reproduced(tiny_recipe: str, camvid_tree: Path) -> Any:
    """Reproduce a table with the tiny networks on the tiny tree."""

    def run(table: str, *options: Any) -> Any:
        return sdabn("reproduce", table, "--dataset", "camvid", "--data", camvid_tree,
                     "--recipe", tiny_recipe, "--run", "all", "--device", "cpu",
                     "--precision", "float32", *options)  # fmt: skip

    return run
