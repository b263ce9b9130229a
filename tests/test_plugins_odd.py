"""Plug-ins that are written in unusual ways, or wrongly: used where they can be, else named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures_cli import assert_refused, sdabn
from fixtures_given import planned, segmenter, write

from sdabn_cli import networks

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


CLAIMING = """
import sys
from torch import nn

def build(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    return nn.Conv2d(in_channels, num_classes, 1)

def options_from(config):
    {does}

build.options_from = options_from
"""


@pytest.mark.parametrize(
    "does", ["sys.exit(3)", "return ['layers']", "raise ZeroDivisionError", "return {}"]
)
def test_what_others_make_of_a_config_does_not_hinder_the_recipes_own(
    third_party, tiny_recipe, does
):
    third_party("aa-dist", "[sdabn.segmenters]\naaa = aaa_claims:build\n",
                aaa_claims=CLAIMING.format(does=does))  # fmt: skip
    third_party("zz-dist", "[sdabn.segmenters]\nzzz = zzz_claims:build\n",
                zzz_claims=CLAIMING.format(does="return {}"))  # fmt: skip
    weights = networks.weights_of(networks.build_segmenter("zzz", {}, num_classes=11))
    Path("folder").mkdir()
    networks.save_weights(Path("folder/model.safetensors"), weights)
    Path("folder/config.json").write_text("{}")

    sets = ("segmenter.init=folder", "segmenter=zzz")
    plan = planned(tiny_recipe, *sets)

    assert plan["s0"]["status"] == "given"


def test_a_plugin_that_exits_over_a_config_is_passed_over(third_party, tiny_recipe):
    third_party("aa-dist", "[sdabn.segmenters]\naaa = aaa_claims:build\n",
                aaa_claims=CLAIMING.format(does="sys.exit(3)"))  # fmt: skip
    write("model.safetensors", segmenter())
    Path("folder").mkdir()
    Path("model.safetensors").rename("folder/model.safetensors")
    Path("folder/config.json").write_text("{}")

    assert planned(tiny_recipe, "segmenter.init=folder")["s0"]["status"] == "given"


LAZY = """
from torch import nn

def build(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    return nn.LazyConv2d(num_classes, 1)

def norm(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, num_classes, 1),
                         nn.LazyBatchNorm2d(affine=False))
"""


@pytest.mark.parametrize(("name", "weight"), [("lazy", "weight"), ("norm", "1.running_mean")])
def test_lazy_modules_are_refused_where_a_network_is_built(third_party, tiny_recipe, name, weight):
    third_party("lazy-dist", "[sdabn.segmenters]\nlazy = lazy_net:build\nnorm = lazy_net:norm\n",
                lazy_net=LAZY)  # fmt: skip

    shown = sdabn("plugins", "show", name)
    trained = sdabn("cascade", "--recipe", tiny_recipe, "--run", "run", "--set",
                    f"segmenter={name}")  # fmt: skip

    for result in (shown, trained):
        assert_refused(result, repr(name), "lazy-dist 1.0", f"whose {weight} has no shape")
    assert not Path("run").exists()


CALLABLES = """'Networks of whatever can be called.'
from __future__ import annotations
from functools import partial
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self, channels, out, width):
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(channels, out, 1)

    def forward(self, image, condition):
        return self.conv(torch.cat([image, condition], 1))

def build(*, condition_channels: int, in_channels: int = 3, width: int = 4) -> nn.Module:
    return Network(in_channels + condition_channels, 3, width)

class Builder:
    def __init__(self, *, condition_channels: int = 0, in_channels: int = 3, width: int = 4):
        pass

    def __call__(self, *, condition_channels: int, in_channels: int = 3, width: int = 4):
        return build(condition_channels=condition_channels, width=width)

part = partial(build, width=2)
twice = partial(part, width=3)
made = Builder()
"""


@pytest.mark.parametrize("name", ["part", "twice", "made"])
def test_options_of_whatever_can_be_called_are_converted(third_party, name):
    third_party("call-dist", f"[sdabn.denoisers]\n{name} = call_net:{name}\n", call_net=CALLABLES)

    network = networks.build_denoiser(name, {"width": "8"}, condition_channels=2)
    shown = json.loads(sdabn("plugins", "show", name, "--json").stdout)
    refused = sdabn("plugins", "show", f"{name}:width=wide")

    assert network.width == 8
    assert shown[0]["summary"] == "Networks of whatever can be called."
    assert_refused(refused, f"The denoiser {name!r} refuses width='wide'")


def test_a_model_that_is_a_text_is_not_described_as_pythons_texts_are(third_party, tmp_path):
    source = f"from pathlib import Path\nnod = {str(tmp_path)!r}\npath = Path(nod)\n"
    third_party("nod-dist", "[sdabn.models]\nnod = nod_model:nod\nnop = nod_model:path\n",
                nod_model=source)  # fmt: skip

    for name in ("nod", "nop"):
        result = sdabn("plugins", "show", name, "--json")

        assert result.exit_code == 0, result.stderr
        (facts,) = json.loads(result.stdout)
        assert (facts["summary"], facts["reference"]) == ("", "")
        assert facts["directory"] == str(tmp_path)
