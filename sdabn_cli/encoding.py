"""Writers of PNG and TIFF files: as many bits and channels as the picture has."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import imageio.v3 as iio
import numpy as np
from PIL import Image

from sdabn_cli.errors import SdabnError
from sdabn_cli.files import Writer

#: Bytes of a strip before it is compressed.
STRIP = 1 << 18

#: TIFF files of more bytes before compression become BigTIFF: offsets of 32 bits end at 4 GB.
CLASSIC = 2 << 30

#: End of the header chunk of a PNG, behind which a profile belongs.
PNG_HEADER = 33


@dataclass(frozen=True)
class Raster:
    """A picture to be written, as bands of rows from top to bottom.

    Args:
        shape: (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGB and alpha.
        dtype: uint8, uint16 or float32.
        bands: Arrays (h, W[, C]) whose heights add up to H.
        palette: Colours of class ids; the values (H, W) are then uint8 ids. None for pictures.
        icc: Colour profile to embed; None without one.
    """

    shape: tuple[int, ...]
    dtype: np.typing.DTypeLike
    bands: Iterable[np.ndarray]
    palette: Sequence[tuple[int, int, int]] | None = None
    icc: bytes | None = None

    def __post_init__(self) -> None:
        """Require that a palette belongs to ids of 8 bits.

        Raises:
            ValueError: If it does not.
        """
        if self.palette is not None:
            ids = np.dtype(self.dtype) == np.uint8 and len(self.shape) == 2
            if not ids or len(self.palette) > 256:
                raise ValueError("A palette has up to 256 colours, of ids (H, W) in uint8.")

    @property
    def nbytes(self) -> int:
        """Bytes of the values before compression."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def png_writer(raster: Raster) -> Writer:
    """Writer of a picture as PNG; it is in memory as a whole while it is encoded.

    Raises:
        SdabnError: If the values are neither uint8 nor uint16.
    """
    dtype = np.dtype(raster.dtype)
    if dtype not in (np.uint8, np.uint16):
        raise SdabnError(
            f"PNG files cannot hold {dtype} values.", "Write TIFF, or 8 or 16 bits: uint8, uint16."
        )
    return lambda file: (_write_png if dtype == np.uint8 else _write_deep_png)(raster, file)


def _write_png(raster: Raster, file: IO[bytes]) -> None:
    array = _gathered(raster)
    if raster.palette is None:
        mode = None if array.ndim == 2 else {2: "LA", 3: "RGB", 4: "RGBA"}[array.shape[2]]
        profile = {"icc_profile": raster.icc} if raster.icc else {}
        iio.imwrite(file, array, plugin="pillow", extension=".png", mode=mode, **profile)
        return
    image = Image.fromarray(array)
    image.putpalette(_full_palette(raster.palette).reshape(-1).tolist())
    image.save(file, format="PNG")


def _write_deep_png(raster: Raster, file: IO[bytes]) -> None:
    import imagecodecs

    content = imagecodecs.png_encode(_gathered(raster))
    file.write(content[:PNG_HEADER])
    if raster.icc:
        chunk = b"iCCP" + b"ICC Profile\0\0" + zlib.compress(raster.icc)
        length, check = len(chunk) - 4, zlib.crc32(chunk)
        file.write(struct.pack(">I", length) + chunk + struct.pack(">I", check))
    file.write(content[PNG_HEADER:])


def _gathered(raster: Raster) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate(list(_checked(raster))))


def _full_palette(palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    # A full palette: otherwise ids beyond it, such as 255, would be written as other ids.
    colours = np.zeros((256, 3), np.uint8)
    if palette:
        colours[: len(palette)] = palette
    return colours


def _checked(raster: Raster) -> Iterator[np.ndarray]:
    rows = 0
    for band in raster.bands:
        if band.shape[1:] != tuple(raster.shape[1:]) or band.dtype != np.dtype(raster.dtype):
            raise ValueError(f"A band {band.dtype} {band.shape} of {raster.dtype} {raster.shape}.")
        rows += len(band)
        if rows > raster.shape[0]:
            break
        yield band
    if rows != raster.shape[0]:
        raise ValueError(f"Bands of {rows} rows for a raster of {raster.shape}.")


def tiff_writer(rasters: Iterable[Raster], *, nbytes: int | None = None) -> Writer:
    """Writer of pictures as the pages of a TIFF, strip by strip: memory holds a band or two.

    Strips are compressed by deflate, without loss.

    Args:
        rasters: One for every page. Bands are taken when they are written, once.
        nbytes: Bytes of all pages before compression, which say whether the file must be a BigTIFF.
            By default added up where ``rasters`` is a sequence; other iterables give a BigTIFF.
    """
    if nbytes is None:
        known = isinstance(rasters, Sequence)
        nbytes = sum(raster.nbytes for raster in rasters) if known else CLASSIC + 1
    return lambda file: _write_tiff(rasters, file, big=nbytes > CLASSIC)


def _write_tiff(rasters: Iterable[Raster], file: IO[bytes], big: bool) -> None:
    import tifffile

    with tifffile.TiffWriter(file, bigtiff=big, byteorder="<") as writer:
        for raster in rasters:
            row = raster.nbytes // raster.shape[0]
            height = min(max(1, STRIP // row), raster.shape[0])
            strips = _strips(raster, height)
            writer.write(
                strips,
                shape=raster.shape,
                dtype=np.dtype(raster.dtype),
                rowsperstrip=height,
                compression="adobe_deflate",
                predictor=2 if _is_predicted(raster) else None,
                iccprofile=raster.icc,
                metadata=None,
                software=False,
                **_layout(raster),
            )
            next(strips, None)  # says so where bands are left


def _layout(raster: Raster) -> dict[str, object]:
    if raster.palette is not None:
        colormap = _full_palette(raster.palette).T.astype(np.uint16) * 257
        return {"photometric": "palette", "colormap": colormap}
    channels = raster.shape[2] if len(raster.shape) == 3 else 1
    layout: dict[str, object] = {"photometric": "minisblack" if channels < 3 else "rgb"}
    if channels > 1:
        layout["planarconfig"] = "contig"
    if channels in (2, 4):
        layout["extrasamples"] = ["unassalpha"]
    return layout


def _is_predicted(raster: Raster) -> bool:
    # Differences of neighbours compress pictures better, but not ids and not the bits of floats.
    return raster.palette is None and np.dtype(raster.dtype).kind == "u"


def _strips(raster: Raster, height: int) -> Iterator[bytes]:
    """Compressed strips of a number of rows each, whatever the bands' heights."""
    import imagecodecs

    for rows in _regrouped(_checked(raster), height):
        if _is_predicted(raster):
            rows = imagecodecs.delta_encode(rows, axis=1)
        yield bytes(imagecodecs.deflate_encode(rows.tobytes()))


def _regrouped(bands: Iterable[np.ndarray], height: int) -> Iterator[np.ndarray]:
    rest: np.ndarray | None = None
    for band in bands:
        rest = band if rest is None or not len(rest) else np.concatenate([rest, band])
        while len(rest) >= height:
            yield np.ascontiguousarray(rest[:height])
            rest = rest[height:]
    if rest is not None and len(rest):
        yield np.ascontiguousarray(rest)
