"""What is written is read back equal, by this program and by others."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from sdabn_cli import images
from sdabn_cli.encoding import Raster, png_writer, tiff_writer
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import Writer, write_atomically

HEIGHT, WIDTH = 70, 90
CHANNELS = [(), (2,), (3,), (4,)]
PALETTE = [(10, 20, 30), (40, 50, 60), (70, 80, 90)]


def drawn(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Random values over the whole range of a type; floats from 0 to 1."""
    unit = np.random.default_rng(0).random(shape)
    scale = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    return (unit * scale).astype(dtype)


def raster(values: np.ndarray, heights: int = 13, **options: object) -> Raster:
    """A raster in bands of a number of rows."""
    bands = (values[row : row + heights] for row in range(0, len(values), heights))
    return Raster(values.shape, values.dtype, bands, **options)


def written(name: str, write: Writer) -> Path:
    write_atomically(Path(name), write)
    return Path(name)


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def require_equal(picture: images.Picture, values: np.ndarray) -> None:
    """Require that a picture holds the values (H, W[, C]) written."""
    channels = values.shape[2] if values.ndim == 3 else 1
    grey = channels < 3
    colours = values.reshape(*values.shape[:2], channels)
    expected = colours[..., 0] if grey else colours[..., :3]
    assert picture.pixels.dtype == values.dtype
    assert np.array_equal(picture.pixels, expected)
    assert (picture.alpha is not None) == (channels in (2, 4))
    if picture.alpha is not None:
        assert np.array_equal(picture.alpha, colours[..., -1])


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_holds_what_was_written(dtype, channels):
    values = drawn((HEIGHT, WIDTH, *channels), dtype)

    path = written("image.png", png_writer(raster(values)))

    require_equal(images.read_picture(path), values)
    assert np.array_equal(imagecodecs.png_decode(path.read_bytes()), values)
    with Image.open(path) as image:
        image.verify()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(3,), (4,)])
def test_a_png_keeps_its_profile(dtype, channels):
    values = drawn((HEIGHT, WIDTH, *channels), dtype)

    path = written("image.png", png_writer(raster(values, icc=srgb())))

    assert images.read_picture(path).icc == srgb()
    require_equal(images.read_picture(path), values)
    with Image.open(path) as image:
        assert image.info["icc_profile"] == srgb()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_a_png_of_other_values_is_refused(dtype):
    with pytest.raises(SdabnError, match=rf"cannot hold {np.dtype(dtype)} values\.\nWrite TIFF"):
        png_writer(Raster((2, 2), dtype, []))


@pytest.mark.parametrize("name", ["labels.png", "labels.tif"])
def test_class_ids_keep_their_values_and_show_their_colours(name):
    ids = np.array([[0, 2, 1], [1, 255, 200]], np.uint8)
    one = raster(ids, palette=PALETTE)

    path = written(name, png_writer(one) if name.endswith("png") else tiff_writer([one]))

    assert images.read_labels(path).tolist() == ids.tolist()
    shown = images.read_picture(path).pixels
    assert [tuple(shown[0, 0]), tuple(shown[0, 2]), tuple(shown[0, 1])] == PALETTE
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == ids.tolist()
        assert tuple(np.asarray(image.convert("RGB"))[0, 2]) == PALETTE[1]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_tiff_holds_what_was_written(dtype, channels, monkeypatch):
    monkeypatch.setattr("sdabn_cli.encoding.STRIP", 4096)
    values = drawn((HEIGHT, WIDTH, *channels), dtype)

    path = written("image.tif", tiff_writer([raster(values)]))

    require_equal(images.read_picture(path), values)
    with tifffile.TiffFile(path) as file:
        assert np.array_equal(file.pages[0].asarray(), values)
        assert not file.is_bigtiff
        assert file.pages[0].compression == 8
        assert file.pages[0].extrasamples == ((2,) if channels in [(2,), (4,)] else ())
        assert len(file.pages[0].dataoffsets) > 1


