"""``init`` and what does not fit: shown, drawn anew where that was asked for, or refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from fixtures_cli import assert_refused, files, sdabn
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

from sdabn_cli import networks


def test_a_different_head_is_named_as_such_and_shown_and_nothing_is_written(tiny_recipe):
    file = write("own.pt", segmenter(19))

    result = cascade(tiny_recipe, f"segmenter.init={file}", more=("--json",))

    assert_refused(
        result, "Only the last layer", "19 classes in the file, 11 in the network",
        "--set segmenter.new_head=true", "head.weight", "19x8x1x1", "11x8x1x1", "head.bias",
    )  # fmt: skip
    assert "conv.weight" not in result.stderr
    assert not Path("run").exists()


def test_a_new_head_is_drawn_where_it_was_asked_for_and_s0_is_trained_from_the_rest(tiny_recipe):
    own = segmenter(19)
    write("own.pt", own)
    given = ("segmenter.init=own.pt", "segmenter.new_head=true")

    plan = planned(tiny_recipe, *given)
    result = cascade(tiny_recipe, *given, "units=1", more=tuple(STILL))
    random = cascade(tiny_recipe, "units=1", run="random", more=tuple(STILL))

    assert (result.exit_code, random.exit_code) == (0, 0), result.stderr
    assert (plan["s0"]["status"], plan["s0"]["steps"]) == ("missing", 3)
    assert sorted(plan["s0"]["init"]["drawn"]) == ["head.bias", "head.weight"]
    assert "s0 1/1" in result.stderr
    s0 = weights("s0")
    assert torch.allclose(s0["conv.weight"], own["conv.weight"], rtol=0, atol=1e-20)
    # The head is the one that s0 would have had without the file.
    for name in ("head.weight", "head.bias"):
        assert torch.allclose(s0[name], weights("s0", "random")[name], rtol=0, atol=1e-20)
    assert int(s0["norm.num_batches_tracked"]) == 2
    (described,) = json.loads(sdabn("runs", "run", "--json").stdout)
    assert described["stages"][0]["init"]["trained"] is True
    assert described["stages"][0]["steps"] == 1


def test_a_head_that_fits_is_kept_and_s0_is_trained_from_it(tiny_recipe):
    own = segmenter()
    write("own.pt", own)

    cascade(tiny_recipe, "segmenter.init=own.pt", "segmenter.new_head=true", "units=1",
            more=tuple(STILL))  # fmt: skip

    assert torch.allclose(weights("s0")["head.weight"], own["head.weight"], rtol=0, atol=1e-20)
    assert int(weights("s0")["norm.num_batches_tracked"]) == 2


@pytest.mark.parametrize("new_head", ["false", "true"])
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"conv.weight": torch.zeros(16, 3, 3, 3)}, ["1 differ in shape", "16x3x3x3"]),
        ({"conv.weight": None}, ["1 are missing in the file", "conv.weight"]),
        ({"aux.weight": torch.zeros(2)},
         ["1 are not in the network", "aux.weight", "Save the state dict without those"]),
        ({"head.weight": torch.zeros(19, 16, 1, 1), "head.bias": torch.zeros(19)},
         ["2 differ in shape", "19x16x1x1"]),
        ({"head.weight": torch.zeros(19, 8, 1, 1)} | {"conv.bias": torch.zeros(4)},
         ["2 differ in shape", "conv.bias"]),
    ],
)  # fmt: skip
def test_other_differences_are_shown_and_refused_whatever_was_asked(
    tiny_recipe, change, parts, new_head
):
    state = {name: t for name, t in (segmenter() | change).items() if t is not None}
    file = write("own.pt", state)

    result = cascade(tiny_recipe, f"segmenter.init={file}", f"segmenter.new_head={new_head}")

    assert_refused(result, "do not fit tiny", *parts, "in the file", "in the network")
    assert not Path("run").exists()


def test_many_differences_are_cut_after_twenty_rows(tiny_recipe):
    write("own.pt", segmenter())

    result = cascade(tiny_recipe, "segmenter=hrnet:variant=w18_small", "segmenter.init=own.pt")

    network = networks.build_segmenter("hrnet", {"variant": "w18_small"}, num_classes=CLASSES)
    assert_refused(result, "segmenter=NAME:OPTION=VALUE")
    missing = sum("tracked" not in name for name in network.state_dict())
    more = int(result.stderr.split("  and ")[1].split(" more")[0].replace(",", ""))
    assert 0 < more - (missing - 20) < 10


def as_type(kind: str) -> str:
    """A safetensors file whose last bias is of a type that is no ordinary number."""
    state, header, data = segmenter(), {}, b""
    for name, tensor in state.items():
        size = {"F4": 4, "F6_E2M3": 6}[kind] if name == "norm.bias" else None
        content = bytes(size) if size else tensor.contiguous().numpy().tobytes()
        dtype = kind if size else "I64" if tensor.dtype == torch.int64 else "F32"
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        data += content
    told = json.dumps(header).encode()
    Path("odd.safetensors").write_bytes(struct.pack("<Q", len(told)) + told + data)
    return "odd.safetensors"


def with_tensor(tensor: torch.Tensor) -> str:
    return write("odd.pt", segmenter() | {"norm.bias": tensor})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: as_type("F4"), "cannot be read"),
        (lambda: as_type("F6_E2M3"), "cannot be read: Dtype not understood: F6_E2M3"),
        (lambda: with_tensor(torch.empty(8, device="meta")), "has a shape but no values"),
        (lambda: with_tensor(torch.nested.nested_tensor([torch.ones(2)])), "is nested"),
    ],
    ids=["F4", "F6", "meta", "nested"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_that_hold_no_ordinary_numbers_are_named_with_their_file(tiny_recipe, make, reason):
    file = make()

    result = cascade(tiny_recipe, f"segmenter.init={file}")

    assert_refused(result, "norm.bias", file, reason)
    assert not Path("run").exists()


def test_a_file_that_holds_the_network_twice_is_refused(tiny_recipe):
    write("own.pt", with_prefix("student.", segmenter()) | with_prefix("teacher.", segmenter()))

    assert_refused(cascade(tiny_recipe, "segmenter.init=own.pt"), "more than once", "'student.'",
                   "'teacher.'")  # fmt: skip


def test_a_second_state_dict_that_would_fit_is_told(tiny_recipe):
    own = segmenter()
    averaged = {n: t * 2 if t.is_floating_point() else t for n, t in own.items()}
    torch.save({"ema": averaged, "model": own}, "own.pt")

    result = cascade(tiny_recipe, "segmenter.init=own.pt", "units=1")

    assert equal(weights("s0"), own)
    assert "Warning:" in result.stderr
    assert "'ema' would fit as well" in result.stderr


@pytest.mark.parametrize(
    ("init", "parts"),
    [
        ("own.ptt", ["there is no file own.ptt", "Did you mean 'own.pt'?"]),
        ("nowhere/own.pt", ["its folder does not exist"]),
        ("empty", ["The folder empty holds no weights", "model.safetensors"]),
        ("words.pt", ["words.pt is no file of weights", ".safetensors"]),
        ("whole.pt", ["pickled object of the class", "torch.save(network.state_dict()"]),
        ("x" * 300, ["cannot be read"]),
        ("nan.pt", ["The tensor conv.bias holds values that are not finite"]),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_what_is_no_weight_file_is_refused_before_anything_is_written(
    tiny_recipe, init, parts, dry
):
    write("own.pt", segmenter())
    Path("empty").mkdir()
    Path("words.pt").write_text("words")
    torch.save(networks.build_segmenter("tiny", {}, num_classes=CLASSES), "whole.pt")
    write("nan.pt", segmenter() | {"conv.bias": torch.full((8,), float("nan"))})
    before = files(Path())

    result = cascade(tiny_recipe, f"segmenter.init={init}", more=("--dry-run",) if dry else ())

    assert_refused(result, *parts)
    assert files(Path()) == before


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("segmenter.new_head=true", ["new_head changes given weights: give them with init"]),
        ("denoiser.new_condition=true", ["new_condition changes given weights"]),
        ("denoiser.widen=true", ["widen changes given weights: give them with init"]),
        ("segmenter.inti=own.pt", ["segmenter.inti: there is no such key", "'init'"]),
        ("denoiser.new_head=true", ["denoiser.new_head: there is no such key"]),
        ("segmenter.init=3", ["segmenter.init: 3"]),
        ("noise.init=own.pt", ["noise.init: there is no such key"]),
    ],
)
def test_keys_that_make_no_sense_are_named(tiny_recipe, setting, parts):
    assert_refused(cascade(tiny_recipe, setting, more=("--dry-run",)), *parts)
