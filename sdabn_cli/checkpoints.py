"""Weight files of anyone: what is in them, found out without running anything that is in them.

safetensors and torch's zip files stay on disk until a tensor is read. Of torch's files only those
are opened that hold nothing but tensors and plain values (``weights_only``).
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sdabn_cli.errors import SdabnError

KINDS = "a .safetensors file, or a .pt, .pth, .bin or .ckpt file of torch that holds a state dict"

#: How torch's files before version 1.6 begin: a number of its own, pickled.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

#: Files that people take for weights, by their first bytes.
OTHERS = {
    b"\x89HDF": "is an HDF5 file, as Keras writes them",
    b"\x1f\x8b": "is compressed with gzip",
    b"<": "is a web page",
    b"\x80": "is a pickle that torch did not write",
}

#: More than any network needs, and little enough to look through at once.
MOST_TENSORS = 100_000
MOST_PICKLED_BYTES = 64_000_000
#: Old files are read as a whole.
MOST_LEGACY_BYTES = 4_000_000_000
MOST_GROUPS = 1_000
DEEPEST_GROUP = 3

#: Characters of a name in a file that are shown.
LONGEST_NAME = 200

#: Where programs put a state dict, the likeliest first; averaged weights count only if asked for.
USUAL_PLACES = ("", "state_dict", "model_state_dict", "model", "network", "net", "weights",
                "params", "module")  # fmt: skip

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A state dict in a file.

    Attributes:
        place: Keys that lead to it, joined by dots; empty if it is all that the file holds.
        shapes: Shape of every tensor by its name.
        read: Reads a tensor.
        file: Where it lies, for messages.
    """

    place: str
    shapes: Mapping[str, Shape]
    read: Callable[[str], Tensor]
    file: Path | None = None


def parts_of(path: Path) -> list[Part]:
    """Find the state dicts in a file, the likeliest first; at least one.

    Raises:
        SdabnError: If it is none of the kinds of file that hold weights, holds objects that only
            unpickling would tell, or is damaged.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise SdabnError(f"The weights {path} cannot be read: {error}.") from error
    if head.startswith(b"PK\x03\x04"):
        _check_archive(path, size)
        parts = _in_torch_file(path, mmap=True)
    elif head.startswith(LEGACY):
        if size > MOST_LEGACY_BYTES:
            raise SdabnError(
                f"{path} is a file of torch's old kind and has {size:,} bytes; at most "
                f"{MOST_LEGACY_BYTES:,} are read.",
                "Save it again with a newer torch: torch.save(torch.load(FILE), 'weights.pt')",
            )
        parts = _in_torch_file(path, mmap=False)
    elif head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") <= size - 8:
        parts = [_in_safetensors(path)]
    else:
        raise _not_weights(path, head)
    if any(len(part.shapes) > MOST_TENSORS for part in parts):
        raise SdabnError(f"{path} holds more than {MOST_TENSORS:,} tensors.")
    return parts


def _not_weights(path: Path, head: bytes) -> SdabnError:
    """Say what a file is instead, where its first bytes tell."""
    if head.startswith(b"version https://git-lfs"):
        return SdabnError(
            f"{path} is a pointer of Git LFS, not the file itself.", "Fetch it: git lfs pull"
        )
    said = "is empty" if not head else "is no file of weights"
    for mark, text in OTHERS.items():
        if head.startswith(mark):
            said = text
    return SdabnError(f"{path} {said}.", f"Give {KINDS}.")


def _in_safetensors(path: Path) -> Part:
    try:
        # The library checks sizes and places of all tensors against the file before it opens one.
        opened = safe_open(str(path), framework="pt")
        shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise SdabnError(f"The weights {path} are damaged: {error}.") from error
    return Part("", shapes, opened.get_tensor, path)


def _check_archive(path: Path, size: int) -> None:
    """Make sure that a zip file is one of torch's and does not grow when it is opened.

    Raises:
        SdabnError: If it is another zip file, TorchScript, or compressed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise SdabnError(f"The weights {path} are damaged: {error}.") from error
    names = [entry.filename for entry in entries]
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise SdabnError(
            f"{path} is a TorchScript archive (torch.jit.save), not a state dict.",
            _lines(f"network = torch.jit.load({str(path)!r})",
                   "torch.save(network.state_dict(), 'weights.pt')"),
        )  # fmt: skip
    pickles = [entry.file_size for entry in entries if entry.filename.endswith("data.pkl")]
    if len(pickles) != 1:
        raise SdabnError(f"{path} is a zip file that torch did not write.", f"Give {KINDS}.")
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > size:
        raise SdabnError(
            f"{path} is compressed, which torch's files never are.", "Unpack it, or save it again."
        )
    if pickles[0] > MOST_PICKLED_BYTES:
        raise SdabnError(
            f"{path} holds {pickles[0]:,} bytes beside its tensors; at most "
            f"{MOST_PICKLED_BYTES:,} are read.",
            "Save the network's state dict alone.",
        )


