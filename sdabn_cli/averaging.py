"""A running average of a network's weights, which is often better than the last of them.

Reference:
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on
    Control and Optimization 1992; here exponential, with a decay that grows at first, as that of
    TensorFlow's ``ExponentialMovingAverage``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The exponential moving average of a network's parameters that are trained.

    Buffers are not averaged: batch norm's statistics are running averages already.

    Args:
        network: Its parameters are where the average begins.
        decay: What an average keeps of itself at a step, below 1; 0.999 looks back about a thousand
            steps. The first steps keep less, (1 + step) / (10 + step), or the random weights of the
            start would stay.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self._average = {
            name: parameter.detach().clone()
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the parameters of now in.

        Args:
            step: Steps done before, from 0.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        blend = get_ema_multi_avg_fn(decay)
        blend(list(self._average.values()), list(self._parameters().values()), step)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the network has the averaged parameters, afterwards its own again."""
        own = {name: p.detach().clone() for name, p in self._parameters().items()}
        self._set(self._average)
        try:
            yield
        finally:
            self._set(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged parameters by name."""
        return self._average

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from averaged parameters.

        Raises:
            KeyError: If one is missing.
            RuntimeError: If one has another shape.
        """
        for name, average in self._average.items():
            average.copy_(state[name])

    def _parameters(self) -> dict[str, nn.Parameter]:
        """Those of the network that are averaged, in the order of the average."""
        parameters = dict(self._network.named_parameters())
        return {name: parameters[name] for name in self._average}

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        # In place: a recorded step knows the parameters by where they lie.
        for name, parameter in self._parameters().items():
            parameter.copy_(values[name])
