"""Networks as ONNX graphs that take images of any size."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sdabn_cli.errors import Unsupported

#: Version of ONNX's operators; every runtime of the last years knows it.
OPSET = 18


def write_onnx(
    network: nn.Module,
    examples: Sequence[Tensor],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    """Write a network in eval mode as an ONNX file.

    The network is traced: arithmetic with the sizes of an image, such as padding to a stride, goes
    into the graph, while decisions are those made for the example.

    Args:
        network: On the CPU.
        examples: Inputs (1, C, H, W) to trace it with; number, height and width stay free.
        path: File to write.
        inputs: Names of the inputs.
        outputs: Names of the outputs.

    Raises:
        Unsupported: If the network uses what ONNX does not have.
    """
    free = {name: {0: "batch", 2: "height", 3: "width"} for name in (*inputs, *outputs)}
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracing, and that a newer exporter exists
            torch.onnx.export(
                network,
                tuple(examples),
                str(path),
                # The newer exporter fixes sizes where a network pads or interpolates by them.
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=free,
            )
    except Exception as error:  # the exporter raises errors of many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unsupported(
            f"{type(network).__name__} cannot be written as ONNX: {first}",
            "Use it with --engine torch, and --format sdabn.",
        ) from error
