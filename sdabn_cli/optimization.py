"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import torch
from torch import nn

from sdabn_cli.muon import Muon
from sdabn_cli.recipe import StageSettings


def build_optimizer(network: nn.Module, settings: StageSettings) -> torch.optim.Optimizer:
    """SGD with momentum, Adam, AdamW or Muon, as the settings say."""
    if settings.optimizer == "muon":
        return Muon(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
    common = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), momentum=settings.momentum, **common)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(network.parameters(), **common)


def learning_rate(settings: StageSettings, step: int) -> float:
    """Polynomial decay from the first to the final rate, after a linear warm-up.

    Args:
        settings: The stage's.
        step: From 0 to ``steps`` - 1.
    """
    left = (1 - step / settings.steps) ** settings.power
    rate = settings.final_learning_rate + left * (
        settings.learning_rate - settings.final_learning_rate
    )
    return rate * min(1.0, (step + 1) / (settings.warmup_steps + 1))
