"""TensorBoard event files, for those who have installed the extra ``tensorboard``."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sdabn_cli.errors import SdabnError


def require_tensorboard() -> None:
    """Make sure that event files can be written, without importing anything.

    Raises:
        SdabnError: If the package tensorboard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise SdabnError(
            "TensorBoard is not installed.", "Install it with: pip install 'sdabn[tensorboard]'"
        )


class Events:
    """Writes the event files of one stage.

    Args:
        directory: Where they go.
        first_step: Step that follows; what earlier starts wrote from it on is hidden, because it
            belongs to work that was lost and is done again.
    """

    def __init__(self, directory: Path, *, first_step: int) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=first_step)

    def scalars(self, step: int, figures: Mapping[str, float], prefix: str = "") -> None:
        """Show figures of a step."""
        for name, value in figures.items():
            self._writer.add_scalar(prefix + name, value, step)

    def picture(self, step: int, name: str, array: np.ndarray) -> None:
        """Show a picture, uint8 (H, W, 3), of a step."""
        self._writer.add_image(name, array, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()
