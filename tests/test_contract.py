"""The contract suite over every registered plug-in, and over plug-ins that break it."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from sdabn_cli import registry
from sdabn_cli.errors import SdabnError
from sdabn_cli.testing import ContractError, NotApplicable, checks, examine

PAIRS = [
    pytest.param(check, plugin.name, id=f"{plugin.kind} {plugin.name}: {check}")
    for kind in registry.GROUPS
    for plugin in registry.plugins(kind)
    if plugin.built_in and (plugin.name != "bm3d" or importlib.util.find_spec("bm3d"))
    for check in checks(kind)
]

#: Data sets that need a directory, and the fixture that makes one.
TREES = {"camvid": "camvid_tree", "cityscapes": "cityscapes", "folder": "folder",
         "outdoorseg": "outdoorseg"}  # fmt: skip

#: Fewer and smaller scenes than by default: each is drawn anew.
SMALL = {"scenes": {"count": 3, "width": 96, "height": 64}}


@pytest.mark.parametrize(("check", "name"), PAIRS)
def test_every_registered_plugin_keeps_the_contract(check, name, request):
    given: dict[str, Any] = {}
    if check.kind == "dataset" and name in TREES:
        given["root"] = request.getfixturevalue(TREES[name])

    check(name, SMALL.get(name), **given)


@pytest.mark.parametrize("check", checks("denoiser"), ids=str)
def test_ddfn_keeps_the_contract_with_what_is_not_the_papers(check):
    check("ddfn", {"margin": 1, "gate": True, "unshuffle": 2, "noise_maps": True,
                   "noise_scales": 2})  # fmt: skip


def failed(kind: str, name: str, options: dict[str, Any] | None = None) -> dict[str, str]:
    """Checks that failed, with their reasons."""
    return {o.check: o.reason for o in examine(kind, name, options) if o.state == "failed"}


SEGMENTER = """
import torch
from torch import nn

class Net(nn.Module):
    stride = 4
    receptive_field = {field}

    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, num_classes, 1)
        {init}

    def forward(self, image):
        {forward}

def build(*, num_classes: int, in_channels: int = 3{option}) -> nn.Module:
    {build}
    return Net(num_classes)
