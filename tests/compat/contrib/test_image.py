"""Turned and shifted pictures, by numpy where the angle is a right one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import image

PICTURES = np.arange(2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3) + 1


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("interpolation", ["NEAREST", "bilinear"])
def test_right_angles(evaluate, turns, interpolation):
    angle = turns * math.pi / 2
    found = evaluate(image.rotate(tf.constant(PICTURES), angle, interpolation))
    np.testing.assert_allclose(found, np.rot90(PICTURES, turns, axes=(1, 2)), atol=1e-3)


def test_an_angle_each_and_other_ranks(evaluate):
    angles = tf.constant([0.0, math.pi])
    batch = v1.placeholder(tf.float32, [None, None, None, 3])
    found = evaluate(
        [
            image.rotate(batch, angles),
            image.rotate(tf.constant(PICTURES[0]), math.pi / 2),
            image.rotate(tf.constant(PICTURES[0, ..., 0]), math.pi / 2),
        ],
        {batch: PICTURES},
    )
    np.testing.assert_array_equal(found[0], [PICTURES[0], PICTURES[1, ::-1, ::-1]])
    np.testing.assert_array_equal(found[1], np.rot90(PICTURES[0]))
    np.testing.assert_array_equal(found[2], np.rot90(PICTURES[0, ..., 0]))


def test_shifts_to_the_right_and_down(evaluate):
    found = evaluate(image.translate(tf.constant(PICTURES), [[1, 2], [-0.5, 0]], "BILINEAR"))
    expected = np.zeros_like(PICTURES)
    expected[0, 2:, 1:] = PICTURES[0, :-2, :-1]
    expected[1, :, :-1] = (PICTURES[1, :, :-1] + PICTURES[1, :, 1:]) / 2
    expected[1, :, -1] = PICTURES[1, :, -1] / 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_projection_into_another_shape(evaluate):
    shrunk = image.transform(tf.constant(PICTURES), [2, 0, 1, 0, 2, 0, 0, 0], output_shape=[2, 2])
    np.testing.assert_array_equal(evaluate(shrunk), PICTURES[:, ::2, 1::2])


@pytest.mark.parametrize(
    "use",
    [
        lambda: image.rotate(tf.zeros([3]), 1.0),
        lambda: image.rotate(tf.zeros([3, 3]), [[1.0]]),
        lambda: image.translate(tf.zeros([3, 3]), 1.0),
        lambda: image.transform(tf.zeros([3, 3]), 1.0),
    ],
)
def test_wrong_shapes_are_refused(use):
    with pytest.raises(TypeError, match="shape"):
        use()
