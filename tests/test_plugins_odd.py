"""Plug-ins that are written in unusual ways, or wrongly: used where they can be, else named."""

from __future__ import annotations

import json

from fixtures_cli import sdabn

PROPERTY = """
import numpy as np
from sdabn_cli.contracts import Example

class Props:
    ignore_index = None

    def __init__(self, root, split):
        pass

    @property
    def classes(self):
        return ("floor", "wall")

    @property
    def palette(self):
        return ((0, 0, 0), (255, 255, 255))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        image = np.full((12, 16, 3), 40 * index, np.uint8)
        return Example(str(index), image, np.zeros((12, 16), np.uint8))
"""


def test_classes_that_are_a_property_are_those_of_the_opened_data_set(third_party, tiny_recipe):
    third_party("props-dist", "[sdabn.datasets]\npropds = props_data:Props\n", props_data=PROPERTY)

    shown = sdabn("plugins", "show", "propds", "--json")
    planned = sdabn("cascade", "--recipe", tiny_recipe, "--run", "run", "--set",
                    "data.dataset=propds", "--dry-run", "--json")  # fmt: skip

    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout)[0]["classes"] == ""
    assert planned.exit_code == 0, planned.stderr
    first = json.loads(planned.stdout)["stages"][0]
    usual = sdabn("cascade", "--recipe", tiny_recipe, "--run", "run", "--dry-run", "--json")
    assert first["parameters"] < json.loads(usual.stdout)["stages"][0]["parameters"]  # 2, not 11
