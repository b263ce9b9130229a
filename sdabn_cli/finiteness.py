"""Whether a training still computes with numbers, and what to say where it no longer does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from sdabn_cli.data import TrainingSamples
from sdabn_cli.errors import SdabnError
from sdabn_cli.recipe import StageSettings
from sdabn_cli.schedule import Stage


class Finiteness:
    """Keeps what is no number out of logs, states and finished weights.

    Args:
        stage: The stage in training.
        settings: Its settings.
        samples: Its samples, to name the images of a batch.
        network: Its network, before the first step. What is not finite in it by design, such as
            a mask of minus infinities, is left out.
        optimizer: Of the network.
    """

    def __init__(
        self,
        stage: Stage,
        settings: StageSettings,
        samples: TrainingSamples,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._stage, self._settings, self._samples = stage, settings, samples
        self._network, self._optimizer = network, optimizer
        self._buffers = {name for name, buffer in network.named_buffers() if _is_finite(buffer)}

    def require_losses(self, losses: Sequence[float], step: int) -> None:
        """Make sure that losses are numbers.

        Args:
            losses: Those of the last steps, over all processes.
            step: Number of steps done.

        Raises:
            SdabnError: Naming the first step whose loss is none, and its images.
        """
        for number, loss in enumerate(losses, start=step - len(losses) + 1):
            if not math.isfinite(loss):
                raise self._broken(
                    f"The loss of {self._stage.id} is {loss}",
                    number,
                    "If these images are right, the step before may have spoilt the weights:",
                )

    def require_network(self, step: int) -> None:
        """Make sure that gradients, weights and the optimiser's state are numbers.

        Losses cannot tell: the loss of a step is computed before its gradients and its weights.

        Args:
            step: Number of steps done; the gradients are the last one's.

        Raises:
            SdabnError: Naming the step, its images and the first tensor that is not finite.
        """
        named = list(self._tensors())
        # One answer for all: a GPU is waited for once.
        sound = torch.stack([number.isfinite() for _, number in named])
        if not bool(sound.all()):
            what, _ = named[int((~sound).int().argmax())]
            raise self._broken(
                f"{what} of {self._stage.id} is not finite", step, "If these images are right:"
            )

    def of_validation(self, step: int) -> SdabnError:
        """What to say where a validation meets values that are not numbers."""
        return SdabnError(
            f"The cascade up to {self._stage.id} computes values that are not numbers: found by "
            f"the validation at step {step}.",
            self._advice("Its weights may have become too large:"),
        )

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What there is by its name, each with a number that is finite where it is sound."""
        weights = list(self._network.named_parameters())
        for name, weight in weights:
            if weight.grad is not None:
                yield f"The gradient {name}", _largest(weight.grad)
        for name, weight in weights:
            yield f"The weight {name}", _norm(weight)
        for name, buffer in self._network.named_buffers():
            if name in self._buffers:
                yield f"The buffer {name}", _largest(buffer)
        for state in self._optimizer.state.values():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.dim():
                    yield f"The optimiser's {name}", _largest(value)

    def _broken(self, what: str, step: int, lead: str) -> SdabnError:
        size = self._settings.batch_size
        numbers = range((step - 1) * size, step * size)
        names = ", ".join(self._samples.name_of(number) for number in numbers)
        return SdabnError(
            f"{what} at step {step}. Its batch was cut from: {names}.",
            f"The last good state is kept. {self._advice(lead)}",
        )

    def _advice(self, lead: str) -> str:
        name = self._stage.id
        group = "segment" if self._stage.kind == "seg" else "denoise"
        return (
            f"{lead} remove the directory of {name} and try a smaller learning rate, --set "
            f"stages.{name}.learning_rate=... or --set {group}.learning_rate=..."
        )


def _norm(weight: Tensor) -> Tensor:
    """Euclidean norm in single precision.

    It overflows from about 1e19 on, where products of weights would, too: weights that are numbers
    themselves but give none are not sound.
    """
    return torch.linalg.vector_norm(weight.detach().float())


def _largest(tensor: Tensor) -> Tensor:
    return tensor.detach().float().abs().max() if tensor.numel() else tensor.new_zeros(())


def _is_finite(buffer: Tensor) -> bool:
    return buffer.is_floating_point() and buffer.numel() > 0 and bool(buffer.isfinite().all())
