"""Convolution backwards, held against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import transposed

X = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype(np.float32)


def spread(x, weights, stride):
    """Each pixel puts the kernel, times itself, where it is; weights [h, w, out, in]."""
    size = [(n - 1) * s + k for n, s, k in zip(x.shape[1:3], stride, weights.shape, strict=False)]
    found = np.zeros((len(x), *size, weights.shape[2]))
    for i, j in np.ndindex(x.shape[1:3]):
        put = np.einsum("nc,hwoc->nhwo", x[:, i, j], weights)
        rows = slice(i * stride[0], i * stride[0] + weights.shape[0])
        found[:, rows, j * stride[1] : j * stride[1] + weights.shape[1]] += put
    return found


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, [3, 2]), ([2, 1], 4)])
@pytest.mark.parametrize("known", [True, False])
def test_valid(evaluate, stride, kernel, known):
    inputs = v1.placeholder(tf.float32, X.shape if known else [None, None, None, 2])
    initializer = v1.constant_initializer(0.25)
    outputs = transposed.convolution2d_transpose(
        inputs, 3, kernel, stride, "VALID", biases_initializer=initializer
    )
    value, weights = evaluate([outputs, v1.global_variables()[0]], {inputs: X})
    expected = spread(X, weights, stride if isinstance(stride, list) else [stride] * 2) + 0.25
    np.testing.assert_allclose(value, np.maximum(expected, 0), rtol=1e-4, atol=1e-5)
    shape = list(value.shape) if known else [None, None, None, 3]
    assert outputs.shape.as_list() == shape
    names = [variable.op.name for variable in v1.global_variables()]
    assert names == ["Conv2d_transpose/weights", "Conv2d_transpose/biases"]


def test_same_cuts_what_lies_outside(evaluate):
    outputs = transposed.convolution2d_transpose(
        tf.constant(X), 3, 4, 2, activation_fn=None, biases_initializer=None
    )
    value, weights = evaluate([outputs, *v1.global_variables()])
    np.testing.assert_allclose(
        value, spread(X, weights, [2, 2])[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-5
    )


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="expected 4 dimensions"):
        transposed.convolution2d_transpose(tf.constant(X[0]), 3, 4)
    with pytest.raises(ValueError, match="'NCH'"):
        transposed.convolution2d_transpose(tf.constant(X), 3, 4, data_format="NCH")
