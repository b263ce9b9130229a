"""TIFF files of every kind, written by other programs, read page by page, in memory and spooled."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from sdabn_cli import images, tiff
from sdabn_cli.errors import SdabnError

HEIGHT, WIDTH = 70, 90
DEPTHS = [np.uint8, np.uint16, np.float32]


def drawn(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Random values over the whole range of a type; floats from 0 to 1."""
    unit = np.random.default_rng(0).random(shape)
    scale = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    return (unit * scale).astype(dtype)


def written(values: np.ndarray, **options: object) -> Path:
    path = Path("image.tif")
    options.setdefault("photometric", "rgb" if values.shape[-1] in (3, 4) else "minisblack")
    tifffile.imwrite(path, values, **options)
    return path


@pytest.fixture(params=["memory", "spooled"])
def read(request, tmp_path):
    """``read_picture`` into memory or into temporary files, with arrays in both cases."""
    spool = tmp_path / "spool" if request.param == "spooled" else None
    if spool:
        spool.mkdir()

    def read_page(path: Path, page: int = 0, **options: object) -> images.Picture:
        picture = images.read_picture(path, page, spool=spool, **options)
        arrays = [picture.pixels, picture.alpha]
        assert all(isinstance(a, tiff.Spooled) == bool(spool) for a in arrays if a is not None)
        if spool:
            arrays = [a if a is None else a[:, :] for a in arrays]
        return images.Picture(arrays[0], arrays[1], picture.icc)

    return read_page


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 7, "compression": "lzw"},
        {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
        {"tile": (32, 48)},
        {"tile": (32, 48), "compression": "zstd"},
        {"tile": (32, 48), "compression": "lzma", "bigtiff": True, "byteorder": ">"},
        {"bigtiff": True, "byteorder": ">"},
        {"compression": "packbits"},
    ],
    ids=str,
)
def test_values_come_back_as_they_were_written(read, dtype, channels, options):
    values = drawn((HEIGHT, WIDTH, *channels), dtype)

    picture = read(written(values, **options))

    assert picture.pixels.dtype == dtype
    assert np.array_equal(picture.pixels, values)
    assert picture.alpha is None


@pytest.mark.parametrize("options", [{}, {"tile": (32, 32), "compression": "zlib"}], ids=str)
@pytest.mark.parametrize("channels", [3, 4])
def test_planes_of_colours_become_pixels(read, options, channels):
    values = drawn((channels, HEIGHT, WIDTH), np.uint16)

    picture = read(written(values, photometric="rgb", planarconfig="separate", **options))

    assert np.array_equal(picture.pixels, values[:3].transpose(1, 2, 0))
    assert (picture.alpha is None) == (channels == 3)
    if channels == 4:
        assert np.array_equal(picture.alpha, values[3])


def test_planes_leave_no_temporary_files_behind(tmp_path):
    values = drawn((3, HEIGHT, WIDTH))
    path = written(values, photometric="rgb", planarconfig="separate")
    (tmp_path / "spool").mkdir()

    images.read_picture(path, spool=tmp_path / "spool")

    assert len(list((tmp_path / "spool").iterdir())) == 1


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_kept_beside_the_pixels(read, dtype, channels):
    values = drawn((HEIGHT, WIDTH, channels), dtype)
    photometric = "rgb" if channels == 4 else "minisblack"

    picture = read(
        written(values, photometric=photometric, planarconfig="contig", extrasamples=["unassalpha"])
    )

    assert np.array_equal(picture.pixels, values[..., :3] if channels == 4 else values[..., 0])
    assert np.array_equal(picture.alpha, values[..., -1])


