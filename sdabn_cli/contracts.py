"""The whole plug-in contract: what each of the five entry-point groups must provide.

Shapes: N images of H x W pixels, K classes. Images are float tensors (N, 3, H, W), nominally in
[0, 1]; noisy ones are neither clipped nor quantised.

A plug-in is a function in an entry-point group. Its options are explicit, typed, keyword-only
parameters with defaults; the recipe and the command line (``name:option=value``) reach them.

| group            | the entry point is                                   | it returns             |
|------------------|------------------------------------------------------|------------------------|
| sdabn.segmenters | build(*, num_classes, in_channels=3, <own options>)  | nn.Module: Segmenter   |
| sdabn.denoisers  | build(*, condition_channels, in_channels=3, <own>)   | nn.Module: Denoiser    |
| sdabn.noises     | build(*, <own options>)                              | NoiseModel             |
| sdabn.datasets   | open(root, split, *, <own options>), or such a class | Dataset                |
| sdabn.models     | a path, or a function without arguments giving one   | directory of a cascade |

A function that builds networks may have an attribute ``options_from``, a function: it maps the
content of a ``config.json`` that a library has put beside its weights to the options that build the
network they belong to, or to None.

An option may be a plug-in itself: one of the type ``DenoiserBuilder`` or ``SegmenterBuilder`` has
a name, with or without options, as its default, and arrives as a function that builds what was
named. Users write ``outer:inner=name`` or ``outer:inner=[name:option=value,option=value]``.

A wrong option value is a ``ValueError`` that says what is allowed; missing or malformed data is a
``DatasetError`` that names the file and the expected layout. Nothing is downloaded and no setting
of torch changed when a plug-in is imported or built. ``sdabn plugins check NAME`` checks all this.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sdabn_cli.errors import SdabnError

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator, Tensor, nn

DEFAULT_STRIDE = 32


class DatasetError(SdabnError):
    """Data that is missing or not laid out as the data set expects."""


class Segmenter(Protocol):
    """An ``nn.Module``. May declare ``stride`` (default 32): H and W arrive as multiples of it."""

    def __call__(self, image: Tensor) -> Tensor:
        """Map an image (N, 3, H, W) in [0, 1] to logits (N, K, h, w) of any output stride."""


class Denoiser(Protocol):
    """An ``nn.Module``. May declare ``receptive_field``: pixels to each side, None if global.

    And with it ``stride`` (default 1), the phase of what it does: all parts of an image that it is
    given begin at multiples of it. May have a method ``halve_input()``, which changes its weights
    so that it makes of every image what it made of half of it. A D_2 that starts from D_1 begins so
    as D_1 on the mean of the noisy image and its estimate; else it is given twice what it knows.

    May have a method ``widen_from(weights)``, which takes the state dict of a network built with
    other options, tensors of the same names but with fewer channels, and changes its own
    weights so that it makes what that one made (``denoiser.widen``). It raises ``ValueError`` where
    that is no narrower one.
    """

    def __call__(self, image: Tensor, condition: Tensor | None) -> Tensor:
        """Map an image (N, 3, H, W) and its condition (N, K, H, W) to the estimate (N, 3, H, W).

        From the second unit on the image is noisy + estimate, so its nominal range is [0, 2].
        The condition is None exactly when the denoiser was built with ``condition_channels=0``.
        """


class SegmenterBuilder(Protocol):
    """An option that is a segmenter."""

    def __call__(self, *, num_classes: int, in_channels: int = 3) -> nn.Module:
        """Build it with random weights."""


class DenoiserBuilder(Protocol):
    """An option that is a denoiser."""

    def __call__(self, *, condition_channels: int, in_channels: int = 3) -> nn.Module:
        """Build it with random weights; ``condition_channels=0`` builds it without condition."""


class NoiseModel(Protocol):
    """Makes clean images noisy, on the CPU; the same generator state gives the same noise.

    What it makes of the first channel of a grey image becomes all three of the noisy one.
    """

    def __call__(self, clean: Tensor, generator: Generator) -> Tensor:
        """Map a clean image (..., 3, H, W) in [0, 1] to a noisy one of the same shape."""


class Example(NamedTuple):
    """One labelled image: paths where it lies on disk, arrays where it is drawn.

    Attributes:
        name: Unique within the split; used in messages and file names.
        image: RGB image file, or uint8 array (H, W, 3).
        labels: Single-channel image file of class ids, or uint8 array (H, W); None if unlabelled.
    """

    name: str
    image: Path | np.ndarray
    labels: Path | np.ndarray | None


class Dataset(Protocol):
    """A sized, indexable split of a data set.

    A class that knows its classes without its data declares them as a class attribute; then a
    training can be planned before the data is there. ``label_map`` is optional: it maps values of
    the label images to class ids, and values it does not list are ignored. A class that makes its
    examples itself has the attribute ``reads_root = False``: a directory of the user's is refused.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...
