"""Pictures that are only resized."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from support.drawing import encoded

from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures import preparation

_RANDOM = np.random.default_rng(0)


def saved(array: np.ndarray, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


def resized(files: list[bytes], shape: tuple[int, int, int]) -> np.ndarray:
    with tf.Graph().as_default(), v1.Session() as session:
        fed = v1.placeholder(tf.string, [None])
        images = preparation.plain_images(fed, shape)
        assert images.shape.as_list() == [None, *shape]
        return session.run(images, {fed: files})


@pytest.mark.parametrize("height, width", [(28, 28), (32, 40), (300, 500), (1, 7)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_of_the_right_shape_stays_as_it_is(height, width, channels):
    image = _RANDOM.integers(0, 256, (height, width, channels), np.uint8)
    file = saved(image[..., 0] if channels == 1 else image)
    np.testing.assert_array_equal(resized([file], image.shape)[0], image)


def test_grey_in_colour_is_grey_and_grey_becomes_a_colour():
    grey = _RANDOM.integers(0, 256, (16, 16, 1), np.uint8)
    colour = np.repeat(grey, 3, 2)
    np.testing.assert_array_equal(resized([saved(colour)], grey.shape)[0], grey)
    np.testing.assert_array_equal(resized([saved(grey[..., 0])], colour.shape)[0], colour)


def test_a_larger_picture_is_smoothed_and_not_cropped():
    ramp = (np.add(*np.mgrid[:560, :840]) // 6).astype(np.uint8)
    ramp[::2, ::2] ^= 15  # What would flicker without smoothing.
    by_pillow = Image.fromarray(ramp).resize((28, 42), Image.Resampling.BILINEAR)
    image = resized([saved(ramp)], (42, 28, 1))[0, ..., 0]
    assert np.abs(image.astype(int) - np.asarray(by_pillow)).max() <= 3


def test_what_is_transparent_is_white_and_an_alpha_of_no_meaning_is_left_out():
    image = np.full((8, 8, 4), 40, np.uint8)
    image[:4, :, 3], image[4:, :, 3] = 0, 255
    half, meaningless = resized([saved(image), saved(image[:4])], (8, 8, 3))
    assert (half[:4] == 255).all() and (half[4:] == 40).all()
    assert (meaningless == 40).all()


def test_no_pictures():
    assert resized([], (5, 6, 3)).shape == (0, 5, 6, 3)


def test_more_channels_than_a_picture_has():
    with pytest.raises(ValueError, match="5 channels"):
        resized([], (5, 6, 5))


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
