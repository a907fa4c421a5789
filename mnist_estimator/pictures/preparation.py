"""Pictures of any size -> images like those that a network was trained on.

How a picture is prepared belongs to the data. Of a handwritten digit an image like MNIST's is made
(`digits`); any other picture is resized as it is. All of it is TensorFlow: an exported model and
the command `predict` prepare a picture by the same operations.
"""

from __future__ import annotations

from collections.abc import Callable

from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures import decoding, digits
from mnist_estimator.pictures.methods import DIGIT, PLAIN

Shape = tuple[int, int, int]

MAX_CHANNELS = 4  # A picture has no more.
DESCRIPTIONS = {  # How pictures are prepared, by `methods.PICTURES`.
    DIGIT: "prepared as handwritten digits are for MNIST",
    PLAIN: "resized, and else as they are",
}
_BLANK = bytes.fromhex(  # A PNG of one black pixel.
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a4944415478da6360000000020001e527defc0000000049454e44ae426082"
)
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
    *found, problems = digits_and_problems(encoded, image_shape)
    images, has_ink = _without(problems, found)
    return images, has_ink


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
    images, problems = plain_and_problems(encoded, image_shape)
    return _without(problems, [images])[0]


def digits_and_problems(
    encoded: tf.Tensor, image_shape: Shape
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """As `digit_images`, with the problem of each picture: string [N], "" where there is none.

    In the place of a picture with a problem it finds a blank one, so that the others get answers.
    """
    height, width, channels = image_shape

    def prepare(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, has_ink = digits.digit(pixels, height, width)
        return tf.tile(image[..., None], [1, 1, channels]), has_ink

    returned = (tf.TensorSpec(image_shape, tf.uint8), tf.TensorSpec([], tf.bool))
    (images, has_ink), problems = _each(prepare, encoded, digits.WORK_SIDE, returned)
    return images, has_ink, problems


def plain_and_problems(encoded: tf.Tensor, image_shape: Shape) -> tuple[tf.Tensor, tf.Tensor]:
    """As `plain_images`, with the problem of each picture as `digits_and_problems` has it."""
    height, width, channels = image_shape
    if channels > MAX_CHANNELS:
        raise ValueError(f"found images of {channels} channels, a picture has {MAX_CHANNELS}")

    def prepare(pixels: tf.Tensor) -> tf.Tensor:
        pixels = _with_channels(pixels, channels)
        pixels = tf.image.resize(pixels, [height, width], antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(pixels, 0, 255)), tf.uint8)

    # Shrunk first where it is far too large, which bounds the memory of all the rest.
    longest = 4 * max(height, width, 64)
    return _each(prepare, encoded, longest, tf.TensorSpec(image_shape, tf.uint8))


def _each(prepare: Callable, encoded: tf.Tensor, longest: int, returned: object):
    """Prepares each picture by itself; returns what it becomes, and its problem."""

    def prepared(place: tf.Tensor) -> object:
        whole = tf.strings.substr(tf.gather(encoded, place), 0, tf.gather(files.ends, place))
        whole = tf.strings.join([whole, tf.gather(files.suffixes, place)])
        whole = tf.where(tf.gather(readable, place), whole, _BLANK)
        orientation, keyed = tf.gather(files.orientations, place), tf.gather(files.keyed, place)
        return prepare(decoding.decoded(whole, orientation, keyed, longest))

    # On a GPU the bits would be others. Within, `==` would compare Python objects: TensorFlow gives
    # it to tensors in its own graphs only, and not in those of a tf.compat.v1.Session.
    with tf.name_scope("pictures"), tf.device("/cpu:0"):
        files = decoding.examined(encoded)
        readable = tf.equal(files.problems, "")
        images = tf.map_fn(
            # AutoGraph has nothing to convert, and warns of it.
            tf.autograph.experimental.do_not_convert(prepared),
            tf.range(tf.size(encoded)),
            fn_output_signature=returned,
            parallel_iterations=2,  # Each may hold a picture of many megabytes.
        )
    return images, files.problems


def _without(problems: tf.Tensor, images: list[tf.Tensor]) -> list[tf.Tensor]:
    """The images, or an error that says the first problem."""
    wrong = tf.not_equal(problems, "")
    found = tf.boolean_mask(problems, wrong)[:1]
    with tf.control_dependencies([v1.debugging.Assert(~tf.reduce_any(wrong), [found])]):
        return [tf.identity(image) for image in images]


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
