"""`tf.contrib.losses`: those of `v1.losses`, with the predictions before the labels.

Weights have the shape of a loss, or of its first dimensions. Each loss is also in the collection
LOSSES.
"""

from __future__ import annotations

from typing import Any

from mnist_estimator.compat._loaded import tf, v1


def absolute_difference(
    predictions: Any, labels: Any = None, weights: Any = 1.0, scope: str | None = None
) -> Any:
    """The mean of abs(predictions - labels)."""
    weights = _wide(weights, predictions.shape.rank)
    return v1.losses.absolute_difference(labels, predictions, weights, scope)


def mean_squared_error(
    predictions: Any, labels: Any = None, weights: Any = 1.0, scope: str | None = None
) -> Any:
    """The mean of (predictions - labels)**2."""
    weights = _wide(weights, predictions.shape.rank)
    return v1.losses.mean_squared_error(labels, predictions, weights, scope)


def log_loss(
    predictions: Any,
    labels: Any = None,
    weights: Any = 1.0,
    epsilon: float = 1e-7,
    scope: str | None = None,
) -> Any:
    """The mean of the cross-entropy of probabilities."""
    weights = _wide(weights, predictions.shape.rank)
    return v1.losses.log_loss(labels, predictions, weights, epsilon, scope)


def sigmoid_cross_entropy(
    logits: Any,
    multi_class_labels: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
) -> Any:
    """The mean of the cross-entropy of logits of yes and no."""
    weights = _wide(weights, logits.shape.rank)
    return v1.losses.sigmoid_cross_entropy(
        multi_class_labels, logits, weights, label_smoothing, scope
    )


def softmax_cross_entropy(
    logits: Any,
    onehot_labels: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
) -> Any:
    """The mean of the cross-entropy of classes, of [batch, classes] labels."""
    weights = _wide(weights, logits.shape.rank - 1)
    return v1.losses.softmax_cross_entropy(onehot_labels, logits, weights, label_smoothing, scope)


def sparse_softmax_cross_entropy(
    logits: Any, labels: Any, weights: Any = 1.0, scope: str | None = None
) -> Any:
    """The mean of the cross-entropy of classes, of [batch] or [batch, 1] labels."""
    labels = tf.reshape(labels, [-1])
    return v1.losses.sparse_softmax_cross_entropy(labels, logits, _wide(weights, 1), scope)


def cosine_distance(
    predictions: Any,
    labels: Any = None,
    axis: int | None = None,
    weights: Any = 1.0,
    scope: str | None = None,
    dim: int | None = None,
) -> Any:
    """The mean of 1 - sum(predictions * labels) over an axis, by its older name `dim`.

    Raises:
      ValueError: if no axis is given, or two.
    """
    if (axis is None) == (dim is None):
        raise ValueError(f"axis is {axis}, dim is {dim}, expected one of them")
    axis = dim if axis is None else axis
    weights = tf.convert_to_tensor(weights)
    if weights.shape.rank:
        weights = tf.expand_dims(_wide(weights, predictions.shape.rank - 1), axis)
    return v1.losses.cosine_distance(labels, predictions, axis, weights, scope)


def hinge_loss(logits: Any, labels: Any = None, scope: str | None = None) -> Any:
    """max(0, 1 - (2 * labels - 1) * logits) of each element. Not in the collection LOSSES."""
    with v1.name_scope(scope, "hinge_loss", [logits, labels]):
        return tf.nn.relu(1 - (2 * tf.cast(labels, tf.float32) - 1) * logits)


def _wide(weights: Any, rank: int) -> Any:
    """Weights with dimensions of 1 behind, as many as a loss of that rank has more."""
    weights = tf.convert_to_tensor(weights)
    if weights.shape.rank == 0:
        return weights
    if weights.shape.rank > 1 and weights.shape[-1] in (1, None):
        weights = tf.squeeze(weights, [-1])
    for _ in range(rank - weights.shape.rank):
        weights = weights[..., None]
    return weights
