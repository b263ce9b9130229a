"""Weight files of strangers: every kind that holds a state dict is read, nothing in them is run."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sdabn_cli.checkpoints import parts_of
from sdabn_cli.errors import SdabnError

STATE = {"conv.weight": torch.arange(6.0).view(1, 6), "conv.bias": torch.tensor([0.5])}


class Touch:
    """Leaves a file behind if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def save(content: Any, name: str = "weights.pt", **options: Any) -> Path:
    torch.save(content, name, **options)
    return Path(name)


def saved_as(kind: str) -> Path:
    if kind == "safetensors":
        save_file(STATE, "weights.safetensors")
        return Path("weights.safetensors")
    return save(STATE, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_state_dict_is_read_from_every_kind_of_file(kind):
    (part,) = parts_of(saved_as(kind))

    assert part.place == ""
    assert part.shapes == {"conv.weight": (1, 6), "conv.bias": (1,)}
    assert all(torch.equal(part.read(name), tensor) for name, tensor in STATE.items())


def test_the_content_decides_and_not_the_ending():
    path = saved_as("safetensors").rename("weights.ckpt")

    assert parts_of(path)[0].shapes["conv.bias"] == (1,)


@pytest.mark.parametrize(
    ("content", "places"),
    [
        ({"state_dict": STATE, "epoch": 3}, ["state_dict"]),
        ({"model": STATE, "optimizer": {"state": {0: {"step": torch.tensor(1)}}}}, ["model"]),
        ({"ema": STATE, "model_state_dict": STATE | {"x": torch.zeros(1)}},
         ["model_state_dict", "ema"]),
        ({"ema": {"decay": 0.9, "module": STATE}}, ["ema.module"]),
        ({"epoch": 3, **STATE}, [""]),
        (OrderedDict(STATE), [""]),
    ],
)  # fmt: skip
def test_state_dicts_are_found_inside_checkpoints_the_likeliest_first(content, places):
    assert [part.place for part in parts_of(save(content))] == places


def test_a_pickled_network_is_refused_with_the_lines_that_save_its_state_dict():
    path = save(nn.Sequential(nn.Conv2d(3, 3, 1)))

    with pytest.raises(SdabnError, match=r"pickled object of the class torch\.nn.*Sequential") as e:
        parts_of(path)

    assert "network = torch.load('weights.pt', weights_only=False)" in e.value.hint
    assert "torch.save(network.state_dict(), 'weights.pt')" in e.value.hint


def test_the_lines_of_the_hint_give_a_file_that_is_read():
    network = nn.Sequential(nn.Conv2d(3, 3, 1))
    path = save(network, "whole.pt")
    with pytest.raises(SdabnError) as caught:
        parts_of(path)

    lines = ["import torch", *caught.value.hint.splitlines()[1:]]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)

    (part,) = parts_of(Path("weights.pt"))
    assert torch.equal(part.read("0.weight"), network[0].weight)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("content", [Touch(), {"state_dict": STATE, "more": Touch()}])
def test_nothing_in_a_file_is_run(content, zipped):
    path = save(content, _use_new_zipfile_serialization=zipped)

    with pytest.raises(SdabnError, match="It was not unpickled"):
        parts_of(path)

    assert not Path("executed").exists()


def test_objects_beside_the_weights_are_named():
    path = save({"state_dict": STATE, "hyper_parameters": argparse.Namespace(lr=1)})

    with pytest.raises(SdabnError, match=r"Python objects \(argparse\.Namespace\) beside") as e:
        parts_of(path)

    assert "content['state_dict']" in e.value.hint


def archive(pickled: bytes, *, compress: bool = False, **others: bytes) -> Path:
    """A zip file as torch writes them, with a pickle of our own."""
    path = Path("weights.pt")
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", b"3\n")
        for name, content in others.items():
            file.writestr(f"archive/data/{name}", content)
    return path


