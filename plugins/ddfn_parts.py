"""What the channels of a DDFN's convolutions consist of: where a narrower one's lie in them."""

from __future__ import annotations

from sdabn_plugins.modulation import HIDDEN_CHANNELS
from sdabn_plugins.widening import Parts


def parts_of(width: int, blocks: int, pixels: int) -> dict[str, Parts]:
    """Outputs and inputs of the convolutions that a DDFN's width decides, by their modules' names.

    Args:
        width: Channels of the first features.
        blocks: Number of fusion blocks.
        pixels: Channels of one position of the image.
    """
    quarter, eighth, image = [width // 4], [width // 8], [pixels]
    every = quarter * (4 + blocks)
    parts: dict[str, Parts] = {
        "features.plain": (quarter, image),
        "features.dilated": (quarter, image),
        "features.plain_after_dilated": (quarter, quarter),
        "features.dilated_after_plain": (quarter, quarter),
        "modulate.gamma.2": (every, [HIDDEN_CHANNELS]),
        "modulate.beta.2": (every, [HIDDEN_CHANNELS]),
        "reconstruct": (image, every),
        "gate.openness": (image, every),
    }
    for number in range(blocks):
        block, before = f"blocks.{number}", quarter * (4 + number)
        parts |= {
            f"{block}.modulate.gamma.2": (before, [HIDDEN_CHANNELS]),
            f"{block}.modulate.beta.2": (before, [HIDDEN_CHANNELS]),
            f"{block}.squeeze": ([width], before),
            f"{block}.plain": (quarter, [width]),
            f"{block}.dilated": (quarter, [width]),
            f"{block}.dilated_after_plain": (eighth, quarter),
            f"{block}.plain_after_dilated": (eighth, quarter),
            f"{block}.fuse": (quarter, quarter + eighth + quarter + eighth),
        }
    return parts
