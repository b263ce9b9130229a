"""Write a plug-in package: installable, working and keeping the contract as it is written."""

from __future__ import annotations

import contextlib
import importlib.resources
import keyword
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from string import Template

import sdabn_cli
from sdabn_cli.discovery import GROUPS, plugins
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.files import write_together
from sdabn_cli.inputs import check_output
from sdabn_cli.inspection import module_exists

KINDS = ("segmenter", "denoiser", "noise", "dataset")

#: Names whose modules, such as ``sdabn_cli``, are sdabn's own.
RESERVED = ("cli", "plugins", "recipes")

LONGEST = 60

#: What a user does with a new plug-in first, by its kind.
USES = {
    "segmenter": "sdabn cascade --units 1 --set segmenter={name} --run runs/{name}",
    "denoiser": "sdabn cascade --units 1 --set denoiser={name} --run runs/{name}",
    "noise": "sdabn cascade --units 1 --set noise={name} --run runs/{name}",
    "dataset": "sdabn cascade --units 1 --set data.dataset={name} --data DIR --run runs/{name}",
}


@dataclass(frozen=True)
class Package:
    """A package that is to be written.

    Attributes:
        directory: Where to.
        files: Content by path within it.
        commands: What to type next.
    """

    directory: Path
    files: dict[str, str]
    commands: list[str]


def plan(name: str, kind: str, directory: Path | None = None) -> Package:
    """Fill in the templates for a plug-in.

    Args:
        name: What users will type: small letters, digits, hyphens and underscores.
        kind: segmenter, denoiser, noise or dataset.
        directory: Where the package goes; ``sdabn-NAME`` in the working directory by default.

    Raises:
        SdabnError: If the name cannot be used or is taken, there is no such kind, or the directory
            holds something already.
    """
    if kind not in KINDS:
        raise SdabnError(f"There is no kind {kind!r} of new plug-in.", did_you_mean(kind, KINDS))
    _check_name(name, kind)
    directory = Path(f"sdabn-{name}") if directory is None else directory
    _check_place(directory)
    module = module_of(name)
    # The kind behind it keeps the class from hiding what the module imports.
    class_name = "".join(part.capitalize() for part in (*re.split("[-_]", name), kind))
    values = {
        "name": name,
        "kind": kind,
        "module": module,
        "cls": class_name,
        "entry": class_name if kind == "dataset" else "build",
        "group": GROUPS[kind],
        "version": sdabn_cli.__version__,
        "use": USES[kind].format(name=name),
        "data": " --data DIR" if kind == "dataset" else "",
    }
    templates = {
        "pyproject.toml": "package/pyproject.toml",
        "setup.cfg": "package/setup.cfg",
        "README.md": "package/README.md",
        f"{module}.py": f"{kind}/module.py",
        f"tests/test_{module[6:]}.py": "dataset/test.py"
        if kind == "dataset"
        else "package/test.py",
    }
    if kind != "dataset":
        values["tests"] = _filled(f"{kind}/tests", values).rstrip("\n")
    files = {path: _filled(template, values) for path, template in templates.items()}
    with_data = " --data DIR" if kind == "dataset" else ""
    commands = [
        f"pip install -e {shlex.quote(str(directory))}",
        f"sdabn plugins check {name} --kind {kind}{with_data}",
        values["use"],
    ]
    return Package(directory, files, commands)


def write(package: Package) -> None:
    """Write a planned package, all of it or nothing.

    Raises:
        SdabnError: If a file cannot be written; what was written before it is removed.
    """
    targets = {package.directory / path: text for path, text in package.files.items()}
    folders = {folder for target in targets for folder in target.absolute().parents}
    new = sorted(folder for folder in folders if not folder.exists())
    try:
        write_together({
            path: (lambda file, text=text: file.write(text.encode()))
            for path, text in targets.items()
        })  # fmt: skip
    except SdabnError:
        for target in targets:  # none was there before: the directory was empty
            with contextlib.suppress(OSError):
                target.unlink()
        for folder in reversed(new):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _check_place(directory: Path) -> None:
    """Make sure that a package can be written to a directory.

    Raises:
        SdabnError: If it holds something, cannot be written, or lies within an import package,
            whose installation would take the new modules for its own.
    """
    check_output(directory)
    if directory.is_dir() and any(directory.iterdir()):
        raise SdabnError(f"{directory} is there already.", "Choose another with --output.")
    place = directory.absolute()
    existing = next(folder for folder in (place, *place.parents) if folder.is_dir())
    if (existing / "__init__.py").exists():
        raise SdabnError(
            f"{existing} is a Python package (it has an __init__.py): a package of its own cannot "
            "lie within it.",
            "Choose a directory beside it with --output.",
        )


def _check_name(name: str, kind: str) -> None:
    wellformed = re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name) and len(name) <= LONGEST
    taken = "a word of Python" if keyword.iskeyword(name) else "sdabn's own"
    if not wellformed or keyword.iskeyword(name) or name in RESERVED:
        elsewhere = (
            " Where the package goes is said with --output." if set("/\\") & set(name) else ""
        )
        raise SdabnError(
            f"{name!r} cannot be the name of a plug-in"
            + (f": it is {taken}." if wellformed else "."),
            f"Allowed are at most {LONGEST} small letters and digits, joined by - or _, such as "
            f"my-net2, but not {', '.join(RESERVED)}.{elsewhere}",
        )
    owners = [plugin.distribution for plugin in plugins(kind) if plugin.name == name]
    if owners:
        raise SdabnError(
            f"There is a {kind} {name!r} already, of {' and '.join(owners)}.",
            "Choose another name.",
        )
    module = module_of(name)
    if module_exists(module):
        raise SdabnError(
            f"The module {module}, which would hold the plug-in, is installed already.",
            "Choose another name.",
        )


def module_of(name: str) -> str:
    """The module of a new plug-in; with its prefix it hides none that is there already."""
    return "sdabn_" + name.replace("-", "_")


def _filled(template: str, values: dict[str, str]) -> str:
    root = importlib.resources.files("sdabn_cli") / "templates"
    text = (root / f"{template}.tmpl").read_text(encoding="utf-8")
    return Template(text).substitute(values)
