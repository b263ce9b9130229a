"""Measure a stage in training on the validation split, and draw some of its images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import nn

from sdabn_cli import evaluation, metrics
from sdabn_cli.assembly import with_network
from sdabn_cli.cascade import Frozen
from sdabn_cli.evaluation import Looked
from sdabn_cli.job import Training
from sdabn_cli.pictures import comparison, write_picture
from sdabn_cli.schedule import Stage
from sdabn_cli.tensorboard import Events

#: What a kind of stage is judged by.
METRIC = {"seg": "miou", "denoise": "psnr"}

#: What is measured of a kind of stage.
FIGURES = {"seg": ("miou", "pixel_accuracy"), "denoise": ("psnr",)}


class Picture(NamedTuple):
    """A validation image with what the cascade makes of it.

    Attributes:
        index: Its number in the data set.
        name: Its name, for files.
        array: uint8 (H, W, 3).
    """

    index: int
    name: str
    array: np.ndarray


class Validation:
    """The validations of a stage.

    Args:
        training: What the stages share.
        stage: The stage in training.
        network: Its network, without what training on several processes puts around it.
        prefix: The stages in front of it.
    """

    def __init__(
        self, training: Training, stage: Stage, network: nn.Module, prefix: Frozen
    ) -> None:
        self._training, self._stage = training, stage
        self._network, self._prefix = network, prefix
        self._settings = training.recipe.for_stage(stage)
        wanted = evaluation.pick(len(training.validation), self._settings.validation_images)
        drawn = evaluation.pick(len(wanted), self._settings.pictures)
        self._images = len(wanted)
        self._drawn = {wanted[position] for position in drawn} if self._settings.pictures else set()

    def run(
        self,
        step: int,
        events: Events | None = None,
        *,
        interrupt: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """Validate.

        Args:
            step: Where the training stands; pictures are named after it.
            events: Where pictures are shown as well; given to the main process alone.
            interrupt: Called after every image; what it raises ends the validation.

        Returns:
            mIoU and pixel accuracy (percent) of a segmenter, PSNR (dB) of a denoiser, and the
            number of images.
        """
        training, stage = self._training, self._stage
        done = 0
        drawn: list[Picture] = []

        def advance() -> None:
            nonlocal done
            done += training.compute.processes.count
            training.watcher.validating(min(done, self._images), self._images)
            interrupt()

        self._network.eval()
        result = evaluation.evaluate(
            with_network(self._prefix, stage, self._network),
            training.validation,
            training.noise_of(stage),
            protocol=metrics.Protocol(
                precision=training.compute.precision,
                noise=None if stage.is_clean else str(training.recipe.noise),
                seed=training.recipe.seed,
            ),
            compute=training.compute,
            limit=self._settings.validation_images,
            with_ssim=False,
            advance=advance,
            look=lambda looked: drawn.extend(self._draw(looked, step)),
        )
        self._network.train()
        if training.recipe.tensorboard:  # every process has drawn the images of its share
            for picture in sorted(training.compute.processes.gather(drawn), key=lambda p: p.index):
                if events is not None:
                    events.picture(step, picture.name, picture.array)
        figures = {key: result.units[-1][key] for key in FIGURES[stage.kind]}
        return figures | {"images": result.images}

    def _draw(self, looked: Looked, step: int) -> list[Picture]:
        """Draw an image with what the cascade makes of it, if it is one of the fixed ones."""
        if looked.index not in self._drawn:
            return []
        dataset = self._training.validation
        array = comparison(
            looked.noisy,
            looked.estimate,
            looked.labels,
            None if looked.prediction is None else looked.prediction.long(),
            dataset.palette,
            clean=self._stage.is_clean,
        )
        name = dataset[looked.index].name.replace("/", "-")
        folder = self._training.run.stage(self._stage).path / "pictures"
        write_picture(folder / f"{name}-{step:06d}.png", array)
        return [Picture(looked.index, name, array)]
