"""The two losses of Algorithm 1."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sdabn_cli.labels import IGNORED


def segmentation_loss(logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """Cross-entropy, averaged over the labelled pixels.

    Args:
        logits: (N, K, H, W).
        labels: int64 (N, H, W), ``IGNORED`` where there is none.
        class_weights: (K,), or None for equal ones.
    """
    # Without a single labelled pixel the mean would be 0 / 0 and poison the weights.
    if not (labels != IGNORED).any():
        return logits.float().sum() * 0
    return F.cross_entropy(logits.float(), labels, weight=class_weights, ignore_index=IGNORED)


def denoising_loss(estimate: Tensor, clean: Tensor, border: int) -> Tensor:
    """Half the sum of squared errors of an image, averaged over the batch.

    Args:
        estimate: (N, 3, H, W).
        clean: Same shape, in [0, 1].
        border: Pixels left out at every edge, where the padding shows.
    """
    inside = (..., slice(border, -border or None), slice(border, -border or None))
    error = estimate.float()[inside] - clean[inside]
    return 0.5 * error.square().sum() / len(clean)
