"""The engine ``openvino``: networks compiled for the processor, several layers in one pass.

Converting a network takes seconds, so what it became is kept in the user's cache directory under a
hash of everything it depends on. A network is compared with torch when it is converted.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import openvino
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sdabn_cli
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError, Unsupported
from sdabn_cli.files import write_together
from sdabn_cli.graph import write_onnx

#: Largest difference to torch, in parts of the largest value, that a conversion may have.
TOLERANCE = 1e-3

#: Layers run fused, so caches matter less than with torch and the halo of a tile costs more.
TILE = 480

#: OpenVINO's names of the precisions.
PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class OpenVINONetwork(nn.Module):
    """A compiled network, called as the one it was made from."""

    def __init__(self, compiled: Any, network: nn.Module) -> None:
        super().__init__()
        self._request = compiled.create_infer_request()
        for name in ("stride", "receptive_field"):
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, *inputs: Tensor | None) -> Tensor:
        """Run on float tensors (N, C, H, W); an input that is None is left out."""
        arrays = [value.float().contiguous().numpy() for value in inputs if value is not None]
        results = self._request.infer(arrays, share_inputs=True)
        # The request writes its next result to the same place.
        return torch.from_numpy(np.array(results[0]))


class OpenVINOEngine:
    """Runs networks with OpenVINO on the CPU; see ``engines.Engine``."""

    name = "openvino"
    tile = TILE

    def __init__(self, compute: Compute) -> None:
        logging.getLogger("openvino").setLevel(logging.ERROR)
        self._core = openvino.Core()
        self._settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[compute.dtype],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }

    def prepare(self, network: nn.Module, *examples: Tensor) -> nn.Module:
        """Convert and compile a network; see ``Engine``."""
        kept = cache_directory() / f"{_identity(network, examples)}.xml"
        try:
            model = self._read(kept)
            if model is None:
                model = self._convert(network, examples)
                _keep(model, kept)
            compiled = self._core.compile_model(model, "CPU", self._settings)
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            first = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise Unsupported(
                f"OpenVINO cannot run {type(network).__name__}: {first}", "Use --engine torch."
            ) from error
        return OpenVINONetwork(compiled, network)

    def _read(self, kept: Path) -> Any:
        """Read a kept network; None if there is none, or it is damaged."""
        if not (kept.is_file() and kept.with_suffix(".bin").is_file()):
            return None
        try:
            return self._core.read_model(kept)
        except RuntimeError:
            return None

    def _convert(self, network: nn.Module, examples: tuple[Tensor, ...]) -> Any:
        names = ["image", "condition"][: len(examples)]
        with tempfile.TemporaryDirectory() as folder:
            # Ten times faster than OpenVINO's own conversion of torch's networks.
            path = Path(folder) / "network.onnx"
            write_onnx(network, examples, path, inputs=names, outputs=["result"])
            model = self._core.read_model(path)
        exact = self._settings | {"INFERENCE_PRECISION_HINT": "f32"}
        converted = OpenVINONetwork(self._core.compile_model(model, "CPU", exact), network)
        for size in (examples[0].shape[-2:], [2 * side for side in examples[0].shape[-2:]]):
            inputs = [F.interpolate(value, size=tuple(size)) for value in examples]
            with torch.no_grad():
                wanted, got = network(*inputs), converted(*inputs)
            error = float((wanted - got).abs().max() / wanted.abs().max().clamp(min=1e-6))
            if wanted.shape != got.shape or not error <= TOLERANCE:
                raise ValueError(f"its result differs from torch's by {error:.2g} of its range")
        return model


def cache_directory() -> Path:
    """Where converted networks are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sdabn" / "openvino"


def _identity(network: nn.Module, examples: tuple[Tensor, ...]) -> str:
    """Hash of everything that a converted network depends on."""
    kind = type(network)
    told = [
        sdabn_cli.__version__, torch.__version__, openvino.__version__, kind.__module__,
        kind.__qualname__, repr(network), *(tuple(value.shape) for value in examples),
    ]  # fmt: skip
    digest = hashlib.sha256(repr(told).encode())
    tensors = dict(network.named_buffers()) | network.state_dict()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _keep(model: Any, path: Path) -> None:
    """Keep a converted network for the next time; where that fails, it is converted again."""
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder) / "network.xml", compress_to_fp16=False)
        content = {
            path.with_suffix(suffix): (Path(folder) / f"network{suffix}").read_bytes()
            for suffix in (".bin", ".xml")
        }
    with contextlib.suppress(SdabnError):
        write_together({p: partial(_write, content=b) for p, b in content.items()})


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(content)