"""
FORWARD = "return self.head(self.norm(self.conv(image)).relu())"


def segmenter(third_party, **parts: str) -> str:
    """Register a segmenter that is right but for the parts given."""
    whole = {"field": "1", "init": "pass", "forward": FORWARD, "option": "", "build": "pass"}
    source = SEGMENTER.format(**(whole | parts))
    third_party("odd-dist", "[sdabn.segmenters]\nodd = odd_net:build\n", odd_net=source)
    return "odd"


def test_a_right_segmenter_passes_every_check(third_party):
    states = [outcome.state for outcome in examine("segmenter", segmenter(third_party))]

    assert set(states) == {"passed"}


@pytest.mark.parametrize(
    ("parts", "check", "reason"),
    [
        ({"build": "import socket; socket.create_connection(('192.0.2.1', 80))"},
         "it builds a module without network", "it reaches for the network"),
        ({"build": "import contextlib, socket\n    with contextlib.suppress(Exception):"
                   " socket.socket().connect_ex(('192.0.2.1', 80))"},
         "it builds a module without network", "it reaches for the network"),
        ({"build": "torch.set_float32_matmul_precision('medium')"},
         "it builds a module without network", "changes torch's settings .*: precision"),
        ({"build": "torch.set_default_dtype(torch.float64)"},
         "it builds a module without network", "changes torch's settings .*: default dtype"),
        ({"build": "return num_classes"},
         "it builds a module without network", "built a int, not an nn.Module"),
        ({"option": ", **options"}, "unknown options are refused", r"\*\*options would swallow"),
        ({"option": ", width=3"}, "unknown options are refused", "'width' has no type"),
        ({"option": ", width: int"}, "unknown options are refused", "'width' has no default"),
        ({"init": "self.stride = 'many'"}, "its stride is a number of pixels", "stride is 'many'"),
        ({"forward": FORWARD + "[:, :1]"},
         "images of any size give finite logits a class", r"\(1, 1, 64, 64\)"),
        ({"forward": FORWARD + " / 0"},
         "images of any size give finite logits a class", "not finite"),
        # Even, an image has no spread to be divided by.
        ({"forward": "image = image / (image.amax((1, 2, 3), True) - image.amin((1, 2, 3), True)); "
          + FORWARD}, "images of any size give finite logits a class",
         "the logits of an evenly grey image are not finite"),
        ({"forward": "return [" + FORWARD[7:] + "]"},
         "images of any size give finite logits a class", "a list instead of logits"),
        ({"forward": "return self.head(self.norm(self.conv(image)).relu()) * 0"},
         "the image changes the logits", "another image changes the logits by 0 of"),
        ({"init": "self.unused = nn.Linear(2, 2)"},
         "every parameter gets a gradient", r"2 parameters get no gradient.*unused.weight"),
        ({"init": "self.dead = nn.Conv2d(8, num_classes, 1)",
          "forward": "x = self.norm(self.conv(image)).relu(); "
                     "return self.head(x) + 0 * self.dead(x)"},
         "every parameter gets a gradient", r"1 weights have a gradient of 0.*dead.weight"),
        ({"forward": "image = image - image.mean(); " + FORWARD},
         "batch mates do not matter", "with the other image of the batch"),
        ({"forward": FORWARD + " + torch.rand(1)"}, "batch mates do not matter", "dropout"),
        ({"forward": "image -= 0.5; " + FORWARD},
         "its input is left alone", "writes to the image"),
        ({"init": "self.shift = torch.rand(1)", "forward": FORWARD + " + self.shift"},
         "its weights survive safetensors", "is all in state_dict"),
        ({"forward": "self.conv(image).detach().numpy(); " + FORWARD},
         "it runs in bfloat16", "BFloat16"),
        # Blocks of 4: a pixel in the middle of one sees 2 pixels far, one at its edge sees 4.
        ({"field": "3", "forward": "image = image.roll((2, 2), (2, 3));"
          " image = nn.functional.avg_pool2d(image, 4);"
          " image = nn.functional.interpolate(image, scale_factor=4).roll((-2, -2), (2, 3)); "
          + FORWARD}, "its receptive field is true", "is 3, but pixels 4 away"),
        ({"field": "0"}, "its receptive field is true", "is 0, but pixels 1 away"),
        ({"field": "'wide'"}, "its receptive field is true", "receptive_field is 'wide'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_check_finds_what_it_is_for(third_party, parts, check, reason):
    found = failed("segmenter", segmenter(third_party, **parts))

    assert check in found
    with pytest.raises((ContractError, SdabnError, TypeError), match=reason):
        next(c for c in checks("segmenter") if str(c) == check)("odd")


def test_a_kind_that_is_none_is_answered_with_the_nearest():
    with pytest.raises(SdabnError, match=r"no kind of plug-in 'denoisr'[.]\n.*'denoiser'"):
        checks("denoisr")


def test_layers_that_start_from_zero_may_keep_gradients_from_others_at_first(third_party):
    name = segmenter(
        third_party,
        init="self.more, self.gate = nn.Conv2d(8, 8, 1), nn.Parameter(torch.zeros(1))",
        forward="x = self.norm(self.conv(image)).relu(); "
        "return self.head(x + self.gate * self.more(x))",
    )

    assert failed("segmenter", name) == {}


def test_a_denoiser_that_fails_to_build_is_not_taken_for_one_that_refuses_conditions(third_party):
    source = DENOISER.format(forward=ESTIMATE).replace(
        "return Net(condition_channels)",
        "return Net(condition_channels) if condition_channels != 5 else len(5)",
    )
    third_party("odd-dist", "[sdabn.denoisers]\nodd = odd_net:build\n", odd_net=source)

    found = failed("denoiser", "odd")

    assert "has no len" in found["it builds a module without network"]
    assert "has no len" in found["the condition changes the estimate"]


DENOISER = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.receptive_field = 1
        self.conv = nn.Conv2d(3 + channels, 3, 3, padding=1)

    def forward(self, image, condition):
        {forward}

def build(*, condition_channels: int, in_channels: int = 3) -> nn.Module:
    return Net(condition_channels)
"""
ESTIMATE = "return self.conv(image if condition is None else torch.cat([image, condition], 1))"


@pytest.mark.parametrize(
    ("forward", "check"),
    [
        (ESTIMATE, None),
        ("return self.conv(torch.cat([image, 0 * condition], 1))",
         "the condition changes the estimate"),
        ("return self.conv(torch.cat([image, condition], 1))",
         "without condition channels it takes none"),
        ("condition = condition * self.training; " + ESTIMATE,
         "the condition changes the estimate"),
        ("up = nn.functional.interpolate(nn.functional.avg_pool2d(image, 2), scale_factor=2); "
         "return nn.functional.pad(up, (0, image.shape[3] % 2, 0, image.shape[2] % 2))",
         "its receptive field is true"),
        (ESTIMATE + "[..., :64]", "images of any size give a finite estimate"),
        ("image = image / (image.amax((1, 2, 3), True) - image.amin((1, 2, 3), True)); " + ESTIMATE,
         "images of any size give a finite estimate"),
        ("return self.conv(torch.cat([0 * image, condition], 1))",
         "the image changes the estimate"),
        ("condition = condition.mul_(2); " + ESTIMATE, "its input is left alone"),
        ("image = image + image.mean((2, 3), keepdim=True); " + ESTIMATE,
         "its receptive field is true"),
        ("condition = condition + condition.mean((2, 3), keepdim=True); " + ESTIMATE,
         "its receptive field is true"),
        ("condition = condition + condition.mean(0); " + ESTIMATE, "batch mates do not matter"),
    ],
)  # fmt: skip
def test_each_check_of_a_denoiser_finds_what_it_is_for(third_party, forward, check):
    third_party("odd-dist", "[sdabn.denoisers]\nodd = odd_net:build\n",
                odd_net=DENOISER.format(forward=forward))  # fmt: skip

    found = failed("denoiser", "odd")

    assert found == {} if check is None else check in found