@pytest.mark.parametrize("dtype", DEPTHS)
def test_colours_multiplied_by_alpha_are_divided_again(read, dtype):
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    values = np.zeros((2, 2, 4), dtype)
    values[0, 0] = [white // 5 if white > 1 else 0.2] * 3 + [white // 5 * 2 if white > 1 else 0.4]
    values[0, 1] = [white] * 4

    picture = read(written(values, photometric="rgb", extrasamples=["assocalpha"]))

    assert picture.pixels[0, 0] == pytest.approx(white / 2, abs=white / 250)
    assert (picture.pixels[0, 1] == white).all()
    assert (picture.pixels[1] == 0).all()
    assert np.array_equal(picture.alpha, values[..., 3])


@pytest.mark.parametrize("dtype", DEPTHS)
def test_white_that_is_stored_as_zero_is_inverted(read, dtype):
    values = drawn((HEIGHT, WIDTH), dtype)
    white = dtype(1) if dtype == np.float32 else np.iinfo(dtype).max

    picture = read(written(values, photometric="miniswhite"))

    assert np.array_equal(picture.pixels, (white - values).astype(dtype))


@pytest.mark.parametrize("compression", [None, "group4", "tiff_lzw"])
def test_one_bit_becomes_black_and_white(read, compression):
    values = drawn((HEIGHT, 93)) > 127
    Image.fromarray(values).save("image.tif", compression=compression)

    picture = read(Path("image.tif"))

    assert np.array_equal(picture.pixels, values.astype(np.uint8) * 255)


@pytest.mark.parametrize(("bits", "dtype"), [(2, np.uint8), (4, np.uint8), (12, np.uint16)])
def test_the_largest_value_of_fewer_bits_is_white(read, bits, dtype):
    values = drawn((HEIGHT, WIDTH), np.uint16) % (1 << bits)

    picture = read(written(values.astype(dtype), bitspersample=bits))

    expected = np.round(values / (2**bits - 1) * np.iinfo(dtype).max)
    assert picture.pixels.dtype == dtype
    assert np.array_equal(picture.pixels, expected)


@pytest.mark.parametrize("scale", [257, 1])
def test_palettes_become_the_colours_shown(read, scale):
    ids, colours = drawn((HEIGHT, WIDTH)), drawn((3, 256)).astype(np.uint16)

    picture = read(written(ids, photometric="palette", colormap=colours * np.uint16(scale)))

    assert picture.pixels.dtype == np.uint8
    assert np.array_equal(picture.pixels, colours.T[ids])


def test_cmyk_becomes_the_rgb_that_pillow_shows(read):
    inks = drawn((HEIGHT, WIDTH, 4))
    path = written(inks, photometric="separated")

    picture = read(path)

    with Image.open(path) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(picture.pixels - shown).max() <= 1


@pytest.mark.parametrize("compression", ["jpeg", "webp", "jpeg2000"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_segments_that_are_images_are_decoded(read, compression, tile):
    across = np.linspace(0, 200, WIDTH, dtype=np.uint8)
    values = np.stack([np.tile(across, (HEIGHT, 1))] * 3, axis=2)

    picture = read(written(values, compression=compression, tile=tile, photometric="rgb"))

    assert np.abs(picture.pixels.astype(int) - values).max() < 20


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_whose_tables_lie_in_the_header_are_decoded(read, mode):
    across = np.linspace(0, 200, WIDTH, dtype=np.uint8)
    values = np.stack([np.tile(across, (HEIGHT, 1))] * 3, axis=2)
    Image.fromarray(values).convert(mode).save("image.tif", compression="jpeg", quality=95)

    picture = read(Path("image.tif"))

    expected = values[..., 0] if mode == "L" else values
    assert np.abs(picture.pixels.astype(int) - expected).max() < 20


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_become_float32(read, dtype):
    values = drawn((HEIGHT, WIDTH), dtype)

    picture = read(written(values))

    assert picture.pixels.dtype == np.float32
    assert np.array_equal(picture.pixels, values.astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_no_numbers_are_refused(read, value):
    values = drawn((HEIGHT, WIDTH), np.float32)
    values[40, 3] = value

    with pytest.raises(SdabnError, match=r"image\.tif holds NaN or infinite values\.\nGive them"):
        read(written(values))


@pytest.mark.parametrize("value", [-1.5, 4.5, 255])
def test_floats_far_outside_of_zero_to_one_are_refused(read, value):
    values = drawn((HEIGHT, WIDTH), np.float32)
    values[40, 3] = value

    with pytest.raises(SdabnError, match=rf"image\.tif holds values .*{value:g}.*\n.*divide by"):
        read(written(values))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.uint64, np.complex64])
def test_other_types_are_refused_with_those_that_are_read(read, dtype):
    path = written(np.ones((HEIGHT, WIDTH), dtype))

    with pytest.raises(SdabnError, match=rf"holds {np.dtype(dtype)} values\.\n.*uint16, float16"):
        read(path)


def test_pages_that_are_lost_are_not_left_out_in_silence():
    path = written(drawn((3, HEIGHT, WIDTH)), compression="zlib")
    with tifffile.TiffFile(path) as file:
        end = file.pages[1].dataoffsets[-1] + file.pages[1].databytecounts[-1]
    path.write_bytes(path.read_bytes()[:end])

    with pytest.raises(SdabnError, match="damaged: the page behind its page 2 is lost"):
        images.count_pages(path)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}])
