"""Find a model, check how it is to be run, and load it."""

from __future__ import annotations

from pathlib import Path

from sdabn_cli import DEFAULT_MODEL, engines, sources
from sdabn_cli import device as devices
from sdabn_cli import memory as memories
from sdabn_cli.api.checking import checked
from sdabn_cli.api.loaded import LoadedModel
from sdabn_cli.cascade import Cascade, Unit
from sdabn_cli.inference import Runner
from sdabn_cli.model import Model, load_from


@checked(images=1)
def load(
    model: str | Path = DEFAULT_MODEL,
    *,
    units: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    memory: str = "auto",
    compiled: bool = False,
    images: int = 1,
    segment_only: bool = False,
    self_ensemble: bool = False,
) -> LoadedModel:
    """Load a model, ready to be called with images.

    Args:
        model: Name of an installed model (``sdabn models list``), a model or run directory, or
            ``hf:owner/name`` or ``hf:owner/name@revision`` on the Hugging Face Hub.
        units: Use the first units only; all by default.
        device: ``auto`` (CUDA where present), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (bfloat16 where the processor has it), ``float32`` or ``bfloat16``.
        engine: ``auto``, ``torch`` or ``openvino``; see ``images``.
        memory: Memory to keep to, such as ``3GB``, whatever the size of the images; ``auto``: most
            of what is free.
        compiled: Whether torch compiles the networks first.
        images: How many images are to come: ``auto`` takes OpenVINO for 50 and more on a
            processor, if it is installed.
        segment_only: Leave out the last denoiser: faster, and labels are all that is found.
        self_ensemble: Run every image in eight orientations and average.

    Returns:
        The model; call it with an image.

    Raises:
        SdabnError: If there is no such model, device, precision or engine; if weights are missing,
            damaged or of another network, or cannot be downloaded; if a plug-in is not installed.
    """
    loading = Loading(
        model,
        units=units,
        device=device,
        precision=precision,
        engine=engine,
        memory=memory,
        compiled=compiled,
        images=images,
        segment_only=segment_only,
        self_ensemble=self_ensemble,
    )
    return loading.load()


class Loading:
    """A model that is found, and how it is to be run; checked before anything large is read.

    Takes what ``load`` takes, and raises ``SdabnError`` for the same mistakes.

    Attributes:
        source: Where the model lies.
        compute: Device and precision.
    """

    def __init__(
        self,
        name: str | Path = DEFAULT_MODEL,
        *,
        units: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
        memory: str = "auto",
        compiled: bool = False,
        images: int = 1,
        segment_only: bool = False,
        self_ensemble: bool = False,
    ) -> None:
        self.source = sources.find(name, units=units)
        self.compute = devices.choose(device, precision)
        engines.choose(engine, self.compute, compiled=compiled)
        self._budget = memories.budget(memory)
        self._how = {
            "engine": engine,
            "images": images,
            "compiled": compiled,
            "last_denoiser": not segment_only,
            "ensemble": self_ensemble,
        }

    def load(self) -> LoadedModel:
        """Read the weights and make the networks ready.

        Raises:
            SdabnError: If weights are missing, damaged or of another network, cannot be downloaded,
                or the engine cannot run them.
        """
        loaded = load_from(self.source)
        # The engine puts its own networks into a cascade; those of the model stay as they are.
        own = loaded.cascade
        units = [Unit(unit.segmenter, unit.denoiser) for unit in own.units]
        copied = Cascade(units, condition=own.condition, form=own.form).eval()
        runner = Runner(
            Model(copied, loaded.description), self.compute, budget=self._budget, **self._how
        )
        return LoadedModel(self.source, loaded, runner)
