"""A segmentation kept at its network's own resolution, and what is made of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sdabn_cli.cascade import Cascade, condition_channels
from sdabn_cli.planes import Plane, Window

#: Rows that are looked at together where a whole image is gone through.
BAND = 256


class Logits:
    """Logits before softmax as a plane of the image's size; a ``planes.Plane``.

    Args:
        plane: Logits (K, h, w) of the padded image.
        scale: Pixels of the image for each of theirs, in both directions.
        size: Height and width of the image without padding.
    """

    def __init__(self, plane: Plane, scale: int, size: tuple[int, int]) -> None:
        self._plane, self._scale = plane, scale
        self.shape = (plane.shape[0], *size)

    def read(self, window: Window) -> Tensor:
        """Logits of a window, float32 (1, K, h, w), as if all had been upsampled bilinearly."""
        scale = self._scale
        if scale == 1:
            return self._plane.read(window).float()
        # One more on every side is what bilinear interpolation looks at.
        seen = [
            slice(max(0, span.start // scale - 1), min(length, -(-span.stop // scale) + 1))
            for span, length in zip(window, self._plane.shape[1:], strict=True)
        ]
        coarse = self._plane.read((seen[0], seen[1])).float()
        fine = F.interpolate(coarse, scale_factor=scale, mode="bilinear", align_corners=False)
        rows, columns = (
            slice(span.start - part.start * scale, span.stop - part.start * scale)
            for span, part in zip(window, seen, strict=True)
        )
        return fine[..., rows, columns]


class Guide:
    """The condition of a denoiser, made window by window; see ``Cascade.condition_from``.

    Attributes:
        channels: Of the condition; 0 for none.
    """

    def __init__(
        self, cascade: Cascade, logits: Logits | None, noisy: Plane, truth: Tensor | None
    ) -> None:
        self._cascade, self._logits, self._noisy, self._truth = cascade, logits, noisy, truth
        classes = 0 if logits is None else logits.shape[0]
        self.channels = condition_channels(cascade.condition, classes)

    def read(self, window: Window) -> Tensor | None:
        """The condition of a window, (1, K, h, w), or None."""
        truth = None if self._truth is None else self._truth[(..., *window)]
        logits = None if self._logits is None else self._logits.read(window)
        return self._cascade.condition_from(logits, self._noisy.read(window), truth)


def labels_of(logits: Plane) -> Tensor:
    """Class ids of a whole image, uint8 (H, W) on the CPU."""
    _, height, width = logits.shape
    labels = torch.empty(height, width, dtype=torch.uint8)
    for top in range(0, height, BAND):
        rows = slice(top, min(top + BAND, height))
        # Along channels torch's argmax is many times slower than its max.
        ids = logits.read((rows, slice(0, width))).max(1).indices[0]
        labels[rows] = ids.to(torch.uint8).cpu()
    return labels
