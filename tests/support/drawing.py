"""Pictures for the tests: digits drawn in many ways, and files of every kind."""

from __future__ import annotations

import functools
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw

from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures import preparation

STROKES = {
    "1": [(70, 10), (60, 190)],
    "4": [(70, 10), (20, 120), (130, 120), (105, 60), (95, 190)],
    "7": [(20, 20), (130, 20), (60, 190)],
}


def drawn(name: str = "7", width: int = 18) -> np.ndarray:
    """How much ink of a digit there is, float64 [200,150] from 0 to 1, with smooth edges."""
    image = Image.new("L", (600, 800))
    ImageDraw.Draw(image).line([(4 * x, 4 * y) for x, y in STROKES[name]], 255, 4 * width, "curve")
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


def expected_image() -> np.ndarray:
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


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk))


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


def bmp_masks(*masks: int) -> bytes:
    """A black BMP of 5x5 pixels whose header says where red, green and blue stand."""
    header = bytearray(bmp_header(5, 5, 32))
    header[10] = 66
    header[30] = 3  # BI_BITFIELDS
    return bytes(header) + struct.pack("<3I", *masks) + bytes(100)


def moved_pixels(bmp: bytes) -> bytes:
    """The same picture, with 64 bytes between its table of colours and its pixels."""
    start = struct.unpack_from("<I", bmp, 10)[0]
    return bmp[:10] + struct.pack("<I", start + 64) + bmp[14:start] + bytes(64) + bmp[start:]


def bmp_header(width: int, height: int, bits: int = 24, size: int = 40) -> bytes:
    header = struct.pack("<3I2i2H6I", 0, 54, size, width, height, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<I", 54) + header
