"""What the stored values of a TIFF page mean: grey or RGB, with or without alpha."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdabn_cli.errors import SdabnError

if TYPE_CHECKING:
    from tifffile import TiffPage

#: Colour spaces that are read, by the tag ``PhotometricInterpretation``, with their samples.
SAMPLES = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3}
WHITE_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 2, 3, 5, 6

#: Compressions whose decoders turn YCbCr into RGB.
DECODED_TO_RGB = (7, 33003, 33004, 33005, 33007, 34712, 34892, 50001)

#: Floats outside are counts or physical units, not shares of white.
LOWEST, HIGHEST = -1.0, 4.0

ALLOWED = "8- and 16-bit images are read, and floats: uint8, uint16, float16, float32, float64."


@dataclass(frozen=True)
class Colours:
    """How the values of a page become pixels.

    Args:
        path: File, for error messages.
        photometric: The tag ``PhotometricInterpretation``.
        bits: Bits of a stored sample.
        dtype: uint8, uint16 or float32: type of the pixels.
        alpha: Whether the sample behind the colours is the alpha channel.
        associated: Whether alpha is multiplied into the stored colours.
        colormap: uint8 (colours, 3) of a palette.
    """

    path: Path
    photometric: int
    bits: int
    dtype: np.dtype
    alpha: bool
    associated: bool
    colormap: np.ndarray | None

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return 1 if SAMPLES[self.photometric] == 1 and self.colormap is None else 3

    @property
    def white(self) -> float:
        """Largest value of a pixel."""
        return 1.0 if self.dtype.kind == "f" else float(np.iinfo(self.dtype).max)

    def convert(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Convert stored values (h, w, samples).

        Returns:
            Pixels (h, w) or (h, w, 3), and alpha (h, w) or None.

        Raises:
            SdabnError: If floats are not finite or far outside [0, 1].
        """
        samples = SAMPLES[self.photometric]
        if self.colormap is not None:
            colours = self._look_up(block[..., 0])
            alpha = self._scaled(block[..., 1]) if self.alpha else None
            return colours, alpha
        block = self._scaled(block)
        alpha = block[..., samples] if self.alpha else None
        colours = block[..., :samples] if samples > 1 else block[..., 0]
        if self.photometric == WHITE_IS_ZERO:
            colours = (self.white - colours).astype(self.dtype)
        elif self.photometric == CMYK:
            colours = self._from_cmyk(colours)
        return self._undone(colours, alpha), alpha

    def _look_up(self, ids: np.ndarray) -> np.ndarray:
        assert self.colormap is not None
        if ids.max(initial=0) >= len(self.colormap):
            raise SdabnError(f"{self.path} is damaged: a value is outside its palette.")
        return self.colormap[ids.astype(np.intp)]

    def _scaled(self, block: np.ndarray) -> np.ndarray:
        if self.dtype.kind == "f":
            return self._checked(block)
        if self.bits in (8, 16):
            return block
        # 1, 2, 4, 12 bits: their largest value is white.
        factor = self.white / (2**self.bits - 1)
        return np.round(block.astype(np.float64) * factor).astype(self.dtype)

    def _checked(self, block: np.ndarray) -> np.ndarray:
        if not np.isfinite(block).all():
            raise SdabnError(
                f"{self.path} holds NaN or infinite values.",
                "Give them a value first: every pixel must be a number.",
            )
        lowest, highest = block.min(), block.max()
        if lowest < LOWEST or highest > HIGHEST:
            raise SdabnError(
                f"{self.path} holds values from {lowest:g} to {highest:g}.",
                "Floats are read as 0 (black) to 1 (white), a little beyond is allowed: divide by "
                "the value of white first.",
            )
        return block.astype(np.float32)

    def _from_cmyk(self, inks: np.ndarray) -> np.ndarray:
        light = self.white - inks.astype(np.float64)
        colours = light[..., :3] * light[..., 3:] / self.white
        return (colours if self.dtype.kind == "f" else np.round(colours)).astype(self.dtype)

    def _undone(self, colours: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        """Divide by the alpha that is multiplied into the colours."""
        if alpha is None or not self.associated:
            return colours
        share = alpha.astype(np.float64) / self.white
        share = share[..., None] if colours.ndim == 3 else share
        divided = np.divide(colours, share, out=np.zeros(colours.shape), where=share > 0)
        if self.dtype.kind == "f":
            return divided.astype(self.dtype)
        return np.round(np.minimum(divided, self.white)).astype(self.dtype)


def colours_of(path: Path, page: TiffPage) -> Colours:
    """Read from a page's tags what its values mean.

    Raises:
        SdabnError: If they are of a type, colour space or number of samples that is not read.
    """
    photometric, bits = int(page.photometric), page.bitspersample
    dtype = _dtype_of(path, page)
    _require_colours(path, page)
    extra = page.samplesperpixel - SAMPLES[photometric]
    if not 0 <= extra <= 1:
        raise SdabnError(
            f"{path} has {page.samplesperpixel} samples a pixel.",
            "Read are grey, RGB and CMYK, each with or without an alpha channel.",
        )
    return Colours(
        path,
        photometric,
        bits,
        dtype,
        alpha=extra == 1,
        associated=extra == 1 and tuple(page.extrasamples)[:1] == (1,),
        colormap=_colormap(path, page) if photometric == PALETTE else None,
    )


def _dtype_of(path: Path, page: TiffPage) -> np.dtype:
    bits, stored = page.bitspersample, page.dtype
    kind = stored.kind if stored is not None and isinstance(bits, int) else ""
    if kind == "f":
        return np.dtype(np.float32)
    if kind not in ("b", "u") or bits > 16:
        name = f"{bits}-bit" if stored is None or not kind else stored.name
        raise SdabnError(f"{path} holds {name} values.", ALLOWED)
    if page.photometric == PALETTE:
        return np.dtype(np.uint8)
    return np.dtype(np.uint8 if bits <= 8 else np.uint16)


def _require_colours(path: Path, page: TiffPage) -> None:
    readable = page.photometric in SAMPLES
    if page.photometric == YCBCR:
        readable = page.compression in DECODED_TO_RGB
    if not readable:
        raise SdabnError(
            f"{path} has the colour space {getattr(page.photometric, 'name', page.photometric)}.",
            "Read are grey, RGB, palette and CMYK: convert it to RGB first.",
        )


def _colormap(path: Path, page: TiffPage) -> np.ndarray:
    if page.colormap is None or page.dtype.kind == "f":
        raise SdabnError(f"{path} is damaged: its palette is missing.")
    colours = np.asarray(page.colormap).T
    # 16 bits by the standard; some programs write 8.
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)
