"""Pictures of digits: what is made of them, and which files are refused before that."""

from __future__ import annotations

import functools
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures import decoding, picture_files, preparation

_STROKES = {
    "1": [(70, 10), (60, 190)],
    "4": [(70, 10), (20, 120), (130, 120), (105, 60), (95, 190)],
    "7": [(20, 20), (130, 20), (60, 190)],
}


def drawn(name: str = "7", width: int = 18) -> np.ndarray:
    """How much ink of a digit there is, float64 [200,150] from 0 to 1, with smooth edges."""
    image = Image.new("L", (600, 800))
    ImageDraw.Draw(image).line([(4 * x, 4 * y) for x, y in _STROKES[name]], 255, 4 * width, "curve")
    return np.asarray(image.resize((150, 200), Image.Resampling.BOX)) / 255.0


def page(ink: np.ndarray, *, margin: int = 30, top: int = 0, left: int = 0) -> np.ndarray:
    """Ink on a larger page."""
    return np.pad(ink, ((margin + top, margin), (margin + left, margin)))


def encoded(array: np.ndarray, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(np.clip(np.round(array), 0, 255).astype(np.uint8))
    image.save(file, form, **options)
    return file.getvalue()


@functools.cache
def session(shape: tuple[int, int, int]):
    """A session of a v1 graph, as an export is served and Estimator predicts."""
    with tf.Graph().as_default() as graph:
        fed = v1.placeholder(tf.string, [None])
        fetched = preparation.digit_images(fed, shape)
    assert fetched[0].shape.as_list() == [None, *shape]
    return v1.Session(graph=graph).make_callable(fetched, [fed])


def prepared(*files: bytes, shape: tuple[int, int, int] = (28, 28, 1)):
    images, has_ink = session(shape)(list(files))
    assert images.dtype == np.uint8 and has_ink.dtype == bool
    return images, has_ink


def image_of(file: bytes) -> np.ndarray:
    images, has_ink = prepared(file)
    assert has_ink.tolist() == [True]
    return images[0, ..., 0].astype(int)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """How much two images differ, of the ink that the first has."""
    return np.abs(one - other).sum() / one.sum()


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """What the 7 is to become, whatever it is drawn with: made by Pillow."""
    ink = drawn()
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    cut = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] * 255)
    size = (round(20 * cut.width / cut.height), 20)
    small = np.asarray(cut.resize(size, Image.Resampling.BICUBIC)).clip(0, 255)
    row, column = (
        round(14 - (small.sum(1 - axis) * np.arange(small.shape[axis])).sum() / small.sum())
        for axis in (0, 1)
    )
    image = np.zeros((28, 28))
    image[row : row + 20, column : column + size[0]] = small
    return image


def on_colours(ink: np.ndarray, stroke: tuple, paper: tuple) -> np.ndarray:
    return ink[..., None] * stroke + (1 - ink[..., None]) * np.array(paper, float)


def shaded(ink: np.ndarray) -> np.ndarray:
    """Lit from the left, dim at the corners, noisy."""
    y, x = (np.linspace(-1, 1, side) for side in ink.shape)
    light = (0.75 - 0.25 * x) * (1 - 0.15 * (x**2 + y[:, None] ** 2))
    return (230 - 180 * ink) * light + np.random.default_rng(0).normal(0, 5, ink.shape)


def with_edges(ink: np.ndarray) -> np.ndarray:
    """A sheet photographed with what lies behind it, and with dust on it."""
    sheet = 230 - 190 * np.pad(ink, 20)
    sheet[:8] = sheet[:, -12:] = 25
    sheet[30:33, 60:63] = sheet[-20:-17, 30:33] = 25
    return sheet


def opaque_strokes(ink: np.ndarray, grey: int) -> np.ndarray:
    return np.dstack([np.full((*ink.shape, 3), grey), 255 * ink])


_DRAWINGS = {
    "dark on light": lambda ink: 255 * (1 - ink),
    "light on dark": lambda ink: 255 * ink,
    "low contrast": lambda ink: 150 - 30 * ink,
    "colours of one luminance": lambda ink: on_colours(ink, (200, 30, 30), (20, 123, 30)),
    "the same, swapped": lambda ink: on_colours(ink, (20, 123, 30), (200, 30, 30)),
    "shaded paper": shaded,
    "edges and specks": with_edges,
    "grey and alpha": lambda ink: np.dstack([0 * ink, 255 * ink]),
    "black strokes opaque": lambda ink: opaque_strokes(ink, 0),
    "white strokes opaque": lambda ink: opaque_strokes(ink, 255),
    "black paper opaque": lambda ink: opaque_strokes(1 - ink, 0),
    "white paper opaque": lambda ink: opaque_strokes(1 - ink, 255),
    "alpha of no meaning": lambda ink: np.dstack([255 * (1 - ink)] * 3 + [0 * ink]),
    "a sheet cut out": lambda ink: np.pad(
        np.dstack([255 * (1 - ink)] * 3 + [255 + 0 * ink]), ((30, 30), (30, 30), (0, 0))
    ),
}


