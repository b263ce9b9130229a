"""Arrays and tensors as images, and what was found in them, given back in the same form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sdabn_cli.errors import SdabnError
from sdabn_cli.pixels import Picture
from sdabn_cli.tiffcolour import HIGHEST, LOWEST

#: Types of values that images may have, by the names that numpy and torch share.
TYPES = ("uint8", "uint16", "float16", "bfloat16", "float32", "float64")

SHAPES = {
    "array": "Arrays are (H, W) or (H, W, 3), one image each; channels that come first are moved "
    "by image.transpose(1, 2, 0).",
    "tensor": "Tensors are (H, W), (3, H, W) or (N, 3, H, W); channels that come last are moved by "
    "image.permute(2, 0, 1).",
}


class Form(Protocol):
    """How one image, or a batch of them, was given.

    Attributes:
        pictures: The images.
        is_batch: Whether results are given for every image of a batch.
    """

    pictures: list[Picture]
    is_batch: bool

    def image(self, arrays: Sequence[np.ndarray]) -> Any:
        """Images (H, W) or (H, W, 3), one for each picture, as they were given."""

    def labels(self, arrays: Sequence[np.ndarray]) -> Any:
        """Class ids (H, W), one for each picture, as an array or a tensor."""

    def maps(self, arrays: Sequence[np.ndarray]) -> Any:
        """Maps (K, H, W), one for each picture, with channels where the image has them."""


def take(image: Any) -> Form:
    """Take an array or a tensor as an image.

    Args:
        image: See ``ArrayForm`` and ``TensorForm``.

    Raises:
        SdabnError: If it is neither, has another shape or type, holds values that are no numbers,
            or floats far outside [0, 1].
    """
    if isinstance(image, np.ma.MaskedArray):
        raise SdabnError(
            "The image is a masked array; its mask would be lost.",
            "image.filled(0) gives masked pixels a value, image.data forgets the mask.",
        )
    if isinstance(image, np.ndarray):
        return ArrayForm(image)
    if isinstance(image, Tensor):
        _check_dense(image)
        return TensorForm(image)
    raise SdabnError(
        f"An image is a numpy array or a torch tensor, not {type(image).__name__}.",
        "numpy.asarray(PIL.Image.open(path)) reads a file; sdabn run works on files itself.",
    )


def _check_dense(image: Tensor) -> None:
    if image.is_meta:
        raise SdabnError(
            "The image is a tensor on the device meta: it has a shape but no values.",
            "Give a tensor on a processor or a graphics card.",
        )
    if image.is_nested or image.layout != torch.strided:
        kind = "nested" if image.is_nested else "sparse"
        raise SdabnError(
            f"The image is a {kind} tensor.",
            "Give images one by one." if image.is_nested else "Give image.to_dense().",
        )


class ArrayForm:
    """An image as a numpy array.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3); uint8 or uint16 on their full scale, or floats,
            nominally in [0, 1].
    """

    is_batch = False

    def __init__(self, image: np.ndarray) -> None:
        _check_type(image.dtype.newbyteorder("=").name)
        if image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,)):
            raise _wrong_shape("array", image.shape)
        _check_values(image)
        self._has_axis = image.shape[2:] == (1,)
        self.pictures = [Picture(image[..., 0] if self._has_axis else image)]

    def image(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """See ``Form``."""
        array = np.ascontiguousarray(arrays[0])
        return array[..., None] if self._has_axis else array

    def labels(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """See ``Form``."""
        return arrays[0]

    def maps(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """(H, W, K); see ``Form``."""
        return np.ascontiguousarray(arrays[0].transpose(1, 2, 0))


class TensorForm:
    """An image, or a batch of images of one size, as a torch tensor; results are on its device.

    Args:
        image: (H, W), (C, H, W) or (N, C, H, W) with C = 1 or 3; types as of arrays, and bfloat16.
    """

    def __init__(self, image: Tensor) -> None:
        _check_type(str(image.dtype).removeprefix("torch."))
        if not (image.ndim == 2 or (image.ndim in (3, 4) and image.shape[-3] in (1, 3))):
            raise _wrong_shape("tensor", image.shape)
        self._like = image
        self._has_axis = image.ndim > 2 and image.shape[-3] == 1
        self.is_batch = image.ndim == 4
        values = image.detach().cpu()
        if values.dtype == torch.bfloat16:  # which numpy does not know
            values = values.float()
        _check_values(values.numpy())
        parts = list(values) if self.is_batch else [values]
        self.pictures = [Picture(self._pixels(part)) for part in parts]

    def image(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """See ``Form``."""
        if self._has_axis:
            arrays = [array[None] for array in arrays]
        elif self._like.ndim > 2:
            arrays = [array.transpose(2, 0, 1) for array in arrays]
        return self._joined(arrays).to(self._like.dtype)

    def labels(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """As int64, because torch takes uint8 for a mask where it indexes; see ``Form``."""
        return self._joined(arrays).long()

    def maps(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """(K, H, W) or (N, K, H, W); see ``Form``."""
        return self._joined(arrays)

    def _pixels(self, part: Tensor) -> np.ndarray:
        if self._has_axis:
            return part[0].numpy()
        return part.numpy() if part.ndim == 2 else part.permute(1, 2, 0).numpy()

    def _joined(self, arrays: Sequence[np.ndarray]) -> Tensor:
        array = np.stack(arrays) if self.is_batch else np.ascontiguousarray(arrays[0])
        return torch.from_numpy(array).to(self._like.device)


def _check_type(name: str) -> None:
    if name not in TYPES:
        raise SdabnError(
            f"The image holds {name} values.",
            f"Allowed: {', '.join(TYPES)}. Integers use their type's full scale, floats go from 0 "
            "(black) to 1 (white).",
        )


def _wrong_shape(kind: str, shape: Sequence[int]) -> SdabnError:
    return SdabnError(f"The image has the shape {tuple(shape)}.", SHAPES[kind])


def _check_values(image: np.ndarray) -> None:
    if image.size == 0:
        raise SdabnError(f"The image of shape {image.shape} has no pixels.")
    if image.dtype.kind != "f":
        return
    lowest, highest = float(image.min()), float(image.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise SdabnError(
            "The image holds NaN or infinite values.",
            "Give them a value first: every pixel must be a number.",
        )
    if lowest < LOWEST or highest > HIGHEST:
        raise SdabnError(
            f"The image holds values from {lowest:g} to {highest:g}.",
            "Floats go from 0 (black) to 1 (white), a little beyond is allowed: divide by the "
            "value of white first.",
        )
