"""A third party's plug-in that must go on working, and what ``plugins list`` says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fixtures_cli import sdabn

from sdabn_cli import registry

#: Another third party's plug-in, which must go on working whatever its neighbour does.
NEIGHBOUR = "def build(*, share: float = 0.5):\n    return lambda clean, generator: clean * share\n"


RAISES = "raise RuntimeError('no licence')"
FINE = "def build(*, sigma: float = 1.0):\n    return lambda clean, generator: clean + sigma\n"


@pytest.fixture
def neighbour(third_party) -> None:
    third_party("good-dist", "[sdabn.noises]\nhalf = half_noise:build\n", half_noise=NEIGHBOUR)


def listed(*options: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What ``plugins list`` says, by distribution and name."""
    result = sdabn("plugins", "list", "--json", *options)
    assert result.exit_code == 0
    return {(row["distribution"], row["name"]): row for row in json.loads(result.stdout)}


def assert_others_work() -> None:
    assert registry.build("noise", "half", {"share": "0.25"})(4.0, None) == 1.0
    assert registry.find("segmenter", "hrnet").distribution.startswith("sdabn ")
    states = {
        row["state"] for (owner, _), row in listed().items() if owner in ("sdabn", "good-dist")
    }
    assert states == {"ok"}
