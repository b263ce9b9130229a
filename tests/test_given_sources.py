"""``init`` from runs, models, folders of ``save_pretrained`` and the Hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fixtures_hub
import pytest
import segmentation_models_pytorch as smp
import torch
from fixtures_cli import assert_refused, save_model, sdabn
from fixtures_given import (
    CLASSES,
    STILL,
    cascade,
    equal,
    planned,
    segmenter,
    weights,
    with_prefix,
    write,
)
from safetensors.torch import load_file

from sdabn_cli import networks


def test_a_run_gives_its_clean_segmenter_and_its_first_denoiser(tiny_recipe):
    assert cascade(tiny_recipe, "units=1", run="first").exit_code == 0

    given = ("segmenter.init=first", "denoiser.init=first")
    result = cascade(tiny_recipe, *given, "units=1", "seed=9", run="second", more=tuple(STILL))

    assert result.exit_code == 0, result.stderr
    assert equal(weights("s0", "second"), weights("s0", "first"))
    assert all(
        torch.allclose(weights("d1", "second")[n], t, rtol=0, atol=1e-20)
        for n, t in weights("d1", "first").items()
    )


def test_a_run_that_is_not_that_far_is_refused(tiny_recipe):
    sdabn("train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe, "--run", "first")

    assert_refused(cascade(tiny_recipe, "denoiser.init=first"), "no finished stage d1")


def test_a_model_gives_the_networks_of_its_first_unit(tiny_recipe):
    save_model(Path("model"))

    result = cascade(tiny_recipe, "segmenter.init=model", "denoiser.init=model", "units=1")

    assert result.exit_code == 0, result.stderr
    assert equal(weights("s0"), load_file("model/s1.safetensors"))


def test_the_shipped_model_is_known_by_its_name(tiny_recipe):
    denoiser = "ddfn:width=128,gate=true,unshuffle=2,noise_maps=true,noise_scales=2"
    stages = planned(tiny_recipe, "segmenter=hrnet", "segmenter.init=street",
                     f"denoiser={denoiser}", "denoiser.init=street")  # fmt: skip

    assert stages["s0"]["init"]["path"].endswith("street/s1.safetensors")
    assert stages["d2"]["init"]["path"].endswith("street/d1.safetensors")


def test_weights_of_another_network_are_answered_with_what_to_type(tiny_recipe):
    result = cascade(tiny_recipe, "segmenter=hrnet:variant=w18", "segmenter.init=street")

    assert_refused(result, "those of hrnet; the recipe's segmenter is hrnet:variant=w18",
                   "--set segmenter=hrnet --set segmenter.init=street")  # fmt: skip


def test_classes_of_another_order_are_refused_unless_s0_is_trained(tiny_recipe):
    assert cascade(tiny_recipe, "units=1", run="first").exit_code == 0
    names = json.loads(Path("first/classes.json").read_text())
    Path("first/classes.json").write_text(json.dumps(names[::-1]))

    refused = cascade(tiny_recipe, "segmenter.init=first")
    trained = cascade(tiny_recipe, "segmenter.init=first", "segmenter.new_head=true",
                      more=("--dry-run",))  # fmt: skip

    assert_refused(refused, "were trained on the classes", names[-1], "segmenter.new_head=true")
    assert trained.exit_code == 0, trained.stderr


@pytest.fixture
def pretrained() -> smp.Unet:
    """A network of segmentation-models-pytorch, saved by that library in ``folder``."""
    torch.manual_seed(0)
    network = smp.Unet("resnet18", encoder_weights=None, classes=CLASSES)
    network.save_pretrained("folder")
    return network


def test_a_folder_of_save_pretrained_is_fitted_to_the_plugin(tiny_recipe, pretrained):
    result = sdabn(
        "train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe, "--run", "run",
        "--set", "segmenter=smp:encoder=resnet18", "--set", "segmenter.init=folder",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert equal(weights("s0"), with_prefix("network.", pretrained.state_dict()))


@pytest.mark.parametrize(
    "chosen", ["smp:encoder=resnet34", "smp:arch=FPN,encoder=resnet18", "tiny"]
)
def test_a_folder_of_another_network_is_answered_with_what_to_type(tiny_recipe, pretrained, chosen):
    result = cascade(tiny_recipe, f"segmenter={chosen}", "segmenter.init=folder")

    assert_refused(
        result, f"the recipe's segmenter is {chosen}",
        "--set segmenter=smp:arch=Unet,encoder=resnet18 --set segmenter.init=folder",
    )  # fmt: skip
    assert not Path("run").exists()


def test_the_lines_that_an_error_says_to_type_work(tiny_recipe, pretrained):
    stages = planned(tiny_recipe, "segmenter=smp:arch=Unet,encoder=resnet18",
                     "segmenter.init=folder")  # fmt: skip

    assert stages["s0"]["status"] == "given"


def test_weights_of_hrnet_are_fitted(tiny_recipe):
    network = networks.build_segmenter("hrnet", {"variant": "w18_small"}, num_classes=CLASSES)
    torch.save({"state_dict": with_prefix("net.", network.state_dict())}, "hrnet.ckpt")

    result = sdabn(
        "train-stage", "--index", 0, "--kind", "seg", "--recipe", tiny_recipe, "--run", "run",
        "--set", "segmenter=hrnet:variant=w18_small", "--set", "segmenter.init=hrnet.ckpt",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert equal(weights("s0"), network.state_dict())


@pytest.mark.parametrize(
    "config", ['{"_model_class": "Unet; touch x", "encoder_name": "resnet18"}', "[" * 100_000, "[]"]
)
def test_a_strangers_config_cannot_put_words_in_our_mouth(tiny_recipe, pretrained, config):
    Path("folder/config.json").write_text(config)

    result = cascade(tiny_recipe, "segmenter.init=folder")

    assert_refused(result)
    assert "touch x" not in result.stderr


def test_what_an_error_says_to_type_is_quoted_for_the_shell(tiny_recipe, pretrained):
    shutil.move("folder", "my folder; touch x")

    result = cascade(tiny_recipe, "segmenter.init=my folder; touch x")

    assert_refused(result, "--set 'segmenter.init=my folder; touch x'")


def test_a_model_of_the_hub_gives_its_weights_and_is_not_needed_again(tiny_recipe, hub):
    save_model(Path("model"), units=1)
    commit = hub.repository("owner/tiny").push(fixtures_hub.content_of(Path("model")))
    given = ("segmenter.init=hf:owner/tiny", "units=1")

    first = cascade(tiny_recipe, *given)
    hub.repository("owner/tiny").push({"cascade.json": b"{}"})
    again = cascade(tiny_recipe, *given)

    assert (first.exit_code, again.exit_code) == (0, 0), first.stderr + again.stderr
    assert equal(weights("s0"), load_file("model/s1.safetensors"))
    path = planned(tiny_recipe, *given)["s0"]["init"]["path"]
    assert path.endswith(f"{commit}/s1.safetensors")


def test_a_strangers_names_do_not_steer_the_terminal(tiny_recipe):
    write("own.pt", segmenter() | {"\x1b[2J": torch.zeros(1)})

    result = cascade(tiny_recipe, "segmenter.init=own.pt")

    assert_refused(result, "1 are not in the network")
    assert "\x1b" not in result.stderr
