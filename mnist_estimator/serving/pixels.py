"""Brings the images of a request to the shape and the scale of the data the network was trained on.

White is the brightest pixel of that data: 255 for most. What cannot be pixels on its scale is an
error of the request, and gets no answer.
"""

from __future__ import annotations

from mnist_estimator.compat import tf, v1
from mnist_estimator.data.manifest import Manifest, TrainedOn
from mnist_estimator.data.statistics import full_scale

_ROUNDING = 0.01  # How far pixels may lie outside of their scale, as a fraction of it.


def add_channels(images: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Brings [N,H,W] or [N,H,W,C] to [N,H,W,C]; any other shape is an error of the request."""
    height, width, channels = image_shape
    shape, rank = tf.shape(images), tf.rank(images)
    sizes = tf.pad(shape, [[0, 3]])  # A number or a list has less than three, too.
    # Not `==`, which in a graph compares the tensors as Python's objects.
    fits = tf.reduce_all(tf.equal(sizes[1:3], [height, width])) & (rank >= 3) & (rank <= 4)
    fits &= tf.equal(tf.size(images), sizes[0] * height * width * channels)
    # No images: JSON's empty list has the shape [0].
    fits |= tf.equal(tf.size(images), 0) & tf.equal(rank, 1)
    also = f" or [N,{height},{width}]" if channels == 1 else ""
    expected = f"expected images [N,{height},{width},{channels}]{also}, found shape"
    with tf.control_dependencies([v1.debugging.Assert(fits, [expected, shape])]):
        return tf.reshape(images, [-1, *image_shape])


def check_bytes(images: tf.Tensor, data: Manifest | TrainedOn) -> tf.Tensor:
    """Returns uint8 [N,H,W,C] as it is; a pixel that is too bright is an error of the request."""
    white = full_scale(data.brightest_pixel)
    if white == 255:
        return images
    fits = images <= _limit(white)
    with tf.control_dependencies([_expect_pixels(fits, images, f"0 to {white}")]):
        return tf.identity(images)


def scale_floats(images: tf.Tensor, data: Manifest | TrainedOn) -> tf.Tensor:
    """Brings float32 [N,H,W,C], each image from 0 to 1 or from 0 to white, to 0 to white.

    The brightest pixel of an image tells which of the two it is. If it is between 1 and 2, neither
    scale fits, and nothing is guessed: such an image is an error of the request. A little is
    allowed for rounding: 255 times the float nearest to 1/255 is more than 1.
    """
    white = full_scale(data.brightest_pixel)
    brightest = tf.reduce_max(images, axis=[1, 2, 3], keepdims=True)
    are_fractions = brightest <= 1 + _ROUNDING
    # Every comparison with NaN is false.
    fits = (images >= -_ROUNDING) & (images <= _limit(white) * (1 + _ROUNDING))
    fits &= are_fractions | (brightest >= 2)
    expected = "0 to 1" + (f" or 0 to {white}" if white > 1 else "")
    with tf.control_dependencies([_expect_pixels(fits, images, expected)]):
        return _scaled(images, are_fractions, white)


def without_errors(images: tf.Tensor, data: Manifest | TrainedOn) -> tuple[tf.Tensor, tf.Tensor]:
    """As `check_bytes` or `scale_floats`, for a graph of another kind, which knows no errors.

    Returns:
      The images, float32, and which of them are pixels on the scale of the data: bool [N].
    """
    white = full_scale(data.brightest_pixel)
    limit = _limit(white)
    floats = tf.cast(images, tf.float32)
    darkest, brightest, total = (
        reduce(floats, axis=[1, 2, 3], keepdims=True)
        for reduce in (tf.reduce_min, tf.reduce_max, tf.reduce_sum)
    )
    if images.dtype == tf.uint8:
        return floats, tf.reshape(brightest <= limit, [-1])
    are_fractions = brightest <= 1 + _ROUNDING
    fits = (darkest >= -_ROUNDING) & (brightest <= limit * (1 + _ROUNDING))
    fits &= are_fractions | (brightest >= 2)
    # Elsewhere the least and the largest of numbers may leave out a NaN. No sum does.
    fits &= tf.abs(total) <= tf.float32.max
    return _scaled(floats, are_fractions, white), tf.reshape(fits, [-1])


def _scaled(images: tf.Tensor, are_fractions: tf.Tensor, white: int) -> tf.Tensor:
    fractions = tf.clip_by_value(images, 0, 1) * white
    return tf.where(are_fractions, fractions, tf.clip_by_value(images, 0, _limit(white)))


def limited(images: tf.Tensor, data: Manifest | TrainedOn) -> tf.Tensor:
    """float32 [N,H,W,C], of which what is brighter than a pixel may be counts as the brightest.

    TensorFlow Lite's int8 has one scale for both sides of a minimum, but not of ReLU6.
    """
    white = full_scale(data.brightest_pixel)
    if white == 255:
        return images
    most = _limit(white) / 6
    return tf.nn.relu6(images / most) * most


def dim_pictures(images: tf.Tensor, data: Manifest | TrainedOn) -> tf.Tensor:
    """Brings images of pictures, uint8 [N,H,W,C] from 0 to 255, to the scale of the data.

    A picture that is no brighter than the data's images may be is on their scale already.
    """
    white = full_scale(data.brightest_pixel)
    if white == 255:
        return images
    brightest = tf.reduce_max(images, axis=[1, 2, 3], keepdims=True)
    dimmed = tf.round(tf.cast(images, tf.float32) * (white / 255))
    return tf.where(brightest > _limit(white), tf.cast(dimmed, tf.uint8), images)


def _limit(white: int) -> int:
    """The brightest value that a pixel may have.

    An image may be brighter than all images the network was trained on. But if it is much brighter,
    it is on another scale.
    """
    return min(2 * white, 255)


def _expect_pixels(fits: tf.Tensor, images: tf.Tensor, expected: str) -> tf.Operation:
    """Fails unless all pixels fit; the error says what the first image that does not fit has."""
    wrong = tf.reduce_any(~fits, axis=[1, 2, 3])
    first = tf.boolean_mask(images, wrong)[:1]
    found = [tf.reduce_min(first), tf.reduce_max(first)]
    line = f"expected pixels from {expected} in each image, found from and to"
    return v1.debugging.Assert(~tf.reduce_any(wrong), [line, *found])
