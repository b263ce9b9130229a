"""TensorBoard event files, for those who have installed the extra ``tensorboard``."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdabn_cli.errors import SdabnError

if TYPE_CHECKING:
    from torch.utils.tensorboard import RecordWriter


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
    """Writes the event files of one stage, as long as that is possible.

    Every event is written at once and by this thread: torch's own writer has a thread that dies of
    a full disk with a traceback.

    Args:
        directory: Where they go.
        first_step: Step that follows; what earlier starts wrote from it on is hidden, because it
            belongs to work that was lost and is done again.
        warn: Told once if they can no longer be written, such as on a full disk. They are there to
            look at; the training goes on without.
    """

    def __init__(self, directory: Path, *, first_step: int, warn: Callable[[str], object]) -> None:
        require_tensorboard()
        self._directory, self._warn = directory, warn
        self._file: RecordWriter | None = None
        with self._surviving():
            self._open(first_step)

    def _open(self, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from torch.utils.tensorboard import RecordWriter

        self._directory.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = RecordWriter((self._directory / name).open("xb"))
        self._write(first_step, file_version="brain.Event:2")
        self._write(first_step, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, figures: Mapping[str, float], prefix: str = "") -> None:
        """Show figures of a step."""
        from torch.utils.tensorboard.summary import scalar

        for name, value in figures.items():
            with self._surviving():
                self._write(step, summary=scalar(prefix + name, value))

    def picture(self, step: int, name: str, array: np.ndarray) -> None:
        """Show a picture, uint8 (H, W, 3), of a step."""
        from torch.utils.tensorboard.summary import image

        with self._surviving():
            self._write(step, summary=image(name, array, dataformats="HWC"))

    def close(self) -> None:
        """End the file."""
        with self._surviving():
            if self._file is not None:
                self._file.close()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        if self._file is not None:
            event = Event(wall_time=time.time(), step=step, **content)
            self._file.write(event.SerializeToString())
            self._file.flush()

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._warn(
                f"TensorBoard's event files in {self._directory} cannot be written any more: "
                f"{error}. The training goes on without them."
            )
            broken, self._file = self._file, None
            with contextlib.suppress(OSError):  # closing writes once more
                if broken is not None:
                    broken.close()
