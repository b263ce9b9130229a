"""Given weights of a denoiser that differs: a condition drawn anew, a narrower one widened."""

from __future__ import annotations

from pathlib import Path

import torch
from fixtures_cli import assert_refused, sdabn
from fixtures_given import (
    STILL,
    cascade,
    denoiser,
    planned,
    weights,
    with_prefix,
    write,
)

from sdabn_cli import networks


def test_a_condition_of_other_channels_is_drawn_anew_where_it_was_asked_for(tiny_recipe):
    own = denoiser(4)
    write("den.pt", own)

    refused = cascade(tiny_recipe, "denoiser.init=den.pt")
    plan = planned(tiny_recipe, "denoiser.init=den.pt", "denoiser.new_condition=true")
    trained = cascade(tiny_recipe, "denoiser.init=den.pt", "denoiser.new_condition=true", "units=1",
                      more=tuple(STILL))  # fmt: skip

    assert_refused(refused, "the layer that takes the condition", "7 channels in the file, 14",
                   "denoiser.new_condition=true", "conv.weight", "3x7x3x3", "3x14x3x3")  # fmt: skip
    assert plan["d1"]["init"]["drawn"] == ["conv.weight"]
    assert trained.exit_code == 0, trained.stderr
    assert torch.allclose(weights("d1")["conv.bias"], own["conv.bias"], rtol=0, atol=1e-20)


def test_a_condition_is_drawn_anew_where_a_network_stacks_maps_of_its_own_on_it(tiny_recipe):
    options = {"blocks": "1", "width": "8", "noise_maps": "true", "noise_scales": "2"}
    own = networks.build_denoiser("ddfn", options, condition_channels=4).state_dict()
    write("den.pt", own)
    chosen = ("denoiser=ddfn:" + ",".join(f"{k}={v}" for k, v in options.items()),
              "denoiser.init=den.pt")  # fmt: skip

    refused = cascade(tiny_recipe, *chosen)
    plan = planned(tiny_recipe, *chosen, "denoiser.new_condition=true")
    trained = cascade(tiny_recipe, *chosen, "denoiser.new_condition=true", "units=1",
                      more=tuple(STILL))  # fmt: skip

    assert_refused(refused, "the layer that takes the condition", "denoiser.new_condition=true")
    (drawn,) = plan["d1"]["init"]["drawn"]
    assert own[drawn].shape[1] == 4 + 2 * 2  # two maps at each scale stand beside it
    assert trained.exit_code == 0, trained.stderr
    kept = {name: tensor for name, tensor in weights("d1").items() if name != drawn}
    assert all(torch.allclose(t, own[name], rtol=0, atol=1e-20) for name, t in kept.items())


def test_maps_at_more_scales_are_no_other_condition(tiny_recipe):
    narrow = networks.build_denoiser(
        "ddfn", {"blocks": "1", "width": "8", "noise_maps": "true"}, condition_channels=11
    )
    write("narrow.pt", narrow.state_dict())
    chosen = "denoiser=ddfn:blocks=1,width=8,noise_maps=true,noise_scales=2"

    refused = cascade(tiny_recipe, chosen, "denoiser.init=narrow.pt")
    plan = planned(tiny_recipe, chosen, "denoiser.init=narrow.pt", "denoiser.widen=true")

    assert_refused(refused, "13 channels in the file, 15", "denoiser.widen=true")
    assert plan["d1"]["init"]["drawn"] == []


def test_a_denoiser_that_is_built_for_some_conditions_alone_can_have_another_of_them(
    tiny_recipe, third_party
):
    source = """
from torch import nn
class Picky(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(3 + channels, 3, 3, padding=1)
    def forward(self, image, condition):
        import torch
        return self.conv(torch.cat([image, condition], 1))
def build(*, condition_channels: int, in_channels: int = 3):
    if condition_channels not in (4, 11):
        raise ValueError(f"only 4 or 11 channels, not {condition_channels}")
    return Picky(condition_channels)
"""
    third_party("picky-dist", "[sdabn.denoisers]\npicky = picky:build\n", picky=source)
    write("den.pt", denoiser(4))

    refused = cascade(tiny_recipe, "denoiser=picky", "denoiser.init=den.pt")
    plan = planned(tiny_recipe, "denoiser=picky", "denoiser.init=den.pt",
                   "denoiser.new_condition=true")  # fmt: skip

    assert_refused(refused, "7 channels in the file, 14", "denoiser.new_condition=true")
    assert plan["d1"]["init"]["drawn"] == ["conv.weight"]


