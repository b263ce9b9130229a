"""Plug-ins whose networks, noises and examples are wrong: each is named before it is used."""

from __future__ import annotations

import json

import pytest
import torch
from fixtures_cli import assert_refused, flat, save_model, sdabn
from fixtures_faults import assert_others_work

from sdabn_cli import probing, registry

SEGMENTER = """
import torch
from torch import nn

class Odd(nn.Module):
    stride = 4
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes, 1)
    def forward(self, image):
        logits = self.conv(image)
        return {result}

def build(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    return Odd(num_classes)
"""


DENOISER = """
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
    def forward(self, image, condition):
        estimate = self.conv(image)
        return {result}

def build(*, condition_channels: int, in_channels: int = 3) -> nn.Module:
    return Odd()
"""


@pytest.mark.parametrize(
    ("kind", "source", "result", "message"),
    [
        ("segmenter", SEGMENTER, "logits[:, 1:]", "gives logits (1, 10, 64, 64) for 11 classes"),
        ("segmenter", SEGMENTER, "logits[0]", "gives logits (11, 64, 64) for 11 classes"),
        ("segmenter", SEGMENTER, "logits / 0", "gives values that are not finite"),
        ("segmenter", SEGMENTER, "{'out': logits}", "gives a dict instead of a tensor"),
        ("segmenter", SEGMENTER, "logits.nothing", "fails on inputs [(1, 3, 64, 64)]: Attribute"),
        ("denoiser", DENOISER, "estimate[..., 1:]", "gives an estimate (1, 3, 64, 63) for an"),
        ("denoiser", DENOISER, "estimate * float('nan')", "gives values that are not finite"),
        ("denoiser", DENOISER, "estimate.mean(1)", "gives an estimate (1, 64, 64) for an image"),
    ],
)
def test_a_network_of_the_wrong_result_is_refused_before_anything_is_written(
    third_party, neighbour, tmp_path, kind, source, result, message
):
    third_party(
        "bad-dist", f"[sdabn.{kind}s]\nbad = bad_net:build\n", bad_net=source.format(result=result)
    )
    if "{'out'" in result:
        registry.build(kind, "bad", {}, num_classes=2)  # the module itself is fine

    trained = sdabn("cascade", "--set", f"{kind}=bad", "--run", tmp_path / "run", "--units", "1")

    assert_refused(trained, f"The {kind} plug-in 'bad' of bad-dist 1.0", message)
    assert flat("sdabn plugins check bad") in flat(trained.stderr)
    assert not (tmp_path / "run").exists()
    assert_others_work()


@pytest.mark.parametrize(
    ("kind", "source", "result", "message"),
    [
        ("segmenter", SEGMENTER, "logits / 0", "gives values that are not finite for images of"),
        ("segmenter", SEGMENTER, "(logits, logits)", "gives a tuple instead of a tensor"),
        ("segmenter", SEGMENTER, "logits[:, 1:]", "gives logits (2, 10, 64, 64) for 11 classes"),
        ("denoiser", DENOISER, "estimate[..., 1:]", "gives an estimate (2, 3, 64, 63) for an"),
        ("denoiser", DENOISER, "estimate.none", "fails on inputs [(2, 3, 64, 64), (2, 11, 64, 64)"),
    ],
)
def test_a_network_that_is_wrong_in_train_mode_only_is_found(
    third_party, neighbour, tmp_path, kind, source, result, message
):
    right = "logits" if kind == "segmenter" else "estimate"
    source = source.format(result=f"({result}) if self.training else {right}")
    third_party("bad-dist", f"[sdabn.{kind}s]\nbad = bad_net:build\n", bad_net=source)

    trained = sdabn("cascade", "--set", f"{kind}=bad", "--run", tmp_path / "run", "--units", "1")
    checked = json.loads(sdabn("plugins", "check", "bad", "--json").stdout)["checks"]

    assert_refused(trained, f"The {kind} plug-in 'bad' of bad-dist 1.0, in train mode, {message}")
    assert not (tmp_path / "run").exists()
    found = {check["check"]: check for check in checked if "train mode" in check["check"]}
    assert [check["state"] for check in found.values()] == ["failed"]
    assert "in train mode" in next(iter(found.values()))["reason"]


