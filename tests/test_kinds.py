"""Every kind of image file: read as it is, and written again as it was."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from sdabn_cli import images
from sdabn_cli.encoding import Raster, png_writer, tiff_writer
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_atomically
from sdabn_cli.pixels import Picture, from_unit, to_unit

HEIGHT, WIDTH = 37, 53
SHAPES = {1: (HEIGHT, WIDTH), 2: (HEIGHT, WIDTH, 2), 3: (HEIGHT, WIDTH, 3), 4: (HEIGHT, WIDTH, 4)}


def values(channels: int, dtype: type) -> np.ndarray:
    """An image of all brightnesses, (H, W) or (H, W, channels)."""
    random = np.random.default_rng(channels)
    if dtype is np.float32:
        return random.uniform(-0.2, 1.2, SHAPES[channels]).astype(np.float32)
    return random.integers(0, np.iinfo(dtype).max, SHAPES[channels], dtype, endpoint=True)


def channels_of(picture: Picture) -> np.ndarray:
    """Pixels and alpha of a picture, as they were in one array."""
    pixels = np.asarray(picture.pixels[:, :])
    if picture.alpha is None:
        return pixels
    return np.concatenate([np.atleast_3d(pixels), picture.alpha[:, :][..., None]], axis=2)


def raster(picture: Picture) -> Raster:
    """What writes a picture again, in bands of ten rows."""
    array = channels_of(picture)
    bands = [array[top : top + 10] for top in range(0, HEIGHT, 10)]
    return Raster(array.shape, array.dtype, bands, icc=picture.icc)


def rewritten(picture: Picture, name: str) -> Path:
    writer = (
        tiff_writer([raster(picture)]) if name.endswith(".tif") else png_writer(raster(picture))
    )
    write_atomically(Path(name), writer)
    return Path(name)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_8_bits(channels):
    array = values(channels, np.uint8)
    Image.fromarray(array).save("in.png")

    picture = images.read_picture(Path("in.png"))

    assert np.array_equal(channels_of(picture), array)
    assert np.array_equal(np.asarray(Image.open(rewritten(picture, "out.png"))), array)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(channels):
    array = values(channels, np.uint16)
    Path("in.png").write_bytes(imagecodecs.png_encode(array))

    picture = images.read_picture(Path("in.png"))
    again = rewritten(picture, "out.png")

    assert np.array_equal(channels_of(picture), array)
    assert np.array_equal(imagecodecs.png_decode(again.read_bytes()), array)


def test_png_of_1_bit_is_grey():
    bits = values(1, np.uint8) > 127
    Image.fromarray(bits).save("in.png")

    picture = images.read_picture(Path("in.png"))

    assert np.array_equal(picture.pixels, bits * np.uint8(255))
    assert np.array_equal(np.asarray(Image.open(rewritten(picture, "out.png"))), picture.pixels)


@pytest.mark.parametrize("transparent", [False, True])
def test_png_with_a_palette_is_colour(transparent):
    ids = values(1, np.uint8) % 3
    colours = np.array([[250, 10, 30], [0, 100, 0], [7, 8, 9]], np.uint8)
    image = Image.fromarray(ids, "P")
    image.putpalette(colours.ravel().tolist())
    image.save("in.png", **({"transparency": 1} if transparent else {}))

    picture = images.read_picture(Path("in.png"))

    assert np.array_equal(picture.pixels, colours[ids])
    assert (picture.alpha is not None) == transparent
    if transparent:
        assert np.array_equal(picture.alpha, np.where(ids == 1, 0, 255))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("spooled", [False, True])
def test_tiff_of_every_depth(dtype, channels, spooled, tmp_path):
    array = values(channels, dtype)
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    kind = "rgb" if channels >= 3 else "minisblack"
    if channels > 1:
        extra["planarconfig"] = "contig"
    tifffile.imwrite("in.tif", array, photometric=kind, metadata=None, **extra)

    picture = images.read_picture(Path("in.tif"), spool=tmp_path if spooled else None)
    again = rewritten(picture, "out.tif")

    assert picture.pixels.dtype == dtype
    assert np.array_equal(channels_of(picture), array)
    assert np.array_equal(tifffile.imread(again), array)


@pytest.mark.parametrize(
    "how",
    [
        {"tile": (16, 32)},
        {"tile": (16, 32), "compression": "lzw", "predictor": True},
        {"rowsperstrip": 5, "compression": "zlib"},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "tile": (16, 32)},
    ],
    ids=str,
)
@pytest.mark.parametrize("spooled", [False, True])
def test_tiff_of_every_layout(how, spooled, tmp_path):
    array = values(3, np.uint16)
    stored = np.moveaxis(array, -1, 0) if "planarconfig" in how else array
    tifffile.imwrite("in.tif", stored, photometric="rgb", metadata=None, **how)

    picture = images.read_picture(Path("in.tif"), spool=tmp_path if spooled else None)

    assert np.array_equal(picture.pixels[:, :], array)
    window = (slice(3, 30), slice(10, 47))
    assert np.array_equal(picture.pixels[window], array[window])


def test_tiff_whose_zero_is_white_is_inverted(tmp_path):
    array = values(1, np.uint8)
    tifffile.imwrite("in.tif", array, photometric="miniswhite")

    for spool in (None, tmp_path):
        picture = images.read_picture(Path("in.tif"), spool=spool)
        assert np.array_equal(picture.pixels[:, :], 255 - array)


@pytest.mark.parametrize("bits", [1, 4, 12])
def test_tiff_of_few_bits_fills_the_range(bits):
    array = values(1, np.uint16) >> (16 - bits)
    kind = np.uint8 if bits < 8 else np.uint16
    tifffile.imwrite("in.tif", array.astype(kind), bitspersample=bits, photometric="minisblack")

    pixels = images.read_picture(Path("in.tif")).pixels

    full = np.iinfo(kind).max
    assert pixels.dtype == kind
    assert np.abs(pixels - array * (full / (2**bits - 1))).max() <= 0.5


def test_tiff_of_several_pages_is_read_page_by_page():
    pages = [values(3, np.uint8), values(3, np.uint8)[::-1], values(1, np.uint8)]
    with tifffile.TiffWriter("in.tif") as file:
        for page in pages:
            kind = "rgb" if page.ndim == 3 else "minisblack"
            file.write(page, photometric=kind, metadata=None)

    assert images.count_pages(Path("in.tif")) == 3
    for number, page in enumerate(pages):
        assert np.array_equal(images.read_picture(Path("in.tif"), number).pixels, page)


def test_pages_are_written_to_one_tiff():
    pictures = [Picture(values(3, np.uint8)), Picture(values(1, np.uint16))]
    write_atomically(Path("out.tif"), tiff_writer(raster(picture) for picture in pictures))

    for number, picture in enumerate(pictures):
        assert np.array_equal(tifffile.imread("out.tif", key=number), picture.pixels)


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_no_numbers_are_refused(value, spooled, tmp_path):
    array = values(3, np.float32)
    array[5, 6, 1] = value
    tifffile.imwrite("in.tif", array, photometric="rgb")

    with pytest.raises(SdabnError, match=r"in\.tif holds NaN or infinite"):
        images.read_picture(Path("in.tif"), spool=tmp_path if spooled else None)


def test_floats_on_another_scale_are_refused():
    tifffile.imwrite("in.tif", values(3, np.float32) * 255, photometric="rgb")

    with pytest.raises(SdabnError, match=r"(?s)values from .* to 30[56].*divide by"):
        images.read_picture(Path("in.tif"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "deep.png", "tif"])
def test_images_stored_turned_are_shown_upright(orientation, kind):
    upright = np.zeros((16, 48), np.uint8)
    upright[:8, :16] = 200  # the upper left corner is bright
    backwards = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    stored = Image.fromarray(upright)
    method = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(backwards)
    stored = stored if method is None else stored.transpose(Image.Transpose(method))
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "deep.png":
        stored = Image.fromarray(np.asarray(stored).astype(np.uint16) * 257)
    stored.save(f"in.{kind}", exif=exif)

    pixels = images.read_picture(Path(f"in.{kind}")).pixels

    assert pixels.shape == upright.shape
    assert np.abs(to_unit(np.asarray(pixels)) * 255 - upright).max() < 12


def test_jpeg_of_inks_is_colour():
    array = np.zeros((16, 16, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    Image.fromarray(array).convert("CMYK").save("in.jpg", quality=95)

    pixels = images.read_picture(Path("in.jpg")).pixels

    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - array).max() < 8


@pytest.mark.parametrize("channels", [3, 4])
def test_webp(channels):
    array = values(channels, np.uint8)
    Image.fromarray(array).save("in.webp", lossless=True, exact=True)

    assert np.array_equal(channels_of(images.read_picture(Path("in.webp"))), array)


def test_the_colour_profile_is_kept():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(values(3, np.uint8)).save("in.png", icc_profile=profile)

    picture = images.read_picture(Path("in.png"))

    assert Image.open(rewritten(picture, "out.png")).info["icc_profile"] == profile
    assert images.read_picture(rewritten(picture, "out.tif")).icc == profile


def test_class_ids_are_written_as_a_palette_tiff():
    ids = values(1, np.uint8) % 3
    palette = [(250, 10, 30), (0, 100, 0), (7, 8, 9)]
    page = Raster(ids.shape, np.uint8, [ids[:20], ids[20:]], palette=palette)

    write_atomically(Path("labels.tif"), tiff_writer([page]))

    assert np.array_equal(tifffile.imread("labels.tif"), ids)
    assert np.array_equal(images.read_labels(Path("labels.tif")), ids)
    assert np.array_equal(Image.open("labels.tif").convert("RGB"), np.array(palette)[ids])


def test_floats_do_not_go_into_a_png():
    with pytest.raises(SdabnError, match="PNG files cannot hold float32 values"):
        rewritten(Picture(values(3, np.float32)), "out.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_value_survives_the_way_to_floats_and_back(dtype):
    every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)

    assert np.array_equal(from_unit(to_unit(every), dtype), every)
