"""The two losses of Algorithm 1, another of denoising, and the one made for a segmenter.

Each is a sum over a part of a batch, divided by the size of the whole batch. So the parts of a
batch, computed one after the other or by several processes, add up to the loss of the whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sdabn_cli.labels import IGNORED


def labelled_weight(labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """Size of a batch for ``segmentation_loss``: its labelled pixels, weighted by their classes.

    Args:
        labels: int64 (N, H, W), ``IGNORED`` where there is none.
        class_weights: (K,), or None for equal ones.
    """
    labelled = labels != IGNORED  # no index: a GPU would be waited for
    if class_weights is None:
        return labelled.sum().float()
    return (class_weights[labels.where(labelled, 0)] * labelled).sum()


def segmentation_loss(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None, size: Tensor
) -> Tensor:
    """Cross-entropy, averaged over the labelled pixels of the whole batch.

    Args:
        logits: (N, K, H, W).
        labels: int64 (N, H, W), ``IGNORED`` where there is none.
        class_weights: (K,), or None for equal ones.
        size: ``labelled_weight`` of the whole batch.
    """
    total = F.cross_entropy(
        logits.float(), labels, weight=class_weights, ignore_index=IGNORED, reduction="sum"
    )
    # Without a single labelled pixel the mean would be 0 / 0 and poison the weights.
    return total / size.clamp(min=torch.finfo(torch.float32).tiny)


#: Added to mean squared errors before their logarithm: that of an estimate of 80 dB.
FLOOR = 1e-8


def psnr_loss(estimate: Tensor, clean: Tensor, border: int, size: Tensor) -> Tensor:
    """Minus the PSNR of an image in dB, averaged over the whole batch.

    A dB counts the same at every noise level, where squared errors are nearly all those of the
    noisiest images.

    Args:
        estimate: (N, 3, H, W).
        clean: Same shape, in [0, 1].
        border: Pixels left out at every edge, where the padding shows.
        size: Images of the whole batch.

    Reference:
        Chen et al., "HINet: Half Instance Normalization Network for Image Restoration", CVPR
        Workshops 2021, https://arxiv.org/abs/2105.06086.
    """
    squared = _inside(estimate.float() - clean, border).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(squared + FLOOR).sum() / size


def denoising_loss(estimate: Tensor, clean: Tensor, border: int, size: Tensor) -> Tensor:
    """Half the sum of squared errors of an image, averaged over the whole batch.

    Args:
        estimate: (N, 3, H, W).
        clean: Same shape, in [0, 1].
        border: Pixels left out at every edge, where the padding shows.
        size: Images of the whole batch.
    """
    return 0.5 * _inside(estimate.float() - clean, border).square().sum() / size


def _inside(error: Tensor, border: int) -> Tensor:
    return error[..., border : -border or None, border : -border or None]


def semantic_loss(logits: Tensor, labels: Tensor, size: Tensor) -> Tensor:
    """Cross-entropy of a fixed segmenter on the estimates, on the scale of ``denoising_loss``.

    With half the sum of squared errors E over the 3 H W values of an image, the mean squared error
    is 2 E / (3 H W); so E + lambda times this is 3 H W / 2 times MSE + lambda * cross-entropy, both
    averaged over pixels.

    Args:
        logits: Of the estimates, (N, K, H, W).
        labels: int64 (N, H, W), ``IGNORED`` where there is none.
        size: Images of the whole batch.

    Reference:
        Liu et al., "When Image Denoising Meets High-Level Vision Tasks: A Deep Learning Approach",
        IJCAI 2018, equation (1).
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")
    return 1.5 * total / size
