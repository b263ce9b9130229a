"""Packages that decide figures: what another version of one has measured is measured again."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_architecture import PLUGINS, imports

from sdabn_cli import registry
from sdabn_cli.contracts import Example
from sdabn_cli.discovery import GROUPS, normalized
from sdabn_cli.reproduction import packages


@pytest.mark.parametrize(
    ("package", "again"),
    [("bm3d", False), ("timm", False), ("rich", False), ("pillow", False), ("torch", True),
     ("torchmetrics", True)],
)  # fmt: skip
def test_figures_are_measured_again_for_packages_that_computed_them(
    reproduced, third_party, package, again
):
    reproduced("figure2")
    for path in Path("all").rglob("measured/*.json"):
        entry = json.loads(path.read_text())
        entry["stages"]["s0"]["summary"]["miou"] = 77.0
        path.write_text(json.dumps(entry))

    third_party(package, "", version="99.0")
    told = json.loads(reproduced("figure2", "--json").stdout)

    mious = [row["segmented"]["here"]["miou"] for row in told["tables"][0]["rows"]]
    assert (77.0 not in mious) == again


def test_a_network_counts_with_the_packages_that_it_computes_with(third_party):
    source = "def build(*, condition_channels: int, in_channels: int = 3):\n    pass\n"
    third_party("own-dist", "[sdabn.denoisers]\nown = own_net:build\n", version="2.5",
                requires="helper>=1", own_net=source)  # fmt: skip
    third_party("helper", "", version="7.1")

    found = packages.deciding([("segmenter", "hrnet", {}), ("denoiser", "own", {})])
    nested = packages.deciding([("segmenter", "joint", {"denoiser": "own"})])
    noise = packages.deciding([("noise", "gaussian", {})])

    assert found["helper"] == nested["helper"] == "7.1"
    assert found["denoiser own"] == nested["denoiser own"] == "own-dist 2.5"
    assert found["timm"] == nested["timm"] == importlib.metadata.version("timm")
    assert nested["segmenter hrnet"] == nested["segmenter joint"] == found["segmenter hrnet"]
    assert noise.keys() == {"sdabn", "torch", "numpy", "torchmetrics", "noise gaussian"}


def test_bm3d_counts_with_what_it_computes_with():
    pytest.importorskip("bm3d")

    found = packages.deciding([("denoiser", "bm3d", {"sigma": "50"})])

    assert {"bm3d", "bm4d", "scipy", "PyWavelets"} <= found.keys()


def test_decoders_count_where_versions_of_them_may_read_other_numbers():
    drawn = Example("drawn", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    exact = Example("exact", Path("a.png"), Path("b.PNG"))
    lossy = Example("lossy", Path("a.jpg"), Path("b.png"))

    assert packages.decoders_of([drawn, exact]) == ()
    assert "pillow" in packages.decoders_of([drawn, exact, lossy])


def test_every_package_that_a_network_or_noise_of_sdabn_imports_counts_with_it():
    known = {"torch", "numpy", "sdabn_cli", "sdabn_plugins", *sys.stdlib_module_names}
    distributions = importlib.metadata.packages_distributions()
    kinds = set(GROUPS) - {"dataset", "model"}

    for plugin in (each for kind in kinds for each in registry.plugins(kind) if each.built_in):
        name = plugin.target.partition(":")[0].rpartition(".")[2]
        path = PLUGINS / f"{name}.py"
        if not path.exists():  # of the core
            continue
        modules, files = set(), [path]
        while files:  # with what it imports of its neighbours
            for full in imports(files.pop()):
                first, _, rest = full.partition(".")
                if first == "sdabn_plugins":
                    files.append(PLUGINS / f"{rest.partition('.')[0]}.py")
                modules.add(first)
        counted = {*packages.ALWAYS, *packages.OF_OWN.get(plugin.name, ())}
        for module in modules - known:
            of_module = {normalized(each) for each in distributions.get(module, [module])}
            assert of_module & {*map(normalized, counted)}, (plugin.name, module)