def test_a_wider_denoiser_goes_on_from_a_narrower_one_where_it_was_asked_for(tiny_recipe):
    narrow = networks.build_denoiser("ddfn", {"blocks": "1", "width": "8"}, condition_channels=11)
    write("narrow.pt", narrow.state_dict())
    given = ("denoiser=ddfn:blocks=1,width=16", "denoiser.init=narrow.pt", "units=1")

    refused = cascade(tiny_recipe, *given)
    plan = planned(tiny_recipe, *given, "denoiser.widen=true")
    trained = cascade(tiny_recipe, *given, "denoiser.widen=true", more=tuple(STILL))
    plain = cascade(tiny_recipe, *given, more=("--dry-run",))

    assert_refused(refused, "do not fit ddfn:blocks=1,width=16", "--set denoiser.widen=true")
    assert trained.exit_code == 0, trained.stderr
    assert "of a smaller network widened" in " ".join(plan["d1"]["init"]["notes"])
    wide = networks.build_denoiser("ddfn", {"blocks": "1", "width": "16"}, condition_channels=11)
    wide.load_state_dict(weights("d1"))
    image, condition = torch.rand(1, 3, 16, 16), torch.rand(1, 11, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(wide(image, condition), narrow(image, condition))
    assert_refused(plain, "denoiser.widen: True in the run, False now")


def test_a_run_of_a_narrower_denoiser_may_be_widened(tiny_recipe):
    small, large = (f"denoiser=ddfn:blocks=1,width={width}" for width in (8, 16))
    assert cascade(tiny_recipe, small, "units=1", run="small").exit_code == 0

    refused = cascade(tiny_recipe, large, "denoiser.init=small", more=("--dry-run",))
    other = cascade(tiny_recipe, "denoiser=ddfn:blocks=2,width=16", "denoiser.init=small",
                    "denoiser.widen=true", more=("--dry-run",))  # fmt: skip
    taken = planned(tiny_recipe, large, "denoiser.init=small", "denoiser.widen=true")

    assert_refused(refused, "are those of ddfn:blocks=1,width=8", "denoiser.widen=true")
    assert_refused(other, "do not fit ddfn:blocks=2,width=16", "missing")
    assert taken["d1"]["init"]["path"] == str(Path("small/d1/weights.safetensors").resolve())


def test_widened_weights_keep_their_condition(tiny_recipe):
    small = "denoiser=ddfn:blocks=1,width=8"
    given = (f"{small},noise_maps=true", "denoiser.init=small", "denoiser.widen=true")
    assert cascade(tiny_recipe, small, "condition=image", "units=1", run="small").exit_code == 0

    result = cascade(tiny_recipe, *given, "condition=none", more=("--dry-run",))

    assert_refused(result, "guided by 3 channels (condition=image,", "here it is 0 (condition=none")


def test_widening_may_be_taken_back_until_a_denoiser_has_begun(tiny_recipe):
    narrow = networks.build_denoiser("ddfn", {"blocks": "1", "width": "8"}, condition_channels=11)
    write("narrow.pt", narrow.state_dict())
    given = ["--set", "denoiser=ddfn:blocks=1,width=16", "--set", "denoiser.init=narrow.pt"]
    run = ["--recipe", tiny_recipe, "--run", "run"]
    first = sdabn("train-stage", "--index", 0, "--kind", "seg", *run, *given, "--set",
                  "denoiser.widen=true")  # fmt: skip

    without = sdabn("cascade", *run, *given, "--dry-run")
    other = sdabn("cascade", *run, "--set", "denoiser=ddfn:blocks=1,width=16", "--dry-run")

    assert first.exit_code == 0, first.stderr
    assert_refused(without, "do not fit ddfn:blocks=1,width=16")
    assert other.exit_code == 0, other.stderr


def test_a_file_that_holds_two_narrow_networks_is_refused(tiny_recipe):
    narrow = networks.build_denoiser("ddfn", {"blocks": "1", "width": "8"}, condition_channels=11)
    state = narrow.state_dict()
    write("two.pt", with_prefix("teacher.", state) | with_prefix("student.", state))

    result = cascade(tiny_recipe, "denoiser=ddfn:blocks=1,width=16", "denoiser.init=two.pt",
                     "denoiser.widen=true", more=("--dry-run",))  # fmt: skip

    assert_refused(result, "holds the network more than once", "'teacher.'", "'student.'")


def test_weights_as_wide_as_the_network_leave_nothing_to_widen(tiny_recipe):
    own = networks.build_denoiser("ddfn", {"blocks": "1", "width": "8"}, condition_channels=11)
    write("own.pt", own.state_dict())

    plan = planned(tiny_recipe, "denoiser=ddfn:blocks=1,width=8", "denoiser.init=own.pt",
                   "denoiser.widen=true")  # fmt: skip

    assert "nothing to widen" in " ".join(plan["d1"]["init"]["notes"])


def test_a_denoiser_without_steps_is_not_called_trained(tiny_recipe):
    write("den.pt", denoiser())

    plan = planned(tiny_recipe, "denoiser.init=den.pt", "stages.d1.steps=0")

    assert (plan["d1"]["init"]["trained"], plan["d2"]["init"]["trained"]) == (False, True)


def test_a_denoiser_that_cannot_widen_says_so(tiny_recipe):
    narrow = networks.build_denoiser("dncnn", {"depth": "2", "width": "4"}, condition_channels=11)
    write("narrow.pt", narrow.state_dict())

    result = cascade(tiny_recipe, "denoiser=dncnn:depth=2,width=8", "denoiser.init=narrow.pt",
                     "denoiser.widen=true", more=("--dry-run",))  # fmt: skip

    assert_refused(result, "dncnn cannot go on from a narrower network", "no method widen_from")