def test_every_page_of_a_stack_is_read(read, options):
    stack = drawn((5, HEIGHT, WIDTH), np.uint16)
    path = Path("image.ome.tif" if "ome" in options else "image.tif")
    tifffile.imwrite(path, stack, photometric="minisblack", **options)

    assert images.count_pages(path) == 5
    for number in range(5):
        assert np.array_equal(read(path, number).pixels, stack[number])


def test_pages_of_colours_and_of_different_sizes_are_read(read):
    with tifffile.TiffWriter("image.tif") as writer:
        writer.write(drawn((20, 30, 3)), photometric="rgb")
        writer.write(drawn((30, 20), np.uint16), photometric="minisblack")
    path = Path("image.tif")

    assert images.count_pages(path) == 2
    assert read(path, 0).pixels.shape == (20, 30, 3)
    assert np.array_equal(read(path, 1).pixels, drawn((30, 20), np.uint16))


@pytest.mark.parametrize("page", [-1, 2])
def test_a_page_that_is_not_there_is_named(read, page):
    path = written(drawn((2, HEIGHT, WIDTH)))

    with pytest.raises(SdabnError, match=rf"image\.tif has no page {page}\.\nIts pages are 0 to 1"):
        read(path, page)


def test_a_stack_behind_a_single_page_is_refused_instead_of_cut():
    path = written(drawn((3, HEIGHT, WIDTH)), imagej=True)
    with tifffile.TiffFile(path, mode="r+b") as file:
        # The first page's link to the next one, which ImageJ leaves out in large stacks.
        offset = file.pages[0].offset + 2 + 12 * len(file.pages[0].tags)
        file.filehandle.seek(offset)
        file.filehandle.write(bytes(4))

    with pytest.raises(SdabnError, match="ImageJ stack of 3 images with 1 TIFF page"):
        images.count_pages(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{"tile": (32, 16)}, {"rowsperstrip": 9}], ids=str)
def test_turns_are_applied_to_pixels_and_alpha(read, orientation, options):
    values = drawn((HEIGHT, WIDTH, 4))
    tag = (274, "H", 1, orientation, True)
    path = written(values, extratags=[tag], compression="zlib", **options)

    picture = read(path)

    turned = Image.fromarray(values)
    turned.getexif()[274] = orientation
    turned.save("turned.png", exif=turned.getexif())
    expected = images.read_picture(Path("turned.png"))
    with Image.open("turned.png") as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert images.read_size(path) == shown.shape[:2]
    for found in (picture, expected):
        assert np.array_equal(found.pixels, shown[..., :3])
        assert np.array_equal(found.alpha, shown[..., 3])


def test_a_profile_comes_with_the_pixels(read):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    assert read(written(drawn((9, 9, 3)), iccprofile=profile)).icc == profile
    assert read(written(drawn((9, 9)), iccprofile=profile)).icc is None


@pytest.mark.parametrize("count", [images.count_pages, images.read_picture])
def test_every_page_is_measured_before_it_is_decoded(count):
    path = written(drawn((HEIGHT, WIDTH)))

    with pytest.raises(SdabnError, match=r"90 x 70 pixels\.\n.*up to 6,299 pixels; --max-pixels"):
        count(path, max_pixels=6299)
    count(path, max_pixels=6300)