def test_a_trial_leaves_a_network_as_it_was(third_party):
    result = "nn.functional.dropout(self.norm(logits), 0.5, self.training)"
    norm = "        self.norm = nn.BatchNorm2d(num_classes)\n        self.conv ="
    source = SEGMENTER.format(result=result).replace("        self.conv =", norm)
    third_party("fine-dist", "[sdabn.segmenters]\nfine = fine_net:build\n", fine_net=source)
    network = registry.build("segmenter", "fine", {}, num_classes=3).eval()
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()

    probing.try_segmenter(network, "fine", num_classes=3, train_mode=True)

    assert not network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(kept[name], tensor) for name, tensor in network.state_dict().items())


NOISE = """
def build(*, sigma: float = 1.0):
    return noise

def noise(clean, generator):
    {body}
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", "gives a NoneType instead of a tensor"),
        ("return clean[:, 1:]", "gives torch.float32 (3, 60, 45) for a clean image"),
        ("return clean.double()", "gives torch.float64 (3, 61, 45) for a clean image"),
        ("return clean / 0", "gives values that are not finite"),
        ("raise KeyError('peak')", "fails: KeyError: 'peak'"),
        ("raise SystemExit(3)", "fails: SystemExit: 3"),
        ("raise type('Own', (BaseException,), {})(3)", "fails: Own: 3"),
    ],
)
def test_a_noise_of_the_wrong_result_is_refused_before_anything_is_written(
    third_party, neighbour, tmp_path, body, message
):
    third_party("bad-dist", "[sdabn.noises]\nbad = bad_noise:build\n",
                bad_noise=NOISE.format(body=body))  # fmt: skip

    result = sdabn("cascade", "--set", "noise=bad", "--run", tmp_path / "run", "--units", "1")

    assert_refused(result, "The noise plug-in 'bad' of bad-dist 1.0", message)
    assert not (tmp_path / "run").exists()
    assert_others_work()


DATA = """
import numpy as np
from sdabn_cli.contracts import Example

class Data:
    classes, palette, ignore_index = ("a", "b"), ((0, 0, 0), (9, 9, 9)), None
    def __init__(self, root, split):
        pass
    def __len__(self):
        return 2
    def __getitem__(self, index):
        {body}
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", "gives a NoneType in the first example of train; an Example"),
        ("raise RuntimeError('disk')", "fails at the first example of train: RuntimeError: disk"),
        ("raise SystemExit(3)", "fails at the first example of train: SystemExit: 3"),
        ("return Example('x', np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8))",
         "gives image of float64"),
    ],
)  # fmt: skip
def test_a_data_set_of_the_wrong_examples_is_refused_before_anything_is_written(
    third_party, neighbour, tmp_path, body, message
):
    third_party("bad-dist", "[sdabn.datasets]\nbad = bad_data:Data\n",
                bad_data=DATA.format(body=body))  # fmt: skip

    result = sdabn("cascade", "--set", "data.dataset=bad", "--run", tmp_path / "run")

    assert_refused(result, "The data set bad of bad-dist 1.0", message)
    assert not (tmp_path / "run").exists()
    assert_others_work()


FINE_EXAMPLE = (
    "Example(f'x{index}', np.full((64, 64, 3), 9, np.uint8), np.ones((64, 64), np.uint8))"
)


LATER = [
    ("raise OSError('disk')", "fails at example 1 (counted from 0) of SPLIT: OSError: disk"),
    ("raise type('Own', (KeyboardInterrupt,), {})(3)", "fails at example 1 (counted from 0)"),
    ("raise SystemExit(3)", "fails at example 1 (counted from 0) of SPLIT: SystemExit: 3"),
    ("return None", "gives a NoneType in example 1 (counted from 0) of SPLIT; an Example (name,"),
    ("return fine._replace(image=fine.image / 255)",
     "gives image of float64 in example 1 (counted from 0) of SPLIT; whole numbers of 8 or 16"),
    ("return fine._replace(image=fine.image[..., 0])", "gives image of the shape (64, 64) in"),
    ("return fine._replace(image='x.png')", "gives image of the type str in example 1"),
    ("return fine._replace(labels=fine.labels[None])", "gives labels of the shape (1, 64, 64) in"),
    ("return fine._replace(labels=fine.labels.astype(int))", "gives labels of int64 in example 1"),
    ("return fine._replace(labels=fine.labels.astype(np.uint16) + 300)",
     "x1: label 301 is outside the classes. It is example 1 (counted from 0) of SPLIT"),
    ("return fine._replace(labels=fine.labels + 6)",
     "x1: label 7 is outside the classes. It is example 1 (counted from 0) of SPLIT of the data"),
    ("return fine._replace(labels=fine.labels[1:])", "its labels 64 x 63. It is example 1"),
    ("return fine._replace(labels=None)", "x1 has no labels. It is example 1"),
    ("from pathlib import Path; return fine._replace(image=Path('gone.png'))", "gone.png"),
]  # fmt: skip