@pytest.mark.parametrize("drawing", _DRAWINGS)
def test_ink_is_found_whatever_it_is_drawn_with(drawing, expected):
    image = image_of(encoded(_DRAWINGS[drawing](page(drawn()))))
    assert difference(expected, image) < 0.15


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


def mnist_like(name: str) -> np.ndarray:
    """A 28x28 image as MNIST has them: 20 pixels high, the centre of mass at (14, 14)."""
    image = image_of(encoded(255 * (1 - page(drawn(name)))))
    assert image.any(1).sum() == 20
    return image


@pytest.mark.parametrize("name", _STROKES)
def test_an_image_of_mnist_comes_out_as_it_went_in(name):
    image = mnist_like(name)
    again = image_of(encoded(image))
    assert np.abs(image - again).max() < 40 and difference(image, again) < 0.05


@pytest.mark.parametrize("name", _STROKES)
def test_the_middle_is_the_centre_of_mass(name):
    image = image_of(encoded(255 * (1 - page(drawn(name), top=170, left=90))))
    for axis in (0, 1):
        profile = image.sum(1 - axis)
        assert abs((profile * np.arange(28)).sum() / profile.sum() - 14) <= 0.51


def test_the_aspect_is_kept():
    image = image_of(encoded(255 * (1 - page(drawn("1")))))
    assert image.any(1).sum() == 20 and image.any(0).sum() <= 5


@pytest.mark.parametrize("size", [(31, 45), (83, 61), (460, 700), (900, 1201)])
def test_the_size_of_the_picture_does_not_matter(size, expected):
    image = Image.fromarray((255 * (1 - page(drawn()))).astype(np.uint8))
    aspect = image.width / image.height
    scaled = image.resize((round(size[1] * aspect), size[1]), Image.Resampling.BICUBIC)
    assert difference(expected, image_of(encoded(np.asarray(scaled)))) < 0.3


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


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


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


_SIDES = np.mgrid[:120, :160] / 120.0
_BLANK = {
    "white": np.full((50, 70), 255),
    "black": np.zeros((50, 70)),
    "one pixel": np.full((1, 1), 77),
    "one row": np.full((1, 50), 77),
    "gradient": 40 + 100 * _SIDES.sum(0),
    "noise": np.random.default_rng(0).integers(0, 256, (120, 160)),
    "faint": 200 - 5 * page(drawn()),
    "checkers": (np.mgrid[:120, :160] // 8).sum(0) % 2 * 255,
    "half": np.where(_SIDES[1] < 0.6, 0, 255),
    "a speck": np.where(np.hypot(*(_SIDES - 0.5)) < 0.012, 0, 255),
    "transparent": np.zeros((50, 70, 4)),
}


@pytest.mark.parametrize("blank", _BLANK)
def test_no_ink(blank):
    images, has_ink = prepared(encoded(_BLANK[blank]))
    assert has_ink.tolist() == [False]
    assert not images.any()


def test_no_pictures():
    images, has_ink = prepared()
    assert images.shape == (0, 28, 28, 1) and has_ink.shape == (0,)


def test_bits_do_not_depend_on_the_batch():
    files = [encoded(draw(page(drawn(name)))) for name in "147" for draw in _DRAWINGS.values()]
    together, ink = prepared(*files, encoded(_BLANK["noise"]))
    backwards, _ = prepared(*files[::-1])
    for place in range(0, len(files), 5):
        alone, _ = prepared(files[place])
        np.testing.assert_array_equal(alone[0], together[place])
    np.testing.assert_array_equal(backwards[::-1], together[:-1])
    assert ink.tolist() == [True] * len(files) + [False]


def test_other_shapes():
    file = encoded(255 * (1 - page(drawn())))
    images, _ = prepared(file, shape=(42, 84, 3))
    assert images.shape == (1, 42, 84, 3)
    assert (images == images[..., :1]).all()
    assert images[0, ..., 0].any(1).sum() == 30


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
            b"cut off" in line for line in session.run(preparation.problems(tf.constant(cut)))
        )


