"""Files of pictures, decoded in the graph and turned upright."""

from __future__ import annotations

from mnist_estimator.compat import tf


def decoded(encoded: tf.Tensor, longest: int) -> tf.Tensor:
    """Decodes one PNG, JPEG, GIF (its first frame) or BMP file.

    Args:
      encoded: string [], the whole file.
      longest: pixels of the longer side, at most; a larger picture is shrunk.

    Returns:
      float32 [h,w,1 to 4], from 0 to 255 (of 16 bits the upper 8), upright by EXIF's orientation;
      2 and 4 channels end with alpha.

    Raises:
      tf.errors.InvalidArgumentError: at run time, if the file cannot be decoded.
    """
    pixels = tf.io.decode_image(encoded, expand_animations=False)
    return _upright(shrunk(pixels, longest), _orientation(encoded))


def shrunk(pixels: tf.Tensor, side: int) -> tf.Tensor:
    """Averages [h,w,c] over areas so that no side is longer than `side`: float32."""
    size = tf.cast(tf.shape(pixels)[:2], tf.float32)
    size *= tf.minimum(1.0, side / tf.reduce_max(size))
    size = tf.maximum(tf.cast(tf.round(size), tf.int32), 1)
    return tf.image.resize(pixels[None], size, tf.image.ResizeMethod.AREA)[0]


def _orientation(encoded: tf.Tensor):
    """EXIF's orientation of a JPEG, int64 []: 1 to 8; 1 if there is none or it makes no sense.

    Phones save what their sensor sees and note how it was held; TensorFlow ignores the note.
    """
    # Zeros behind, so that what points beyond the end finds nothing.
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, 1 << 16), tf.uint8)
    head = tf.pad(tf.cast(head, tf.int64), [[0, 16]])
    end = tf.size(head, tf.int64) - 1
    starts = tf.range(end - 14)
    found = tf.equal(head[0], 0xFF)
    for place, byte in enumerate(b"\xff\xe1__Exif\0\0"):
        if byte != ord("_"):  # Two bytes of length.
            found &= tf.equal(tf.gather(head, starts + place), byte)
    tiff = tf.reduce_min(tf.where(found, starts, end)) + 10

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