@pytest.fixture
def later(third_party, request) -> None:
    """A data set whose second example is wrong."""
    body = f"fine = {FINE_EXAMPLE}\n        if index == 0: return fine\n        {request.param}"
    third_party("bad-dist", "[sdabn.datasets]\nbad = bad_data:Data\n",
                bad_data=DATA.format(body=body))  # fmt: skip


@pytest.mark.parametrize(("later", "message"), LATER, indirect=["later"])
def test_a_data_set_whose_later_examples_are_wrong_is_named_in_training(
    later, tiny_plugins, tmp_path, message
):
    settings = [f"--set={key}" for key in (
        "data.dataset=bad", "segmenter=tiny", "denoiser=tiny", "segment.batch_size=2",
        "segment.steps=2", "segment.crop=[16,16]", "data.workers=0")]  # fmt: skip

    result = sdabn("cascade", "--units", "1", *settings, "--run", tmp_path / "run")

    assert_refused(result, message.replace("SPLIT", "train"), "data set bad of bad-dist 1.0")


@pytest.mark.parametrize(("later", "message"), LATER, indirect=["later"])
def test_a_data_set_whose_later_examples_are_wrong_is_named_in_evaluation(
    later, tiny_plugins, tmp_path, message
):
    model = save_model(tmp_path / "model", units=1, classes=("a", "b"))

    result = sdabn("evaluate", "--model", model, "--dataset", "bad", "--noise", "none")
    checked = json.loads(sdabn("plugins", "check", "bad", "--json").stdout)["checks"]

    assert_refused(result, message.replace("SPLIT", "val"), "data set bad of bad-dist 1.0")
    decoded = [c for c in checked if c["check"] == "images and labels can be decoded"]
    assert message.replace("SPLIT", "train") in decoded[0]["reason"]


def test_a_network_that_exits_is_refused(third_party, neighbour, tmp_path):
    source = DENOISER.format(result="exit('bye')")
    third_party("bad-dist", "[sdabn.denoisers]\nbad = bad_net:build\n", bad_net=source)

    result = sdabn("cascade", "--set", "denoiser=bad", "--run", tmp_path / "run")

    assert_refused(result, "'bad' of bad-dist 1.0 fails on inputs", "SystemExit: bye")


@pytest.mark.parametrize(("kind", "source"), [("segmenter", SEGMENTER), ("denoiser", DENOISER)])
def test_show_names_a_network_that_fails(third_party, kind, source):
    third_party("bad-dist", f"[sdabn.{kind}s]\nbad = bad_net:build\n",
                bad_net=source.format(result="image.nothing"))  # fmt: skip

    result = sdabn("plugins", "show", "bad")

    assert_refused(result, f"The {kind} plug-in 'bad' of bad-dist 1.0 fails on a black image of",
                   "AttributeError", "sdabn plugins check bad")  # fmt: skip


def test_a_denoiser_that_takes_even_sizes_only_is_refused(third_party, neighbour, tmp_path):
    source = DENOISER.format(result="estimate if image.shape[2] % 2 == 0 else estimate[:, :, 1:]")
    third_party("bad-dist", "[sdabn.denoisers]\nbad = bad_net:build\n", bad_net=source)

    result = sdabn("cascade", "--set", "denoiser=bad", "--run", tmp_path / "run")

    assert_refused(result, "gives an estimate (1, 3, 60, 45) for an image (1, 3, 61, 45)")
