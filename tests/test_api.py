"""The Python API: ``import sdabn_cli``: its names, and what it says to wrong values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_api import EXACT
from fixtures_cli import picture
from test_cli import HEAVY

import sdabn_cli

#: The model is trained for noise that most images here do not have.
pytestmark = pytest.mark.filterwarnings("ignore:This image")


def test_importing_sdabn_imports_nothing_heavy():
    code = (
        "import sys, sdabn_cli\n"
        "sdabn_cli.__version__, sdabn_cli.SdabnError, dir(sdabn_cli)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_every_public_name_is_there_and_explains_itself():
    for name in sdabn_cli.__all__:
        assert getattr(sdabn_cli, name).__doc__, name
    assert set(sdabn_cli.__all__) <= set(dir(sdabn_cli))
    with pytest.raises(AttributeError, match="no attribute 'loaad'"):
        _ = sdabn_cli.loaad


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("load", {"units": "1"}, r"units='1' is of the type str.\nAllowed: a whole number or None"),
        ("load", {"units": True}, r"units=True is of the type bool"),
        ("load", {"units": 1.0}, r"units=1.0 is of the type float"),
        ("load", {"units": 0}, r"3 units; --units 0 was asked.\nAllowed: 1 to 3"),
        ("load", {"memory": 3}, r"memory=3 is of the type int.\nAllowed: a text"),
        ("load", {"device": None}, r"device=None .*\nAllowed: a text"),
        ("load", {"compiled": "no"}, r"compiled='no' .*\nAllowed: True or False"),
        ("load", {"images": 0}, r"images=0 is too small.\nAllowed: whole numbers from 1"),
        ("load", {"model": 3}, r"model=3 is of the type int.\nAllowed: a text or a path"),
        ("save", {"model": "street", "directory": 3}, r"directory=3 .*\nAllowed: a text or a path"),
        ("evaluate", {"dataset": "scenes", "limit": 0}, r"limit=0 is too small"),
        ("evaluate", {"dataset": "scenes", "limit": "9"}, r"limit='9' is of the type str"),
        ("evaluate", {"dataset": None}, r"dataset=None .*\nAllowed: a text"),
        ("evaluate", {"model": [], "dataset": "s"}, "Allowed: a loaded model, a text or a path"),
        ("train_stage", {"index": "1", "kind": "seg"}, r"index='1' is of the type str"),
        ("train_stage", {"index": 0, "kind": 1}, r"kind=1 is of the type int"),
        ("train_stage", {"index": 0, "kind": "seg", "overrides": [3]},
         r"overrides: 3 is of the type int.\nAllowed: .*\['?\"?segment.steps=100"),
        ("train_stage", {"index": 0, "kind": "seg", "overrides": "segment.steps=3"},
         r"overrides='segment.steps=3' is of the type str.\nAllowed"),
        ("train_cascade", {"overrides": {3: 4}}, r"overrides: 3 is of the type int"),
        ("train_cascade", {"overrides": None}, r"overrides=None is of the type NoneType"),
        ("train_cascade", {"run": 3}, r"run=3 .*\nAllowed: a text, a path or None"),
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_type_is_named_with_what_is_allowed(name, given, message):
    with pytest.raises(sdabn_cli.SdabnError, match=message):
        getattr(sdabn_cli, name)(**given)

    assert not Path("runs").exists()


def test_a_mistyped_parameter_is_pythons_own_error():
    with pytest.raises(TypeError, match=r"load\(\) got an unexpected keyword argument 'unit'"):
        sdabn_cli.load("street", unit=1)


def test_numbers_of_numpy_and_paths_are_taken(directory):
    loaded = sdabn_cli.load(directory, units=np.int64(1), **EXACT)
    small = (f"{key}={value}" for key, value in {"units": 1}.items())

    planned = sdabn_cli.train_cascade("scenes/quickstart", overrides=small, dry_run=True)

    assert len(loaded) == 1
    assert [stage["id"] for stage in planned["stages"]] == ["s0", "s1", "d1"]


def test_editors_see_every_public_name():
    stub = Path(sdabn_cli.__file__).with_suffix(".pyi").read_text()

    seen = {line.split()[-1] for line in stub.splitlines() if line.startswith("from")}
    assert seen == set(sdabn_cli.__all__)


@pytest.mark.parametrize("asked", [{"probabilities": "no"}, {"logits": 0}, {"units": 2}])
def test_what_is_asked_for_must_be_true_or_false(first, asked):
    ((name, value),) = asked.items()

    with pytest.raises(sdabn_cli.SdabnError, match=f"{name}={value!r} is of the type"):
        first(picture(), **asked)


def test_true_of_numpy_is_true(first):
    assert first(picture(), probabilities=np.True_).probabilities is not None


def circular() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({(1, 2): 3}, "keys must be"),
        (circular(), "Circular"),
        (np.array([64, 64]), r"a ndarray; give a list: value.tolist\(\)"),
        (torch.tensor([64, 64]), "a Tensor; give a list"),
    ],
    ids=["key", "circular", "array", "tensor"],
)
def test_overrides_that_no_recipe_can_hold_are_refused(value, reason):
    with pytest.raises(sdabn_cli.SdabnError, match=rf"the value of 'segment.crop' .*{reason}"):
        sdabn_cli.train_cascade("scenes/quickstart", overrides={"segment.crop": value},
                                dry_run=True)  # fmt: skip


def test_numbers_of_numpy_are_taken_as_overrides():
    plan = sdabn_cli.train_cascade(
        "scenes/quickstart", overrides={"segment.steps": np.int64(7)}, units=1, dry_run=True
    )

    assert plan["stages"][0]["steps"] == 7
