"""The column of numbers, as a canned estimator's input layer reads it."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib.columns import real_valued_column


def test_numbers_are_normalized_and_laid_side_by_side(evaluate):
    columns = [
        real_valued_column("a", normalizer=lambda x: (x - 1.0) / 2.0),
        real_valued_column("b", dimension=2, dtype=tf.float64),
    ]
    features = {
        "a": tf.constant([[1.0], [5.0]]),
        "b": tf.constant([[3.0, 4.0], [6.0, 7.0]], tf.float64),
    }
    np.testing.assert_array_equal(
        evaluate(v1.feature_column.input_layer(features, columns)), [[0, 3, 4], [2, 6, 7]]
    )


def test_what_is_missing_takes_the_default(evaluate):
    column = real_valued_column("a", dimension=2, default_value=[7.0, 8.0])
    spec = v1.feature_column.make_parse_example_spec([column])
    found = v1.io.parse_example([tf.train.Example().SerializeToString()], spec)
    np.testing.assert_array_equal(evaluate(found["a"]), [[7, 8]])


def test_a_column_of_any_length_is_refused():
    with pytest.raises(ValueError, match=r"real_valued_column\('a'\): found dimension=None"):
        real_valued_column("a", dimension=None)
