"""The paper below the ink is a quadratic surface."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures import paper


def fitted(picture: np.ndarray) -> np.ndarray:
    """The paper's colours [h,w,c] at each place of a picture."""
    with tf.Graph().as_default(), v1.Session() as session:
        pixels = tf.constant(picture, tf.float32)
        factors = paper.fitted(pixels)
        rows, columns = (paper.powers(tf.shape(pixels)[axis]) for axis in (0, 1))
        return session.run(paper.colours(factors, rows, columns)).transpose(1, 2, 0)


def sheet(height: int, width: int, channels: int) -> np.ndarray:
    """Lit from one side and dim at the corners."""
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[:, None]
    light = 150 + 30 * x - 20 * y - 15 * x * x + 10 * x * y - 5 * y * y
    return light * np.linspace(1, 0.8, channels)


@pytest.mark.parametrize("shape", [(64, 64, 1), (64, 48, 3), (20, 30, 3), (28, 28, 1)])
def test_the_paper_is_found_below_the_ink(shape):
    expected = sheet(*shape)
    picture = expected.copy()
    height, width = shape[:2]
    picture[height // 4 : height // 2, width // 3 : width // 2] = 20
    assert np.abs(fitted(picture) - expected).max() < 1


@pytest.mark.parametrize("shape", [(1, 50, 1), (50, 1, 3), (1, 1, 1)])
def test_a_picture_of_one_row_has_paper(shape):
    expected = sheet(*shape)
    assert np.abs(fitted(expected) - expected).max() < 1
