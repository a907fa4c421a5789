"""Losses of weights, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import regularizers as r

W = np.array([[1.0, -2.0], [0.5, 0.0]], np.float32)


@pytest.mark.parametrize(
    ("regularizer", "loss"),
    [
        (r.l1_regularizer(0.5), 0.5 * 3.5),
        (r.l2_regularizer(0.4), 0.4 * 5.25 / 2),
        (r.l1_l2_regularizer(0.5, 0.4), 0.5 * 3.5 + 0.4 * 5.25 / 2),
        (r.l1_l2_regularizer(0.0, 0.4), 0.4 * 5.25 / 2),
        (r.sum_regularizer([r.l1_regularizer(0.5), None, r.l2_regularizer(0.0)]), 0.5 * 3.5),
    ],
)
def test_losses(evaluate, regularizer, loss):
    assert evaluate(regularizer(tf.constant(W))) == pytest.approx(loss)


def test_a_scale_of_0_does_nothing():
    assert r.l1_regularizer(0.0)(tf.constant(W)) is r.l2_regularizer(0.0)(tf.constant(W)) is None
    assert r.sum_regularizer([None]) is None


@pytest.mark.parametrize("scale", [1, -0.5])
@pytest.mark.parametrize("make", [r.l1_regularizer, r.l2_regularizer])
def test_a_wrong_scale_is_refused(make, scale):
    with pytest.raises(ValueError, match=f"scale is .*{scale}"):
        make(scale)


def test_a_variable_has_its_loss_in_the_collection(evaluate):
    initializer = v1.constant_initializer(W)
    v1.get_variable("w", [2, 2], initializer=initializer, regularizer=r.l2_regularizer(2.0))
    assert evaluate(v1.losses.get_regularization_loss()) == pytest.approx(5.25)


def test_apply_regularization(evaluate):
    v1.add_to_collection(v1.GraphKeys.WEIGHTS, tf.constant(W))
    first = r.apply_regularization(r.l1_regularizer(1.0))
    second = r.apply_regularization(r.l2_regularizer(2.0), [tf.constant(W), tf.constant([1.0])])
    assert evaluate([first, second]) == pytest.approx([3.5, 6.25])
    assert v1.losses.get_regularization_losses() == [first, second]
    with pytest.raises(ValueError, match=r"\(2, 2\), expected a scalar"):
        r.apply_regularization(lambda weights: weights)


def test_apply_regularization_needs_weights():
    with pytest.raises(ValueError, match="no weights"):
        r.apply_regularization(r.l1_regularizer(1.0))
