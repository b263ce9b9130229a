"""Weights of a narrower network, put into a wider one by that network's own method."""

from __future__ import annotations

import torch
from torch import Tensor

from sdabn_cli import networks
from sdabn_cli.errors import SdabnError, fault
from sdabn_cli.fitting import Fit
from sdabn_cli.randomness import seed_from
from sdabn_cli.recipe import Recipe


def grown(recipe: Recipe, kind: str, fit: Fit, init: str, num_classes: int) -> dict[str, Tensor]:
    """Make a narrower network's weights those of a recipe's network.

    Args:
        recipe: The recipe; its seed draws the weights that the narrower network has not.
        kind: ``seg`` or ``denoise``.
        fit: The narrower network's weights: all names of the recipe's network.
        init: What the user calls them.
        num_classes: Number of classes.

    Raises:
        SdabnError: If the network cannot take them or comes out of it broken, or the weights cannot
            be read.
    """
    choice = recipe.network(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(recipe.seed, kind, "channels beside the given ones"))
        network = networks.for_kind(recipe, kind, num_classes=num_classes)
    widen_from = getattr(network, "widen_from", None)
    if widen_from is None:
        raise SdabnError(
            f"{choice.name} cannot go on from a narrower network: it has no method widen_from.",
            "Choose the network that the weights belong to; see docs/training.md.",
        )
    own = network.state_dict()
    shapes = {name: tensor.shape for name, tensor in own.items()}
    try:
        widen_from(fit.read_all(own))
    except SdabnError:
        raise
    except ValueError as error:
        raise SdabnError(
            f"The weights in {init} are not those of a narrower {choice}: {error}.",
            "Choose a network that is as large or larger in what its plug-in can widen (ddfn: "
            "width, noise_scales), and the same in everything else; a condition of other channels "
            "is drawn anew by denoiser.new_condition, without widen.",
            table=fit.compare(),
        ) from error
    except BaseException as error:
        raise SdabnError(f"widen_from of {choice} failed: {fault(error)}") from error
    weights = networks.weights_of(network)
    if {name: tensor.shape for name, tensor in weights.items()} != shapes:
        raise SdabnError(f"widen_from of {choice} changed the shapes of its tensors.")
    spoilt = [n for n, w in weights.items() if w.is_floating_point() and not w.isfinite().all()]
    if spoilt:
        raise SdabnError(f"widen_from of {choice} left values that are not finite: {spoilt[0]}.")
    return weights
