"""Pictures of an image that a model is run on, made unit after unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from sdabn_cli.description import Description
from sdabn_cli.logits import labels_of
from sdabn_cli.planes import MemoryPlane, Plane
from sdabn_cli.report import layers
from sdabn_cli.report.content import Comparison, Layer
from sdabn_cli.report.figures import written
from sdabn_cli.report.looking import shares


class _Seen(NamedTuple):
    """What a unit found, made small: uint8 (h, w, 3), or None without an estimate, and (h, w)."""

    number: int
    estimate: np.ndarray | None
    labels: np.ndarray


class Glance:
    """Looks at an image while the planes of its units can be read; encodes what it saw later.

    Args:
        name: Of the image.
        noisy: What the model sees, (3, H, W).
        clean: The true image (1, 3, H, W), where it is known.
        description: Of the model.
        last_alone: Whether units before the last find nothing of their own.
        note: Said below the pictures.
    """

    def __init__(
        self,
        name: str,
        noisy: Plane,
        clean: Tensor | None,
        description: Description,
        *,
        last_alone: bool = False,
        note: str = "",
    ) -> None:
        self._name, self._description, self._last_alone = name, description, last_alone
        self._note = f"{layers.size_note(*noisy.shape[1:])} {note}".strip()
        self._noisy = layers.shrunk(noisy)
        self._clean = None if clean is None else layers.shrunk(MemoryPlane(clean))
        self._seen: list[_Seen] = []
        self._units = 0

    def add(self, logits: Plane, estimate: Plane | None) -> None:
        """Look at what the next unit found.

        Args:
            logits: (K, H, W).
            estimate: (3, H, W); None without one.
        """
        self._units += 1
        if self._last_alone and self._units < len(self._description.units):
            return
        small = None if estimate is None else layers.shrunk(estimate)
        labels = layers.thinned(labels_of(logits).numpy())
        self._seen.append(_Seen(self._units, small, labels))

    def comparison(self, psnr: Mapping[str, Any] | None) -> Comparison:
        """Encode the pictures.

        Args:
            psnr: Of the noisy image (``noisy``) and of every unit (``units``), where known.
        """
        figures = [] if psnr is None else [psnr["noisy"], *psnr["units"]]
        images = self._images([f"{written(v)} dB" if v is not None else "" for v in figures])
        right = len(images) - 1
        if self._clean is not None:
            images.append(layers.photo("clean", self._clean, alt=f"clean: {self._name}"))
        made = [*images, *self._overlays()]
        return Comparison(self._name, made, 0, right or len(made) - 1, self._note)

    def _images(self, figures: Sequence[str]) -> list[Layer]:
        """The input and every unit's estimate; figures begin with the input's."""
        name = "input" if self._clean is None else "noisy"
        first = figures[0] if figures else ""
        made = [layers.photo(name, self._noisy, alt=f"{name}: {self._name}", figure=first)]
        for number, estimate, _ in self._seen:
            if estimate is not None:
                name = f"unit {number}: estimate"
                figure = figures[number] if figures else ""
                told = f"{name} of {self._name}"
                made.append(layers.photo(name, estimate, alt=told, figure=figure))
        return made

    def _overlays(self) -> list[Layer]:
        made, below = [], self._noisy
        for number, estimate, labels in self._seen:
            below = below if estimate is None else estimate
            name, classes = f"unit {number}: overlay", self._description.classes
            told = f"labels of unit {number} over {self._name}: {shares(labels, classes)}"
            palette = self._description.palette
            made.append(layers.covered(name, below, labels, palette, alt=told))
        return made
