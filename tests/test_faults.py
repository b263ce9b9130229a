"""Plug-ins that are broken in every way: each is named, and none of them hurts another."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

import pytest
import torch
from fixtures_cli import assert_refused, flat, save_model, sdabn
from test_processes import ALONE, start

from sdabn_cli import inspection, probing, registry

#: Another third party's plug-in, which must go on working whatever its neighbour does.
NEIGHBOUR = "def build(*, share: float = 0.5):\n    return lambda clean, generator: clean * share\n"

RAISES = "raise RuntimeError('no licence')"
EXITS = "import sys\nsys.exit('goodbye')"
KILLS = "import os\nos._exit(3)"
OWN = "class Own(BaseException): pass\nraise Own('goodbye')"
SUBCLASS = "class Own(KeyboardInterrupt): pass\nraise Own('goodbye')"
INTERRUPTS = "raise KeyboardInterrupt('goodbye')"
UNWRITABLE = "class Own(Exception):\n    def __str__(self): return 1 / 0\nraise Own"
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


#: What is wrong with a module, and what is said about it.
UNLOADABLE = {
    "raises": (RAISES, "RuntimeError: no licence"),
    "exits": (EXITS, "SystemExit: goodbye"),
    "own": (OWN, "does not load: Own: goodbye"),
    "subclass": (SUBCLASS, "does not load: Own: goodbye"),
    "interrupts": (INTERRUPTS, "raises KeyboardInterrupt itself: goodbye"),
    "unwritable": (UNWRITABLE, "does not load: Own"),
    "empty": ("", "AttributeError: module 'empty_noise' has no attribute 'build'"),
    "misses": ("import a_module_nobody_has", "No module named 'a_module_nobody_has'"),
    "garbled": ("def build(:", "SyntaxError"),
    "number": ("build = 3", "its entry point is a int, not a function or class"),
    "kills": (KILLS, "loading it ended the process (3)"),
}


def test_plugins_that_do_not_load_are_listed_as_broken_and_the_others_as_ok(third_party, neighbour):
    for name, (source, _) in UNLOADABLE.items():
        module = f"{name}_noise"
        third_party(
            f"{name}-dist", f"[sdabn.noises]\n{name} = {module}:build\n", **{module: source}
        )

    found = listed("--load")

    for name, (_, reason) in UNLOADABLE.items():
        row = found[f"{name}-dist", name]
        assert row["state"] == "broken"
        assert reason in row["reason"]
    fine = [row["state"] for (_, name), row in found.items() if name not in UNLOADABLE]
    assert set(fine) == {"ok"}
    assert_others_work()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (RAISES, "RuntimeError: no licence"),
        (EXITS, "SystemExit: goodbye"),
        (OWN, "Own: goodbye"),
        (SUBCLASS, "Own: goodbye"),
        (UNWRITABLE, "Own"),
    ],
)
def test_using_a_plugin_that_does_not_load_names_its_distribution(
    third_party, neighbour, source, reason
):
    third_party("bad-dist", "[sdabn.noises]\nbad = bad_noise:build\n", bad_noise=source)

    result = sdabn("cascade", "--set", "noise=bad", "--dry-run")

    assert_refused(result, "plug-in 'bad' of bad-dist 1.0 does not load", reason, "uninstall")
    assert_others_work()


def test_ctrl_c_while_a_plugin_loads_stops_the_program(third_party):
    source = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)"
    third_party("slow-dist", "[sdabn.noises]\nslow = slow_noise:build\n", slow_noise=source)

    result = sdabn("plugins", "show", "slow")

    assert result.exit_code == 130
    assert "Stopped" in result.stderr


def test_ctrl_c_while_plugins_load_in_another_process_ends_both(third_party, tmp_path):
    told = tmp_path / "pid"
    source = f"""
    import os, pathlib, signal, time
    pathlib.Path({str(told)!r}).write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGINT)  # as a terminal does, to both
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(600)
    """
    third_party("slow-dist", "[sdabn.noises]\nslow = slow_noise:build\n", slow_noise=source)
    wanted = [entry for entry in inspection.survey() if entry.plugin.name == "slow"]

    with pytest.raises(KeyboardInterrupt):
        inspection.try_loading(wanted)

    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


@pytest.mark.parametrize("target", ["not a target!", "9bad:build", "bad_noise:", ""])
@pytest.mark.parametrize("arguments", [["bad"], ["bad", "--kind", "noise"], ["bad-dist/bad"]])
def test_show_explains_an_entry_point_that_names_no_object(third_party, target, arguments):
    third_party("bad-dist", f"[sdabn.noises]\nbad = {target}\n", bad_noise=FINE)

    shown = sdabn("plugins", "show", *arguments)
    used = sdabn("cascade", "--set", "noise=bad", "--dry-run")

    for result in (shown, used):
        assert_refused(
            result,
            f"The noise plug-in 'bad' of bad-dist 1.0 is broken: its entry point is {target!r}",
            "In the group sdabn.noises its author should write: bad = module:build",
        )


@pytest.mark.parametrize("target", ["bad noise", "bad_noise.py", "9bad:build", "bad_noise:build()"])
def test_an_entry_point_that_names_no_object_is_broken(third_party, neighbour, target):
    third_party("bad-dist", f"[sdabn.noises]\nbad = {target}\n", bad_noise=FINE)

    row = listed()["bad-dist", "bad"]

    assert row["state"] == "broken"
    assert "module" in row["reason"]
    assert_others_work()


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


def test_a_plugin_that_builds_no_module_is_refused(third_party, neighbour, tmp_path):
    source = "def build(*, condition_channels: int, in_channels: int = 3):\n    return None\n"
    third_party("bad-dist", "[sdabn.denoisers]\nbad = bad_net:build\n", bad_net=source)

    trained = sdabn("cascade", "--set", "denoiser=bad", "--run", tmp_path / "run", "--dry-run")

    assert_refused(trained, "'bad' of bad-dist 1.0 built a NoneType, not a torch.nn.Module")
    assert_others_work()


def test_a_plugin_that_needs_a_newer_sdabn_says_so(third_party, neighbour):
    third_party(
        "bad-dist",
        "[sdabn.noises]\nbad = bad_noise:build\n",
        requires="sdabn>=99.1",
        bad_noise=RAISES,
    )

    row = listed()["bad-dist", "bad"]
    used = sdabn("cascade", "--set", "noise=bad", "--dry-run")

    assert row["state"] == "broken"
    assert "needs sdabn>=99.1" in row["reason"]
    assert_refused(used, "of bad-dist 1.0 needs sdabn>=99.1; this is sdabn 0.1.0", "pip install")
    assert_others_work()


def test_a_plugin_that_needs_this_sdabn_or_an_older_one_is_fine(third_party, neighbour):
    third_party(
        "ok-dist",
        "[sdabn.noises]\nfine = fine_noise:build\n",
        requires="sdabn>=0.1",
        fine_noise=FINE,
    )

    assert listed()["ok-dist", "fine"]["state"] == "ok"
    assert registry.build("noise", "fine", {"sigma": "2"})(1.0, None) == 3.0


def test_entry_points_that_are_no_text_stop_no_command(third_party, neighbour):
    third_party("bad-dist", b"\xff\xfe\x00")

    shown = start(*ALONE, "plugins", "show", "gaussian", "--json")
    loaded = start(*ALONE, "plugins", "list", "--load", "--json")

    assert (shown.returncode, loaded.returncode) == (0, 0), shown.stderr + loaded.stderr
    assert "bad-dist" in shown.stderr
    rows = json.loads(loaded.stdout)
    broken = {row["distribution"] for row in rows if row["state"] == "broken"}
    assert broken == {"bad-dist"}


@pytest.mark.parametrize(
    "content",
    [
        "no section = here\n",
        "[sdabn.noises]\nbad = bad:build\nbad = bad:build\n",
        "[sdabn.noises]\nbad = 100% wrong\n",
        "[unfinished\n",
        b"[sdabn.noises]\nb\xe4d = bad:build\n",
    ],
)
def test_a_malformed_file_of_entry_points_is_listed_with_its_distribution(
    third_party, neighbour, content
):
    third_party("bad-dist", content)

    result = sdabn("plugins", "list", "--json")
    rows = json.loads(result.stdout)

    broken = [row for row in rows if row["distribution"] == "bad-dist" and not row["name"]]
    assert [row["state"] for row in broken] == ["broken"]
    assert "entry points cannot be read" in broken[0]["reason"]
    assert "bad_dist-1.0.dist-info" in broken[0]["reason"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_others_work()


def test_a_name_of_two_distributions_must_be_written_with_one_of_them(third_party, neighbour):
    for number, owner in enumerate(("first-dist", "second-dist")):
        source = FINE.replace("1.0", f"{number + 1}.0")
        module = f"noise_{number}"
        third_party(owner, f"[sdabn.noises]\ntwice = {module}:build\n", **{module: source})

    found = listed()
    plain = sdabn("recipes", "check", "scenes/quickstart")
    used = sdabn("cascade", "--set", "noise=twice", "--dry-run")

    assert plain.exit_code == 0
    assert {found[o, "twice"]["state"] for o in ("first-dist", "second-dist")} == {"duplicate"}
    assert_refused(
        used,
        "'twice' is registered by first-dist 1.0 and second-dist 1.0",
        "first-dist/twice or second-dist/twice",
    )
    assert registry.build("noise", "first-dist/twice", {})(0.0, None) == 1.0
    assert registry.build("noise", "second-dist/twice", {"sigma": "7"})(0.0, None) == 7.0
    assert_others_work()


def test_a_name_of_sdabns_own_stays_sdabns_own(third_party, neighbour):
    third_party("bold-dist", "[sdabn.noises]\ngaussian = bold_noise:build\n", bold_noise=FINE)

    row = listed()["bold-dist", "gaussian"]
    with pytest.warns(UserWarning, match=r"bold-dist 1\.0 registers one too \(bold-dist/gaussian"):
        built = registry.build("noise", "gaussian", {"sigma": "0..55"})

    assert row["state"] == "shadowed"
    assert "write bold-dist/gaussian" in row["reason"]
    assert type(built).__name__ == "Gaussian"
    assert registry.build("noise", "Bold_Dist/gaussian", {})(1.0, None) == 2.0
    assert_others_work()


def test_a_left_over_egg_info_is_named_where_its_module_is_gone(third_party, neighbour):
    third_party("bad-dist", "[sdabn.noises]\nbad = bad_noise:build\n", info="egg-info")

    row = listed()["bad-dist", "bad"]
    used = sdabn("cascade", "--set", "noise=bad", "--dry-run")

    assert row["state"] == "broken"
    assert "bad_dist.egg-info is a left-over; delete it" in row["reason"]
    assert_refused(used, "plug-in 'bad' of bad-dist 1.0 does not load", "bad_noise")
    assert_others_work()


def test_an_older_installation_further_back_is_shadowed(third_party, neighbour):
    third_party("dist", "[sdabn.noises]\nold = old_noise:build\n", version="0.9", info="egg-info",
                old_noise=FINE)  # fmt: skip
    third_party("dist", "[sdabn.noises]\nnew = new_noise:build\n", version="1.0",
                new_noise=FINE)  # fmt: skip

    found = listed()

    assert found["dist", "new"]["state"] == "ok"
    assert found["dist", "old"]["state"] == "shadowed"
    assert "dist.egg-info is not used: dist 1.0 at" in found["dist", "old"]["reason"]
    assert_others_work()


def test_a_left_over_of_the_same_name_leaves_the_installation_that_counts_alone(
    third_party, neighbour
):
    third_party("dist", "[sdabn.noises]\nsame = old_noise:build\n", version="0.9", old_noise=RAISES)
    third_party("dist", "[sdabn.noises]\nsame = new_noise:build\n", version="1.0", new_noise=FINE)

    rows = json.loads(sdabn("plugins", "list", "--json").stdout)
    states = {row["version"]: row["state"] for row in rows if row["name"] == "same"}

    assert states == {"1.0": "ok", "0.9": "shadowed"}
    assert registry.build("noise", "same", {})(0.0, None) == 1.0
    third_party("bad-dist", "[unfinished\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert registry.build("noise", "same", {})(0.0, None) == 1.0
        assert_others_work()


@pytest.mark.parametrize("content", [b"Name: b\xe4d\n", b"", None])
@pytest.mark.parametrize("points", ["[sdabn.noises]\nbad = bad_noise:build\n", "[unfinished\n"])
def test_damaged_metadata_take_the_name_of_their_directory(third_party, neighbour, content, points):
    folder = third_party("bad-dist", points, bad_noise=FINE)
    (metadata,) = folder.glob("*.dist-info/METADATA")
    metadata.unlink()
    if content is not None:
        metadata.write_bytes(content)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = json.loads(sdabn("plugins", "list", "--json").stdout)
        assert_others_work()

    (row,) = [row for row in rows if row["distribution"].replace("_", "-") == "bad-dist"]
    assert row["state"] == ("broken" if points == "[unfinished\n" else "ok")
    assert row["version"] == "1.0"


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


def test_a_plugin_that_hangs_is_given_up_and_the_next_ones_are_loaded(
    third_party, neighbour, monkeypatch
):
    monkeypatch.setattr(inspection, "PATIENCE", 8)
    third_party("slow-dist", "[sdabn.noises]\nslow = slow_noise:build\n",
                slow_noise="import time\ntime.sleep(600)")  # fmt: skip
    wanted = [e for e in inspection.survey() if e.plugin.name in ("half", "slow")]

    found = {e.plugin.name: e for e in inspection.try_loading(wanted)}

    assert found["slow"].state == "broken"
    assert "does not finish loading within 8 seconds" in found["slow"].reason
    assert found["half"].state == "ok"


def test_what_a_plugin_prints_does_not_spoil_json(third_party):
    source = "print('hello')\n" + FINE.replace("    return", "    print('building')\n    return")
    third_party("loud-dist", "[sdabn.noises]\nloud = loud_noise:build\n", loud_noise=source)

    result = sdabn("plugins", "check", "loud", "--json")

    assert json.loads(result.stdout)["name"] == "loud"
    assert "hello" in result.stderr


def test_a_model_of_a_name_that_two_have_is_chosen_by_its_distribution(third_party, tmp_path):
    shipped = registry.model_directory("street")
    for owner in ("alpha", "beta"):
        third_party(f"{owner}-dist", f"[sdabn.models]\nroad = {owner}_model:directory\n",
                    **{f"{owner}_model": f"directory = {str(shipped)!r}\n"})  # fmt: skip

    plain = sdabn("models", "show", "road")
    chosen = sdabn("models", "show", "beta-dist/road", "--json")
    rows = json.loads(sdabn("models", "list", "--json").stdout)

    assert_refused(plain, "registered by alpha-dist 1.0 and beta-dist 1.0", "beta-dist/road")
    assert chosen.exit_code == 0, chosen.stderr
    names = {row["name"] for row in rows if row["broken"] is None}
    assert names == {"street", "alpha-dist/road", "beta-dist/road"}
