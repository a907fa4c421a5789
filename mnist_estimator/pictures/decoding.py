"""Files of pictures in the graph: what is wrong with them, and what they show, upright."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures.picture_files import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    MAX_SCANNED_PIXELS,
    MAX_SCANS,
    MAX_TEXTS,
    PACKED_TEXTS,
    SCAN_STARTS,
)

_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
_GIFS = (b"GIF87a", b"GIF89a")
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
# What a decoder reads as the rest of a scan, one or the other, wherever the scan was cut off: after
# an 0xFF, in the middle, or where one of eight restart markers is due. It waits for that marker if
# the first that it finds is one of the next two, hence two orders. The marker 0x01 has no meaning.
_RESTARTS = (*range(0xD0, 0xD8),)
_MORE_OF_A_SCAN = tuple(
    b"\0" + b"".join(31 * b"\x55" + bytes([0xFF, marker]) for marker in (0x01, *restarts, 0xD9))
    for restarts in (_RESTARTS, _RESTARTS[4:] + _RESTARTS[:4])
)
_HEAD_BYTES = 1 << 16  # Where EXIF's orientation is looked for.
# How far the first frame of a GIF is looked for: pieces, of which a run of full ones counts once.
_MOST_PIECES = 10_000
_FULL_BYTES, _RUN = 256, 1024
_AT_BLOCK, _IN_EXTENSION, _IN_FRAME, _WHOLE, _DAMAGED = range(5)


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
        first = _is_gif(encoded)
        alone = tf.cond(first, lambda: _first_frame_alone(encoded), lambda: tf.identity(encoded))
        pixels = _pixels(alone, tf.where(needs_end, _JPEG_END, b""))
    return _upright(shrunk(pixels, longest), _orientation(encoded))


def problem(encoded: tf.Tensor) -> tf.Tensor:
    """What is wrong with a file as far as can be told without decoding it, string []; else "".

    Damage between the beginning and the end of a file is not found. A decoder fails at it, or takes
    it for a part of the picture.
    """
    is_known = _begins(encoded, _PNG) | _begins(encoded, _JPEG) | _begins(encoded, _BMP)
    is_known |= _is_gif(encoded)
    is_short = tf.strings.length(encoded) <= MAX_FILE_BYTES
    line = tf.cond(is_known & is_short, lambda: _picture_problem(encoded), lambda: tf.constant(""))
    line = tf.where(is_short, line, f"larger than {MAX_FILE_BYTES >> 20} MiB; save it smaller")
    return tf.where(is_known, line, "no PNG, JPEG, GIF or BMP; save it as PNG or JPEG")


def _picture_problem(encoded: tf.Tensor):
    is_png, is_jpeg = _begins(encoded, _PNG), _begins(encoded, _JPEG)
    is_gif = _is_gif(encoded)
    state, _, frame_pixels = tf.cond(
        is_gif, lambda: _first_frame(encoded), lambda: _no_frame(encoded)
    )
    pixels = tf.cond(
        is_jpeg, lambda: _jpeg_pixels(encoded), lambda: _declared_pixels(encoded, is_png)
    )
    pixels = tf.where(pixels < 1, pixels, tf.maximum(pixels, frame_pixels))
    scans = tf.cond(is_jpeg, lambda: _count(encoded, SCAN_STARTS), lambda: tf.constant(0))
    texts = tf.cond(is_png, lambda: _count(encoded, PACKED_TEXTS), lambda: tf.constant(0))
    scanned = tf.cast(scans, tf.float64) * pixels
    slow = (scans > MAX_SCANS) | (scanned > MAX_SCANNED_PIXELS) | (texts > MAX_TEXTS)
    is_small = (pixels <= MAX_PIXELS) & ~slow
    has_end = tf.cond(is_png, lambda: _count(encoded, [_PNG_END]) > 0, lambda: tf.constant(True))
    has_end &= ~is_gif | tf.equal(state, _WHOLE)
    is_whole = tf.cond(
        is_jpeg & ~_ends(encoded, _JPEG_END) & is_small,
        lambda: _lacks_only_its_end(encoded),
        lambda: tf.identity(has_end),
    )
    line = tf.where(is_whole, "", "a picture that is cut off; get the file again")
    damaged = "a GIF whose blocks do not follow each other; save it as PNG"
    line = tf.where(tf.equal(state, _DAMAGED), damaged, line)
    many = f"more than {MAX_SCANS} scans, or than {MAX_TEXTS} packed texts; save it again"
    line = tf.where(slow, many, line)
    too_many = f"more than {MAX_PIXELS:,} pixels; save it smaller"
    line = tf.where(pixels > MAX_PIXELS, too_many, line)
    return tf.where(pixels < 1, "a picture without pixels", line)


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


def _is_gif(encoded: tf.Tensor):
    return _begins(encoded, _GIFS[0]) | _begins(encoded, _GIFS[1])


def _count(encoded: tf.Tensor, words: Sequence[bytes]):
    """How often any of `words` stands in a file, int32 []."""
    return tf.add_n([tf.size(tf.strings.split(encoded, word)) - 1 for word in words])


def _first_frame_alone(encoded: tf.Tensor):
    """A GIF that ends behind its first frame: its decoder inflates all that it is given."""
    _, end, _ = _first_frame(encoded)
    return tf.strings.join([tf.strings.substr(encoded, 0, tf.cast(end, tf.int32)), b";"])


def _no_frame(encoded: tf.Tensor):
    """What `_first_frame` says of a file that is no GIF."""
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    return tf.constant(_AT_BLOCK), length, tf.constant(0, tf.float64)


def _first_frame(encoded: tf.Tensor):
    """Looks for the first frame of a GIF.

    Returns:
      state: int32 []; _WHOLE if all of it is there, _DAMAGED if something else is, or it is in too
        many pieces; others where the file ends before.
      end: int64 [], the bytes of the file up to its end.
      pixels: float64 [], its height times its width.
    """
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    # Zeros behind, for what is read beyond the end.
    content = tf.pad(tf.io.decode_raw(encoded, tf.uint8), [[0, 16]])

    def goes_on(state: tf.Tensor, place: tf.Tensor, _: tf.Tensor, pieces: tf.Tensor):
        return (state < _WHOLE) & (place < length) & (pieces < _MOST_PIECES)

    def step(state: tf.Tensor, place: tf.Tensor, pixels: tf.Tensor, pieces: tf.Tensor):
        head = tf.cast(content[place : place + 10], tf.int64)
        is_frame, is_extension = tf.equal(head[0], 0x2C), tf.equal(head[0], 0x21)
        start = tf.where(is_frame, place + 11 + _palette(head[9]), place + 2)
        kind = tf.where(is_extension, _IN_EXTENSION, _DAMAGED)
        kind = tf.where(is_frame, _IN_FRAME, kind)
        size = tf.cast(head[5:9:2] + 256 * head[6:10:2], tf.float64)
        # Most of what follows are pieces as long as can be.
        run = content[place : place + _RUN * _FULL_BYTES : _FULL_BYTES]
        full = tf.reduce_sum(tf.math.cumprod(tf.cast(tf.equal(run, 255), tf.int64)))
        last = place + _FULL_BYTES * full
        piece = tf.cast(content[tf.minimum(last, length)], tf.int64)
        is_last = tf.equal(piece, 0) & (last < length)
        closed = tf.where(tf.equal(state, _IN_FRAME), _WHOLE, _AT_BLOCK)
        at_block = tf.equal(state, _AT_BLOCK)
        return (
            tf.where(at_block, kind, tf.where(is_last, closed, state)),
            tf.where(at_block, start, last + 1 + piece),
            tf.where(at_block & is_frame, tf.reduce_prod(size), pixels),
            pieces + 1,
        )

    palette = _palette(tf.cast(content[10], tf.int64))
    begin = (tf.constant(_AT_BLOCK), 13 + palette, tf.constant(0, tf.float64), tf.constant(0))
    state, end, pixels, pieces = tf.while_loop(goes_on, step, begin, parallel_iterations=1)
    state = tf.where((pieces >= _MOST_PIECES) & (state < _WHOLE), _DAMAGED, state)
    return state, tf.minimum(end, length), pixels


def _palette(flags: tf.Tensor):
    """The bytes of a GIF's table of colours, int64 []."""
    size = tf.bitwise.left_shift(tf.constant(6, tf.int64), flags & 7)
    return tf.where(flags >= 128, size, tf.zeros_like(size))


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
