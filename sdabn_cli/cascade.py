"""The cascade of equation (2): units of a segmenter and a denoiser that alternate.

    s_i = S_i(x_{i-1})          S_1 sees the noisy image y
    x_i = D_i(x_{i-1} + y, s_i) x_0 = 0

Reference:
    Xu et al., "Synergy Between Semantic Segmentation and Image Denoising via Alternate Boosting",
    https://arxiv.org/abs/2102.12095

Shapes: images (N, 3, H, W), logits and conditions (N, K, H, W), H and W of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdabn_cli.conditions import Condition, ConditionForm
from sdabn_cli.contracts import DEFAULT_STRIDE


class UnitOutput(NamedTuple):
    """What one unit computes.

    Attributes:
        logits: Segmentation before softmax, (N, K, H, W); None without a segmenter.
        estimate: Denoised image, (N, 3, H, W), not clipped; None without a denoiser.
    """

    logits: Tensor | None
    estimate: Tensor | None


class Unit(nn.Module):
    """A segmenter and, unless the cascade ends in a segmenter, the denoiser it guides.

    Where no segmentation guides the denoisers, units of a denoiser alone are enough.
    """

    def __init__(self, segmenter: nn.Module | None, denoiser: nn.Module | None = None) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.denoiser = denoiser


class Cascade(nn.Module):
    """Any number of units, run in turn.

    Args:
        units: The units in order.
        condition: What guides the denoisers: the segmentation, the noisy image (the paper's
            ImgD), the true labels (GtD), or nothing (D_0).
        form: Whether a segmentation guides as probabilities or as logits.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        *,
        condition: Condition = "segmentation",
        form: ConditionForm = "probabilities",
    ) -> None:
        super().__init__()
        self.units = nn.ModuleList(units)
        self.condition: Condition = condition
        self.form: ConditionForm = form

    def forward(self, noisy: Tensor, *, truth: Tensor | None = None) -> list[UnitOutput]:
        """Run every unit on a noisy image; see ``run``."""
        return list(self.run(noisy, truth=truth))

    def run(self, noisy: Tensor, *, truth: Tensor | None = None) -> Iterator[UnitOutput]:
        """Run unit after unit; whoever drops an output before taking the next saves its memory.

        Args:
            noisy: Observed image y, (N, 3, H, W), nominally in [0, 1], not clipped.
            truth: Labels (N, H, W), read only where the condition is ``truth``.

        Yields:
            The output of every unit in turn.
        """
        estimate: Tensor | None = None
        for unit in self.units:
            seen = noisy if estimate is None else estimate
            logits = None if unit.segmenter is None else segment(unit.segmenter, seen)
            if unit.denoiser is None:
                yield UnitOutput(logits, None)
                continue
            condition = self.condition_from(logits, noisy, truth)
            estimate = unit.denoiser(strengthen(noisy, estimate), condition)
            del condition
            yield UnitOutput(logits, estimate)

    def condition_from(
        self, logits: Tensor | None, noisy: Tensor, truth: Tensor | None
    ) -> Tensor | None:
        """Make the map (N, K, H, W) that guides a denoiser; None where nothing does."""
        if self.condition == "none":
            return None
        if self.condition == "image":
            return noisy
        if logits is None:
            raise ValueError(f"the condition {self.condition!r} needs a segmenter in every unit")
        if self.condition == "truth":
            if truth is None:
                raise ValueError("the condition 'truth' needs the true labels")
            return one_hot(truth, logits.shape[1]).to(noisy.dtype)
        return logits if self.form == "logits" else torch.softmax(logits.float(), dim=1)


def strengthen(noisy: Tensor, estimate: Tensor | None) -> Tensor:
    """Add the previous estimate to the noisy image: the signal grows faster than the noise.

    Args:
        noisy: Observed image, (N, 3, H, W), nominally in [0, 1].
        estimate: Output of the previous unit, or None for the first one (x_0 = 0).

    Returns:
        Input of the next denoiser, (N, 3, H, W), nominally in [0, 2] from the second unit on.
    """
    return noisy if estimate is None else noisy + estimate


def segment(segmenter: nn.Module, image: Tensor) -> Tensor:
    """Run a segmenter on an image of any size.

    The image is padded to a multiple of the segmenter's ``stride`` by repeating its edge, the
    logits are upsampled bilinearly to the padded size and the padding is cut off again.

    Args:
        segmenter: A module that follows ``contracts.Segmenter``.
        image: (N, 3, H, W) in [0, 1].

    Returns:
        Logits (N, K, H, W).
    """
    height, width = image.shape[-2:]
    stride = stride_of(segmenter)
    below, right = -height % stride, -width % stride
    padded = F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
    logits = segmenter(padded)
    if logits.shape[-2:] != padded.shape[-2:]:
        logits = F.interpolate(logits, size=padded.shape[-2:], mode="bilinear", align_corners=False)
    return logits[..., :height, :width]


def stride_of(network: nn.Module, default: int = DEFAULT_STRIDE) -> int:
    """The stride that a network declares; see ``contracts``.

    Args:
        network: A segmenter or a denoiser.
        default: The stride of one that declares none; the default's is that of segmenters.
    """
    stride = getattr(network, "stride", default)
    # A bare convolution has torch's own attribute of this name, which is a pair.
    return stride if isinstance(stride, int) and stride > 0 else default


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Turn labels (N, H, W) into maps (N, K, H, W); labels outside the classes are all zero."""
    classes = torch.arange(num_classes, device=labels.device).view(1, -1, 1, 1)
    return (labels.unsqueeze(1) == classes).to(torch.float32)


def needs_segmenters(condition: Condition) -> bool:
    """Whether denoisers need the segmenter of their unit, be it for its number of classes alone."""
    return condition in ("segmentation", "truth")


def condition_channels(condition: Condition, num_classes: int) -> int:
    """Channels of the map that guides the denoisers."""
    return {"none": 0, "image": 3}.get(condition, num_classes)


class Frozen(nn.Module):
    """A module that nothing can train: no gradients, and eval mode even after ``.train()``.

    Batch-norm statistics therefore never move either.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode whatever is asked."""
        del mode
        return super().train(False)

    @torch.inference_mode()
    def forward(self, *args: object, **kwargs: object) -> object:
        """Run the module in inference mode: nothing it returns can carry a gradient."""
        return self.module(*args, **kwargs)
