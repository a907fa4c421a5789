"""How initializers draw: their spread, where it ends, and that it follows the fan."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mnist_estimator.compat import tf
from mnist_estimator.compat.contrib.initializers import (
    variance_scaling_initializer,
    xavier_initializer,
)

# A normal cut at two deviations has this variance (of 1 uncut); TensorFlow 1 takes 1.3 for 1/0.774.
CUT = 0.7737413


@pytest.mark.parametrize(
    ("options", "shape", "fan"),
    [
        ({"mode": "FAN_IN"}, [300, 200], 300),
        ({"mode": "FAN_OUT"}, [300, 200], 200),
        ({"mode": "FAN_AVG", "factor": 1.0}, [300, 200], 250),
        ({}, [5, 5, 40, 60], 1000),
        ({"mode": "FAN_OUT"}, [5, 5, 40, 60], 1500),
        ({}, [60000], 60000),
    ],
)
@pytest.mark.parametrize("uniform", [True, False])
def test_spread(evaluate, options, shape, fan, uniform):
    values = evaluate(variance_scaling_initializer(**options, uniform=uniform, seed=1)(shape))
    factor = options.get("factor", 2.0)
    variance, end = factor / fan, math.sqrt(3 * factor / fan)
    if not uniform:
        variance, end = 1.3 * CUT * factor / fan, 2 * math.sqrt(1.3 * factor / fan)
    assert values.mean() == pytest.approx(0, abs=4 * math.sqrt(variance / values.size))
    assert values.var() == pytest.approx(variance, rel=0.03)
    assert 0.99 * end < abs(values).max() <= end * 1.000001


def test_xavier_is_even_by_default(evaluate):
    values = evaluate(xavier_initializer(seed=1)([100, 200]))
    end = math.sqrt(6 / 300)
    assert np.histogram(values, 10, (-end, end))[0] == pytest.approx(2000, rel=0.1)
    assert evaluate(xavier_initializer(dtype=tf.float64)([])).dtype == np.float64


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="'fan_in'"):
        variance_scaling_initializer(mode="fan_in")
    with pytest.raises(TypeError, match="int32"):
        xavier_initializer(dtype=tf.int32)
