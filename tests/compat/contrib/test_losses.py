"""Losses held against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import losses

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(4, 3)).astype(np.float32)
CLASSES = np.array([0, 2, 1, 1])
HOT = np.eye(3, dtype=np.float32)[CLASSES]
WEIGHTS = np.array([1.0, 0.0, 2.0, 3.0], np.float32)
ODDS = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
YES = 1 / (1 + np.exp(-LOGITS))


def mean(values, weights=None):
    """Over all whose weight is not 0; the weights are of the first dimension."""
    if weights is None:
        return values.mean()
    weights = np.broadcast_to(weights.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
    return (values * weights).sum() / np.count_nonzero(weights)


def entropy(odds, labels):
    return -(labels * np.log(odds)).sum(axis=1)


def yes_no(odds, labels):
    return -labels * np.log(odds) - (1 - labels) * np.log(1 - odds)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda x, y, w: losses.softmax_cross_entropy(x, y), mean(entropy(ODDS, HOT))),
        (
            lambda x, y, w: losses.softmax_cross_entropy(x, y, w, label_smoothing=0.3),
            mean(entropy(ODDS, HOT * 0.7 + 0.1), WEIGHTS),
        ),
        (
            lambda x, y, w: losses.sparse_softmax_cross_entropy(x, CLASSES[:, None], w),
            mean(entropy(ODDS, HOT), WEIGHTS),
        ),
        (
            lambda x, y, w: losses.sigmoid_cross_entropy(x, y, w, 0.2),
            mean(yes_no(YES, HOT * 0.8 + 0.1), WEIGHTS),
        ),
        (
            lambda x, y, w: losses.log_loss(tf.sigmoid(x), y, w, epsilon=1e-9),
            mean(yes_no(YES, HOT), WEIGHTS),
        ),
        (lambda x, y, w: losses.mean_squared_error(x, y), mean((LOGITS - HOT) ** 2)),
        (lambda x, y, w: losses.mean_squared_error(x, y, w), mean((LOGITS - HOT) ** 2, WEIGHTS)),
        (
            lambda x, y, w: losses.mean_squared_error(x, y, w[:, None]),
            mean((LOGITS - HOT) ** 2, WEIGHTS),
        ),
        (lambda x, y, w: losses.absolute_difference(x, y, 2.0), 2 * mean(abs(LOGITS - HOT))),
        (
            lambda x, y, w: losses.cosine_distance(x, y, dim=1, weights=w),
            mean(1 - (LOGITS * HOT).sum(axis=1), WEIGHTS),
        ),
        (
            lambda x, y, w: losses.cosine_distance(x, y, 0),
            mean(1 - (LOGITS * HOT).sum(axis=0)),
        ),
    ],
)
def test_losses(evaluate, build, expected):
    loss = build(tf.constant(LOGITS), tf.constant(HOT), tf.constant(WEIGHTS))
    assert evaluate(loss) == pytest.approx(expected, rel=1e-5)
    assert v1.losses.get_losses() == [loss]


def test_hinge_loss_is_of_each_element(evaluate):
    loss = losses.hinge_loss(tf.constant(LOGITS), tf.constant(HOT))
    expected = np.maximum(0, 1 - (2 * HOT - 1) * LOGITS)
    np.testing.assert_allclose(evaluate(loss), expected, rtol=1e-5)
    assert not v1.losses.get_losses()


def test_cosine_distance_has_one_axis():
    for options in ({}, {"axis": 1, "dim": 1}):
        with pytest.raises(ValueError, match="expected one of them"):
            losses.cosine_distance(tf.constant(LOGITS), tf.constant(HOT), **options)