def _in_torch_file(path: Path, *, mmap: bool) -> list[Part]:
    try:
        content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise _holds_objects(path, str(error)) from error
    except Exception as error:  # a stranger's file may fail in every way there is
        reason = (str(error) or type(error).__name__).splitlines()[0][:LONGEST_NAME]
        raise SdabnError(f"The weights {path} are damaged: {reason}") from error
    parts = list(islice(_state_dicts(content, path), MOST_GROUPS))
    if not parts:
        raise SdabnError(
            f"{path} holds no state dict: it is {_describe(content)}.",
            "Save one with: torch.save(network.state_dict(), 'weights.pt')",
        )
    order = {place: number for number, place in enumerate(USUAL_PLACES)}
    return sorted(parts, key=lambda part: order.get(part.place, len(order)))


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        keys = (str(key)[:LONGEST_NAME] for key in islice(content, 5))
        return f"a mapping with the keys {', '.join(keys) or 'none'}"
    return f"a {type(content).__name__}"


def _state_dicts(content: Any, path: Path) -> Iterator[Part]:
    """Every mapping of names to tensors in what torch has loaded.

    Raises:
        SdabnError: If a tensor is nested: such have no shape.
    """
    waiting, seen = [((), content)], set()
    while waiting:
        keys, group = waiting.pop(0)
        if not isinstance(group, Mapping) or id(group) in seen:
            continue
        seen.add(id(group))  # one mapping in many places is looked through once
        tensors = {k: v for k, v in group.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if tensors:
            shapes = {name: _shape(name, tensor, path) for name, tensor in tensors.items()}
            yield Part(".".join(keys), shapes, tensors.__getitem__, path)
        if len(keys) < DEEPEST_GROUP and len(seen) < MOST_GROUPS:
            # Numbers as keys are those of an optimiser.
            named = ((k, v) for k, v in group.items() if isinstance(k, str))
            inner = ((k, v) for k, v in named if isinstance(v, Mapping))
            waiting += [((*keys, k), v) for k, v in islice(inner, MOST_GROUPS)]


def _shape(name: str, tensor: Tensor, path: Path) -> Shape:
    if tensor.is_nested:
        raise SdabnError(
            f"The tensor {name[:LONGEST_NAME]} of {path} is nested: a list of tensors.",
            "Save a state dict of ordinary tensors: torch.save(network.state_dict(), 'weights.pt')",
        )
    return tuple(tensor.shape)


def _holds_objects(path: Path, reason: str) -> SdabnError:
    """Explain a file that only unpickling would read, which runs code of whoever wrote it."""
    whole = _class_of_pickle(path)
    place = repr(str(path))
    if whole:
        return SdabnError(
            f"{path} is a pickled object of the class {whole}, not a state dict. It was not "
            "unpickled, because that runs code of whoever made the file.",
            _lines(f"network = torch.load({place}, weights_only=False)",
                   "torch.save(network.state_dict(), 'weights.pt')"),
        )  # fmt: skip
    found = re.search(r"GLOBAL ([\w.]+)", reason)
    name = f" ({found[1]})" if found else ""
    return SdabnError(
        f"{path} holds Python objects{name} beside its tensors. It was not unpickled, because that "
        "runs code of whoever made the file.",
        _lines(f"content = torch.load({place}, weights_only=False)",
               "torch.save(content['state_dict'], 'weights.pt')  # or wherever it keeps it"),
    )  # fmt: skip


def _lines(*lines: str) -> str:
    start = "If you trust the file, save its state dict with two lines of Python:"
    return "\n".join([start, *lines])


def _class_of_pickle(path: Path) -> str | None:
    """Class of the object that a file of torch holds, if it is not a mapping; nothing is run."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                stream = io.BytesIO(archive.read(name))
        else:
            with path.open("rb") as file:
                stream = io.BytesIO(file.read(1_000_000))
            for _ in range(3):  # the number, the version and the machine it was written on
                for _ in pickletools.genops(stream):
                    pass
        for opcode, argument, _ in islice(pickletools.genops(stream), 8):
            if opcode.name == "GLOBAL":
                name = str(argument).replace(" ", ".")
                plain = name.startswith(("collections.", "torch._"))
                return None if plain else name[:LONGEST_NAME]
            if opcode.name not in ("PROTO", "FRAME", "MARK"):
                return None
    except Exception:  # the description only: the file is refused anyway
        return None
    return None
