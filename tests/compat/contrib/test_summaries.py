"""Summaries of tensors and activations."""

from __future__ import annotations

import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import summaries


def tags_and_values(evaluate):
    found = {}
    for text in evaluate(v1.get_collection(v1.GraphKeys.SUMMARIES)):
        (value,) = v1.Summary.FromString(text).value
        found[value.tag] = value.histo.num if value.HasField("histo") else value.simple_value
    return found


def test_by_the_rank(evaluate):
    summaries.summarize_tensors([tf.constant(2.0, name="one"), tf.constant([1.0, 2], name="two")])
    assert summaries.summarize_tensor(tf.constant("text")) is None
    assert summaries.summarize_tensor(tf.constant(True)) is None
    assert tags_and_values(evaluate) == {"one_summary": 2.0, "two_summary": 2}


def test_activations(evaluate):
    x = tf.constant([-1.0, 0.5, 7.0, 8.0])
    for activation in (tf.nn.relu6(x, name="a"), tf.nn.tanh(x, name="b"), tf.nn.relu(x, name="c")):
        v1.add_to_collection(v1.GraphKeys.ACTIVATIONS, activation)
    summaries.summarize_activations(name_filter="[ab]")
    assert tags_and_values(evaluate) == pytest.approx(
        {"a/zeros": 0.25, "a/sixes": 0.5, "a/activation": 4, "b/activation": 4}
    )
