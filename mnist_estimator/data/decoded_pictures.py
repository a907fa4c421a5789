"""Encoded pictures -> images of one shape, as `pictures.plain_images` makes them, many at once."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

import numpy as np

from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures import preparation
from mnist_estimator.runtime import files

Shape = tuple[int, int, int]

_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
# What of a PNG changes the picture that is decoded: how it was held, and which colour is none.
_CHANGING = (b"eXIf", b"tRNS")
_GREY, _COLOURS = 0, 2


class PictureError(ValueError):
    """A picture that cannot be decoded: `at` is its place among those given."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at


class Decoder:
    """Decodes pictures to uint8 [N,H,W,C]; its graph is made once."""

    def __init__(self, image_shape: Shape) -> None:
        self._shape = image_shape
        with tf.Graph().as_default():
            self._encoded = v1.placeholder(tf.string, [None])
            # The general way takes six times as long.
            self._simple = _each_png(self._encoded, image_shape)
            self._general = preparation.plain_images(self._encoded, image_shape)
            # On the CPU, so that a GPU's memory is left to those who train.
            self._session = v1.Session(config=v1.ConfigProto(device_count={"GPU": 0}))

    def __call__(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Decodes pictures with which `picture_files.problem` finds nothing wrong.

        Raises:
          PictureError: for the first that cannot be decoded.
        """
        simple = all(_is_simple(picture, self._shape) for picture in pictures)
        images = self._simple if simple else self._general
        try:
            return self._run(images, pictures)
        except tf.errors.InvalidArgumentError as error:
            line = files.error_line(error)
        for at, picture in enumerate(pictures):
            try:
                self._run(self._general, [picture])
            except tf.errors.InvalidArgumentError as error:
                raise PictureError(at, files.error_line(error)) from None
        raise PictureError(0, line)

    def _run(self, images: tf.Tensor, pictures: Sequence[bytes]) -> np.ndarray:
        return self._session.run(images, {self._encoded: pictures})


@functools.lru_cache(maxsize=4)
def decoder(image_shape: Shape) -> Decoder:
    """A decoder of images of a shape, which takes a second to make."""
    return Decoder(image_shape)


def _each_png(encoded: tf.Tensor, image_shape: Shape) -> tf.Tensor:
    channels = image_shape[2] if image_shape[2] in (1, 3) else 0
    decode = tf.autograph.experimental.do_not_convert(
        lambda picture: tf.ensure_shape(tf.io.decode_png(picture, channels), image_shape)
    )
    return tf.map_fn(decode, encoded, fn_output_signature=tf.TensorSpec(image_shape, tf.uint8))


def _is_simple(picture: bytes, shape: Shape) -> bool:
    """Whether a picture is a whole PNG whose pixels are those of the image, byte by byte."""
    if not picture.startswith(_PNG) or _PNG_END not in picture:
        return False
    width, height, depth, colours = struct.unpack_from(">2I2B", picture, 16)
    kind = {1: _GREY, 3: _COLOURS}.get(shape[2])
    alike = (height, width, depth, colours) == (*shape[:2], 8, kind)
    return alike and not any(name in picture for name in _CHANGING)
