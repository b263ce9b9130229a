"""Muon: momentum whose matrices are made orthogonal, so that every direction learns as fast.

Reference:
    Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon/; the length of the updates is that of Jingyuan Liu
    et al., "Muon is scalable for LLM training", 2025 (equation 4), so that Adam's rates fit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adamw import adamw

#: Weights with fewer rows or columns are no matrices worth the name: biases, norms, depthwise
#: kernels, the last layer of a denoiser or of a segmenter of few classes. AdamW trains them.
SMALLEST_SIDE = 16

#: Of the quintic iteration, and how often it runs: singular values end between 0.7 and 1.2.
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


class Muon(torch.optim.Optimizer):
    """Muon for the matrices of a network and AdamW for its other parameters, at one rate.

    A convolution's kernel is a matrix of one row for each of its outputs (of its inputs, where it
    is transposed). ``torch.optim.Muon`` takes matrices only and computes in bfloat16, which many
    processors imitate; this one computes in the precision of the weights, all matrices of one
    shape at once.

    Args:
        parameters: Of the network.
        lr: Learning rate; an update has about 0.2 times this as its root mean square.
        momentum: Of the matrices, with Nesterov's look ahead.
        weight_decay: Decoupled: weights shrink by this times the rate at every step.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        everything = list(parameters)
        matrices = [parameter for parameter in everything if is_matrix(parameter)]
        others = [parameter for parameter in everything if not is_matrix(parameter)]
        groups = [
            {"params": matrices, "matrices": True},
            # With this key torch loads the counters of steps to where the parameters are.
            {"params": others, "matrices": False, "fused": True},
        ]
        super().__init__(
            [group for group in groups if group["params"]],
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            update = self._orthogonally if group["matrices"] else self._as_adamw
            update(parameters, group["lr"], group["momentum"], group["weight_decay"])

    def _orthogonally(
        self, parameters: list[Tensor], rate: float, momentum: float, decay: float
    ) -> None:
        alike = defaultdict(list)
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            average = state["momentum"].lerp_(parameter.grad, 1 - momentum)
            ahead = parameter.grad.lerp(average, momentum).flatten(1)
            alike[ahead.shape].append((parameter, ahead))
        for shape, pairs in alike.items():
            updates = orthogonal(torch.stack([ahead for _, ahead in pairs]))
            length = 0.2 * max(shape) ** 0.5
            for (parameter, _), update in zip(pairs, updates, strict=True):
                parameter.mul_(1 - rate * decay)
                parameter.add_(update.view_as(parameter), alpha=-rate * length)

    def _as_adamw(
        self, parameters: list[Tensor], rate: float, momentum: float, decay: float
    ) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update(
                    # On the device of the parameter: the fused update counts there.
                    step=torch.zeros((), device=parameter.device),
                    exp_avg=torch.zeros_like(parameter),
                    exp_avg_sq=torch.zeros_like(parameter),
                )
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=decay,
            eps=1e-8,
            maximize=False,
        )


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter has rows and columns enough to be made orthogonal."""
    return parameter.dim() > 1 and min(parameter.flatten(1).shape) >= SMALLEST_SIDE


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly the nearest orthogonal matrices, by a Newton-Schulz iteration.

    Args:
        matrices: Of shape (number, rows, columns).

    Returns:
        Of the same shape and singular vectors, with singular values between 0.7 and 1.2; matrices
        of zeros stay zeros.
    """
    first, third, fifth = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = first * x + (third * square + fifth * square @ square) @ x
    return x.mT if tall else x
