"""Steps recorded as CUDA graphs: launching thousands of small kernels is paid for once.

The networks of a cascade are many small layers. A GPU computes each in microseconds and then waits
for the processor to launch the next; a recorded step is launched as a whole.

Reference:
    https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from sdabn_cli.errors import SdabnError

#: Steps computed as usual before one is recorded: libraries make their plans and choose algorithms.
WARM_UP = 3

Gradients = Callable[[Sequence[Tensor]], Tensor]


class RecordedStep:
    """Loss and gradients of a batch: recorded at the first batch, replayed at every one.

    What it replays are the kernels of that first batch, on the memory they worked in. So shapes
    must not change, and what a network decides in Python is decided for good.

    Args:
        network: The network in training; what computing changes of it beside the gradients, such
            as statistics of batch norm, happens once a batch as ever.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: list[Tensor] = []
        self._loss: Tensor | None = None

    def __call__(self, gradients: Gradients, batch: Sequence[Tensor]) -> Tensor:
        """Leave the gradients of a batch at the parameters.

        Args:
            gradients: Computes the loss of a batch and leaves the gradients at the parameters,
                which had none before. It must not wait for the device. Called at the first batch
                only, and not kept: whoever it belongs to may go.
            batch: Of the shapes of the first one.

        Returns:
            The loss, a tensor of its own.

        Raises:
            SdabnError: If the step cannot be recorded.
            torch.cuda.OutOfMemoryError: If it does not fit the device.
        """
        # Streams, graphs and generators are those of the current device, which is the first one
        # until somebody says otherwise: recorded there, the kernels of another are none.
        with torch.cuda.device(batch[0].device):
            if self._graph is None:
                self._graph = self._record(gradients, batch)
            for own, given in zip(self._batch, batch, strict=True):
                own.copy_(given)
            self._graph.replay()
            assert self._loss is not None
            return self._loss.clone()

    def _record(self, gradients: Gradients, batch: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        gc.collect()  # what an earlier stage has recorded holds memory; none may be freed meanwhile
        self._batch = [tensor.clone() for tensor in batch]
        graph = torch.cuda.CUDAGraph()
        with _fastest_algorithms(), _unchanged(self._network), _same_randomness():
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_UP):
                    gradients(self._batch)
            torch.cuda.current_stream().wait_stream(beside)
            try:
                # Other threads may use the device meanwhile: one pins the next batches.
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    self._loss = gradients(self._batch)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                first = error
                while isinstance(first.__context__, RuntimeError):
                    first = first.__context__  # what ended the recording is behind its end
                reason, *_ = [*str(first).splitlines(), type(first).__name__]
                raise SdabnError(
                    f"A step that trains {type(self._network).__name__}, with the stages in front "
                    f"of it, cannot be recorded as a CUDA graph: {reason}",
                    "Train it step by step: --set cuda_graphs=false",
                ) from error
        return graph


@contextlib.contextmanager
def _fastest_algorithms() -> Iterator[None]:
    """Let cuDNN try its algorithms; that pays where every batch has one shape."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextlib.contextmanager
def _same_randomness() -> Iterator[None]:
    """Undo what computing draws, so that the first step replayed is as random as any other."""
    before = torch.cuda.get_rng_state()
    try:
        yield
    finally:
        torch.cuda.set_rng_state(before)


@contextlib.contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """Undo what computing changes of a network's buffers, in place."""
    before = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, kept in zip(network.buffers(), before, strict=True):
                buffer.copy_(kept)
