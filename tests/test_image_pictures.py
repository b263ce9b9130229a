"""Pages of image files with their channels, depth, alpha, turns and profile."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from fixtures_images import COLOURS, drawn, raw_png, save, turned
from PIL import Image, ImageCms, ImageOps

from sdabn_cli import images


def require_equal(picture: images.Picture, values: np.ndarray) -> None:
    """Require that a picture holds values (H, W[, C]), the last of 2 or 4 channels being alpha."""
    channels = values.shape[2] if values.ndim == 3 else 1
    flat = values.reshape(*values.shape[:2], channels)
    assert picture.pixels.dtype == values.dtype
    assert np.array_equal(picture.pixels, flat[..., 0] if channels < 3 else flat[..., :3])
    if channels in (1, 3):
        assert picture.alpha is None
    else:
        assert np.array_equal(picture.alpha, flat[..., -1])


@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_reads_with_its_channels_and_its_depth(dtype, channels):
    values = drawn((20, 30, *channels), dtype)
    Path("image.png").write_bytes(imagecodecs.png_encode(values))

    require_equal(images.read_picture(Path("image.png")), values)
    assert images.count_pages(Path("image.png")) == 1
    assert images.read_image(Path("image.png")).dtype == dtype


@pytest.mark.parametrize(
    ("depth", "row", "shown"),
    [
        (1, [0b01100000], [0, 255, 255, 0]),
        (2, [0b00011011], [0, 85, 170, 255]),
        (4, [0x05, 0xAF], [0, 85, 170, 255]),
    ],
)
def test_grey_of_few_bits_becomes_eight(depth, row, shown):
    picture = images.read_picture(raw_png(depth, 0, bytes(row), 4))

    assert picture.pixels.tolist() == [shown]
    assert picture.alpha is None


@pytest.mark.parametrize(
    ("depth", "kind", "row", "key", "alpha"),
    [
        (1, 0, bytes([0b01100000]), (1,), [255, 0, 0, 255]),
        (2, 0, bytes([0b00011011]), (1,), [255, 0, 255, 255]),
        (4, 0, bytes([0x05, 0xAF]), (10,), [255, 255, 0, 255]),
        (8, 0, bytes([0, 85, 170, 255]), (255,), [255, 255, 255, 0]),
        (8, 2, bytes(range(12)), (3, 4, 5), [255, 0, 255, 255]),
        (16, 0, struct.pack(">4H", 0, 9, 8, 7), (8,), [65535, 65535, 0, 65535]),
        (16, 2, struct.pack(">12H", *range(12)), (9, 10, 11), [65535, 65535, 65535, 0]),
    ],
)
def test_a_transparent_colour_becomes_alpha(depth, kind, row, key, alpha):
    path = raw_png(depth, kind, row, 4, (b"tRNS", struct.pack(f">{len(key)}H", *key)))

    assert images.read_picture(path).alpha.tolist() == [alpha]


@pytest.mark.parametrize("alphas", [[0, 255], [255, 0], [7, 200]])
def test_a_palette_becomes_its_colours_and_their_alpha(alphas):
    colours = (b"PLTE", bytes([10, 20, 30, 200, 100, 50]))
    path = raw_png(1, 3, bytes([0b01000000]), 2, colours, (b"tRNS", bytes(alphas)))

    picture = images.read_picture(path)

    assert picture.pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert picture.alpha.tolist() == [alphas]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_pillow_turns_it(mode, orientation):
    photo = Image.fromarray(drawn((16, 24, 3))).convert(mode)
    path = save("image.jpg", photo, exif=turned(orientation))

    picture = images.read_picture(path)

    with Image.open(path) as image:
        require_equal(picture, np.asarray(ImageOps.exif_transpose(image)))


def test_alpha_is_turned_with_its_pixels():
    values = drawn((16, 24, 4), np.uint16)
    raw = imagecodecs.png_encode(values)
    content = b"eXIf" + turned(6).tobytes()[6:]
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    Path("image.png").write_bytes(raw[:33] + chunk + raw[33:])

    require_equal(images.read_picture(Path("image.png")), np.rot90(values, -1))


def test_a_cmyk_photograph_reads_as_its_colours():
    colours = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    path = save("image.jpg", Image.fromarray(colours).convert("CMYK"), quality=100)

    picture = images.read_picture(path)

    assert path.read_bytes().count(b"Adobe") == 1
    assert np.abs(picture.pixels.astype(int) - colours).max() <= 3


@pytest.mark.parametrize("channels", [3, 4])
def test_a_webp_reads_with_its_alpha(channels):
    values = drawn((20, 30, channels))
    save("image.webp", Image.fromarray(values), lossless=True, exact=True)

    require_equal(images.read_picture(Path("image.webp")), values)


def test_a_bmp_that_declares_its_alpha_keeps_it():
    values = drawn((20, 30, 4))
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 30, 20, 1, 32, 3, 2400, 0, 0, 0, 0) + masks
    start = b"BM" + struct.pack("<IHHI", 122 + 2400, 0, 0, 122)
    rows = values[::-1, :, [2, 1, 0, 3]].tobytes()
    Path("image.bmp").write_bytes(start + header + bytes(108 - len(header)) + rows)

    require_equal(images.read_picture(Path("image.bmp")), values)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_bmp_reads_as_the_colours_shown(mode):
    image = Image.fromarray(drawn((20, 30, 4))).convert("RGB" if mode == "P" else mode)
    path = save("image.bmp", image.quantize(16) if mode == "P" else image)

    picture = images.read_picture(path)

    with Image.open(path) as read:
        shown = {"1": "L", "P": "RGB"}.get(mode, mode)
        require_equal(picture, np.asarray(read.convert(shown)))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_the_profile_comes_with_the_colours_it_describes(suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colours = Image.fromarray(COLOURS)

    assert images.read_picture(save(f"a{suffix}", colours, icc_profile=profile)).icc == profile
    assert images.read_picture(save(f"b{suffix}", colours)).icc is None
    if suffix == ".jpg":
        cmyk = save("c.jpg", colours.convert("CMYK"), icc_profile=b"x" * 16 + b"CMYK" + b"x" * 200)
        assert images.read_picture(cmyk).icc is None
