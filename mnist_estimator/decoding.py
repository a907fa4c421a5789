"""Files of pictures in the graph: what is wrong with them, and what they show, upright."""

from __future__ import annotations

from mnist_estimator.compat import tf, v1
from mnist_estimator.picture_files import MAX_PIXELS

_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
_GIFS = (b"GIF87a", b"GIF89a")
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
# What a decoder takes for more of a scan, one or the other, wherever that is cut off: behind an
# 0xFF, in the middle, or where one of eight markers of a restart is to come. It waits for that one
# if the first that it finds is one of the next two, hence two orders. 0x01 means nothing.
_RESTARTS = (*range(0xD0, 0xD8),)
_MORE_OF_A_SCAN = tuple(
    b"\0" + b"".join(31 * b"\x55" + bytes([0xFF, marker]) for marker in (0x01, *restarts, 0xD9))
    for restarts in (_RESTARTS, _RESTARTS[4:] + _RESTARTS[:4])
)
_HEAD_BYTES = 1 << 16  # Where EXIF's orientation is looked for.


def decoded(encoded: tf.Tensor, longest: int) -> tf.Tensor:
    """Decodes one PNG, JPEG, GIF (its first frame) or BMP file.

    Args:
      encoded: string [], the whole file.
      longest: pixels of the longer side, at most; a larger picture is shrunk.

    Returns:
      float32 [h,w,1 to 4], from 0 to 255 (of 16 bits the upper 8), upright by EXIF's orientation;
      2 and 4 channels end with alpha.

    Raises:
      tf.errors.InvalidArgumentError: at run time, if `problem` finds something, or the file cannot
        be decoded.
    """
    found = problem(encoded)
    with tf.control_dependencies([v1.debugging.Assert(tf.equal(found, ""), [found])]):
        needs_end = _begins(encoded, _JPEG) & ~_ends(encoded, _JPEG_END)
        pixels = _pixels(encoded, tf.where(needs_end, _JPEG_END, b""))
    return _upright(shrunk(pixels, longest), _orientation(encoded))


def problem(encoded: tf.Tensor) -> tf.Tensor:
    """What is wrong with a file as far as can be told without decoding it, string []; else "".

    Damage between the beginning and the end of a file is not found: a decoder fails of it, or takes
    it for a part of the picture.
    """
    is_png, is_jpeg = _begins(encoded, _PNG), _begins(encoded, _JPEG)
    is_known = is_png | is_jpeg | _begins(encoded, _BMP)
    for magic in _GIFS:
        is_known |= _begins(encoded, magic)
    pixels = tf.cond(
        is_jpeg, lambda: _jpeg_pixels(encoded), lambda: _declared_pixels(encoded, is_png)
    )
    has_end = ~is_png | (tf.size(tf.strings.split(encoded, _PNG_END)) > 1)
    is_whole = tf.cond(
        is_jpeg & ~_ends(encoded, _JPEG_END) & (pixels <= MAX_PIXELS),
        lambda: _lacks_only_its_end(encoded),
        lambda: tf.identity(has_end),
    )
    line = tf.where(is_whole, "", "a picture that is cut off; get the file again")
    too_many = f"more than {MAX_PIXELS:,} pixels; save it smaller"
    line = tf.where(pixels > MAX_PIXELS, too_many, line)
    line = tf.where(pixels < 1, "a picture without pixels", line)
    return tf.where(is_known, line, "no PNG, JPEG, GIF or BMP; save it as PNG or JPEG")


def shrunk(pixels: tf.Tensor, side: int) -> tf.Tensor:
    """Averages [h,w,c] over areas so that no side is longer than `side`: float32."""
    size = tf.cast(tf.shape(pixels)[:2], tf.float32)
    size *= tf.minimum(1.0, side / tf.reduce_max(size))
    size = tf.maximum(tf.cast(tf.round(size), tf.int32), 1)
    return tf.image.resize(pixels[None], size, tf.image.ResizeMethod.AREA)[0]


def _begins(encoded: tf.Tensor, magic: bytes):
    return tf.equal(tf.strings.substr(encoded, 0, len(magic)), magic)


def _ends(encoded: tf.Tensor, last: bytes):
    start = tf.maximum(tf.strings.length(encoded) - len(last), 0)
    return tf.equal(tf.strings.substr(encoded, start, len(last)), last)