def tensor_pickle(size: tuple[int, ...], stride: tuple[int, ...], numel: int) -> bytes:
    """Pickle of a state dict with one tensor ``w`` over a storage ``0`` of that many numbers."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if value == "the storage":
                return ("storage", torch.FloatStorage, "0", "cpu", numel)
            return None

    class Rebuilt:
        def __reduce__(self) -> tuple[Any, ...]:
            arguments = ("the storage", 0, size, stride, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump({"w": Rebuilt()})
    return stream.getvalue()


def test_the_hostile_archives_of_these_tests_are_read_when_they_are_harmless():
    pickled = tensor_pickle((2, 2), (2, 1), 4)

    (part,) = parts_of(archive(pickled, **{"0": struct.pack("<4f", 1, 2, 3, 4)}))

    assert part.read("w").tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "pickled",
    [
        tensor_pickle((10**7, 10**7), (10**7, 1), 10**14),  # a storage that is not there
        tensor_pickle((10**7, 10**7), (10**7, 1), 4),  # a tensor larger than its storage
        b"\x80\x02" + b"(" * 1_000_000 + b".",
        b"\x80\x02}q\x00.",
        b"garbage",
        b"",
    ],
)
def test_sizes_that_a_file_claims_are_not_believed(pickled):
    path = archive(pickled, **{"0": bytes(16)})

    with pytest.raises(SdabnError, match="weights"):
        parts_of(path)


def test_a_small_tensor_that_poses_as_a_huge_one_costs_nothing_until_it_is_read():
    (part,) = parts_of(archive(tensor_pickle((10**6, 10**6), (0, 0), 4), **{"0": bytes(16)}))

    assert part.shapes == {"w": (10**6, 10**6)}


def test_compressed_archives_are_refused_before_they_are_unpacked():
    path = archive(b"\x00" * 50_000_000, compress=True)

    with pytest.raises(SdabnError, match="is compressed, which torch's files never are"):
        parts_of(path)


def test_one_mapping_in_many_places_is_looked_through_once():
    inner: Any = dict(STATE)
    for _ in range(3):
        inner = {f"k{number}": inner for number in range(1000)}

    assert len(parts_of(save(inner))) == 1


def lfs() -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (lfs(), "is a pointer of Git LFS"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "is an HDF5 file"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (pickle.dumps(STATE, protocol=4), "is a pickle that torch did not write"),
        (b"just words", "is no file of weights"),
        (struct.pack("<Q", 10**12) + b"{}", "is no file of weights"),
        (struct.pack("<Q", 4) + b"{...", "are damaged"),
        (b"PK\x03\x04 not a zip", "are damaged"),
    ],
)
def test_a_file_that_holds_no_weights_is_called_what_it_is(content, message):
    Path("odd.pt").write_bytes(content)

    with pytest.raises(SdabnError, match=f"odd.pt {message}|The weights odd.pt {message}"):
        parts_of(Path("odd.pt"))


def test_a_safetensors_header_that_points_outside_the_file_is_refused():
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**6], "data_offsets": [0, 4 * 10**6]}})
    Path("odd.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())

    with pytest.raises(SdabnError, match=r"odd\.safetensors are damaged"):
        parts_of(Path("odd.safetensors"))


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_that_was_cut_off_anywhere_is_refused_without_a_traceback(kind):
    path = saved_as(kind)
    content = path.read_bytes()
    for length in range(1, len(content) - 1, max(1, len(content) // 60)):
        path.write_bytes(content[:length])
        with pytest.raises(SdabnError, match="weights"):
            parts_of(path)[0].read("conv.weight")


def test_other_zip_files_and_torchscript_are_told_apart():
    with zipfile.ZipFile("other.pt", "w") as file:
        file.writestr("readme.txt", "words")
    torch.jit.trace(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)).save("script.pt")

    with pytest.raises(SdabnError, match="a zip file that torch did not write"):
        parts_of(Path("other.pt"))
    with pytest.raises(SdabnError, match="is a TorchScript archive") as caught:
        parts_of(Path("script.pt"))
    assert "torch.jit.load('script.pt')" in caught.value.hint


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {"epoch": 3}, {}])
def test_a_file_of_torch_without_a_state_dict_is_refused(content):
    with pytest.raises(SdabnError, match="holds no state dict"):
        parts_of(save(content))
