"""Plug-ins that are broken in every way: each is named, and none of them hurts another."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from fixtures_cli import assert_refused, sdabn
from fixtures_faults import FINE, RAISES, assert_others_work, listed

from sdabn_cli import inspection

EXITS = "import sys\nsys.exit('goodbye')"


KILLS = "import os\nos._exit(3)"


OWN = "class Own(BaseException): pass\nraise Own('goodbye')"


SUBCLASS = "class Own(KeyboardInterrupt): pass\nraise Own('goodbye')"


INTERRUPTS = "raise KeyboardInterrupt('goodbye')"


UNWRITABLE = "class Own(Exception):\n    def __str__(self): return 1 / 0\nraise Own"


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


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """What runs in the background of a shell is started with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_while_a_plugin_loads_stops_the_program(third_party):
    source = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)"
    third_party("slow-dist", "[sdabn.noises]\nslow = slow_noise:build\n", slow_noise=source)

    result = sdabn("plugins", "show", "slow")

    assert result.exit_code == 130
    assert "Stopped" in result.stderr


@pytest.mark.usefixtures("heeds_ctrl_c")
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


def test_a_plugin_that_builds_no_module_is_refused(third_party, neighbour, tmp_path):
    source = "def build(*, condition_channels: int, in_channels: int = 3):\n    return None\n"
    third_party("bad-dist", "[sdabn.denoisers]\nbad = bad_net:build\n", bad_net=source)

    trained = sdabn("cascade", "--set", "denoiser=bad", "--run", tmp_path / "run", "--dry-run")

    assert_refused(trained, "'bad' of bad-dist 1.0 built a NoneType, not a torch.nn.Module")
    assert_others_work()


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