def _pixels(encoded: tf.Tensor, more: tf.Tensor | bytes):
    """Decodes a file, and what is to follow it, to uint8 [h,w,1 to 4]."""
    return tf.io.decode_image(tf.strings.join([encoded, more]), expand_animations=False)


def _lacks_only_its_end(encoded: tf.Tensor):
    """Whether a JPEG without its last two bytes shows all of its picture.

    Its decoder then takes no part of what follows for the picture, whatever that is.
    """
    alone = _pixels(encoded, _JPEG_END)
    one, other = (_pixels(encoded, more) for more in _MORE_OF_A_SCAN)
    return tf.reduce_all(tf.equal(alone, one) & tf.equal(alone, other))


def _jpeg_pixels(encoded: tf.Tensor):
    """Height times width of a JPEG, float64 []."""
    height_and_width = tf.io.extract_jpeg_shape(encoded)[:2]
    return tf.reduce_prod(tf.cast(height_and_width, tf.float64))


def _declared_pixels(encoded: tf.Tensor, is_png: tf.Tensor):
    """Height times width of a PNG, a BMP or a GIF by its header, float64 []."""
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, 26), tf.uint8)
    head = tf.pad(tf.cast(head, tf.float64), [[0, 26]])

    def number(place: int, size: int, step: int = 1):
        digits = head[place : place + size][::step]
        return tf.reduce_sum(digits * [256.0 ** (size - 1 - i) for i in range(size)])

    png = number(16, 4) * number(20, 4)
    gif = number(6, 2, -1) * number(8, 2, -1)
    height = number(22, 4, -1)  # Below zero: its rows go from the top down.
    bmp = number(18, 4, -1) * tf.minimum(height, 256.0**4 - height)
    return tf.where(is_png, png, tf.where(_begins(encoded, _BMP), bmp, gif))


def _orientation(encoded: tf.Tensor):
    """EXIF's orientation of a JPEG or PNG, int64 []: 1 to 8; 1 if it has none that makes sense.

    Phones save what their sensor sees and note how it was held; TensorFlow ignores the note. It is
    found in the first 64 KiB of a file, where all programs known to write it do so.
    """
    # Zeros behind, so that what points beyond the end finds nothing.
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, _HEAD_BYTES), tf.uint8)
    head = tf.pad(tf.cast(head, tf.int64), [[0, 16]])
    end = tf.size(head, tf.int64) - 1
    starts = tf.range(end - 14)

    def behind(magic: bytes, begin: bytes):
        found = tf.fill(tf.shape(starts), _begins(encoded, begin))
        for place, byte in enumerate(magic):
            if byte != ord("_"):  # Two bytes of length.
                found &= tf.equal(tf.gather(head, starts + place), byte)
        return tf.reduce_min(tf.where(found, starts, end)) + len(magic)

    tiff = tf.minimum(behind(b"\xff\xe1__Exif\0\0", _JPEG), behind(b"eXIf", _PNG))

    def number(place: tf.Tensor, size: int = 2):
        places = place[..., None] + tf.range(size, dtype=tf.int64)
        values = tf.gather(head, tf.clip_by_value(places, 0, end))
        little = tf.equal(tf.gather(head, tf.minimum(tiff, end)), ord("I"))
        values = tf.where(little, tf.reverse(values, [-1]), values)
        return tf.reduce_sum(values * [256 ** (size - 1 - i) for i in range(size)], -1)

    directory = tiff + number(tiff + 4, 4)
    entries = tf.range(64, dtype=tf.int64)
    places = directory + 2 + 12 * entries
    ours = (
        (entries < number(directory))
        & tf.equal(number(places), 0x0112)
        & tf.equal(number(places + 2), 3)
    )
    value = tf.reduce_max(tf.where(ours, number(places + 8), 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _upright(pixels: tf.Tensor, orientation: tf.Tensor):
    """Turns and mirrors [h,w,c] as EXIF's orientation says."""

    def among(*values: int):
        return tf.reduce_any(tf.equal(orientation, tf.constant(values, tf.int64)))

    turned = tf.cond(
        orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: tf.identity(pixels)
    )
    rows = tf.range(tf.shape(turned)[0])
    columns = tf.range(tf.shape(turned)[1])
    rows = tf.where(among(3, 4, 7, 8), tf.reverse(rows, [0]), rows)
    columns = tf.where(among(2, 3, 6, 7), tf.reverse(columns, [0]), columns)
    return tf.gather(tf.gather(turned, rows), columns, axis=1)
