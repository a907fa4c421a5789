"""Batch and layer normalization held against numpy: outputs, moving averages, variables."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import normalization, regularizers

SHAPES = [(6, 3), (4, 5, 3), (3, 4, 2, 3)]
EPSILON = 0.001


def batch_of(shape):
    return np.random.default_rng(0).normal(2, 3, shape).astype(np.float32)


def names():
    return [variable.op.name.removeprefix("BatchNorm/") for variable in v1.global_variables()]


def moments(x, *, of_a_sample):
    flat = x.reshape(-1, x.shape[-1])
    return flat.mean(axis=0), flat.var(axis=0, ddof=1 if of_a_sample else 0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fused", [None, False])
def test_in_training(evaluate, shape, fused):
    x = batch_of(shape)
    inputs = v1.placeholder(tf.float32, [None, *shape[1:]])
    outputs = normalization.batch_norm(inputs, decay=0.9, scale=True, fused=fused)
    variables = dict(zip(names(), v1.global_variables(), strict=True))
    assert set(variables) == {"gamma", "beta", "moving_mean", "moving_variance"}
    assert len(v1.trainable_variables()) == 2
    given = {variables["gamma"]: [1, 2, 3], variables["beta"]: [0.5, 0, -1]}
    value = evaluate(outputs, {inputs: x}, given)
    mean, variance = moments(x, of_a_sample=False)
    expected = (x - mean) / np.sqrt(variance + EPSILON) * [1, 2, 3] + [0.5, 0, -1]
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)

    updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
    assert len(updates) == 2
    for _ in range(2):
        evaluate(updates, {inputs: x})
    mean, variance = moments(x, of_a_sample=fused is None and len(shape) != 3)
    found = evaluate([variables["moving_mean"], variables["moving_variance"]])
    np.testing.assert_allclose(found[0], 0.19 * mean, rtol=1e-4)
    np.testing.assert_allclose(found[1], 0.81 + 0.19 * variance, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("updates", [v1.GraphKeys.UPDATE_OPS, None, "mine"])
def test_out_of_training(evaluate, shape, updates):
    x = batch_of(shape)
    outputs = normalization.batch_norm(
        tf.constant(x), is_training=False, updates_collections=updates, center=False
    )
    assert names() == ["moving_mean", "moving_variance"]
    mean, variance = v1.global_variables()
    value = evaluate(outputs, values={mean: [1, 2, 3], variance: [4, 5, 6]})
    expected = (x - [1, 2, 3]) / np.sqrt(np.array([4, 5, 6]) + EPSILON)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
    assert not v1.get_collection(v1.GraphKeys.UPDATE_OPS) + v1.get_collection("mine")
    np.testing.assert_array_equal(evaluate(mean), [1, 2, 3])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("updates", [None, v1.GraphKeys.UPDATE_OPS])
def test_a_tensor_says_whether_it_is_training(evaluate, shape, updates):
    x, training = batch_of(shape), v1.placeholder(tf.bool, [])
    outputs = normalization.batch_norm(
        tf.constant(x), decay=0.5, is_training=training, updates_collections=updates
    )
    found = [v for v in v1.global_variables() if v.op.name.endswith("moving_mean")]
    run = [outputs, v1.get_collection(v1.GraphKeys.UPDATE_OPS)]
    mean, _ = moments(x, of_a_sample=False)
    value = evaluate(run, {training: False})[0]
    np.testing.assert_allclose(value, x / np.sqrt(1 + EPSILON), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(evaluate(found[0]), [0, 0, 0])
    value = evaluate(run, {training: True})[0]
    assert value.reshape(-1, 3).mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-4)
    np.testing.assert_allclose(evaluate(found[0]), mean / 2, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_updates_in_place_and_in_a_collection(evaluate, shape):
    x = batch_of(shape)
    mean, _ = moments(x, of_a_sample=False)
    forced = normalization.batch_norm(tf.constant(x), 0.5, updates_collections=None, scope="a")
    normalization.batch_norm(tf.constant(x), 0.5, updates_collections="mine", scope="b")
    assert not v1.get_collection(v1.GraphKeys.UPDATE_OPS)
    moving = {v.op.name[0]: v for v in v1.global_variables() if "moving_mean" in v.op.name}
    evaluate(forced)
    np.testing.assert_allclose(evaluate(moving["a"]), mean / 2, rtol=1e-4)
    np.testing.assert_array_equal(evaluate(moving["b"]), [0, 0, 0])
    evaluate(v1.get_collection("mine"))
    np.testing.assert_allclose(evaluate(moving["b"]), mean / 2, rtol=1e-4)


def test_batch_weights(evaluate):
    x, weights = batch_of((4, 5, 3)), np.array([1, 0, 2, 1], np.float32)
    outputs = normalization.batch_norm(tf.constant(x), batch_weights=tf.constant(weights))
    counted = np.concatenate([x[[0]], x[[2]], x[[2]], x[[3]]])
    mean, variance = moments(counted, of_a_sample=False)
    expected = (x - mean) / np.sqrt(variance + EPSILON)
    np.testing.assert_allclose(evaluate(outputs), expected, rtol=1e-3, atol=1e-4)


def test_zero_debias_takes_the_mean_at_once(evaluate):
    x = batch_of((6, 3))
    outputs = normalization.batch_norm(tf.constant(x), zero_debias_moving_mean=True)
    evaluate([outputs, v1.get_collection(v1.GraphKeys.UPDATE_OPS)])
    assert names()[-2:] == ["BatchNorm/moving_mean/biased", "BatchNorm/moving_mean/local_step"]
    moving = v1.global_variables()[names().index("moving_mean")]
    np.testing.assert_allclose(evaluate(moving), x.mean(axis=0), rtol=1e-4)


def test_other_arguments(evaluate):
    x = batch_of((3, 4, 2, 5)).transpose(0, 3, 1, 2)
    outputs = normalization.batch_norm(
        tf.constant(x),
        scale=True,
        fused=False,
        data_format="NCHW",
        activation_fn=tf.nn.relu,
        param_initializers={"gamma": v1.constant_initializer(2.0)},
        param_regularizers={"gamma": regularizers.l2_regularizer(1.0)},
        variables_collections=["mine"],
        outputs_collections="outputs",
        scope="bn",
    )
    value = evaluate(outputs)
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    expected = (x - mean) / np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + EPSILON) * 2
    np.testing.assert_allclose(value, np.maximum(expected, 0), rtol=1e-4, atol=1e-5)
    assert evaluate(v1.losses.get_regularization_loss()) == pytest.approx(5 * 4 / 2)
    assert len(v1.get_collection("mine")) == 4
    assert v1.get_collection("outputs") == [outputs]


def test_half_precision_keeps_its_variables_in_full():
    normalization.batch_norm(tf.zeros([2, 3], tf.float16))
    assert {v.dtype.base_dtype for v in v1.global_variables()} == {tf.float32}


@pytest.mark.parametrize("option", [{"renorm": True}, {"adjustment": lambda shape: (1.0, 0.0)}])
def test_what_is_not_there_is_refused(option):
    with pytest.raises(NotImplementedError, match="renorm or adjustment"):
        normalization.batch_norm(tf.zeros([2, 3]), **option)


@pytest.mark.parametrize(
    ("options", "axes", "shape"),
    [
        ({}, (1, 2, 3), [3]),
        ({"begin_norm_axis": -1}, (3,), [3]),
        ({"begin_norm_axis": 2, "begin_params_axis": 2}, (2, 3), [2, 3]),
    ],
)
def test_layer_norm(evaluate, options, axes, shape):
    x = batch_of((3, 4, 2, 3))
    outputs = normalization.layer_norm(tf.constant(x), activation_fn=tf.nn.relu, **options)
    beta, gamma = v1.global_variables()
    assert (beta.op.name, gamma.op.name) == ("LayerNorm/beta", "LayerNorm/gamma")
    assert beta.shape.as_list() == shape
    b, g = np.random.default_rng(1).normal(size=(2, *shape))
    value = evaluate(outputs, values={beta: b, gamma: g})
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    expected = (x - mean) / np.sqrt(variance) * g + b
    np.testing.assert_allclose(value, np.maximum(expected, 0), rtol=1e-3, atol=1e-4)


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="begin_norm_axis 2"):
        normalization.layer_norm(tf.zeros([2, 3]), begin_norm_axis=2)
    with pytest.raises(ValueError, match="last ones known"):
        normalization.layer_norm(v1.placeholder(tf.float32, [2, None]))
    with pytest.raises(ValueError, match="known dimension"):
        normalization.batch_norm(v1.placeholder(tf.float32, [2, None]))


@pytest.mark.parametrize(
    ("shape", "options", "updates"),
    [(SHAPES[2], {}, 0), (SHAPES[0], {}, 2), (SHAPES[2], {"x": 1}, 2)],
)
def test_a_layer_that_is_not_trainable_has_no_updates_where_it_was_one(shape, options, updates):
    """As TensorFlow 1: only where it made a layer of tf.layers did `trainable` stop the updates."""
    more = {"zero_debias_moving_mean": True} if options else {}
    normalization.batch_norm(tf.constant(batch_of(shape)), trainable=False, **more)
    assert len(v1.get_collection(v1.GraphKeys.UPDATE_OPS)) == updates
    assert not v1.trainable_variables()
