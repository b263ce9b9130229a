"""Image files: every kind reads as the colours a person sees; bad ones are named."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from fixtures_images import COLOURS, GREY, drawn, raw_png, save, turned
from PIL import Image

from sdabn_cli import images
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_together


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=2)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colour_images_read_as_the_colours_shown(mode, suffix):
    image = Image.fromarray(COLOURS)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    path = save(
        f"image{suffix}", image if suffix == ".tif" or mode != "CMYK" else Image.fromarray(COLOURS)
    )

    array = images.read_image(path)

    assert array.dtype == np.uint8
    assert np.array_equal(array, COLOURS)


def test_alpha_is_left_out_and_never_blended():
    alpha = np.array([[0, 50], [128, 255]], np.uint8)

    path = save("image.png", Image.fromarray(np.dstack([COLOURS, alpha])))

    assert np.array_equal(images.read_image(path), COLOURS)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_images_become_three_equal_channels(mode):
    grey = GREY if mode != "1" else np.array([[0, 255], [255, 0]], np.uint8)

    array = images.read_image(save("image.png", Image.fromarray(grey).convert(mode)))

    assert np.array_equal(array, as_rgb(grey))


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_sixteen_bit_grey_keeps_its_depth(name):
    deep = np.array([[0, 1000], [40000, 65535]], np.uint16)

    array = images.read_image(save(name, Image.fromarray(deep)))

    assert array.dtype == np.uint16
    assert np.array_equal(array, as_rgb(deep))
    assert images.to_unit(array).max() == 1.0


def test_big_endian_sixteen_bit_tiff_is_not_flattened_to_white():
    deep = np.array([[0, 1000], [40000, 65535]], np.uint16)
    header = struct.pack(">2sHI", b"MM", 42, 8)
    tags = [(256, 3, 2), (257, 3, 2), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 134),
            (277, 3, 1), (278, 3, 2), (279, 4, 8)]  # fmt: skip
    entries = b"".join(
        struct.pack(">HHIHH", tag, 3, 1, value, 0)
        if kind == 3
        else struct.pack(">HHII", tag, 4, 1, value)
        for tag, kind, value in tags
    )
    body = struct.pack(">H", len(tags)) + entries + bytes(4)
    content = header + body
    content += bytes(134 - len(content)) + deep.astype(">u2").tobytes()
    Path("image.tif").write_bytes(content)

    array = images.read_image(Path("image.tif"))

    assert np.array_equal(array, as_rgb(deep))


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1 / 70000), (np.int32, 1)])
def test_values_of_another_type_are_refused_instead_of_clipped(dtype, scale):
    values = (np.array([[0, 1], [300, 70000]]) * scale).astype(dtype)
    path = save("image.tif", Image.fromarray(values))

    with pytest.raises(SdabnError, match="8- and 16-bit images are read"):
        images.read_image(path)


def test_exif_turns_are_applied():
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, :16] = 250
    # 6: turn clockwise by 90 degrees: the left half comes to the top
    path = save("image.jpg", Image.fromarray(wide), exif=turned(6), quality=95)

    array = images.read_image(path)

    assert array.shape == (32, 16, 3)
    assert array[:14].min() > 200
    assert array[18:].max() < 50


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_turns_of_deep_tiffs_are_applied_once(compression):
    wide = np.zeros((16, 32), np.uint16)
    wide[:, :16] = 60000
    path = save("image.tif", Image.fromarray(wide), exif=turned(6), compression=compression)

    array = images.read_image(path)

    assert array.shape == (32, 16, 3)
    assert array[:16].min() == 60000
    assert array[16:].max() == 0


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
@pytest.mark.parametrize(
    ("suffix", "wide"),
    [(suffix, np.zeros((16, 32, 3), np.uint8)) for suffix in (".png", ".jpg", ".tif", ".webp")]
    + [(suffix, np.zeros((16, 32), np.uint16)) for suffix in (".png", ".tif")],
)
def test_the_size_in_the_header_is_that_of_the_image_read(suffix, wide, orientation):
    path = save(f"image{suffix}", Image.fromarray(wide), exif=turned(orientation))

    assert images.read_size(path) == images.read_image(path).shape[:2]
    assert images.read_size(path) == ((32, 16) if orientation > 4 else (16, 32))


def test_the_size_is_read_without_decoding():
    path = noisy_png("image.png")
    path.write_bytes(path.read_bytes()[:200])

    assert images.read_size(path) == (40, 40)


READERS = [images.read_image, images.read_labels, images.read_size]


def several(suffix: str) -> Path:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY.T)]
    return save(f"image{suffix}", frames[0], save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("read", READERS)
def test_a_file_of_several_pages_is_refused_where_one_image_is_read(read):
    with pytest.raises(SdabnError, match=r"holds 2 pages\.\nOne image a file is read"):
        read(several(".tif"))


@pytest.mark.parametrize("read", [*READERS, images.count_pages, images.read_picture])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif"])
def test_animations_are_refused(read, suffix):
    with pytest.raises(SdabnError, match=r"image\.\w+ is an animation of 2 frames\.\nSave its"):
        read(several(suffix))


def test_of_a_photograph_with_a_preview_the_photograph_is_read():
    photo, preview = (Image.fromarray(np.full((16, 16, 3), grey, np.uint8)) for grey in (200, 50))
    path = save("image.jpg", photo, format="MPO", save_all=True, append_images=[preview])

    assert images.read_image(path).min() > 190


@pytest.mark.parametrize("read", [images.read_image, images.read_labels, images.read_size])
@pytest.mark.parametrize("refused", ["is_file", "open"])
def test_a_file_that_may_not_be_read_is_called_so(read, refused, monkeypatch):
    path = noisy_png("image.png")

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(*((Path, "is_file") if refused == "is_file" else (Image, "open")), refuse)

    with pytest.raises(SdabnError, match=r"image\.png cannot be read: Permission denied\."):
        read(path)


def noisy_png(name: str) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    return save(name, Image.fromarray(noise))


def broken_chunk(path: Path) -> None:
    """Give a PNG a second data chunk whose name is not one."""
    raw = path.read_bytes()
    end = raw.index(b"IDAT") - 4
    length = struct.unpack(">I", raw[end : end + 4])[0]
    half = raw[end + 8 : end + 8 + length // 2]
    first = (
        struct.pack(">I", len(half))
        + b"IDAT"
        + half
        + struct.pack(">I", zlib.crc32(b"IDAT" + half))
    )
    path.write_bytes(raw[:end] + first + b"\x00\x00\x00\x08\x01\x02\x03\x04" + bytes(40))


@pytest.mark.parametrize("read", [images.read_image, images.read_labels])
@pytest.mark.parametrize("damage", ["truncated", "broken chunk"])
def test_a_damaged_image_is_called_so(read, damage):
    path = noisy_png("image.png")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-400])
    else:
        broken_chunk(path)

    with pytest.raises(SdabnError, match=r"image\.png is damaged"):
        read(path)


@pytest.mark.parametrize("read", [images.read_image, images.read_labels])
@pytest.mark.parametrize("content", [b"", b"a letter, not an image"])
def test_a_file_that_is_no_image_is_called_so(read, content):
    Path("image.png").write_bytes(content)

    with pytest.raises(SdabnError, match=r"image\.png is not an image"):
        read(Path("image.png"))


@pytest.mark.parametrize("read", [images.read_image, images.read_labels])
def test_a_missing_file_is_called_so(read):
    with pytest.raises(SdabnError, match=r"no file nowhere\.png"):
        read(Path("nowhere.png"))


@pytest.mark.parametrize("read", [images.read_image, images.read_labels])
def test_too_many_pixels_are_refused_before_decoding(read):
    path = noisy_png("image.png")

    with pytest.raises(SdabnError, match=r"40 x 40 pixels.*\n.*up to 1,599 pixels; --max-pixels"):
        read(path, max_pixels=1599)
    assert read(path, max_pixels=1600).shape[:2] == (40, 40)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_labels_are_ids_not_colours(bits):
    ids = np.array([[0, 1], [1, 0]], np.uint8)
    image = Image.fromarray(ids)
    image.putpalette([10, 20, 30, 200, 100, 50])

    labels = images.read_labels(save("labels.png", image, bits=bits))

    assert labels.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_labels_of_other_modes_are_refused(mode):
    image = (
        Image.fromarray(GREY.astype(np.uint16))
        if mode == "I;16"
        else Image.fromarray(GREY).convert(mode)
    )

    with pytest.raises(SdabnError, match=f"of the mode {mode}.*\nA label image has one channel"):
        images.read_labels(save("labels.png", image))


def test_labels_are_turned_as_their_images_are():
    path = save("labels.png", Image.fromarray(GREY[:1]), exif=turned(6))

    assert images.read_labels(path).shape == images.read_size(path) == (2, 1)


def test_written_labels_read_back_as_ids_and_show_the_palette():
    ids = np.array([[0, 2], [1, 255]], np.int64)
    palette = [(10, 20, 30), (40, 50, 60), (70, 80, 90)]

    write_together({Path("out/labels.png"): images.labels_writer(ids, palette)})

    assert images.read_labels(Path("out/labels.png")).tolist() == ids.tolist()
    shown = images.read_image(Path("out/labels.png"))
    assert [tuple(shown[0, 0]), tuple(shown[1, 0]), tuple(shown[0, 1])] == palette


def test_a_written_image_reads_back_equal():
    write_together({Path("deep/folder/image.png"): images.image_writer(COLOURS)})

    assert np.array_equal(images.read_image(Path("deep/folder/image.png")), COLOURS)
    assert [p.name for p in Path("deep/folder").iterdir()] == ["image.png"]


def test_to_uint8_clips_and_then_rounds():
    floats = np.array([-3.0, 0.0, 0.4 / 255, 0.6 / 255, 127.6 / 255, 254.4 / 255, 1.0, 7.0])

    assert images.to_uint8(floats).tolist() == [0, 0, 0, 1, 128, 254, 255, 255]


def test_every_eight_bit_value_survives_the_round_trip():
    every = np.arange(256, dtype=np.uint8)

    assert np.array_equal(images.to_uint8(images.to_unit(every)), every)


def test_integers_are_scaled_by_the_range_of_their_type():
    assert images.to_unit(np.array([0, 51, 255], np.uint8)) == pytest.approx([0, 0.2, 1])
    assert images.to_unit(np.array([0, 13107, 65535], np.uint16)) == pytest.approx([0, 0.2, 1])


def test_sixteen_bit_values_survive_the_round_trip():
    every = np.arange(65536, dtype=np.uint16)

    assert np.array_equal(images.from_unit(images.to_unit(every), np.uint16), every)


def test_floats_are_kept_as_they_are():
    floats = np.array([-0.5, 0.25, 1.5], np.float32)

    assert images.to_unit(floats).tolist() == floats.tolist()
    assert images.from_unit(floats, np.float32).tolist() == floats.tolist()
    assert images.from_unit(floats, np.uint16).tolist() == [0, 16384, 65535]
    assert images.to_unit(floats.astype(np.float64)).dtype == np.float32


def test_files_other_than_tiff_have_one_page():
    with pytest.raises(SdabnError, match=r"image\.png has no page 1\.\nIt has one page"):
        images.read_picture(noisy_png("image.png"), 1)


def test_a_damaged_deep_png_is_called_so():
    raw = imagecodecs.png_encode(drawn((20, 30, 3), np.uint16))
    Path("image.png").write_bytes(raw[:-500])

    with pytest.raises(SdabnError, match=r"image\.png is damaged"):
        images.read_picture(Path("image.png"))


@pytest.mark.parametrize("kind", ["eps", "ppm"])
def test_kinds_beyond_those_listed_are_not_opened(kind):
    Image.fromarray(COLOURS).save("image.png", format=kind)

    with pytest.raises(SdabnError, match=r"image\.png is not an image, .*\n.*webp"):
        images.read_picture(Path("image.png"))


def test_more_pixels_than_pillow_allows_are_read_where_the_limit_is_raised():
    path = raw_png(1, 0, bytes(1), 8)
    header = path.read_bytes()
    size = struct.pack(">II", 20_000, 20_000)
    body = b"IHDR" + size + header[24:29]
    path.write_bytes(header[:12] + body + struct.pack(">I", zlib.crc32(body)) + header[33:])

    with pytest.raises(SdabnError, match=r"20000 x 20000 pixels\.\n.*--max-pixels"):
        images.read_size(path)
    assert images.read_size(path, max_pixels=400_000_000) == (20_000, 20_000)


def test_neither_codec_is_loaded_before_it_is_needed():
    code = (
        "import sys, sdabn_cli.images\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('tifffile', 'imagecodecs', 'torch')])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "[]"
