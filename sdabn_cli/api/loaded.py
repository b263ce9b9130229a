"""A model that is called with arrays and tensors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdabn_cli import noiselevel
from sdabn_cli.api import arrays
from sdabn_cli.api.arrays import Form
from sdabn_cli.api.checking import KINDS, checked
from sdabn_cli.cascade import Cascade
from sdabn_cli.description import Description
from sdabn_cli.device import Compute
from sdabn_cli.errors import SdabnError
from sdabn_cli.inference import Runner
from sdabn_cli.logits import labels_of
from sdabn_cli.model import Model
from sdabn_cli.pixels import Picture
from sdabn_cli.planes import MemoryPlane, Plane, whole
from sdabn_cli.products import PicturePlane, pixels_of
from sdabn_cli.sources import Source

Array = np.ndarray | Tensor

#: Images of more pixels are converted to floats part by part, where they are looked at.
LARGE = 16_000_000


@dataclass(frozen=True)
class UnitResult:
    """What one unit found.

    Attributes:
        denoised: Its estimate, as ``Result.denoised``.
        labels: As ``Result.labels``.
    """

    denoised: Array | None
    labels: Array


@dataclass(frozen=True)
class Result:
    """What a model found in an image, or in every image of a batch.

    Attributes:
        denoised: The last estimate, of the image's own kind: numpy array or tensor, of its shape,
            type and device. Integers are clipped and rounded, floats are neither. None if the
            model was loaded to segment only.
        labels: Class ids: uint8 (H, W) of an array, int64 (H, W) or (N, H, W) of a tensor.
        sigma: Standard deviation of the noise on the 0-255 scale, estimated unless it was given;
            NaN where the image is too small to tell. A list of a batch.
        probabilities: If asked for, of every class, float32: (H, W, K) of an array, (K, H, W) or
            (N, K, H, W) of a tensor.
        logits: If asked for, the same before softmax.
        units: If asked for, what every unit found; the last is the result itself.
    """

    denoised: Array | None
    labels: Array
    sigma: float | list[float]
    probabilities: Array | None = None
    logits: Array | None = None
    units: tuple[UnitResult, ...] = ()


@dataclass(frozen=True)
class _Seen:
    """What one unit found in one image: arrays (H, W[, 3]), (H, W) and (K, H, W)."""

    denoised: np.ndarray | None
    labels: np.ndarray
    logits: np.ndarray | None = None


class LoadedModel:
    """A model that is ready for any number of images; made by ``sdabn_cli.load``.

    Attributes:
        name: Loads the same model again; of a model on the Hub it carries the commit.
        description: Everything that ``cascade.json`` says.
        cascade: The networks as a ``torch.nn.Module``, as ``save`` writes them.
        runner: Runs image files and planes of any size.
    """

    def __init__(self, source: Source, loaded: Model, runner: Runner) -> None:
        self.name = source.name
        self.description: Description = loaded.description
        self.cascade: Cascade = loaded.cascade
        self.runner = runner

    def __len__(self) -> int:
        """Number of units."""
        return len(self.description.units)

    def __repr__(self) -> str:
        return f"<sdabn model {self.name}: {len(self)} units, {len(self.classes)} classes>"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; a label is the number of one, from 0."""
        return tuple(self.description.classes)

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """Colour (red, green, blue) of every class."""
        return tuple(self.description.palette)

    @property
    def noise(self) -> str:
        """The noise that the model was trained on, such as ``gaussian:sigma=50``."""
        return self.description.noise

    @property
    def compute(self) -> Compute:
        """Device and precision."""
        return self.runner.compute

    @property
    def engine(self) -> str:
        """What runs the networks: ``torch`` or ``openvino``."""
        return self.runner.engine.name

    @checked()
    def __call__(
        self,
        image: Array,
        *,
        sigma: float | str = "auto",
        probabilities: bool = False,
        logits: bool = False,
        units: bool = False,
    ) -> Result:
        """Denoise and segment an image of any size, or every image of a batch.

        Args:
            image: numpy array (H, W) or (H, W, 3), or torch tensor (H, W), (3, H, W) or
                (N, 3, H, W); one channel instead of three is grey. uint8 and uint16 on their full
                scale; floats from 0 (black) to 1 (white), where noise may lie a little outside.
            sigma: ``auto`` estimates the noise and warns where the model was not trained for it; a
                number on the 0-255 scale takes your word. It changes no result.
            probabilities: Whether the probabilities of the classes are given too.
            logits: Whether the logits are given too.
            units: Whether every unit's estimate and labels are given too.

        Raises:
            SdabnError: If the image is of another kind, what is asked for does not go with a
                self-ensemble, the model computes values that are no numbers, or the memory does
                not suffice.
        """
        self._check_asked(logits=logits, units=units)
        told = noiselevel.parse(str(sigma))
        form = arrays.take(image)
        seen, sigmas = [], []
        for picture in form.pictures:
            noisy = self._plane(picture)
            sigmas.append(noiselevel.estimate(noisy) if told is None else told)
            grey = picture.pixels.ndim == 2
            dtype = picture.pixels.dtype
            seen.append(self._look(noisy, dtype, grey, every=units, maps=probabilities or logits))
        self._warn(sigmas)
        found = _in_form(form, seen)
        kept = [images[-1].logits for images in seen]
        return Result(
            denoised=found[-1].denoised,
            labels=found[-1].labels,
            sigma=sigmas if form.is_batch else sigmas[0],
            probabilities=form.maps([self._softmax(k) for k in kept]) if probabilities else None,
            logits=form.maps(kept) if logits else None,
            units=found if units else (),
        )

    def _check_asked(self, *, logits: bool, units: bool) -> None:
        asked = "logits" if logits else "units" if units else ""
        if asked and self.runner.is_ensemble:
            raise SdabnError(
                f"A self-ensemble averages probabilities and last estimates; it has no {asked}.",
                f"Leave out {asked}=True, or load the model without self_ensemble.",
            )

    def _plane(self, picture: Picture) -> Plane:
        plane = PicturePlane(picture)
        if plane.shape[1] * plane.shape[2] > LARGE:
            return plane
        return MemoryPlane(self.compute.upload(whole(plane)))

    @torch.inference_mode()
    def _look(
        self, noisy: Plane, dtype: Any, grey: bool, *, every: bool, maps: bool
    ) -> list[_Seen]:
        """Run the units on one image; gives what every one found, or the last one alone."""
        window = (slice(0, noisy.shape[1]), slice(0, noisy.shape[2]))
        seen = []
        with self.runner.workspace() as workspace:
            for number, (logits, estimate) in enumerate(self.runner.units(noisy, workspace), 1):
                is_last = number == len(self)
                if not (every or is_last):
                    continue
                kept = whole(logits)[0].float().cpu().numpy() if maps and is_last else None
                pixels = None
                if estimate is not None:
                    pixels = pixels_of(estimate, window, dtype, grey=grey)
                seen.append(_Seen(pixels, labels_of(logits).numpy(), kept))
        return seen

    @cached_property
    def _trained(self) -> tuple[float, float] | None:
        noise = self.runner.model.trained_on
        return None if noise is None else noiselevel.trained_range(noise)

    def _warn(self, sigmas: list[float]) -> None:
        for sigma in sigmas:
            problem = self._trained and noiselevel.outside(sigma, self._trained)
            if problem:
                # Behind this method, __call__ and its check lies the caller.
                warnings.warn(f"This image: {problem}", stacklevel=4)

    def _softmax(self, logits: np.ndarray) -> np.ndarray:
        if self.runner.is_ensemble:  # they are probabilities already
            return logits
        return torch.from_numpy(logits).softmax(0).numpy()


KINDS[LoadedModel] = "a loaded model"


def _in_form(form: Form, seen: list[list[_Seen]]) -> tuple[UnitResult, ...]:
    """What was found in every image, by unit, in the form that the images were given in."""
    return tuple(
        UnitResult(
            None if unit[0].denoised is None else form.image([one.denoised for one in unit]),
            form.labels([one.labels for one in unit]),
        )
        for unit in zip(*seen, strict=True)
    )
