"""Layers of two recurrent networks, held against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import rnn

X = np.random.default_rng(0).normal(size=(2, 3, 1)).astype(np.float32)


class Adding:
    """A cell whose output is the sum of what it has read, times a number."""

    output_size = state_size = 1

    def __init__(self, factor):
        self._factor = factor

    def zero_state(self, batch_size, dtype):
        return tf.zeros([batch_size, 1], dtype)

    def __call__(self, inputs, state, scope=None):
        state = state + tf.reduce_sum(inputs, axis=1, keepdims=True)
        return state * self._factor, state


def test_each_layer_reads_both_below(evaluate):
    cells = [Adding(1.0), Adding(10.0)], [Adding(2.0), Adding(20.0)]
    found = rnn.stack_bidirectional_dynamic_rnn(*cells, tf.constant(X), dtype=tf.float32)
    outputs, forwards, backwards = evaluate(found)
    one, two = np.cumsum(X, axis=1), 2 * np.cumsum(X[:, ::-1], axis=1)[:, ::-1]
    both = one + two
    last = [np.cumsum(both, axis=1), np.cumsum(both[:, ::-1], axis=1)[:, ::-1]]
    expected = np.concatenate([10 * last[0], 20 * last[1]], axis=2)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    np.testing.assert_allclose(forwards[0], X.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(backwards[1], both.sum(axis=1), rtol=1e-5)


def test_states_lengths_and_scopes(evaluate):
    start = [tf.ones([2, 1])], [tf.zeros([2, 1])]
    cells = [Adding(1.0)], [Adding(1.0)]
    options = {"sequence_length": [1, 3], "dtype": tf.float32}
    found = rnn.stack_bidirectional_dynamic_rnn(*cells, tf.constant(X), *start, **options)
    outputs, forwards, backwards = evaluate(found)
    np.testing.assert_allclose(forwards[0], [1 + X[0, 0], 1 + X[1].sum(axis=0)], rtol=1e-5)
    np.testing.assert_allclose(backwards[0], [X[0, 0], X[1].sum(axis=0)], rtol=1e-5)
    assert outputs[0, 1:].tolist() == [[0, 0], [0, 0]]
    names = [operation.name for operation in v1.get_default_graph().get_operations()]
    assert any(
        name.startswith("stack_bidirectional_rnn/cell_0/bidirectional_rnn") for name in names
    )


@pytest.mark.parametrize(
    ("cells", "message"),
    [(([], []), "at least one"), (([Adding(1)], [Adding(1)] * 2), r"found \[1, 2\]")],
)
def test_wrong_lists_are_refused(cells, message):
    with pytest.raises(ValueError, match=message):
        rnn.stack_bidirectional_dynamic_rnn(*cells, tf.constant(X))
