"""Small image files of known content."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 99, 200]]], np.uint8)
GREY = np.array([[0, 100], [200, 255]], np.uint8)


def save(name: str, image: Image.Image, **options: object) -> Path:
    image.save(name, **options)
    return Path(name)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def drawn(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Random values over the whole range of a type."""
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def raw_png(depth: int, kind: int, row: bytes, width: int, *chunks: tuple[bytes, bytes]) -> Path:
    """Write a PNG of one row of packed samples, with further chunks before the pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    Path("image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in parts))
    return Path("image.png")
