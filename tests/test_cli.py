"""The command line: help, listings, recipes and plans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fixtures_cli import assert_refused, files, flat, sdabn

import sdabn_cli
from sdabn_cli import recipefiles
from sdabn_cli.commands import app

HEAVY = ("torch", "timm", "numpy", "pydantic")
BUILT_IN = {
    ("segmenter", "hrnet"), ("segmenter", "smp"), ("segmenter", "joint"), ("denoiser", "bm3d"),
    ("denoiser", "dncnn"), ("denoiser", "nafnet"), ("denoiser", "sft"),
    ("denoiser", "ddfn"), ("denoiser", "smp"),
    ("noise", "gaussian"), ("noise", "poisson"), ("noise", "poisson_gaussian"), ("noise", "jpeg"),
    ("noise", "speckle"), ("noise", "correlated"), ("noise", "camera"), ("noise", "blind"),
    ("dataset", "outdoorseg"),
    ("dataset", "camvid"), ("dataset", "cityscapes"),
    ("dataset", "folder"), ("dataset", "scenes"), ("model", "street"),
}  # fmt: skip


def command_paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from command_paths(inner, (*path, name))


COMMANDS = list(command_paths(typer.main.get_command(app)))


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sdabn_cli", *arguments], capture_output=True, text=True
    )


def modules_after(*arguments: str) -> set[str]:
    """Which of the heavy modules a command has imported when it ends."""
    code = (
        "import sys\n"
        f"sys.argv = ['sdabn', *{arguments!r}]\n"
        "from sdabn_cli.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('imported:', *[m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].removeprefix("imported:").split())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(path):
    result = sdabn(*path, "--help")

    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_commands_of_the_main_job_are_there():
    names = {" ".join(path) for path in COMMANDS}

    assert names >= {
        "train-stage", "cascade", "run", "denoise", "segment", "evaluate", "export",
        "plugins list", "recipes list", "recipes show", "recipes copy", "recipes check",
    }  # fmt: skip


def test_help_imports_nothing_heavy():
    assert modules_after("--help") == set()


def test_listing_plugins_imports_no_torch():
    assert modules_after("plugins", "list").isdisjoint({"torch", "timm"})


#: Runs commands in turn in one process and says of each which plug-ins and heavy modules it has
#: imported, and how often it has read the most read file of a distribution's metadata.
WATCHING = """
import collections, contextlib, io, json, sys
reads = collections.Counter()

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and "-info" in arguments[0]:
        reads[arguments[0]] += 1

sys.addaudithook(note)
from sdabn_cli.__main__ import main
for command in (["--help"], ["plugins", "list", "--json"]):
    sys.argv = ["sdabn", *command]
    reads.clear()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main()
    unwanted = ("torch", "timm", "numpy", "many_", "sdabn_plugins")
    names = [name for name in sys.modules if name.startswith(unwanted)]
    print(json.dumps([names, printed.getvalue().count("many-"), max(reads.values(), default=0)]))
