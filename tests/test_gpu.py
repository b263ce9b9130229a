"""What only a GPU can show: CUDA gives what the CPU gives, also where its memory runs out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fixtures_cli import assert_refused, save_picture, sdabn

import sdabn_cli
from sdabn_cli import device, execution, inference, networks
from sdabn_cli import model as models
from sdabn_cli.muon import Muon
from sdabn_cli.planes import whole
from sdabn_cli.runs import Run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def found(where: str, precision: str, **how: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimate and labels of a noisy image by two units of the shipped model."""
    runner = inference.Runner(
        models.load("street", units=2), device.choose(where, precision), engine="torch", **how
    )
    noisy = torch.rand(1, 3, 365, 491, generator=torch.Generator().manual_seed(0))
    with runner.workspace() as workspace:
        result = runner(noisy, workspace)
        assert result.estimate is not None
        return whole(result.estimate).cpu(), result.labels


def test_float32_on_cuda_is_float32_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    wanted, labels = found("cpu", "float32")

    estimate, ids = found("cuda", "float32")

    torch.testing.assert_close(estimate, wanted, rtol=0, atol=1e-3)
    assert float((ids == labels).float().mean()) > 0.999


def test_bfloat16_on_cuda_is_close():
    wanted, labels = found("cuda", "float32")

    estimate, ids = found("cuda", "bfloat16")

    assert float((estimate - wanted).abs().mean()) < 0.01
    assert float((ids == labels).float().mean()) > 0.98


def test_compiled_networks_give_the_same():
    wanted, _ = found("cuda", "float32")

    estimate, _ = found("cuda", "float32", compiled=True)

    torch.testing.assert_close(estimate, wanted, rtol=0, atol=5e-3)


def test_where_the_gpus_memory_runs_out_tiles_are_halved(monkeypatch):
    monkeypatch.setattr(execution, "SMALL", 10**12)  # the segmenter is tried as a whole
    wanted, _ = found("cuda", "float32")
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(300e6 / total)
    try:
        estimate, _ = found("cuda", "float32")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    torch.testing.assert_close(estimate, wanted, rtol=0, atol=0.05)


def test_the_command_runs_on_cuda():
    save_picture(Path("a.png"))

    result = sdabn("run", "a.png", "--device", "cuda", "-o", "out", "--json")

    assert result.exit_code == 0, result.stderr
    assert "CPU" not in json.loads(result.stdout)["device"]


def test_a_tensor_on_cuda_gives_results_on_cuda():
    image = torch.rand(2, 3, 60, 70, device="cuda")

    result = sdabn_cli.load("street", units=1, device="cuda")(image, probabilities=True)

    for found in (result.denoised, result.labels, result.probabilities):
        assert found.device == image.device
    assert result.denoised.shape == image.shape


def trained(run: Path, *changes: str) -> dict[str, list[float]]:
    """Losses of every step of s0, s1 and d1 on drawn scenes."""
    settings = ["stages={}", "data.dataset=scenes:count=6,width=160,height=128"]
    for kind, crop in (("segment", "[96,128]"), ("denoise", "[64,64]")):
        settings += [f"{kind}.steps=8", f"{kind}.crop={crop}", f"{kind}.log_every=1"]
        settings += [f"{kind}.validate_every=4", f"{kind}.validation_images=1"]
    options = [part for setting in (*settings, *changes) for part in ("--set", setting)]

    result = sdabn("cascade", "--units", 1, "--device", "cuda", "--run", run, *options)

    assert result.exit_code == 0, result.stderr
    return {
        stage: [line["loss"] for line in Run(run).stage(stage).read_log() if "loss" in line]
        for stage in ("s0", "s1", "d1")
    }


@pytest.mark.parametrize("accumulate", [1, 2])
def test_recorded_steps_train_as_others_do(tmp_path, accumulate):
    changes = ["precision=float32", f"denoise.accumulate={accumulate}"]

    usual = trained(tmp_path / "usual", *changes)
    recorded = trained(tmp_path / "recorded", *changes, "cuda_graphs=true")

    for stage, losses in usual.items():
        assert recorded[stage] == pytest.approx(losses, rel=0.05), stage
        assert losses[-1] != pytest.approx(losses[0], rel=0.05)
    weights = networks.read_weights(tmp_path / "recorded/s0/weights.safetensors")
    counts = {int(weights[name]) for name in weights if name.endswith("num_batches_tracked")}
    assert counts == {8}  # what recording tries first does not count


def test_muon_goes_on_from_a_state_that_was_read_on_the_cpu(tmp_path):
    def step(network: torch.nn.Module, optimizer: Muon) -> None:
        network.zero_grad()
        network(torch.ones(1, 32, device="cuda")).square().sum().backward()
        optimizer.step()

    whole = torch.nn.Linear(32, 32, device="cuda")
    muon = Muon(whole.parameters(), 0.01)
    step(whole, muon)
    torch.save([whole.state_dict(), muon.state_dict()], tmp_path / "state.pt")
    step(whole, muon)

    network = torch.nn.Linear(32, 32, device="cuda")
    again = Muon(network.parameters(), 0.01)
    weights, state = torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    again.load_state_dict(state)
    step(network, again)

    for one, other in zip(network.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other)


WAITS = """
from torch import nn

class Waits(nn.Module):
    stride = 1
    receptive_field = None

    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes, 1)

    def forward(self, image):
        return self.conv(image) * (1 if float(image.mean()) > 0 else 2)

def build(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    return Waits(num_classes)
"""


def test_a_network_that_waits_for_its_results_cannot_be_recorded(tmp_path, third_party):
    third_party("sdabn-waits", "[sdabn.segmenters]\nwaits = waits:build\n", waits=WAITS)
    settings = ["segmenter=waits", "cuda_graphs=true", "data.dataset=scenes:count=4"]
    options = [part for setting in settings for part in ("--set", setting)]

    result = sdabn("train-stage", "--index", 0, "--kind", "seg", "--device", "cuda", *options)

    assert_refused(result, "cannot be recorded as a CUDA graph", "--set cuda_graphs=false")
