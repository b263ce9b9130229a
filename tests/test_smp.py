"""The back-ends ``smp``: any of the library's networks as segmenter and as denoiser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from fixtures_cli import files, sdabn
from torch import nn

from sdabn_cli import networks
from sdabn_cli.cascade import segment
from sdabn_cli.errors import SdabnError
from sdabn_cli.testing import examine

NETWORKS = [("Unet", "resnet18"), ("FPN", "mobilenet_v2")]
CLASSES = 4

#: Through the whole contract suite: nearly all ways to halve, dilate, pool and attend.
ARCHITECTURES = (
    "Unet", "UnetPlusPlus", "MAnet", "FPN", "PSPNet", "DeepLabV3Plus", "PAN", "UPerNet",
)  # fmt: skip
ENCODERS = ("resnet18", "mobilenet_v2", "tu-convnext_atto")
PAIRS = [
    *((arch, encoder) for arch in ARCHITECTURES for encoder in ENCODERS),
    ("DeepLabV3", "efficientnet-b0"),
    ("PSPNet", "efficientnet-b0"),
    ("Segformer", "mit_b0"),
    ("Linknet", "vgg11"),
    ("DPT", "tu-test_vit"),
    ("FPN", "tu-test_maxvit"),
    ("Unet", "tu-swin_tiny_patch4_window7_224"),
]

RECIPE = """
units: 1
data: {dataset: "scenes:count=2,width=64,height=64"}
noise: gaussian
segmenter: smp:arch=FPN,encoder=mobilenet_v2
denoiser: smp:arch=FPN,encoder=mobilenet_v2
segment: {steps: 1, batch_size: 2, crop: [64, 64], optimizer: sgd, learning_rate: 0.01}
denoise: {steps: 1, batch_size: 2, crop: [64, 64], optimizer: adam, learning_rate: 0.001}
"""


def build_segmenter(arch: str, encoder: str, **options: str) -> nn.Module:
    torch.manual_seed(0)
    options |= {"arch": arch, "encoder": encoder}
    return networks.build_segmenter("smp", options, num_classes=CLASSES)


def build_denoiser(
    arch: str, encoder: str, condition_channels: int = CLASSES, **options: str
) -> nn.Module:
    torch.manual_seed(0)
    options |= {"arch": arch, "encoder": encoder}
    return networks.build_denoiser("smp", options, condition_channels=condition_channels)


def without_gradient(network: nn.Module) -> list[str]:
    return [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("build", [build_segmenter, build_denoiser])
def test_a_seed_gives_the_same_weights_whatever_was_tried_out_for_them(build):
    # Its first options do not work, which is noticed once random numbers are drawn.
    first, second = (build("PAN", "vgg11").state_dict() for _ in range(2))

    assert first.keys() == second.keys()
    assert all(tensor.equal(second[name]) for name, tensor in first.items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segmenter", "denoiser"])
@pytest.mark.parametrize(("arch", "encoder"), PAIRS)
def test_every_architecture_keeps_the_contract_with_encoders_of_every_kind(kind, arch, encoder):
    outcomes = examine(kind, "smp", {"arch": arch, "encoder": encoder})

    assert [o for o in outcomes if o.state == "failed"] == []


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
        (
            "Unet",
            "tu-convnxt_tiny",
            r"no encoder 'tu-convnxt_tiny'; did you mean 'tu-convnext_tiny'",
        ),
        ("Unet", "tu-resnet18.imagenet", r"no encoder .*; did you mean 'tu-resnet18\.\w+'\?"),
        ("Unet", "convnext_tiny", r"no encoder 'convnext_tiny'; did you mean 'tu-convnext_tiny'"),
        ("Unet", "tu-hf-hub:timm/x", r"no encoder 'tu-hf-hub:timm/x'; see timm.list_models\(\)"),
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


@pytest.mark.parametrize("build", [build_segmenter, build_denoiser])
@pytest.mark.parametrize(
    ("arch", "encoder", "message"),
    [
        (
            "UnetPlusPlus",
            "mit_b0",
            r"UnetPlusPlus and the encoder 'mit_b0' do not fit \(.*resnet34",
        ),
        (
            "DeepLabV3",
            "densenet121",
            r"do not fit \(.* do not support dilated mode .*such as resnet",
        ),
        (
            "DPT",
            "resnet18",
            r"do not fit \(Only Timm encoders .*such as tu-vit_tiny_patch16_224\.$",
        ),
        ("Unet", "tu-hiera_tiny_224", r"do not fit \(it takes images of 224x224 alone\); encoders"),
        ("Unet", "tu-vit_tiny_patch16_224", r"do not fit \(Unsupported model downsampling pattern"),
    ],
)
def test_an_encoder_that_does_not_fit_its_architecture_is_refused(build, arch, encoder, message):
    with pytest.raises(SdabnError, match=message):
        build(arch, encoder)


def test_a_depth_that_an_encoder_does_not_have_is_refused():
    with pytest.raises(SdabnError, match=r"do not fit at depth 7 \(.*range \[1, 5\], got 7"):
        build_segmenter("Unet", "resnet18", depth="7")


@pytest.mark.parametrize(
    ("arch", "encoder", "options", "stride"),
    [
        ("Unet", "resnet18", {}, 32),
        ("Unet", "resnet18", {"depth": "3"}, 8),
        ("FPN", "resnet18", {"depth": "4"}, 16),
        ("PSPNet", "resnet18", {}, 8),  # three stages
        ("DeepLabV3", "resnet18", {}, 8),  # dilated
        ("DeepLabV3Plus", "resnet18", {}, 16),
        ("PAN", "resnet18", {}, 128),  # halves maps of stride 16 three times more
        ("DPT", "tu-test_vit", {}, 32),  # patches of 16 pixels, and half of their number
        ("FPN", "tu-test_maxvit", {}, 160),  # windows of 5 at stride 32
    ],
)
def test_the_stride_of_a_network_is_the_least_that_it_takes(arch, encoder, options, stride):
    network = build_segmenter(arch, encoder, **options).eval()

    assert network.stride == stride
    with torch.no_grad():
        logits = network(torch.rand(1, 3, stride, 3 * stride))
    assert logits.shape == (1, CLASSES, stride, 3 * stride)


def test_denoisers_are_shallow_unless_they_are_asked_to_be_deep():
    assert build_denoiser("Unet", "resnet18").stride == 8
    assert build_denoiser("Unet", "resnet18", depth="5").stride == 32
    # An FPN of a transformer has no fourth map at three stages.
    assert build_denoiser("FPN", "tu-convnext_atto").stride == 32


@pytest.mark.parametrize(("options", "share"), [({}, 0.5), ({"residual": "false"}, 0)])
def test_the_first_estimate_of_a_fresh_denoiser_is_a_share_of_the_image(options, share):
    network = build_denoiser("Unet", "resnet18", **options).eval()
    image = torch.rand(1, 3, 16, 16)

    with torch.no_grad():
        estimate = network(image, torch.rand(1, CLASSES, 16, 16))

    assert torch.allclose(estimate, share * image, atol=0.05)


@pytest.mark.parametrize(("arch", "encoder"), [("PSPNet", "resnet18"), ("Unet", "efficientnet-b0")])
def test_weights_that_the_library_has_stored_fit_a_segmenter(arch, encoder):
    torch.manual_seed(1)
    trained = smp.create_model(arch, encoder, encoder_weights=None, classes=CLASSES)
    network = build_segmenter(arch, encoder)

    network.network.load_state_dict(trained.state_dict())

    never_used = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert never_used  # the encoder's last stages, or the head behind its last stage
    assert all(name.startswith("network.encoder.") for name in never_used)


@pytest.mark.parametrize(("arch", "encoder"), [("Unet", "efficientnet-b0"), ("FPN", "vgg11")])
def test_denoisers_hold_no_parameters_that_they_never_use(arch, encoder):
    network = build_denoiser(arch, encoder)
    network(torch.rand(2, 3, 64, 64), torch.rand(2, CLASSES, 64, 64)).sum().backward()

    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_batch_norm_is_trained_with_a_single_image_whose_maps_end_in_one_pixel():
    network = build_segmenter("UPerNet", "resnet18").train()

    logits = segment(network, torch.rand(1, 3, 32, 32))
    logits.square().sum().backward()

    assert logits.isfinite().all()
    assert all(module.training for module in network.modules())
    assert [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def test_building_a_network_leaves_no_trace_of_trying_it_out():
    network = build_segmenter("Unet", "resnet18")

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(int(norm.num_batches_tracked) == 0 for norm in norms)
    assert all(p.grad is None and p.device.type == "cpu" for p in network.parameters())


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
