"""Imports go one way: the core knows no plug-in, plug-ins know the contract, layers look down."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sdabn_cli

CORE = Path(sdabn_cli.__file__).parent
PLUGINS = CORE.parent / "plugins"

#: From top to bottom: a module may import its own layer, without cycles, and those below.
LAYERS = (
    {"__main__"},
    {"commands"},
    {"api", "reproduction"},
    {"training", "pipeline", "plan", "testing", "facts"},
    {"loop", "validation", "job", "evaluation", "products", "export", "report"},
    {"inference", "execution", "noiselevel"},
    {"assembly", "tasks", "cascade", "data", "datasets", "examples", "networks", "metrics",
     "losses", "runs", "model", "logits", "probing", "joint", "given", "growing", "initial",
     "finiteness", "states"},
    {"contracts", "registry", "signatures", "specs", "discovery", "recipe", "recipefiles",
     "changes", "choices", "origin",
     "checkpoints", "fitting", "images", "device", "randomness", "schedule", "console",
     "tiling", "planes", "pixels", "tiff", "tiffheader", "tiffcolour", "encoding",
     "inputs", "overlay", "optimization",
     "muon", "averaging",
     "augmentation", "noising", "batchnorm", "pictures", "stopping",
     "tensorboard", "overview", "engines", "openvino", "memory", "graph",
     "inspection", "loading", "scaffold", "catalogue", "description", "hub", "sources",
     "sharing", "statefiles", "journal", "recording"},
    {"processes"},
    {"errors", "files", "jsonable", "labels", "conditions", "unreadable", "sdabn_cli"},
)  # fmt: skip

#: What a plug-in may import beside Python's own modules.
OF_PLUGINS = ("torch", "timm", "bm3d", "segmentation_models_pytorch", "PIL", "numpy", "yaml",
              "sdabn_cli.contracts", "sdabn_plugins")  # fmt: skip

CORE_FILES = sorted(CORE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Full names of everything a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parents(name: str) -> set[str]:
    """A full name and the modules it lies in: ``a.b.c`` gives ``a``, ``a.b`` and ``a.b.c``."""
    parts = name.split(".")
    return {".".join(parts[: end + 1]) for end in range(len(parts))}


def topic(path: Path) -> str:
    """Module of the core that a file is; every file of a folder counts as the folder."""
    part = path.relative_to(CORE).parts[0].removesuffix(".py")
    return "sdabn_cli" if part == "__init__" else part


def topics_imported(path: Path) -> set[str]:
    names = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in CORE_FILES}
    parts = [name.split(".") for name in imports(path) if name.split(".")[0] == "sdabn_cli"]
    return {p[1] if len(p) > 1 and p[1] in names else "sdabn_cli" for p in parts} - {topic(path)}


def layer(name: str) -> int:
    found = [number for number, members in enumerate(LAYERS) if name in members]
    assert found, f"give the module {name} a place in LAYERS and in the architecture's description"
    return found[0]


def test_every_module_of_the_layers_exists():
    assert set().union(*LAYERS) == {topic(path) for path in CORE_FILES}
    assert sum(map(len, LAYERS)) == len(set().union(*LAYERS))


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_core_imports_no_plugin(path):
    assert not [name for name in imports(path) if name.startswith(("sdabn_plugins", "plugins"))]


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_never_go_upwards(path):
    upwards = [n for n in topics_imported(path) if layer(n) < layer(topic(path))]

    assert upwards == []


def test_imports_within_the_core_have_no_cycle():
    graph: dict[str, set[str]] = {}
    for path in CORE_FILES:
        graph.setdefault(topic(path), set()).update(topics_imported(path))

    # Raises graphlib.CycleError, which names the cycle.
    order = list(TopologicalSorter(graph).static_order())

    assert order.index("cascade") < order.index("training")


@pytest.mark.parametrize(
    "path", sorted(PLUGINS.rglob("*.py")), ids=lambda path: str(path.relative_to(PLUGINS))
)
def test_plugins_know_nothing_of_the_core_but_the_contract(path):
    allowed = {*sys.stdlib_module_names, *OF_PLUGINS}

    others = [name for name in imports(path) if not parents(name) & allowed]

    assert others == []


def test_files_are_written_without_loading_an_image_library():
    assert {name.split(".")[0] for name in imports(CORE / "files.py")} <= {
        *sys.stdlib_module_names, "sdabn_cli",
    }  # fmt: skip


def test_importing_the_core_imports_no_plugin_and_nothing_slow_that_few_commands_need():
    code = (
        "import sys, sdabn_cli.training, sdabn_cli.evaluation\n"
        "late = 'sdabn_plugins', 'torchmetrics', 'scipy'\n"
        "print([name for name in sys.modules if name.startswith(late)])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout.strip() == "[]"
