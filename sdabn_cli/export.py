"""A whole cascade as one graph for other programs, checked against torch."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdabn_cli.cascade import Cascade
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_together
from sdabn_cli.graph import write_onnx
from sdabn_cli.model import DESCRIPTION, Model

FORMATS = ("sdabn", "onnx", "openvino")

#: Packages that a format needs, and the extra that brings them.
NEEDS = {"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino",)}

#: Largest difference to torch, in parts of the largest value, that a graph may have.
TOLERANCE = 1e-3

#: Sizes that a graph is checked on; neither is a multiple of a usual stride.
SIZES = ((70, 101), (131, 90))

INPUT, OUTPUTS = "noisy", ("denoised", "logits")


class Graph(nn.Module):
    """What a graph computes: the last estimate and the last logits of a cascade."""

    def __init__(self, cascade: Cascade) -> None:
        super().__init__()
        self.cascade = cascade

    def forward(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """Map noisy images (N, 3, H, W) to estimates (N, 3, H, W) and logits (N, K, H, W)."""
        last = self.cascade(noisy)[-1]
        return last.estimate, last.logits


def require(name: str) -> None:
    """Make sure that a format's packages are installed.

    Raises:
        SdabnError: With the command that installs them.
    """
    missing = [p for p in NEEDS.get(name, ()) if importlib.util.find_spec(p) is None]
    if missing:
        raise SdabnError(
            f"The format {name} needs the packages {' and '.join(missing)}.",
            f"Install them: pip install 'sdabn[{name}]'",
        )


def write(model: Model, directory: Path, name: str) -> list[float]:
    """Write a model as ``cascade.onnx``, or ``cascade.xml`` and ``cascade.bin``.

    ``cascade.json`` beside it tells classes, palette and noise. Nothing is written unless the graph
    gives what torch gives.

    Args:
        model: In eval mode, on the CPU.
        directory: Where to.
        name: ``onnx`` or ``openvino``.

    Returns:
        The largest difference to torch for each of ``SIZES``, in parts of the largest value.

    Raises:
        SdabnError: If the graph cannot be made, differs, or cannot be written.
    """
    graph = Graph(model.cascade).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cascade.onnx"
        write_onnx(graph, [torch.rand(1, 3, *SIZES[0])], path, inputs=[INPUT], outputs=OUTPUTS)
        if name == "openvino":
            run = _to_openvino(path)
            files = [path.with_suffix(".xml"), path.with_suffix(".bin")]
        else:
            run = _runtime(path)
            files = [path]
        differences = [_difference(graph, run, size) for size in SIZES]
        content = {directory / file.name: file.read_bytes() for file in files}
    told = model.description.model_dump_json(indent=2) + "\n"
    content[directory / DESCRIPTION] = told.encode()
    write_together({p: (lambda file, b=b: file.write(b)) for p, b in content.items()})
    return differences


Run = Callable[[np.ndarray], list[np.ndarray]]


def _runtime(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda noisy: session.run(list(OUTPUTS), {INPUT: noisy})


def _to_openvino(path: Path) -> Run:
    """Convert an ONNX file beside itself."""
    import openvino

    core = openvino.Core()
    network = core.read_model(path)
    openvino.save_model(network, path.with_suffix(".xml"), compress_to_fp16=False)
    compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(noisy: np.ndarray) -> list[np.ndarray]:
        results: Any = compiled({INPUT: noisy})
        return [np.array(results[name]) for name in OUTPUTS]

    return run


def _difference(graph: Graph, run: Run, size: tuple[int, int]) -> float:
    noisy = torch.rand(1, 3, *size)
    with torch.no_grad():
        wanted = graph(noisy)
    found = [torch.from_numpy(array) for array in run(noisy.numpy())]
    worst = 0.0
    for name, got, right in zip(OUTPUTS, found, wanted, strict=True):
        same = got.shape == right.shape
        error = float((got - right).abs().max() / right.abs().max()) if same else float("inf")
        if not error <= TOLERANCE:
            raise SdabnError(
                f"The graph's {name} of {size[1]} x {size[0]} pixels differ from torch's by "
                f"{error:.2g} of their range.",
                "It was not written: a network of the cascade behaves differently once traced.",
            )
        worst = max(worst, error)
    return worst
