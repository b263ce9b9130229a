"""How the names and shapes of a weight file are laid beside those of a network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sdabn_cli.checkpoints import Part
from sdabn_cli.errors import SdabnError
from sdabn_cli.fitting import Fit, changed_size, fits

NETWORK = {
    "network.conv.weight": (8, 3, 3, 3),
    "network.norm.num_batches_tracked": (),
    "network.head.weight": (11, 8, 1, 1),
    "network.head.bias": (11,),
}


def best(file: dict[str, tuple[int, ...]], network: dict[str, tuple[int, ...]] = NETWORK) -> Fit:
    part = Part("", file, lambda name: torch.zeros(file[name]))
    return fits(part, network)[0]


def renamed(old: str, new: str) -> dict[str, tuple[int, ...]]:
    return {name.replace(old, new, 1): shape for name, shape in NETWORK.items()}


@pytest.mark.parametrize(
    ("old", "new", "prefix", "own_prefix"),
    [
        ("network.", "network.", "", ""),
        ("network.", "", "", "network."),
        ("network.", "module.", "module.", "network."),
        ("network.", "model.", "model.", "network."),
        ("", "module.", "module.", ""),
        ("", "module._orig_mod.", "module.", ""),
        ("network.", "_orig_mod.", "", "network."),
        ("conv", "_orig_mod.conv", "", ""),
        ("", "a.b.c.", "a.b.c.", ""),
    ],
)
def test_prefixes_of_wrappers_are_taken_off_or_put_on(old, new, prefix, own_prefix):
    fit = best(renamed(old, new))

    assert fit.is_exact
    assert (fit.prefix, fit.own_prefix) == (prefix, own_prefix)
    assert fit.names.keys() == NETWORK.keys()


def test_names_without_the_prefix_are_left_out():
    fit = best(renamed("network.", "model.") | {"loss.weight": (11,)})

    assert fit.is_exact
    assert fit.left_out == 1


def test_a_tensor_too_many_is_unexpected_where_there_is_no_prefix():
    network = {"conv.weight": (8, 3), "head.weight": (11, 8)}

    fit = best({**network, "aux.weight": (11, 8)}, network)

    assert not fit.is_exact
    assert fit.unexpected == ["aux.weight"]


def test_the_counter_of_batch_norm_may_be_missing():
    assert best({n: s for n, s in NETWORK.items() if "tracked" not in n}).is_exact


def test_a_network_that_is_there_twice_fits_twice():
    twice = renamed("network.", "student.") | renamed("network.", "teacher.")

    exact = [f.prefix for f in fits(Part("", twice, lambda _: torch.zeros(1)), NETWORK)
             if f.is_exact]  # fmt: skip

    assert sorted(exact) == ["student.", "teacher."]


def test_the_comparison_lists_shapes_first_then_what_is_missing_then_what_is_too_much():
    network = {"conv.weight": (8, 3, 3, 3), "norm.bias": (8,), "head.bias": (11,)}
    fit = best({"conv.weight": (8, 3, 3, 3), "head.bias": (19,), "extra": ()}, network)

    table = fit.compare()

    assert table.rows == [
        ("head.bias", "19", "11"), ("norm.bias", "-", "8"), ("extra", "one number", "-"),
    ]  # fmt: skip
    assert table.more == 0


def test_a_long_comparison_is_cut():
    network = {f"layer{n}.weight": (n + 1,) for n in range(30)}

    table = best({name: (99,) for name in network}, network).compare()

    assert (len(table.rows), table.more) == (20, 10)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"head.weight": (19, 8, 1, 1), "head.bias": (19,)}, (19, 11)),
        ({"head.weight": (19, 8, 1, 1), "head.bias": (12,)}, None),
        ({"head.weight": (19, 16, 1, 1), "head.bias": (19,)}, None),
        ({"head.weight": (19, 8), "head.bias": (19,)}, None),
    ],
)
def test_the_one_size_that_differs_is_found(shapes, expected):
    fit = best(renamed("network.", "") | shapes)

    assert changed_size(fit) == expected


def read(tensor: Tensor, own: Tensor) -> Tensor:
    part = Part("", {"w": tuple(tensor.shape)}, lambda _: tensor)
    return fits(part, {"w": tuple(own.shape)})[0].read({"w": own})["w"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision_becomes_the_networks_own(dtype):
    result = read(torch.tensor([1.5, -0.25], dtype=dtype), torch.zeros(2))

    assert result.dtype == torch.float32
    assert result.tolist() == [1.5, -0.25]


@pytest.mark.parametrize(
    ("tensor", "own", "message"),
    [
        (torch.zeros(2, dtype=torch.int8), torch.zeros(2), "w holds int8; the network stores f"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int64), "w holds float32; the network stores"),
        (torch.zeros(2, dtype=torch.complex64), torch.zeros(2), "w holds complex64"),
        (torch.zeros(2).to_sparse(), torch.zeros(2), "w holds sparse float32"),
        (torch.tensor([1.0, float("nan")]), torch.zeros(2), "not finite"),
        (torch.tensor([1e300, 0], dtype=torch.float64), torch.zeros(2), "not finite"),
    ],
)
def test_numbers_that_the_network_cannot_hold_are_refused(tensor, own, message):
    with pytest.raises(SdabnError, match=message):
        read(tensor, own)


COUNT = "num_batches_tracked"


def counted(value: float, dtype: torch.dtype) -> Tensor:
    part = Part("", {COUNT: ()}, lambda _: torch.tensor(value, dtype=dtype))
    return fits(part, {COUNT: ()})[0].read({COUNT: torch.tensor(0)})[COUNT]


@pytest.mark.parametrize(
    ("value", "dtype", "count"),
    [
        (300, torch.float16, 300),
        (0, torch.bfloat16, 0),
        (70_001, torch.float32, 70_001),
        (float("inf"), torch.float16, 65_504),
        (5, torch.int32, 5),
    ],
)
def test_a_count_of_batches_may_be_a_whole_number_of_any_type(value, dtype, count):
    result = counted(value, dtype)

    assert result.dtype == torch.int64
    assert int(result) == count


@pytest.mark.parametrize("value", [2.5, -1, float("nan"), float("-inf")])
def test_a_count_of_batches_that_is_no_whole_number_is_refused(value):
    with pytest.raises(SdabnError, match=f"{COUNT} holds float16; the network stores int64"):
        counted(value, torch.float16)
