"""The contract suite over every registered plug-in, and over plug-ins that break it."""

from __future__ import annotations

import pytest

from sdabn_cli import registry
from sdabn_cli.testing import checks

PAIRS = [
    pytest.param(check, plugin.name, id=f"{plugin.kind} {plugin.name}: {check}")
    for kind in registry.GROUPS
    for plugin in registry.plugins(kind)
    for check in checks(kind)
]


@pytest.mark.parametrize(("check", "name"), PAIRS)
def test_every_registered_plugin_keeps_the_contract(check, name):
    check(name)