def test_what_follows_the_end_of_a_file_is_nothing():
    """Phones put a film there."""
    for form in ("PNG", "JPEG"):
        file = encoded(255 * (1 - page(drawn())), form)
        np.testing.assert_array_equal(image_of(file + b"\0\0\0\x18ftypmp42"), image_of(file))


def test_problems_are_those_of_each_file():
    whole = encoded(255 * (1 - page(drawn())))
    files = {
        "": [whole, encoded(drawn(), "JPEG"), encoded(drawn(), "GIF"), encoded(drawn(), "BMP")],
        "more than 100 scans": [scanned(101), with_texts(51)],
        "larger than 64 MiB": [encoded(drawn(), "GIF") + bytes(64 << 20)],
        "blocks do not follow": [encoded(drawn(), "GIF").replace(b"\x2c", b"\x2d", 1)],
        "no PNG": [b"", b"hello", b"RIFF\x10\0\0\0WEBPVP8 ", b"\0\0\0\x18ftypheic"],
        "cut off": [
            whole[:300],
            whole[:-12],
            encoded(drawn(), "JPEG")[:-30],
            encoded(drawn(), "GIF")[:-2],
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
    with tf.Graph().as_default(), v1.Session() as session:
        fed = v1.placeholder(tf.string, [None])
        found = session.run(preparation.problems(fed), {fed: sum(files.values(), [])})
    expected = [line for line, alike in files.items() for _ in alike]
    for line, start in zip(found, expected, strict=True):
        assert start in line.decode() and bool(start) == bool(line)


@pytest.mark.parametrize("size", [(3, 2), (150, 200), (700, 900)])
def test_a_gif_is_its_first_frame(size):
    """Noise has long blocks of all lengths; a later frame is not even looked at."""
    width, height = size
    noise = np.random.default_rng(0).integers(256, size=(height, width), dtype=np.uint8)
    file = encoded(noise, "GIF", comment=b"x" * 600)
    whole = tf.io.decode_image(file, expand_animations=False).numpy()
    longest = max(size)
    np.testing.assert_array_equal(decoding.decoded(tf.constant(file), longest).numpy(), whole)
    more = file[:-1] + b"\x2c" + struct.pack("<4HB", 0, 0, 30_000, 30_000, 0) + b"\x02\xff"
    np.testing.assert_array_equal(decoding.decoded(tf.constant(more), longest).numpy(), whole)


def test_a_gif_in_too_many_pieces_is_given_up():
    frame = b"\x2c" + struct.pack("<4HB", 0, 0, 2, 2, 0) + b"\x02" + b"\x01\x44" * 10_000 + b"\0;"
    file = b"GIF89a" + struct.pack("<2H3B", 2, 2, 0, 0, 0) + frame
    assert b"blocks do not follow" in decoding.problem(tf.constant(file)).numpy()


@pytest.mark.parametrize("made", [lambda: scanned(100), lambda: with_texts(50)])
def test_what_takes_a_little_longer_is_read(made):
    file = made()
    assert picture_files.problem(file) == ""
    assert decoding.problem(tf.constant(file)).numpy() == b""
    prepared(file)


def jpeg_of(width: int, height: int) -> bytes:
    """A small JPEG that declares to be large."""
    file = encoded(drawn(), "JPEG")
    place = file.index(b"\xff\xc0") + 5
    return file[:place] + struct.pack(">2H", height, width) + file[place + 4 :]


_PLAIN = {
    "grey": (lambda a: a[..., 0], (9, 7, 1)),
    "colours": (lambda a: a[..., :3], (9, 7, 3)),
    "grey with alpha": (lambda a: a[..., :2], (9, 7, 2)),
    "colours with alpha": (lambda a: a, (9, 7, 4)),
    "grey saved in colours": (lambda a: a[..., :1].repeat(3, -1), (9, 7, 1)),
}


@pytest.mark.parametrize("kind", _PLAIN)
def test_plain_pictures_of_the_shape_are_the_images_themselves(kind):
    cut, shape = _PLAIN[kind]
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 4), np.uint8)
    with tf.Graph().as_default(), v1.Session() as session:
        files = [encoded(cut(image)) for image in images]
        found = session.run(preparation.plain_images(tf.constant(files), shape))
    np.testing.assert_array_equal(found, images[..., : shape[2]])