def test_a_large_page_behind_small_ones_is_found():
    with tifffile.TiffWriter("image.tif") as writer:
        writer.write(drawn((20, 30)))
        writer.write(drawn((200, 30)))

    with pytest.raises(SdabnError, match="30 x 200 pixels"):
        images.count_pages(Path("image.tif"), max_pixels=1000)


def patched(path: Path, tag: int, value: int) -> Path:
    """Overwrite the value of a tag in the file."""
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[tag].overwrite(value)
    return path


def test_tiles_larger_than_what_is_allowed_are_refused():
    path = patched(written(drawn((32, 32)), tile=(32, 32), compression="zlib"), 322, 1 << 16)
    path = patched(path, 323, 1 << 15)

    with pytest.raises(SdabnError, match=r"tiles of 65536 x 32768 pixels"):
        images.read_picture(path)


def test_a_segment_that_announces_more_than_its_place_is_not_decoded(read):
    path = written(drawn((64, 64, 3)), tile=(64, 64), compression="jpeg", photometric="rgb")
    raw = path.read_bytes()
    start = raw.index(b"\xff\xc0") + 5
    path.write_bytes(raw[:start] + struct.pack(">HH", 60000, 60000) + raw[start + 4 :])

    with pytest.raises(SdabnError, match=r"damaged: a segment of 64 x 64 pixels holds 60000 x 6"):
        read(path)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp"])
def test_a_segment_without_a_header_is_damage(read, compression):
    path = written(drawn((64, 64, 3)), compression=compression, photometric="rgb")
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[0]
    raw = bytearray(path.read_bytes())
    raw[start : start + 400] = bytes(400)
    path.write_bytes(raw)

    with pytest.raises(SdabnError, match=r"image\.tif is damaged: the header of a strip or tile"):
        read(path)


def test_more_samples_than_colours_and_alpha_are_refused(read):
    path = written(drawn((HEIGHT, WIDTH, 7)), planarconfig="contig")

    with pytest.raises(SdabnError, match="7 samples a pixel"):
        read(path)


def test_colour_spaces_that_are_not_read_are_named(read):
    path = written(drawn((HEIGHT, WIDTH, 3)), photometric="cielab")

    with pytest.raises(SdabnError, match="colour space CIELAB"):
        read(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_ends_too_early_is_damaged(read, compression):
    path = written(drawn((HEIGHT, WIDTH)), compression=compression, rowsperstrip=9)
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(SdabnError, match=r"image\.tif is damaged"):
        read(path)


def test_broken_compression_is_damage(read):
    path = written(drawn((HEIGHT, WIDTH)), compression="zlib")
    raw = bytearray(path.read_bytes())
    raw[-3000:-2000] = bytes(1000)
    path.write_bytes(raw)

    with pytest.raises(SdabnError, match=r"image\.tif is damaged"):
        read(path)


def test_a_header_alone_is_damaged(read):
    Path("image.tif").write_bytes(b"II*\0\x08\0\0\0")

    with pytest.raises(SdabnError, match=r"image\.tif is damaged"):
        read(Path("image.tif"))


@pytest.mark.parametrize("options", [{"tile": (256, 256), "compression": "zlib"}, {}], ids=str)
def test_spooled_reading_never_holds_the_image(tmp_path, options):
    side = 4000
    row = np.arange(side, dtype=np.uint16)
    values = row[:, None] * np.uint16(3) + row[None, :]
    path = written(values, **options)
    tracemalloc.start()
    try:
        picture = images.read_picture(path, spool=tmp_path)
        window = picture.pixels[1000:1100, 3900:4000]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < values.nbytes / 4
    assert np.array_equal(window, values[1000:1100, 3900:4000])
    assert np.array_equal(picture.pixels[:, :], values)


def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    path = written(drawn((HEIGHT, WIDTH)))
    monkeypatch.setattr("sdabn_cli.pixels.Canvas._write", fail)

    with pytest.raises(SdabnError, match="cannot be written: No space left on device"):
        images.read_picture(path, spool=tmp_path)
