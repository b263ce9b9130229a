"""Packages that ``sdabn plugins new`` writes, installed by pip into environments of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from fixtures_cli import sdabn

KINDS = ("segmenter", "denoiser", "noise", "dataset")

pytest.importorskip("setuptools", reason="pip builds the packages with the setuptools at hand")


def run(*command: object, **environment: str) -> str:
    """Run a command in this working directory; what it printed on stdout."""
    ended = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Python of a fresh environment that sees what is installed here, and nothing else."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    purelib = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")})
    here = sysconfig.get_paths()["purelib"]
    (Path(purelib) / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return python


def install(python: Path, *arguments: object) -> None:
    """Install into an environment as a user does, but offline."""
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index",
        "--no-build-isolation", "--disable-pip-version-check", *arguments)  # fmt: skip


def test_new_packages_pass_their_own_tests_and_the_check(environment, tmp_path):
    folders = [tmp_path / f"sdabn-my-{kind}" for kind in KINDS]
    for kind, folder in zip(KINDS, folders, strict=True):
        sdabn("plugins", "new", f"my-{kind}", "--kind", kind, "--output", folder)
    install(environment, "--no-deps", *folders)

    tested = run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders)
    checked = [
        json.loads(run(environment, "-m", "sdabn_cli", "plugins", "check", f"my-{kind}", "--json"))
        for kind in ("segmenter", "noise")
    ]
    listed = json.loads(run(environment, "-m", "sdabn_cli", "plugins", "list", "--json"))

    assert " passed" in tested
    assert "failed" not in tested
    assert all(report["passed"] for report in checked)
    mine = {(p["name"], p["kind"], p["state"]) for p in listed if p["name"].startswith("my-")}
    assert mine == {(f"my-{kind}", kind, "ok") for kind in KINDS}


TINY = (
    "--set", "data.dataset=scenes:count=4,width=96,height=64", "--set", "stages={}",
    "--set", "segment.steps=2", "--set", "segment.batch_size=2", "--set", "segment.crop=[48, 64]",
    "--set", "denoise.steps=2", "--set", "denoise.batch_size=2", "--set", "denoise.crop=[32, 32]",
    "--set", "segment.validation_images=2", "--set", "denoise.validation_images=2",
    "--units", "1", "--device", "cpu",
)  # fmt: skip


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_a_package_made_elsewhere_trains_a_unit_on_scenes_and_runs(environment, tmp_path, editable):
    packages = {kind: tmp_path / f"sdabn-their-{kind}" for kind in ("segmenter", "denoiser")}
    for kind, folder in packages.items():
        sdabn("plugins", "new", f"their-{kind}", "--kind", kind, "--output", folder)
        if editable:
            install(environment, "-e", folder)
            continue
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
            "--no-index", "--wheel-dir", tmp_path / "wheels", folder)  # fmt: skip
    if not editable:
        install(environment, *(tmp_path / "wheels").glob("*.whl"))
    program, run_directory = (environment, "-m", "sdabn_cli"), tmp_path / "trained"
    run(*program, "cascade", "--run", run_directory, *TINY,
        "--set", "segmenter=their-segmenter:width=4",
        "--set", "denoiser=their-denoiser:width=4,depth=3")  # fmt: skip
    picture = tmp_path / "picture.png"
    run(environment, "-c", "import imageio, numpy as np, sys; "
        "imageio.imwrite(sys.argv[1], np.full((40, 56, 3), 99, np.uint8))", picture)  # fmt: skip

    report = json.loads(run(*program, "run", picture, "--model", run_directory, "--json",
                            "--output", tmp_path / "out"))  # fmt: skip
    model = json.loads((run_directory / "model" / "cascade.json").read_text())

    assert all(Path(path).is_file() for path in report["images"][0]["outputs"].values())
    assert model["units"][0]["segmenter"]["plugin"] == "their-segmenter"
    assert model["units"][0]["denoiser"]["options"] == {"width": "4", "depth": "3"}
    assert model["distributions"]["sdabn-their-denoiser"] == "0.1.0"