def test_find(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.PNG", "b/c/1.jpeg", "b/.x.png", "b/a.txt", "b/10.gif", "7[1].bin", "g2.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    paths, problems = picture_files.find(["g*.bmp", "b", "7[1].bin", "none.png", "empty", "q*.png"])
    assert paths == ["g2.bmp", "b/10.gif", "b/2.PNG", "b/c/1.jpeg", "7[1].bin"]
    assert problems == [
        "none.png: No such file",
        "empty: a folder without pictures",
        "q*.png: matches nothing",
    ]


def test_find_goes_through_every_folder_once(tmp_path, monkeypatch):
    """Links to folders are followed, where they lead in circles, too."""
    monkeypatch.chdir(tmp_path)
    for name in ("tree/a/1.png", "tree/b[1]/deep/2.png", "tree/.hidden/3.png", "other/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("one", "two", "three"):
        (tmp_path / "tree" / name).symlink_to(".")
    (tmp_path / "tree/a/up").symlink_to("..")
    (tmp_path / "tree/more").symlink_to("../other")
    expected = ["tree/a/1.png", "tree/b[1]/deep/2.png", "tree/more/4.png"]
    for pattern in ("tree/**/*.png", "t*/**/*.png", "tree/**", "tree/**/**/*.png"):
        assert picture_files.find([pattern]) == (expected, [])
    absolute = [str(tmp_path / path) for path in expected]
    assert picture_files.find([f"{tmp_path}/tree/**/*.png"]) == (absolute, [])
    assert picture_files.find(["tree/**/deep/*.png"]) == (expected[1:2], [])
    assert picture_files.find(["tree/b[1]/**/2*"]) == (expected[1:2], [])
    assert picture_files.find(["tree/**/none*"]) == ([], ["tree/**/none*: matches nothing"])
    monkeypatch.chdir(tmp_path / "tree")
    below = [path.removeprefix("tree/") for path in expected]
    assert picture_files.find(["**/*.png"]) == (below, [])
    lines = []
    picture_files.find(["**/*.png"], lines.append)
    assert lines[-1] == "**/*.png: looked at 4 folders"


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk))


