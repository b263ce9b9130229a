"""What runs the networks of a cascade: torch, or OpenVINO on processors.

An engine takes a network and gives back one that is called in the same way, so a cascade does not
know which engine its networks run in.
"""

from __future__ import annotations

import importlib.util
from typing import Protocol

import torch
from torch import Tensor, nn

from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError, did_you_mean

ENGINES = ("torch", "openvino")

#: Images from which on ``auto`` takes OpenVINO, whose first conversion of three units takes half
#: a minute.
MANY = 50


class Engine(Protocol):
    """Makes networks ready to run.

    Attributes:
        name: As it is typed.
        tile: Side in pixels of the tiles that denoisers run in.
    """

    name: str
    tile: int

    def prepare(self, network: nn.Module, *examples: Tensor) -> nn.Module:
        """Make a network in eval mode ready for inputs of any size.

        Args:
            network: A segmenter or denoiser, on the CPU.
            examples: Small inputs, (1, C, H, W) each.

        Raises:
            Unsupported: If the engine cannot run it.
        """


class TorchEngine:
    """torch itself, channels last, in the chosen precision.

    Args:
        compute: Device and precision.
        compiled: Whether networks are compiled (``torch.compile``), for any size at once.
    """

    name = "torch"

    def __init__(self, compute: Compute, *, compiled: bool = False) -> None:
        self._compute = compute
        self._compiled = compiled
        self.tile = compute.tile

    def prepare(self, network: nn.Module, *examples: Tensor) -> nn.Module:
        """Move the network to its device; see ``Engine``."""
        del examples
        placed = self._compute.place(network)
        return torch.compile(placed, dynamic=True) if self._compiled else placed


def choose(name: str, compute: Compute, *, images: int = 1, compiled: bool = False) -> Engine:
    """Choose an engine.

    Args:
        name: ``torch``, ``openvino``, or ``auto``: OpenVINO on processors where it is installed
            and the images are many.
        compute: Device and precision.
        images: How many images are to be run.
        compiled: Whether torch compiles the networks.

    Raises:
        SdabnError: If the engine is unknown, not installed, or does not run on the device.
    """
    if name not in ("auto", *ENGINES):
        raise SdabnError(f"There is no engine {name!r}.", did_you_mean(name, ("auto", *ENGINES)))
    usable = compute.device.type == "cpu"
    installed = importlib.util.find_spec("openvino") is not None
    if compiled and name == "openvino":
        raise SdabnError(
            "--compile compiles for the engine torch.", "Leave out --compile or --engine openvino."
        )
    if (
        name == "torch"
        or compiled
        or (name == "auto" and not (usable and installed and images >= MANY))
    ):
        return TorchEngine(compute, compiled=compiled)
    if not usable:
        raise SdabnError(
            f"The engine openvino runs on processors, not on {compute.device}.",
            "Use --engine torch, or --device cpu.",
        )
    if not installed:
        raise SdabnError(
            "The engine openvino is not installed.", "Install it: pip install 'sdabn[openvino]'"
        )
    from sdabn_cli.openvino import OpenVINOEngine

    return OpenVINOEngine(compute)
