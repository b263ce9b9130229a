"""Which tensor of a weight file belongs where in a network: names, shapes, kinds of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sdabn_cli.checkpoints import LONGEST_NAME, Part, Shape
from sdabn_cli.errors import Comparison, SdabnError

#: Rows of a comparison that are shown.
ROWS = 20

#: Prefixes that are looked at closer; a file has as many as it has groups of layers.
CANDIDATES = 8

#: What torch.compile puts into names, wherever it was called.
COMPILED = "_orig_mod"

#: What to do about numbers of another kind.
ORDINARY = "Save the weights as ordinary floating-point numbers: network.float().state_dict()"

#: Batch norm's count of batches, which old files lack; it matters only without a momentum.
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Fit:
    """A state dict laid beside a network.

    Attributes:
        part: The state dict.
        prefix: What stands in the file in front of every name.
        own_prefix: What stands in the network in front of every name, but not in the file.
        network: Shape of every tensor of the network.
        names: Name in the file of every tensor of the network that the file has.
        unexpected: Names in the file, behind the prefix, that the network lacks.
        left_out: How many tensors of the file lie outside the prefix.
    """

    part: Part
    prefix: str
    own_prefix: str
    network: Mapping[str, Shape]
    names: Mapping[str, str]
    unexpected: Sequence[str]
    left_out: int
    missing: Sequence[str] = field(init=False)
    differing: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        missing = [n for n in self.network if n not in self.names and not n.endswith(COUNTER)]
        object.__setattr__(self, "missing", missing)
        differing = [n for n in self.names if self.in_file(n) != self.network[n]]
        object.__setattr__(self, "differing", differing)

    def in_file(self, name: str) -> Shape:
        """Shape in the file of one of the network's tensors."""
        return self.part.shapes[self.names[name]]

    @property
    def has_all_names(self) -> bool:
        """Whether file and network have the same tensors, of whatever shape."""
        return not (self.missing or self.unexpected)

    @property
    def is_exact(self) -> bool:
        """Whether every tensor has its place."""
        return self.has_all_names and not self.differing

    def compare(self) -> Comparison:
        """What differs: other shapes first, then what is missing, then what is too much."""
        rows = [
            *((n, _shown(self.in_file(n)), _shown(self.network[n])) for n in self.differing),
            *((n, "-", _shown(self.network[n])) for n in self.missing),
            *((n, _shown(self.part.shapes[n]), "-") for n in self.unexpected),
        ]
        cut = [(name[:LONGEST_NAME], *shapes) for name, *shapes in rows[:ROWS]]
        return Comparison(("key", "in the file", "in the network"), cut, len(rows) - len(cut))

    def read(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read the tensors that fit, as the network stores them.

        Args:
            own: The network's state dict.

        Raises:
            SdabnError: If a tensor is of another kind of numbers, holds one that is not finite, or
                cannot be read.
        """
        everything = self.names.items()
        return {n: self._tensor(raw, own[n]) for n, raw in everything if n not in self.differing}

    def read_all(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read every tensor that the network has as well, those of other shapes included.

        Raises:
            SdabnError: As ``read``.
        """
        return {name: self._tensor(raw, own[name]) for name, raw in self.names.items()}

    def _tensor(self, name: str, own: Tensor) -> Tensor:
        shown = name[:LONGEST_NAME]
        try:
            return _converted(self.part.read(name), own, shown)
        except SdabnError as error:
            if self.part.file:
                error.add(f"The file is {self.part.file}.")
            raise
        except Exception as error:  # types that torch or safetensors knows by name only
            where = f" of {self.part.file}" if self.part.file else ""
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise SdabnError(
                f"The tensor {shown}{where} cannot be read: {reason[:LONGEST_NAME]}.", ORDINARY
            ) from error


def _shown(shape: Shape) -> str:
    return "x".join(map(str, shape)) if shape else "one number"


def _converted(tensor: Tensor, own: Tensor, name: str) -> Tensor:
    """A dense copy in the network's own type; half precision is widened."""
    if tensor.is_meta:
        raise SdabnError(
            f"The tensor {name} has a shape but no values: it was saved on torch's device meta.",
            "Load the network's weights before saving its state dict.",
        )
    if name.endswith(COUNTER):
        tensor = _counted(tensor)
    kinds = (tensor.is_floating_point(), tensor.is_complex())
    plain = tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or kinds != (own.is_floating_point(), own.is_complex()):
        raise SdabnError(
            f"The tensor {name} holds {_kind(tensor)}; the network stores {_kind(own)}.",
            ORDINARY,
        )
    copy = tensor.detach().to(own.dtype, copy=True).contiguous()
    if copy.is_floating_point() and not bool(copy.isfinite().all()):
        raise SdabnError(
            f"The tensor {name} holds values that are not finite (NaN or infinite).",
            "That training had failed; take weights from before.",
        )
    return copy


def _counted(tensor: Tensor) -> Tensor:
    """A count of batches as an integer where it is a whole number in floating point.

    So are those of a state dict that was halved tensor by tensor. Half precision ends at 65,504: a
    count beyond is infinite there, and was at least that.
    """
    if not (tensor.is_floating_point() and tensor.layout == torch.strided):
        return tensor
    most = torch.finfo(torch.float16).max
    finite = tensor.detach().double().nan_to_num(nan=0.5, posinf=most)
    whole = bool((finite == finite.round()).all()) and bool((finite >= 0).all())
    return finite.long() if whole else tensor


def _kind(tensor: Tensor) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    return kind if tensor.layout == torch.strided else f"sparse {kind}"


def fits(part: Part, network: Mapping[str, Shape]) -> list[Fit]:
    """Ways to lay a state dict beside a network, the best first; at least one.

    Wrappers put a prefix in front of every name (``module.``, ``model.``), plug-ins another
    (``network.``). So the prefix that all names of the network share is taken off, and in the file
    whatever stands in front of names that end in the rest.
    """
    shared = _shared_prefix(list(network))
    clean = {_without_compiled(name): name for name in part.shapes}
    if len(clean) < len(part.shapes):
        clean = {name: name for name in part.shapes}
    wanted = {name[len(shared) :] for name in network}
    counts: Counter[str] = Counter()
    for name in clean:
        counts.update(prefix for prefix, rest in _splits(name) if rest in wanted)
    prefixes = [prefix for prefix, _ in counts.most_common(CANDIDATES)] or [""]
    found = [_fit(part, network, clean, prefix, shared) for prefix in prefixes]
    return sorted(found, key=distance)


def distance(fit: Fit) -> tuple[int, int, int]:
    """How far a state dict is from being the network's: less is better."""
    wrong = len(fit.missing) + len(fit.differing) + len(fit.unexpected)
    return (len(fit.missing) + len(fit.differing), wrong, len(fit.prefix))


def _fit(
    part: Part, network: Mapping[str, Shape], clean: Mapping[str, str], prefix: str, shared: str
) -> Fit:
    behind = {name[len(prefix) :]: raw for name, raw in clean.items() if name.startswith(prefix)}
    names = {n: behind[n[len(shared) :]] for n in network if n[len(shared) :] in behind}
    used = set(names.values())
    unexpected = [raw for raw in behind.values() if raw not in used]
    both = _shared_suffix(prefix, shared)
    return Fit(
        part,
        prefix=prefix[: len(prefix) - len(both)],
        own_prefix=shared[: len(shared) - len(both)],
        network=network,
        names=names,
        unexpected=unexpected,
        left_out=len(clean) - len(behind),
    )


def _shared_prefix(names: Sequence[str]) -> str:
    """Longest sequence of whole parts that all names begin with; one part of each is left."""
    split = [name.split(".")[:-1] for name in names]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0] + ".")
    return "".join(shared)


def _shared_suffix(first: str, second: str) -> str:
    """What two prefixes have in common at their ends, in whole parts."""
    common: list[str] = []
    for a, b in zip(reversed(first.split(".")), reversed(second.split(".")), strict=False):
        if a != b:
            break
        common.insert(0, a)
    return ".".join(common)


def _splits(name: str) -> list[tuple[str, str]]:
    """Every way to part a name into a prefix and a rest; at most a hundred parts count."""
    parts = name.split(".", 100)
    return [
        ("".join(p + "." for p in parts[:end]), ".".join(parts[end:])) for end in range(len(parts))
    ]


def _without_compiled(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != COMPILED)


def changed_size(fit: Fit) -> tuple[int, int] | None:
    """The one size that differs, in the file and in the network, if a single one explains it all.

    Returns:
        Such as (19, 11) where everything that differs has 19 in the file where the network has 11.
    """
    sizes = set()
    for name in fit.differing:
        there, here = fit.in_file(name), fit.network[name]
        if len(there) != len(here):
            return None
        sizes |= {(a, b) for a, b in zip(there, here, strict=True) if a != b}
    return sizes.pop() if len(sizes) == 1 else None
