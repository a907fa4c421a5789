"""Metrics worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import metrics as m

LABELS = [0, 1, 1, 1, 0, 0]
CLASSES = [0, 1, 1, 0, 0, 1]  # Two of three positives are found, two of three found are right.
SCORES = [0.1, 0.8, 0.4, 0.9, 0.35, 0.7]
WEIGHTS = [1.0, 2.0, 0.0, 1.0, 3.0, 1.0]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (lambda c, y, w: m.streaming_accuracy(c, y), 4 / 6),
        (lambda c, y, w: m.streaming_accuracy(predictions=c, labels=y, weights=w), 6 / 8),
        (lambda c, y, w: m.streaming_recall(c, y, w), 2 / 3),
        (lambda c, y, w: m.streaming_precision(c, y, w), 2 / 3),
        (lambda c, y, w: m.streaming_true_positives(c, y), 2),
        (lambda c, y, w: m.streaming_true_negatives(c, y, w), 4),
        (lambda c, y, w: m.streaming_false_positives(c, y, w), 1),
        (lambda c, y, w: m.streaming_false_negatives(c, y, w), 1),
        (lambda c, y, w: m.streaming_mean_absolute_error(c, y), 2 / 6),
        (lambda c, y, w: m.streaming_mean_squared_error(2 * c, y), 7 / 6),
        (lambda c, y, w: m.streaming_root_mean_squared_error(c, y), (2 / 6) ** 0.5),
    ],
)
def test_over_two_batches(evaluate, metric, expected):
    batch = v1.placeholder(tf.int64, [None])
    rows = [tf.gather(values, batch) for values in (CLASSES, LABELS, WEIGHTS)]
    value, update = metric(*rows)
    for part in ([0, 1, 2, 3], [4, 5]):
        evaluate(update, {batch: part})
    assert evaluate(value) == pytest.approx(expected)


def test_the_order_of_arguments_counts(evaluate):
    predictions, labels = tf.constant([1, 1, 1, 0]), tf.constant([1, 0, 0, 0])
    found = [m.streaming_precision(predictions, labels), m.streaming_recall(predictions, labels)]
    assert evaluate([update for _, update in found]) == pytest.approx([1 / 3, 1])


def test_auc_is_how_often_a_positive_scores_more(evaluate):
    pairs = [a > b for a in (0.8, 0.4, 0.9) for b in (0.1, 0.35, 0.7)]
    _, update = m.streaming_auc(tf.constant(SCORES), tf.constant(LABELS), num_thresholds=2000)
    assert evaluate(update) == pytest.approx(sum(pairs) / 9, abs=1e-3)


def test_mean_iou(evaluate):
    value, update = m.streaming_mean_iou(tf.constant(CLASSES), tf.constant(LABELS), 2)
    evaluate(update)
    assert evaluate(value) == pytest.approx((2 / 4 + 2 / 4) / 2)


def test_accuracy(evaluate):
    right = m.accuracy(tf.constant(CLASSES), tf.constant(LABELS))
    weighted = m.accuracy(tf.constant(CLASSES), tf.constant(LABELS), tf.constant(WEIGHTS))
    text = m.accuracy(tf.constant(["a", "b"]), tf.constant(["a", "c"]), weights=3.0)
    assert evaluate([right, weighted, text]) == pytest.approx([4 / 6, 6 / 8, 0.5])
    for predictions in ([0.0] * 6, [True] * 6):
        with pytest.raises(ValueError, match="expected integers, booleans or strings, both"):
            m.accuracy(tf.constant(predictions), tf.constant(LABELS))


def test_f1_score(evaluate):
    labels, scores = np.array(LABELS), np.array(SCORES)
    best = 0
    for threshold in np.linspace(0.001, 0.999, 999):
        found = scores > threshold
        hits = (found & (labels == 1)).sum()
        best = max(best, 2 * hits / (found.sum() + 3))
    value, update = m.f1_score(tf.constant(LABELS), tf.constant(SCORES), metrics_collections="f1")
    evaluate(update)
    assert evaluate(value) == pytest.approx(best, rel=1e-5)
    assert v1.get_collection("f1") == [value]


def test_several_at_once(evaluate):
    pairs = {name: (f"{name} value", f"{name} update") for name in "ab"}
    assert m.aggregate_metric_map(pairs) == (
        {"a": "a value", "b": "b value"},
        {"a": "a update", "b": "b update"},
    )
    values, updates = m.aggregate_metrics(*pairs.values())
    assert (values, updates) == (["a value", "b value"], ["a update", "b update"])
    with pytest.raises(ValueError, match="no metrics"):
        m.aggregate_metrics()
