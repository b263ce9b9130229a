"""Fixtures: isolation from the user's machine, plug-ins of a third party, recipes and runs."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import fixtures_hub
import pytest
import torch

from sdabn_cli import discovery, recipefiles, training
from sdabn_cli.device import Compute
from sdabn_cli.job import Training
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage

pytest_plugins = ["fixtures_api", "fixtures_data", "fixtures_faults", "fixtures_reproduction"]
torch.set_num_threads(1)

#: Two networks of a few hundred parameters. ``BUILT`` lets a test look at every network that a
#: training had in memory; ``fails_from`` makes the loss of a training step not a number.
TINY_PLUGINS = """
import torch
import torch.nn.functional as F
from torch import nn

BUILT = []

class Segmenter(nn.Module):
    stride = 4

    def __init__(self, num_classes, in_channels, dropout, fails_from, width=8):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(width, num_classes, 1)
        self.fails_from, self.calls = fails_from, 0
        BUILT.append(self)

    def forward(self, image):
        logits = self.head(self.dropout(F.relu(self.norm(self.conv(image)))))
        self.calls += self.training
        return logits * float("nan") if 0 < self.fails_from <= self.calls else logits

class Denoiser(nn.Module):
    def __init__(self, condition_channels, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels + condition_channels, 3, 3, padding=1)
        BUILT.append(self)

    def forward(self, image, condition):
        return self.conv(image if condition is None else torch.cat([image, condition], 1))

def segmenter(*, num_classes: int, in_channels: int = 3, dropout: float = 0.0,
              fails_from: int = 0, width: int = 8) -> nn.Module:
    return Segmenter(num_classes, in_channels, dropout, fails_from, width)

def denoiser(*, condition_channels: int, in_channels: int = 3) -> nn.Module:
    return Denoiser(condition_channels, in_channels)
"""

TINY_RECIPE = """
units: 2
seed: 3
data: {{dataset: camvid, root: {root}}}
noise: gaussian:sigma=25
segmenter: tiny
denoiser: tiny
precision: float32
segment: {{steps: 3, batch_size: 2, crop: [16, 24], optimizer: sgd, learning_rate: 0.01,
           log_every: 1, save_every: 1}}
denoise: {{steps: 3, batch_size: 2, crop: [16, 16], turns: true, optimizer: adam,
           learning_rate: 0.001, log_every: 1, save_every: 1}}
"""


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a directory of its own, without the user's home, from the same random state."""
    torch.manual_seed(0)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name.lower()))
    _forget_plugins()
    yield
    _forget_plugins()


def _forget_plugins() -> None:
    discovery.plugins.cache_clear()
    discovery.unmet_requirement.cache_clear()
    discovery.warn_of_malformed.cache_clear()


ThirdParty = Callable[..., Path]


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThirdParty]:
    """Install a distribution: ``third_party(name, entry_points, module=source)``.

    Also its ``version``, what it ``requires``, and the ``info`` directory's ending.
    """
    site = tmp_path / "site"

    def install(
        name: str,
        entry_points: str | bytes,
        *,
        version: str = "1.0",
        requires: str = "",
        info: str = "dist-info",
        **modules: str,
    ) -> Path:
        folder = site / f"{name}-{version}"
        folder.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += f"Requires-Dist: {requires}\n" if requires else ""
        stem = name.replace("-", "_")
        stem += f"-{version}" if info == "dist-info" else ""
        info_folder = folder / f"{stem}.{info}"
        info_folder.mkdir()
        file = "METADATA" if info == "dist-info" else "PKG-INFO"
        (info_folder / file).write_text(metadata, encoding="utf-8")
        content = (
            entry_points
            if isinstance(entry_points, bytes)
            else textwrap.dedent(entry_points).encode()
        )
        (info_folder / "entry_points.txt").write_bytes(content)
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        _forget_plugins()
        return folder

    yield install
    for module in list(sys.modules):
        if str(getattr(sys.modules[module], "__file__", None) or "").startswith(str(site)):
            del sys.modules[module]


@pytest.fixture
def tiny_plugins(third_party: ThirdParty) -> Path:
    """A segmenter and a denoiser called ``tiny``; the segmenter has batch norm."""
    return third_party(
        "sdabn-tiny",
        """
        [sdabn.segmenters]
        tiny = tiny_plugins:segmenter
        [sdabn.denoisers]
        tiny = tiny_plugins:denoiser
        """,
        tiny_plugins=TINY_PLUGINS,
    )


@pytest.fixture
def tiny_recipe(tmp_path: Path, camvid_tree: Path, tiny_plugins: Path) -> str:
    """Path of a recipe that trains two units on the tiny tree in about a second."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_RECIPE.format(root=camvid_tree), encoding="utf-8")
    return str(path)


class Stopped(Exception):
    """Stands for a power cut."""


class Recorder:
    """A watcher that remembers what it was told and can cut the power at a step of a stage."""

    def __init__(self) -> None:
        self.stop_at: tuple[str, int] | None = None
        self.warnings: list[str] = []
        self.starts: list[tuple[str, int]] = []
        self.finished: list[str] = []
        self.figures: list[tuple[str, int, dict[str, float]]] = []
        self.early: list[tuple[str, int, int]] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def start(self, stage: Stage, *, step: int, steps: int) -> None:
        self.starts.append((stage.id, step))

    def advance(self, step: int, figures: dict[str, float] | None) -> None:
        if self.stop_at == (self.starts[-1][0], step):
            raise Stopped(f"power cut in {self.stop_at[0]} at step {step}")

    def validating(self, done: int, images: int) -> None:
        pass

    def validated(self, step: int, figures: dict[str, float]) -> None:
        self.figures.append((self.starts[-1][0], step, figures))

    def ended_early(self, step: int, best_step: int) -> None:
        self.early.append((self.starts[-1][0], step, best_step))

    def finish(self, stage: Stage, seconds: float) -> None:
        self.finished.append(stage.id)


@pytest.fixture
def watcher() -> Recorder:
    """Remembers what a training tells; ``watcher.stop_at = ("d1", 3)`` cuts the power there."""
    return Recorder()


@pytest.fixture
def opened(tiny_recipe: str, watcher: Recorder) -> Iterator[Callable[..., Training]]:
    """Open a training of the tiny recipe with overrides: ``opened("units=1", run="a")``."""
    cpu = Compute(torch.device("cpu"), torch.float32)

    stack = contextlib.ExitStack()

    def open_training(*overrides: str, run: str = "run") -> Training:
        settings = recipefiles.load(tiny_recipe, overrides)
        return stack.enter_context(training.opened(settings, Run(Path(run)), cpu, watcher))

    with stack:
        yield open_training


@pytest.fixture
def whole_and_broken(
    opened: Callable[..., Training], watcher: Recorder
) -> Callable[..., tuple[Training, Training]]:
    """Train s0 with overrides at one go, and once more with a power cut after step 3."""

    def make(*settings: str) -> tuple[Training, Training]:
        s0 = Stage.parse("s0")
        whole = opened(*settings, run="whole")
        training.train_stage(whole, s0)
        watcher.stop_at = ("s0", 3)
        with pytest.raises(Stopped, match="power cut"):
            training.train_stage(opened(*settings, run="broken"), s0)
        watcher.stop_at = None
        broken = opened(*settings, run="broken")
        training.train_stage(broken, s0)
        return whole, broken

    return make


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fixtures_hub.Hub]:
    """A Hub on this machine, without repositories, and an empty cache for what it gives."""
    with fixtures_hub.serving() as server:
        fixtures_hub.turn_to(server.address, tmp_path / "hub-cache", monkeypatch)
        yield server