@pytest.mark.parametrize(
    ("dtype", "channels"),
    [(np.uint8, ()), (np.uint8, (3,)), (np.uint8, (4,)), (np.uint16, ()), (np.float32, ())],
)
def test_pillow_reads_the_tiffs_written(dtype, channels):
    values = drawn((HEIGHT, WIDTH, *channels), dtype)

    path = written("image.tif", tiff_writer([raster(values)]))

    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), values)


@pytest.mark.parametrize("heights", [1, 5, 70, 1000])
def test_bands_of_any_height_give_the_same_file(heights):
    values = drawn((HEIGHT, WIDTH, 3), np.uint16)

    path = written("image.tif", tiff_writer([raster(values, heights)]))

    assert np.array_equal(tifffile.imread(path), values)


def test_every_raster_becomes_a_page_with_its_profile():
    pages = [drawn((20, 30, 3)), drawn((30, 20), np.uint16), drawn((20, 30, 3))]
    profiles = [srgb(), None, None]

    path = written(
        "image.tif",
        tiff_writer([raster(p, icc=icc) for p, icc in zip(pages, profiles, strict=True)]),
    )

    assert images.count_pages(path) == 3
    for number, page in enumerate(pages):
        require_equal(images.read_picture(path, number), page)
        assert images.read_picture(path, number).icc == profiles[number]
    with tifffile.TiffFile(path) as file:
        assert [np.array_equal(p.asarray(), v) for p, v in zip(file.pages, pages, strict=True)]


def test_large_files_and_those_of_unknown_size_are_bigtiffs():
    values = drawn((HEIGHT, WIDTH))
    by_size = written("size.tif", tiff_writer([raster(values)], nbytes=(2 << 30) + 1))
    unknown = written("unknown.tif", tiff_writer(raster(values) for _ in range(2)))
    small = written("small.tif", tiff_writer((raster(values) for _ in range(2)), nbytes=12600))

    assert [p.read_bytes()[:4] for p in (by_size, unknown, small)] == [
        b"II+\0", b"II+\0", b"II*\0",
    ]  # fmt: skip
    for path in (by_size, unknown, small):
        assert np.array_equal(images.read_picture(path).pixels, values)


@pytest.mark.parametrize("writer", [png_writer, lambda one: tiff_writer([one])])
@pytest.mark.parametrize("rows", [69, 71])
def test_bands_that_do_not_add_up_leave_no_file(writer, rows):
    values = drawn((rows, WIDTH))
    wrong = Raster((HEIGHT, WIDTH), np.uint8, [values])

    with pytest.raises(ValueError, match=f"Bands of {rows} rows"):
        written("image.out", writer(wrong))
    assert not list(Path().iterdir())


@pytest.mark.parametrize("band", [drawn((9, 8)), drawn((9, 9), np.uint16), drawn((9, 9, 3))])
def test_bands_of_another_kind_are_refused(band):
    with pytest.raises(ValueError, match="A band uint"):
        png_writer(Raster((9, 9), np.uint8, [band]))(io.BytesIO())


@pytest.mark.parametrize(
    ("shape", "dtype", "colours"),
    [((9, 9), np.uint16, 3), ((9, 9, 3), np.uint8, 3), ((9, 9), np.uint8, 257)],
)
def test_a_palette_of_anything_but_eight_bit_ids_is_refused(shape, dtype, colours):
    with pytest.raises(ValueError, match="up to 256 colours"):
        Raster(shape, dtype, [], [(0, 0, 0)] * colours)


def test_writing_a_large_tiff_never_holds_the_image():
    side, heights = 4000, 100

    def bands() -> Iterator[np.ndarray]:
        row = np.arange(side, dtype=np.uint16)
        for start in range(0, side, heights):
            yield row[start : start + heights, None] * np.uint16(3) + row[None, :]

    tracemalloc.start()
    try:
        path = written("image.tif", tiff_writer([Raster((side, side), np.uint16, bands())]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < side * side * 2 / 4
    assert np.array_equal(tifffile.imread(path), np.concatenate(list(bands())))
