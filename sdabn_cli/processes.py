"""Several processes on one or many machines, started by ``torchrun`` or ``accelerate launch``.

Every process runs the same command. Process p of P takes every P-th share of a batch and every
P-th validation image; gradients are averaged, figures are summed, and the main process alone
writes and prints. The exchange is accelerate's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from sdabn_cli.errors import SdabnError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")

#: What a network may say about itself, see ``contracts``.
DECLARED = ("stride", "receptive_field")


class Processes:
    """This process among all of them; one process alone exchanges nothing.

    Attributes:
        index: Number of this process, from 0.
        count: Number of processes.
    """

    index = 0
    count = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.index == 0

    def wrap(self, network: nn.Module, loss: Callable[[], Tensor] | None = None) -> nn.Module:
        """Make a network average its gradients over the processes.

        Args:
            network: The network.
            loss: Computes a loss by it, to see which parameters take part; without it all do. The
                network is left as it was.
        """
        del loss
        return network

    def without_exchange(self, network: nn.Module) -> contextlib.AbstractContextManager[None]:
        """Context in which ``backward`` leaves the gradients of a wrapped network unaveraged."""
        del network
        return contextlib.nullcontext()

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over the processes."""
        return tensor

    def gather(self, items: list[T]) -> list[T]:
        """Collect the items of all processes, in the order of the processes."""
        return items

    def wait(self) -> None:
        """Wait until every process is here."""

    def share(self, batch_size: int, accumulate: int) -> int:
        """Samples of a batch that fall to one process.

        Raises:
            SdabnError: If the batch cannot be shared out equally.
        """
        if batch_size % (self.count * accumulate):
            raise SdabnError(
                f"A batch_size of {batch_size} cannot be shared out equally to {self.count} "
                f"processes of {accumulate} parts each.",
                f"Choose a multiple of {self.count * accumulate}; batch_size counts the samples "
                "of all processes together.",
            )
        return batch_size // self.count


class LaunchedProcesses(Processes):
    """The processes that a launcher has started."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.index = int(os.environ["RANK"])
        self.count = int(os.environ["WORLD_SIZE"])

    @cached_property
    def _accelerator(self) -> Accelerator:
        from accelerate import Accelerator

        # The recipe decides about precision; a launcher's option would be hidden from the run.
        return Accelerator(cpu=self._device.type == "cpu", mixed_precision="no")

    def wrap(self, network: nn.Module, loss: Callable[[], Tensor] | None = None) -> nn.Module:
        from accelerate.utils import DistributedDataParallelKwargs

        # Every gradient is waited for, for ever if its parameter takes no part in the loss. Looking
        # for those at every step is slower, so it is asked for only where there are some. Freezing
        # them instead would change the optimiser, and with it the training's states.
        unused = torch.tensor(0.0 if loss is None else _count_unused(network, loss))
        some = bool(self.sum(unused.to(self._device)))  # the same answer in every process
        self._accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=some)
        wrapped = self._accelerator.prepare_model(network, device_placement=False)
        for name in DECLARED:
            if hasattr(network, name):
                setattr(wrapped, name, getattr(network, name))
        return wrapped

    def without_exchange(self, network: nn.Module) -> contextlib.AbstractContextManager[None]:
        return self._accelerator.no_sync(network)

    def sum(self, tensor: Tensor) -> Tensor:
        return self._accelerator.reduce(tensor, reduction="sum")

    def gather(self, items: list[T]) -> list[T]:
        from accelerate.utils import gather_object

        _ = self._accelerator  # starts the exchange
        return gather_object(items)

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()


def _count_unused(network: nn.Module, loss: Callable[[], Tensor]) -> float:
    """Number of parameters to train that a loss does not depend on."""
    buffers = [buffer.clone() for buffer in network.buffers()]
    loss().backward()
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    unused = sum(weight.grad is None for weight in weights)
    network.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, before in zip(network.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return float(unused)


def were_launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def of(device: torch.device) -> Processes:
    """The processes this one belongs to.

    Args:
        device: Of this process.
    """
    return LaunchedProcesses(device) if were_launched() else Processes()


def local_index() -> int:
    """Number of this process on its own machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def unwrapped(network: Any) -> Any:
    """A network without what ``wrap`` has put around it."""
    distributed = isinstance(network, nn.parallel.DistributedDataParallel)
    return network.module if distributed else network
