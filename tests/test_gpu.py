"""What only a GPU can show: CUDA gives what the CPU gives, also where its memory runs out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fixtures_cli import save_picture, sdabn

import sdabn_cli
from sdabn_cli import device, execution, inference
from sdabn_cli import model as models
from sdabn_cli.planes import whole

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
