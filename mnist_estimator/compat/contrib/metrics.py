"""Metrics of `tf.contrib.metrics` that `v1.metrics` has with other arguments, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mnist_estimator.compat._loaded import tf, v1


def accuracy(predictions: Any, labels: Any, weights: Any = None, name: str | None = None) -> Any:
    """The share of a batch that is right: one tensor, that keeps nothing.

    Raises:
      ValueError: if both are not of one type: integers, booleans or strings.
    """
    predictions, labels = tf.convert_to_tensor(predictions), tf.convert_to_tensor(labels)
    dtype = predictions.dtype
    if not (dtype.is_integer or dtype in (tf.bool, tf.string)) or labels.dtype != dtype:
        found = f"predictions of {dtype.name} and labels of {labels.dtype.name}"
        raise ValueError(f"found {found}, expected integers, booleans or strings, both the same")
    with v1.name_scope(name, "accuracy", values=[predictions, labels]):
        right = tf.cast(tf.equal(predictions, labels), tf.float32)
        if weights is None:
            return tf.reduce_mean(right)
        weights = tf.broadcast_to(tf.cast(weights, tf.float32), v1.shape(right))
        return tf.reduce_sum(right * weights) / tf.reduce_sum(weights)


def f1_score(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    num_thresholds: int = 200,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> tuple[Any, Any]:
    """The largest harmonic mean of precision and recall over thresholds of the predictions.

    Args:
      predictions: 0.0 to 1.0.
      num_thresholds: evenly from 0 to 1; 1e-7 is taken from the first, and added to the last.
    """
    inner = [each / (num_thresholds - 1) for each in range(1, num_thresholds - 1)]
    thresholds = [-1e-7, *inner, 1 + 1e-7]
    with v1.variable_scope(name, "f1", (labels, predictions, weights)):
        counts = [
            count(labels, predictions, thresholds, weights)
            for count in (
                v1.metrics.true_positives_at_thresholds,
                v1.metrics.false_positives_at_thresholds,
                v1.metrics.false_negatives_at_thresholds,
            )
        ]
        value, update = (_best_f1(*each, name="best_f1") for each in zip(*counts, strict=True))
        if metrics_collections:
            v1.add_to_collections(metrics_collections, value)
        if updates_collections:
            v1.add_to_collections(updates_collections, update)
        return value, update


def aggregate_metrics(*value_update_tuples: tuple[Any, Any]) -> tuple[list[Any], list[Any]]:
    """Pairs of a value and its update -> the values, and the updates.

    Raises:
      ValueError: if there are none.
    """
    if not value_update_tuples:
        raise ValueError("found no metrics, expected pairs of a value and its update")
    values, updates = zip(*value_update_tuples, strict=True)
    return list(values), list(updates)


def aggregate_metric_map(names_to_tuples: dict[str, tuple[Any, Any]]) -> tuple[dict, dict]:
    """Name -> pair of a value and its update: name -> value, and name -> update."""
    values = {name: value for name, (value, _) in names_to_tuples.items()}
    return values, {name: update for name, (_, update) in names_to_tuples.items()}


def _predictions_first(name: str) -> Callable[..., Any]:
    """A metric of `v1.metrics` with the predictions first and then the labels."""

    def metric(predictions: Any, labels: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(v1.metrics, name)(labels, predictions, *args, **kwargs)

    metric.__name__ = metric.__qualname__ = f"streaming_{name}"
    metric.__doc__ = f"`v1.metrics.{name}`, with the predictions before the labels."
    return metric


def streaming_auc(
    predictions: Any,
    labels: Any,
    weights: Any = None,
    num_thresholds: int = 200,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    curve: str = "ROC",
    name: str | None = None,
) -> Any:
    """`v1.metrics.auc`, with the predictions before the labels."""
    return v1.metrics.auc(
        labels,
        predictions,
        weights,
        num_thresholds,
        metrics_collections,
        updates_collections,
        curve,
        name,
    )


streaming_accuracy = _predictions_first("accuracy")
streaming_precision = _predictions_first("precision")
streaming_recall = _predictions_first("recall")
streaming_true_positives = _predictions_first("true_positives")
streaming_true_negatives = _predictions_first("true_negatives")
streaming_false_positives = _predictions_first("false_positives")
streaming_false_negatives = _predictions_first("false_negatives")
streaming_mean_absolute_error = _predictions_first("mean_absolute_error")
streaming_mean_squared_error = _predictions_first("mean_squared_error")
streaming_root_mean_squared_error = _predictions_first("root_mean_squared_error")


def streaming_mean_iou(
    predictions: Any, labels: Any, num_classes: int, *args: Any, **kwargs: Any
) -> Any:
    """`v1.metrics.mean_iou`, with the predictions before the labels."""
    return v1.metrics.mean_iou(labels, predictions, num_classes, *args, **kwargs)


def _best_f1(true_positives: Any, false_positives: Any, false_negatives: Any, name: str) -> Any:
    epsilon = 1e-7
    precision = true_positives / (epsilon + true_positives + false_positives)
    recall = true_positives / (epsilon + true_positives + false_negatives)
    return tf.reduce_max(2 * precision * recall / (precision + recall + epsilon), name=name)
