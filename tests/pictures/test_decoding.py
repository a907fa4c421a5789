"""Decoding: every format, upright, and no file that is cut off or takes too long."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.drawing import (
    bmp_header,
    bmp_masks,
    chunk,
    difference,
    drawn,
    encoded,
    expected_image,
    gif_header,
    gif_of,
    image_of,
    moved_pixels,
    page,
    png_header,
    prepared,
    scanned,
    with_texts,
)

from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures import decoding, picture_files


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return expected_image()


@pytest.mark.parametrize(
    "form, options",
    [("JPEG", {"quality": 40}), ("GIF", {}), ("BMP", {}), ("PNG", {"optimize": True})],
)
def test_every_format_is_read(form, options, expected):
    file = encoded(255 * (1 - page(drawn())), form, **options)
    assert picture_files.problem(file) == ""
    assert difference(expected, image_of(file)) < 0.15


@pytest.mark.parametrize("colours", ["1", "P", "CMYK"])
def test_other_colour_modes_are_read(colours, expected):
    file = io.BytesIO()
    grey = Image.fromarray((255 * (1 - page(drawn()))).astype(np.uint8))
    grey.convert(colours).save(file, "JPEG" if colours == "CMYK" else "PNG")
    assert difference(expected, image_of(file.getvalue())) < 0.25


def test_16_bits_a_pixel(expected):
    file = io.BytesIO()
    Image.fromarray((60000 - 50000 * page(drawn())).astype(np.uint16)).save(file, "PNG")
    assert difference(expected, image_of(file.getvalue())) < 0.15


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_followed(orientation, form, expected):
    undo = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    upright = Image.fromarray((255 * (1 - page(drawn()))).astype(np.uint8))
    upright.getexif()[0x0112] = undo
    sensed = ImageOps.exif_transpose(upright)  # As the sensor saw it: turned the other way.
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    sensed.save(file, form, quality=90, exif=exif)
    assert difference(expected, image_of(file.getvalue())) < 0.15


def test_exif_orientation_is_found_behind_the_pixels_of_a_png(expected):
    exif = Image.Exif()
    exif[0x0112] = 3
    whole = encoded(255 * (1 - page(drawn())[::-1, ::-1]))
    file = whole[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + whole[-12:]
    assert difference(expected, image_of(file)) < 0.15


@pytest.mark.parametrize(
    "exif", [b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"]
)
def test_malformed_exif_is_ignored(exif, expected):
    file = encoded(255 * (1 - page(drawn())), "JPEG", quality=90)
    exif = b"Exif\0\0" + exif
    file = file[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + file[2:]
    assert difference(expected, image_of(file)) < 0.15
    png = encoded(255 * (1 - page(drawn())))
    assert difference(expected, image_of(png[:33] + chunk(b"eXIf", exif[6:]) + png[33:])) < 0.15


def test_a_truncated_picture_is_an_error():
    file = encoded(255 * (1 - page(drawn())))
    assert picture_files.problem(file[:300]) == ""
    with pytest.raises(tf.errors.InvalidArgumentError, match="cut off"):
        prepared(file[:300])


_JPEGS = {
    "one scan": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
}


@pytest.mark.parametrize("options", _JPEGS)
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_without_its_end_is_read(options, lost):
    file = encoded(255 * (1 - page(drawn())), "JPEG", **_JPEGS[options])
    assert file.endswith(b"\xff\xd9")
    np.testing.assert_array_equal(image_of(file[:-lost]), image_of(file))


@pytest.mark.parametrize("options", _JPEGS)
@pytest.mark.parametrize("left", [0.5, 0.67, 0.9])
def test_a_jpeg_that_is_cut_off_is_an_error(options, left):
    file = encoded(255 * (1 - page(drawn())), "JPEG", **_JPEGS[options])
    # Within what comes before a scan, the decoder itself complains.
    with pytest.raises(tf.errors.InvalidArgumentError, match="cut off|Invalid JPEG data"):
        prepared(file[: int(left * len(file))])


def test_no_cut_between_restarts_goes_unnoticed():
    file = encoded(255 * (1 - page(drawn())), "JPEG", restart_marker_blocks=3)
    cuts = [file.rindex(bytes([0xFF, marker])) for marker in range(0xD0, 0xD8)]
    cut = [file[: place + more] for place in cuts for more in (0, 1, 2)]
    with tf.Graph().as_default(), v1.Session() as session:
        assert all(
            b"cut off" in line for line in session.run(decoding.examined(tf.constant(cut)).problems)
        )


def test_what_follows_the_end_of_a_file_is_nothing():
    """Phones put a film there."""
    for form in ("PNG", "JPEG"):
        file = encoded(255 * (1 - page(drawn())), form)
        np.testing.assert_array_equal(image_of(file + b"\0\0\0\x18ftypmp42"), image_of(file))


def test_problems_are_those_of_each_file():
    whole = encoded(255 * (1 - page(drawn())))
    files = {
        "": [
            whole,
            encoded(drawn(), "JPEG"),
            encoded(drawn(), "GIF"),
            encoded(drawn(), "BMP"),
            bmp_masks(0xFF0000, 0xFF00, 0xFF),
            moved_pixels(encoded(drawn(), "BMP")),
            encoded(drawn(), "BMP") + b"\0\0",
        ],
        "more than 100 scans": [scanned(101), with_texts(51)],
        "larger than 64 MiB": [encoded(drawn(), "GIF") + bytes(64 << 20)],
        "blocks do not follow": [encoded(drawn(), "GIF").replace(b"\x2c", b"\x2d", 1)],
        "transparent colour": [encoded(drawn(), "GIF", transparency=0)],
        "first frame does not fill": [
            gif_of((5, 6), (5, 5)),
            gif_of((6, 5), (5, 5)),
            gif_of((5, 5), (5, 5)).replace(b"\x2c\0", b"\x2c\1"),
        ],
        "a kind that is not read": [
            b"BM" + struct.pack("<4I4H", 100, 0, 26, 12, 5, 4, 1, 24) + bytes(64),  # Of OS/2.
            bmp_header(5, 5, bits=1),
            bmp_header(5, 5, bits=16),
            bmp_masks(0xFF000000, 0xFF0000, 0xFF00),
            colour_table(encoded(drawn(), "BMP")),
            encoded(drawn(), "BMP")[:20],
        ],
        "no PNG": [b"", b"hello", b"RIFF\x10\0\0\0WEBPVP8 ", b"\0\0\0\x18ftypheic"],
        "cut off": [
            whole[:300],
            whole[:-12],
            encoded(drawn(), "JPEG")[:-30],
            encoded(drawn(), "GIF")[:-2],
            gif_of((5, 5), (5, 5))[: gif_of((5, 5), (5, 5)).rindex(b"\x2c") + 5],
            encoded(drawn(), "BMP")[:-2],
        ],
        "more than 50,000,000": [
            png_header(100_000, 100_000),
            png_header(2**32 - 1, 2**32 - 1),
            gif_header(9000, 9000),
            gif_of((1, 1), (8000, 7000)),
            gif_of((60_000, 60_000), (1, 1)),
            bmp_header(10_000, -9_000),
            jpeg_of(60_000, 60_000),
        ],
        "without pixels": [png_header(0, 5), gif_header(5, 0)],
    }
    for line in ("", "transparent colour", "first frame does not fill", "a kind that is not read"):
        for file in files[line]:
            assert bool(picture_files.problem(file)) == bool(line)  # `predict` says the same.
    with tf.Graph().as_default(), v1.Session() as session:
        fed = v1.placeholder(tf.string, [None])
        found = session.run(decoding.examined(fed).problems, {fed: sum(files.values(), [])})
    expected = [line for line, alike in files.items() for _ in alike]
    for line, start in zip(found, expected, strict=True):
        assert start in line.decode() and bool(start) == bool(line)


def colour_table(bmp: bytes) -> bytes:
    """The same pixels, the last one of whose colours is another."""
    start = struct.unpack_from("<I", bmp, 10)[0]
    return bmp[: start - 4] + b"\xff\0\xff\0" + bmp[start:]


@pytest.mark.parametrize(
    ("mode", "key"), [("L", 7), ("RGB", (7, 8, 9)), ("1", 0), ("L", None), ("I;16", 7)]
)
def test_a_transparent_colour_of_a_png_is_transparent(mode, key):
    colour = {"L": 7, "RGB": (7, 8, 9), "1": 0, "I;16": 7}[mode]
    picture = Image.new(mode, (3, 2), colour)
    picture.putpixel((1, 1), {"L": 255, "RGB": (255, 0, 0), "1": 1, "I;16": 65535}[mode])
    with io.BytesIO() as file:
        picture.save(file, "PNG", **({} if key is None else {"transparency": key}))
        encoded = file.getvalue()
    found = pixels_of(encoded)
    if key is None:
        assert found.shape == (2, 3, 1)
        return
    assert found.shape == (2, 3, 4)
    np.testing.assert_array_equal(found[..., 3], [[0, 0, 0], [0, 255, 0]])
    np.testing.assert_array_equal(found[1, 1, :3], [255, 0, 0] if mode == "RGB" else 255)


@pytest.mark.parametrize("size", [(3, 2), (150, 200), (700, 900)])
def test_a_gif_is_its_first_frame(size):
    """Noise has long blocks of all lengths; a later frame is not even looked at."""
    width, height = size
    noise = np.random.default_rng(0).integers(256, size=(height, width), dtype=np.uint8)
    file = encoded(noise, "GIF", comment=b"x" * 600)
    whole = tf.io.decode_image(file, expand_animations=False).numpy()
    np.testing.assert_array_equal(pixels_of(file), whole)
    more = file[:-1] + b"\x2c" + struct.pack("<4HB", 0, 0, 30_000, 30_000, 0) + b"\x02\xff"
    np.testing.assert_array_equal(pixels_of(more), whole)


def pixels_of(file: bytes) -> np.ndarray:
    encoded = tf.constant([file])
    files = decoding.examined(encoded)
    decodable = tf.strings.substr(encoded[0], 0, files.ends[0]) + files.suffixes[0]
    return decoding.decoded(decodable, files.orientations[0], files.keyed[0], 10_000).numpy()


def test_a_gif_in_too_many_pieces_is_given_up():
    frame = b"\x2c" + struct.pack("<4HB", 0, 0, 2, 2, 0) + b"\x02" + b"\x01\x44" * 10_000 + b"\0;"
    file = b"GIF89a" + struct.pack("<2H3B", 2, 2, 0, 0, 0) + frame
    # In a graph, as where pictures are served: eagerly, the walk over 10,000 pieces takes a minute.
    with tf.Graph().as_default(), v1.Session() as session:
        assert (
            b"blocks do not follow"
            in session.run(decoding.examined(tf.constant([file])).problems)[0]
        )


@pytest.mark.parametrize("made", [lambda: scanned(100), lambda: with_texts(50)])
def test_what_takes_a_little_longer_is_read(made):
    file = made()
    assert picture_files.problem(file) == ""
    assert decoding.examined(tf.constant([file])).problems.numpy().tolist() == [b""]
    prepared(file)


def jpeg_of(width: int, height: int) -> bytes:
    """A small JPEG that declares to be large."""
    file = encoded(drawn(), "JPEG")
    place = file.index(b"\xff\xc0") + 5
    return file[:place] + struct.pack(">2H", height, width) + file[place + 4 :]