NOISE = """
import torch

class Noise:
    def __init__(self):
        self.calls = 0
    def __call__(self, clean, generator):
        drawn = torch.rand(clean.shape, generator=generator)
        {call}

{extra}

def build(*, sigma: float = 1.0):
    return {built}
"""


@pytest.mark.parametrize(
    ("call", "extra", "built", "check"),
    [
        ("return clean + drawn", "", "Noise()", None),
        ("return clean + torch.rand(clean.shape)", "", "Noise()",
         "the generator decides everything"),
        ("return clean[..., :-1] + drawn[..., :-1]", "", "Noise()",
         "noisy images have the shape and type of clean ones"),
        ("return (clean + drawn).double()", "", "Noise()",
         "noisy images have the shape and type of clean ones"),
        ("return drawn / clean", "", "Noise()", "black and white images stay finite"),
        ("return clean.add_(drawn)", "", "Noise()", "the clean image is left alone"),
        ("return clean", "", "Noise()", "it changes the image"),
        ("return clean + drawn", "", "lambda c, g: Noise()(c, g)",
         "it travels to loader processes"),
        ("return clean + drawn", "", "3", "it builds without network"),
    ],
)  # fmt: skip
def test_each_check_of_a_noise_finds_what_it_is_for(third_party, call, extra, built, check):
    source = NOISE.format(call=call, extra=extra, built=built)
    third_party("odd-dist", "[sdabn.noises]\nodd = odd_noise:build\n", odd_noise=source)

    found = failed("noise", "odd")

    assert found == {} if check is None else check in found


DATASET = """
import numpy as np
from sdabn_cli.contracts import DatasetError, Example

class Data:
    classes = {classes}
    palette = ((0, 0, 0), (9, 9, 9))
    ignore_index = {ignore}

    def __init__(self, root, split, *, count: int = 3):
        {init}
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        {item}
        labels = np.full(({rows}, 8), {label}, np.uint8)
        return Example({name}, np.zeros((8, 8, 3), np.uint8), labels)
"""


@pytest.mark.parametrize(
    ("parts", "check"),
    [
        ({}, None),
        ({"classes": "('a', 'b', 'c')"}, "classes and colours belong together"),
        ({"classes": "('a', 'a')"}, "classes and colours belong together"),
        ({"ignore": "1"}, "classes and colours belong together"),
        ({"init": "pass"}, "an unknown split is refused"),
        ({"init": "open(root or 'nowhere')"}, "it says what it needs"),
        ({"item": "pass"}, "examples have unique names and an end"),
        ({"name": "'one'"}, "examples have unique names and an end"),
        ({"label": "7"}, "images and labels can be decoded"),
        ({"rows": "6"}, "images and labels can be decoded"),
    ],
)
def test_each_check_of_a_dataset_finds_what_it_is_for(third_party, parts, check):
    whole = {"classes": "('a', 'b')", "ignore": "255", "label": "1", "rows": "8",
             "init": "if split not in ('train', 'val'): raise ValueError(f'no split {split}')",
             "item": "index = range(self.count)[index]", "name": "f'image{index}'"}  # fmt: skip
    third_party("odd-dist", "[sdabn.datasets]\nodd = odd_data:Data\n",
                odd_data=DATASET.format(**(whole | parts)))  # fmt: skip

    found = failed("dataset", "odd")

    assert found == {} if check is None else check in found


def test_a_data_set_that_needs_a_directory_is_skipped_without_one():
    check = next(c for c in checks("dataset") if str(c) == "images and labels can be decoded")

    with pytest.raises(NotApplicable, match="give its directory with --data"):
        check("camvid")


def test_a_model_with_other_weights_than_described_fails(third_party, tmp_path):
    third_party("odd-dist", "[sdabn.models]\nodd = odd_model:directory\n",
                odd_model=f"directory = {str(tmp_path)!r}\n")  # fmt: skip
    shipped = registry.model_directory("street")
    for path in [*shipped.glob("*.json"), *shipped.glob("*.safetensors")]:
        (tmp_path / path.name).symlink_to(path)
    assert failed("model", "odd") == {}

    (tmp_path / "d2.safetensors").unlink()
    (tmp_path / "d2.safetensors").symlink_to(shipped / "d1.safetensors")

    assert set(failed("model", "odd")) == {
        "its weights are those described", "every unit runs on an image of odd size",
    }  # fmt: skip
