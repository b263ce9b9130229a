"""The back-ends ``smp``: any of the library's networks as segmenter and as denoiser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fixtures_cli import files, sdabn
from torch import nn

from sdabn_cli import networks
from sdabn_cli.cascade import segment
from sdabn_cli.errors import SdabnError

NETWORKS = [("Unet", "resnet18"), ("FPN", "mobilenet_v2")]
CLASSES = 4

RECIPE = """
units: 1
data: {dataset: "scenes:count=2,width=64,height=64"}
noise: gaussian
segmenter: smp:arch=FPN,encoder=mobilenet_v2
denoiser: smp:arch=FPN,encoder=mobilenet_v2
segment: {steps: 1, batch_size: 2, crop: [64, 64], optimizer: sgd, learning_rate: 0.01}
denoise: {steps: 1, batch_size: 2, crop: [64, 64], optimizer: adam, learning_rate: 0.001}
"""


def build_segmenter(arch: str, encoder: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"arch": arch, "encoder": encoder}
    return networks.build_segmenter("smp", options, num_classes=CLASSES)


def build_denoiser(arch: str, encoder: str, condition_channels: int = CLASSES) -> nn.Module:
    torch.manual_seed(0)
    options = {"arch": arch, "encoder": encoder}
    return networks.build_denoiser("smp", options, condition_channels=condition_channels)


def without_gradient(network: nn.Module) -> list[str]:
    return [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize(("arch", "encoder"), NETWORKS)
def test_a_segmenter_gives_logits_of_the_images_odd_size(arch, encoder):
    network = build_segmenter(arch, encoder).eval()

    with torch.no_grad():
        logits = segment(network, torch.rand(1, 3, 45, 61))

    assert logits.shape == (1, CLASSES, 45, 61)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("arch", "encoder"), NETWORKS)
@pytest.mark.parametrize("size", [(45, 61), (64, 32), (7, 5)])
def test_a_denoiser_gives_an_estimate_of_the_images_odd_size(arch, encoder, size):
    network = build_denoiser(arch, encoder).eval()

    with torch.no_grad():
        estimate = network(torch.rand(1, 3, *size), torch.rand(1, CLASSES, *size))

    assert estimate.shape == (1, 3, *size)
    assert estimate.isfinite().all()


@pytest.mark.parametrize(("arch", "encoder"), NETWORKS)
def test_every_parameter_gets_a_gradient(arch, encoder):
    segmenter, denoiser = build_segmenter(arch, encoder), build_denoiser(arch, encoder)
    image = torch.rand(2, 3, 64, 64)

    logits = segmenter(image)
    nn.functional.mse_loss(logits, torch.rand_like(logits)).backward()
    estimate = denoiser(image, torch.rand(2, CLASSES, 64, 64))
    nn.functional.mse_loss(estimate, torch.rand_like(estimate)).backward()

    assert without_gradient(segmenter) == []
    assert without_gradient(denoiser) == []


def test_the_condition_changes_the_estimate():
    network = build_denoiser(*NETWORKS[0]).eval()
    image = torch.rand(1, 3, 32, 32)

    with torch.no_grad():
        first, second = (network(image, torch.full((1, CLASSES, 32, 32), v)) for v in (0.0, 1.0))

    assert not torch.allclose(first, second)


def test_a_denoiser_without_condition_takes_the_image_alone():
    network = build_denoiser(*NETWORKS[0], condition_channels=0).eval()

    with torch.no_grad():
        estimate = network(torch.rand(1, 3, 45, 61), None)

    assert estimate.shape == (1, 3, 45, 61)


@pytest.mark.parametrize("build", [build_segmenter, build_denoiser])
@pytest.mark.parametrize(
    ("arch", "encoder", "message"),
    [
        ("Unett", "resnet18", r"no arch 'Unett'; did you mean 'Unet'\?"),
        ("Transformer", "resnet18", "no arch 'Transformer'; "),
        ("Unet", "resnet19", r"no encoder 'resnet19'; did you mean 'resnet1[0-9]+'\?"),
        ("Unet", "tu-resnet19x", "encoder 'tu-resnet19x' cannot be built for Unet"),
        ("Unet", "tu-hf-hub:owner/name", "encoder 'tu-hf-hub:owner/name' names a place"),
    ],
)
def test_an_unknown_network_is_answered_with_the_nearest_match(build, arch, encoder, message):
    with pytest.raises(SdabnError, match=message):
        build(arch, encoder)


def test_only_networks_count_as_architectures():
    with pytest.raises(SdabnError, match="no arch 'zzz'; allowed: ") as caught:
        build_segmenter("zzz", "resnet18")

    allowed = str(caught.value).split("allowed: ")[1]
    assert "DeepLabV3Plus" in allowed
    assert "Segformer" in allowed


def test_an_encoder_that_does_not_fit_its_architecture_is_refused():
    with pytest.raises(SdabnError, match=r"smp:arch=UnetPlusPlus,encoder=mit_b0: .*mit_b0\.$"):
        build_segmenter("UnetPlusPlus", "mit_b0")


def test_a_cascade_of_smp_networks_by_name_is_trained_on_scenes():
    Path("own.yaml").write_text(RECIPE)

    result = sdabn("cascade", "--recipe", "own.yaml", "--run", "run", "--json")

    assert result.exit_code == 0, result.stderr
    stages = json.loads(result.stdout)["stages"]
    assert [(s["id"], s["status"]) for s in stages] == [
        ("s0", "finished"), ("s1", "finished"), ("d1", "finished"),
    ]  # fmt: skip
    assert {s["backbone"] for s in stages} == {"smp:arch=FPN,encoder=mobilenet_v2"}
    assert "model/cascade.json" in files(Path("run"))