def jpeg_header(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xe0\0\x04JF\xff\xc2\0\x0b\x08" + struct.pack(">2HB", height, width, 1)


def gif_header(width: int, height: int, frames: int = 1) -> bytes:
    frame = b"\x2c" + struct.pack("<4HB", 0, 0, width, height, 0) + b"\x02\x01\0\0"
    return b"GIF89a" + struct.pack("<2H3B", width, height, 0, 0, 0) + frames * frame + b";"


def gif_of(screen: tuple[int, int], *frames: tuple[int, int]) -> bytes:
    """A GIF of black frames, whatever its screen."""
    made = [encoded(np.zeros((height, width)), "GIF") for width, height in frames]
    start = 13 + (3 << (made[0][10] & 7) + 1)
    blocks = b"".join(file[file.index(b"\x2c", start) : -1] for file in made)
    return b"GIF89a" + struct.pack("<2H", *screen) + made[0][10:start] + blocks + b";"


def scanned(scans: int, side: int = 16) -> bytes:
    """A progressive JPEG whose last scan stands in it again and again."""
    file = encoded(drawn()[:side, :side] * 255, "JPEG", progressive=True)
    last = file[file.rindex(b"\xff\xda") : -2]
    return file[:-2] + last * (scans - file.count(b"\xff\xda")) + b"\xff\xd9"


def with_texts(count: int) -> bytes:
    """A PNG with packed texts."""
    file, data = encoded(drawn()), b"zTXtk\0\0" + zlib.compress(bytes(9))
    text = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return file[:33] + count * text + file[33:]


def bmp_header(width: int, height: int, bits: int = 24, size: int = 40) -> bytes:
    header = struct.pack("<3I2i2H6I", 0, 54, size, width, height, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<I", 54) + header


_INSTEAD = "expected PNG, JPEG, GIF or BMP; save it as PNG or JPEG"
_AGAIN = "that ends inside its header; get the file again"
_LEAST = "pixels, expected at least 1x1"
_MOST = "expected at most 50,000,000 in all; save it smaller"
_BAD = {
    "empty": (b"", "empty, expected a picture"),
    "text": (b"hello", f"no picture, {_INSTEAD}"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1", f"a HEIC picture, {_INSTEAD}"),
    "AVIF": (b"\0\0\0\x18ftypavif", f"an AVIF picture, {_INSTEAD}"),
    "WebP": (b"RIFF\x10\0\0\0WEBPVP8 ", f"a WebP picture, {_INSTEAD}"),
    "TIFF": (b"II*\0\x08\0\0\0", f"a TIFF picture, {_INSTEAD}"),
    "PDF": (b"%PDF-1.7", f"a PDF document, {_INSTEAD}"),
    "SVG": (b'<?xml version="1.0"?>\n<svg>', f"an SVG drawing, {_INSTEAD}"),
    "HTML": (b"\n<!DOCTYPE html><html>", f"an HTML page, {_INSTEAD}"),
    "PNG cut": (png_header(5, 5)[:20], f"a PNG {_AGAIN}"),
    "JPEG cut": (jpeg_header(5, 5)[:15], f"a JPEG {_AGAIN}"),
    "GIF cut": (gif_header(5, 5)[:9], f"a GIF {_AGAIN}"),
    "BMP cut": (bmp_header(5, 5)[:20], f"a BMP {_AGAIN}"),
    "PNG of nothing": (png_header(0, 5), f"a PNG of 0x5 {_LEAST}"),
    "JPEG of nothing": (jpeg_header(5, 0), f"a JPEG of 5x0 {_LEAST}"),
    "GIF of nothing": (gif_header(5, 0), f"a GIF of 5x0 {_LEAST}"),
    "BMP below nothing": (bmp_header(-5, 5), f"a BMP of -5x5 {_LEAST}"),
    "PNG bomb": (png_header(100_000, 100_000), f"a PNG of 100000x100000 pixels, {_MOST}"),
    "JPEG bomb": (jpeg_header(60_000, 60_000), f"a JPEG of 60000x60000 pixels, {_MOST}"),
    "GIF bomb": (gif_header(7000, 7000, frames=3), f"a GIF of 147,000,000 pixels, {_MOST}"),
    "GIF of one large frame": (
        gif_of((1, 1), (8000, 7000)),
        f"a GIF of 56,000,000 pixels, {_MOST}",
    ),
    "GIF of a wide and a high frame": (
        gif_of((1, 1), (20_000, 1), (1, 20_000)),
        f"a GIF of 400,000,000 pixels, {_MOST}",
    ),
    "GIF of a large screen": (
        gif_of((60_000, 60_000), (1, 1)),
        f"a GIF of 3,600,000,000 pixels, {_MOST}",
    ),
    "JPEG of many scans": (
        scanned(101),
        "a JPEG of 101 scans, expected at most 100; save it again",
    ),
    "large JPEG of some scans": (
        jpeg_header(6000, 6000) + 30 * picture_files.SCAN_STARTS[0],
        "a JPEG of 30 scans, expected at most 27; save it again",
    ),
    "PNG of many texts": (
        with_texts(51),
        "a PNG of 51 packed texts, expected at most 50; save it again",
    ),
    "BMP bomb": (bmp_header(10_000, -9_000), f"a BMP of 10000x9000 pixels, {_MOST}"),
    "BMP of OS/2": (bmp_header(5, 5, size=12), "a BMP of OS/2; save it as PNG or JPEG"),
    "BMP of 1 bit": (bmp_header(5, 5, 1), "a BMP of 1 bits a pixel; save it as PNG or JPEG"),
    "JPEG of no segments": (
        b"\xff\xd8\xff\xe0\0\x04JFxx",
        "a JPEG whose segments do not follow each other; save it as PNG or JPEG",
    ),
}


@pytest.mark.parametrize("bad", _BAD)
def test_bad_files_are_refused_in_one_line(bad, tmp_path):
    content, line = _BAD[bad]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        picture_files.read(str(path))
    assert str(error.value) == f"{path}: {line}"


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "MAX_FILE_BYTES", 1 << 20)
    path = tmp_path / "x.png"
    path.write_bytes(png_header(5, 5) + bytes(1 << 20))
    with pytest.raises(InputError, match="x.png: larger than 1 MiB; save it smaller$"):
        picture_files.read(str(path))


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda path: None, "No such file or directory"),
        (os.mkdir, "Is a directory"),
        (os.mkfifo, "not a file, expected a picture"),
    ],
    ids=["missing", "folder", "FIFO"],
)
def test_what_is_no_file_is_refused(make, line, tmp_path):
    path = str(tmp_path / "x.png")
    make(path)
    with pytest.raises(InputError) as error:
        picture_files.read(path)
    assert str(error.value) == f"{path}: {line}"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP"])
def test_a_good_file_is_returned_as_it_is(form, tmp_path):
    content = encoded(255 * (1 - page(drawn())), form)
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    assert picture_files.read(str(path)) == content


def test_no_header_makes_the_checks_fail():
    """Cut or changed anywhere, a header is answered with a line, or with none."""
    random = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "GIF", "BMP"):
        whole = encoded(255 * (1 - page(drawn())), form)
        for length in range(200):
            assert "\n" not in picture_files.problem(whole[:length])
            changed = bytearray(whole)
            changed[random.integers(200)] = random.integers(256)
            assert "\n" not in picture_files.problem(bytes(changed))
