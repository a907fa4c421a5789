"""Pictures of any size -> images like those that a network was trained on.

How a picture is prepared belongs to the data. Of a handwritten digit an image like MNIST's is made
(`digits`); any other picture is resized as it is. All of it is TensorFlow: an exported model and
the command `predict` prepare a picture by the same operations.
"""

from __future__ import annotations

from collections.abc import Callable

from mnist_estimator.compat import tf
from mnist_estimator.pictures import decoding, digits
from mnist_estimator.pictures.methods import DIGIT, PLAIN

Shape = tuple[int, int, int]

MAX_CHANNELS = 4  # A picture has no more.
DESCRIPTIONS = {  # How pictures are prepared, by `methods.PICTURES`.
    DIGIT: "prepared as handwritten digits are for MNIST",
    PLAIN: "resized, and else as they are",
}
_GREY = (0.299, 0.587, 0.114)  # Of red, green and blue (ITU-R BT.601).


def digit_images(encoded: tf.Tensor, image_shape: Shape) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the digit in each picture and makes the image that a network trained on MNIST expects.

    Each picture is prepared by itself, so its bits do not depend on the others.

    Args:
      encoded: string [N], each a whole PNG, JPEG, GIF (its first frame) or BMP file. The paper and
        the ink may have any colours, lighter or darker; transparency and EXIF's orientation count.
      image_shape: height, width and channels of the images; the channels are alike.

    Returns:
      images: uint8 [N,H,W,C], light strokes on black.
      has_ink: bool [N], whether there is something like a digit; where not, the image is all 0.

    Raises:
      tf.errors.InvalidArgumentError: at run time, if a picture cannot be decoded.
    """
    height, width, channels = image_shape

    def prepare(picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = decoding.decoded(picture, digits.WORK_SIDE)
        image, has_ink = digits.digit(pixels, height, width)
        return tf.tile(image[..., None], [1, 1, channels]), has_ink

    returned = (tf.TensorSpec(image_shape, tf.uint8), tf.TensorSpec([], tf.bool))
    return _each(prepare, encoded, returned)


def plain_images(encoded: tf.Tensor, image_shape: Shape) -> tf.Tensor:
    """Resizes each picture to the shape of the images and changes nothing else about it.

    A picture that has the shape already comes through bit for bit, if it has no transparency. A
    larger one is smoothed first (anti-aliasing); one of another aspect is stretched.

    Args:
      encoded: as for `digit_images`.
      image_shape: height, width and channels of the images. With 1 channel colours become grey,
        with 3 grey becomes a colour, and what is transparent becomes white. With 2 and 4 the last
        one is alpha and stays.

    Returns:
      uint8 [N,H,W,C].

    Raises:
      ValueError: for more channels than a picture has.
      tf.errors.InvalidArgumentError: at run time, if a picture cannot be decoded.
    """
    height, width, channels = image_shape
    if channels > MAX_CHANNELS:
        raise ValueError(f"found images of {channels} channels, a picture has {MAX_CHANNELS}")

    def prepare(picture: tf.Tensor) -> tf.Tensor:
        # Shrunk first where it is far too large, which bounds the memory of all the rest.
        pixels = decoding.decoded(picture, 4 * max(height, width, 64))
        pixels = _with_channels(pixels, channels)
        pixels = tf.image.resize(pixels, [height, width], antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(pixels, 0, 255)), tf.uint8)

    return _each(prepare, encoded, tf.TensorSpec(image_shape, tf.uint8))


def problems(encoded: tf.Tensor) -> tf.Tensor:
    """What is wrong with each picture, string [N], by `decoding.problem`; "" where nothing is."""
    return _each(decoding.problem, encoded, tf.TensorSpec([], tf.string))


def _each(prepare: Callable, encoded: tf.Tensor, returned: object) -> object:
    """Prepares each picture by itself."""
    # AutoGraph has nothing to convert, and warns of it.
    prepare = tf.autograph.experimental.do_not_convert(prepare)
    # On a GPU the bits would be others. Within, `==` would compare Python objects: TensorFlow gives
    # it to tensors in its own graphs only, and not in those of a tf.compat.v1.Session.
    with tf.name_scope("pictures"), tf.device("/cpu:0"):
        return tf.map_fn(
            prepare,
            encoded,
            fn_output_signature=returned,
            parallel_iterations=2,  # Each may hold a picture of many megabytes.
        )


def _with_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    """[h,w,1 to 4] -> [h,w,channels]: grey or colours, and alpha where it is wanted."""
    found = tf.shape(pixels)[2]
    colours = pixels[..., : found - 1 + found % 2] + tf.zeros([3])
    alpha = tf.where(tf.equal(found % 2, 0), pixels[..., -1:], 255.0)
    if channels % 2:
        # An alpha that is the same everywhere has no meaning: a BMP's fourth byte is often 0.
        varies = tf.reduce_max(alpha) > tf.reduce_min(alpha)
        share = tf.where(varies, alpha / 255, 1.0)
        colours = colours * share + 255 * (1 - share)
    if channels <= 2:
        # Through doubles and rounded, so that a grey picture saved in colour stays as it is.
        colours = tf.reduce_sum(colours * _GREY, -1, keepdims=True)
    return colours if channels % 2 else tf.concat([colours, alpha], -1)
