"""Build the networks that a recipe or a model names, and load their weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sdabn_cli import registry
from sdabn_cli.cascade import condition_channels
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import Writer, write_atomically
from sdabn_cli.recipe import Recipe


def build_segmenter(name: str, options: Mapping[str, Any], *, num_classes: int) -> nn.Module:
    """Build a segmenter plug-in with random weights.

    Raises:
        SdabnError: If it cannot be built, is no ``nn.Module`` or has weights without a shape.
    """
    return _module("segmenter", name, options, num_classes=num_classes)


def build_denoiser(name: str, options: Mapping[str, Any], *, condition_channels: int) -> nn.Module:
    """Build a denoiser plug-in with random weights.

    Raises:
        SdabnError: If it cannot be built, is no ``nn.Module`` or has weights without a shape.
    """
    return _module("denoiser", name, options, condition_channels=condition_channels)


def _module(kind: str, name: str, options: Mapping[str, Any], **given: int) -> nn.Module:
    module = registry.build(kind, name, options, **given)
    if not isinstance(module, nn.Module):
        raise SdabnError(
            f"The {kind} plug-in {name!r} of {registry.find(kind, name).distribution} built a "
            f"{type(module).__name__}, not a torch.nn.Module."
        )
    lazy = next((n for n, value in _stored(module) if is_lazy(value)), None)
    if lazy is not None:
        raise SdabnError(
            f"The {kind} plug-in {name!r} of {registry.find(kind, name).distribution} built a "
            f"network whose {lazy} has no shape before its first image.",
            "Modules such as LazyConv2d cannot be copied, counted or saved: its author must give "
            "their numbers of channels.",
        )
    return module


def _stored(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def for_kind(recipe: Recipe, kind: str, *, num_classes: int) -> nn.Module:
    """Build a recipe's segmenter (kind ``seg``) or denoiser (``denoise``) with random weights."""
    if kind == "seg":
        chosen = recipe.segmenter
        return build_segmenter(chosen.name, chosen.options, num_classes=num_classes)
    chosen = recipe.denoiser
    channels = condition_channels(recipe.condition, num_classes)
    return build_denoiser(chosen.name, chosen.options, condition_channels=channels)


def overlay(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights in the place of some of a module's own; the others stay as they are.

    Raises:
        SdabnError: If a tensor is none of the module's, or of another shape.
    """
    own = module.state_dict()
    wrong = [n for n, tensor in weights.items() if n not in own or own[n].shape != tensor.shape]
    if wrong:
        raise SdabnError(f"Given weights belong to another network: {sorted(wrong)[0]} differs.")
    module.load_state_dict(weights, strict=False)


def count_parameters(module: nn.Module) -> int:
    """Number of trainable and frozen parameters, without buffers."""
    return sum(parameter.numel() for parameter in module.parameters())


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters and buffers on the CPU, as plain contiguous tensors."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
    }


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights as safetensors, in one piece or not at all."""
    write_atomically(path, writer(weights))


def writer(weights: Mapping[str, Tensor]) -> Writer:
    """Writes weights as safetensors to a stream."""
    content = safetensors.torch.save(dict(weights))
    return lambda file: file.write(content)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read weights that ``save_weights`` wrote.

    Raises:
        SdabnError: If the file is missing or damaged.
    """
    with _damage_told(path):
        return safetensors.torch.load_file(path)


def check_weights(path: Path) -> None:
    """Make sure that a file of weights is whole, by its header and its size.

    Raises:
        SdabnError: As ``read_weights``.
    """
    with _damage_told(path), safe_open(path, framework="pt"):
        pass


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise SdabnError(f"The weights {path} are missing.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise SdabnError(f"The weights {path} are damaged: {error}.") from error


def load_weights(module: nn.Module, path: Path) -> None:
    """Load weights that ``save_weights`` wrote; half precision is widened.

    Raises:
        SdabnError: If the file is missing, damaged or of another network.
    """
    weights = read_weights(path)
    own = module.state_dict()
    wrong = [
        name
        for name in own.keys() | weights.keys()
        if name not in own or name not in weights or own[name].shape != weights[name].shape
    ]
    if wrong:
        raise SdabnError(
            f"The weights {path} belong to another network: {len(wrong)} tensors differ, "
            f"the first is {sorted(wrong)[0]}."
        )
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:  # numbers of a type that torch cannot convert
        raise SdabnError(f"The weights {path} cannot be used: {error}") from error
