"""Pictures of a validation: what a stage sees, what it makes of it and what is true, in a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sdabn_cli.files import write_atomically
from sdabn_cli.images import image_writer
from sdabn_cli.labels import IGNORED
from sdabn_cli.pixels import to_uint8

#: Height of the line of captions, and of the letters in it, in pixels.
CAPTION, LETTERS = 18, 12
GAP = 4
BACKGROUND, TEXT = (24, 24, 24), (240, 240, 240)
NO_LABEL = (0, 0, 0)


def comparison(
    noisy: Tensor,
    estimate: Tensor | None,
    labels: Tensor,
    prediction: Tensor | None,
    palette: Sequence[tuple[int, int, int]],
    *,
    clean: bool = False,
    max_side: int = 640,
) -> np.ndarray:
    """Put an image, its estimate, its labels and their prediction side by side, with captions.

    Args:
        noisy: (3, H, W), nominally in [0, 1].
        estimate: Same shape; None leaves it out.
        labels: int64 (H, W), ``IGNORED`` where there is none; those are black.
        prediction: int64 (H, W); None leaves it out.
        palette: Colour of every class.
        clean: Whether ``noisy`` is a clean image in fact.
        max_side: Larger images are made smaller until their long side is this.

    Returns:
        uint8 (h, w, 3).
    """
    panels = [("clean" if clean else "noisy", _image(noisy, max_side))]
    if estimate is not None:
        panels.append(("estimate", _image(estimate, max_side)))
    for caption, ids in (("labels", labels), ("prediction", prediction)):
        if ids is not None:
            panels.append((caption, _classes(ids, palette, max_side)))
    return _row(panels)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, uint8 (h, w, 3), in one piece or not at all."""
    write_atomically(path, image_writer(picture))


def _image(image: Tensor, max_side: int) -> Image.Image:
    array = to_uint8(image.permute(1, 2, 0).contiguous().numpy())
    return _shrunk(Image.fromarray(array), max_side, Image.Resampling.LANCZOS)


def _classes(ids: Tensor, palette: Sequence[tuple[int, int, int]], max_side: int) -> Image.Image:
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    colours[IGNORED] = NO_LABEL
    return _shrunk(Image.fromarray(colours[ids.numpy()]), max_side, Image.Resampling.NEAREST)


def _shrunk(image: Image.Image, max_side: int, method: Image.Resampling) -> Image.Image:
    factor = max_side / max(image.size)
    if factor >= 1:
        return image
    return image.resize([max(1, round(side * factor)) for side in image.size], method)


def _row(panels: list[tuple[str, Image.Image]]) -> np.ndarray:
    width, height = panels[0][1].size
    canvas = Image.new("RGB", (len(panels) * (width + GAP) - GAP, CAPTION + height), BACKGROUND)
    brush, font = ImageDraw.Draw(canvas), ImageFont.load_default(LETTERS)
    for number, (caption, panel) in enumerate(panels):
        left = number * (width + GAP)
        brush.text((left + GAP, CAPTION // 2), caption, font=font, fill=TEXT, anchor="lm")
        canvas.paste(panel, (left, CAPTION))
    return np.asarray(canvas)