"""


def test_with_many_plugins_help_and_list_import_none_and_read_no_file_twice(tmp_path):
    for number in range(40):
        info = tmp_path / f"many_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: many-{number}\nVersion: 1.0\nRequires-Dist: sdabn>=0.1\n"
        )
        entry = f"[sdabn.noises]\nnoise{number} = many_{number}:build\n"
        (info / "entry_points.txt").write_text(entry)
        (tmp_path / f"many_{number}.py").write_text("import torch\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))

    done = subprocess.run(
        [sys.executable, "-c", WATCHING],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip

    told, listed = map(json.loads, done.stdout.splitlines())
    assert told == [[], 0, 0]
    assert listed == [[], 40, 1]


def test_the_version_is_printed_on_stdout():
    result = sdabn("--version")

    assert result.exit_code == 0
    assert result.stdout == f"sdabn {sdabn_cli.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "frobnicate"),
        (["run"], "INPUT"),
        (["cascade", "--unit", "3"], "--units"),
        (["cascade", "--units", "0"], "--units"),
        (["cascade", "--units", "two"], "integer"),
        (["train-stage", "--index", "1"], "--kind"),
        (["recipes", "bake"], "bake"),
    ],
)
def test_a_wrong_command_line_ends_with_code_2_on_stderr(arguments, message):
    result = sdabn(*arguments)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr


def test_plugins_list_gives_the_built_ins_as_json_and_nothing_else():
    result = program("plugins", "list", "--json")

    assert result.returncode == 0
    assert result.stderr == ""
    listed = [p for p in json.loads(result.stdout) if p["distribution"] == "sdabn"]
    assert len(listed) == len(BUILT_IN)
    assert {(p["kind"], p["name"]) for p in listed} == BUILT_IN
    keys = {"name", "kind", "distribution", "version", "state", "reason", "target"}
    assert all(p.keys() == keys for p in listed)
    assert {p["state"] for p in listed} == {"ok"}


def test_plugins_list_shows_a_third_party_plugin_with_its_distribution(tiny_plugins):
    result = sdabn("plugins", "list", "--json")

    mine = [p for p in json.loads(result.stdout) if p["name"] == "tiny"]
    assert [p["kind"] for p in mine] == ["segmenter", "denoiser"]
    assert {p["distribution"] for p in mine} == {"sdabn-tiny"}


def test_plugins_list_without_json_leaves_stdout_to_programs():
    result = sdabn("plugins", "list")

    assert result.exit_code == 0
    assert result.stdout == ""
    assert "hrnet" in result.stderr
    assert "street" in result.stderr


def test_recipes_list_gives_every_shipped_recipe():
    result = sdabn("recipes", "list", "--json")

    assert json.loads(result.stdout) == recipefiles.names()
    assert {"scenes/quickstart", "camvid/awgn50", "camvid/awgn50-cpu", "cityscapes/awgn50"} <= set(
        json.loads(result.stdout)
    )


def test_recipes_show_prints_the_file_as_it_is():
    result = sdabn("recipes", "show", "camvid/awgn50")

    assert result.stdout == recipefiles.path_of("camvid/awgn50").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", recipefiles.names())
def test_every_shipped_recipe_passes_its_check_without_data(name):
    result = sdabn("recipes", "check", name)

    assert result.exit_code == 0
    assert f"{name} is a valid recipe" in result.stderr


def test_recipes_copy_writes_the_same_recipe_once():
    first = sdabn("recipes", "copy", "camvid/awgn50", "mine/own.yaml")
    copied = Path("mine/own.yaml").read_bytes()
    again = sdabn("recipes", "copy", "scenes/quickstart", "mine/own.yaml")

    assert first.exit_code == 0
    assert "sdabn cascade --recipe mine/own.yaml" in first.stderr
    assert copied == recipefiles.path_of("camvid/awgn50").read_bytes()
    assert_refused(again, "mine/own.yaml exists already")
    assert Path("mine/own.yaml").read_bytes() == copied
    assert files(Path("mine")) == {"own.yaml"}


def test_recipes_copy_refuses_a_target_that_is_no_yaml_file():
    assert_refused(sdabn("recipes", "copy", "camvid/awgn50", "own"), "own does not end in .yaml")
    assert not Path("own").exists()


def test_recipes_check_names_every_wrong_key_at_once(tiny_recipe):
    path = Path(tiny_recipe)
    text = path.read_text().replace("seed: 3", "sed: 3").replace("steps: 3,", "steps: 0,")
    path.write_text(text)

    assert_refused(
        sdabn("recipes", "check", tiny_recipe),
        "sed: there is no such key. Did you mean 'seed'?",
        "segment.steps: 0",
        "denoise.steps: 0",
    )


def test_the_plan_of_the_paper_has_its_stages_and_sizes_and_writes_nothing():
    result = program(
        "cascade", "--recipe", "cityscapes/awgn50", "--units", "3", "--dry-run", "--json"
    )

    assert result.returncode == 0
    plan = json.loads(result.stdout)
    stages = {stage["id"]: stage for stage in plan["stages"]}
    assert list(stages) == ["s0", "s1", "d1", "s2", "d2", "s3", "d3"]
    assert {id_: stage["parameters"] for id_, stage in stages.items()} == {
        **dict.fromkeys(["s0", "s1", "s2", "s3"], 3_939_579),
        **dict.fromkeys(["d1", "d2", "d3"], 114_176),
    }
    assert {id_: stage["starts_from"] for id_, stage in stages.items()} == {
        "s0": None, "s1": "s0", "s2": "s1", "s3": "s2", "d1": None, "d2": None, "d3": None,
    }  # fmt: skip
    assert plan["parameters"] == 3 * (3_939_579 + 114_176)
    assert {(s["kind"], s["status"]) for s in stages.values()} == {
        ("seg", "missing"), ("denoise", "missing"),
    }  # fmt: skip
    assert stages["s2"]["index"] == 2
    assert files(Path()) == set()


def test_a_mistake_reaches_the_shell_as_a_panel_and_code_2():
    result = program("cascade", "--set", "sed=3")

    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert flat("Did you mean 'seed'?") in flat(result.stderr)
