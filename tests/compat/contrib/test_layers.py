"""Layers held against numpy, and the variables that they make."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import arg_scopes, layers, regularizers

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.normal(size=(2, 5, 4, 3)).astype(np.float32)


def names():
    return [variable.op.name for variable in v1.global_variables()]


def holder(array):
    return v1.placeholder(tf.float32, [None, *array.shape[1:]])


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_fully_connected(evaluate, shape):
    x = RANDOM.normal(size=shape).astype(np.float32)
    inputs = holder(x)
    outputs = layers.fully_connected(inputs, 3, biases_initializer=v1.constant_initializer(0.25))
    value, weights = evaluate([outputs, *v1.trainable_variables()[:1]], {inputs: x})
    np.testing.assert_allclose(value, np.maximum(x @ weights + 0.25, 0), rtol=1e-5, atol=1e-6)
    assert names() == ["fully_connected/weights", "fully_connected/biases"]
    assert outputs.shape.as_list() == [None, *shape[1:-1], 3]
    assert v1.get_collection(v1.GraphKeys.MODEL_VARIABLES) == v1.global_variables()


def test_variables_scopes_and_collections(evaluate):
    x = tf.constant(RANDOM.normal(size=(2, 3)).astype(np.float32))
    l2 = regularizers.l2_regularizer(1.0)
    with v1.variable_scope("net"):
        first = layers.linear(x, 4, weights_regularizer=l2, scope="one")
        again = layers.linear(x, 4, weights_regularizer=l2, scope="one", reuse=True)
        layers.relu(x, 2, biases_initializer=None, trainable=False, variables_collections=["all"])
        layers.fully_connected(
            x, 2, variables_collections={"weights": ["w"]}, outputs_collections="outputs"
        )
    assert names() == [
        "net/one/weights",
        "net/one/biases",
        "net/fully_connected/weights",
        "net/fully_connected_1/weights",
        "net/fully_connected_1/biases",
    ]
    assert len(v1.trainable_variables()) == 4
    assert [v.op.name for v in v1.get_collection("all")] == ["net/fully_connected/weights"]
    assert [v.op.name for v in v1.get_collection("w")] == ["net/fully_connected_1/weights"]
    (output,) = v1.get_collection("outputs")
    assert output.aliases == ["net/fully_connected_1"]
    value, same, losses = evaluate([first, again, v1.losses.get_regularization_losses()])
    np.testing.assert_array_equal(value, same)
    weights = evaluate(v1.global_variables()[0])
    assert losses == pytest.approx([np.sum(weights**2) / 2])


def test_a_normalizer_stands_in_for_the_biases(evaluate):
    x = tf.constant(RANDOM.normal(size=(2, 3)).astype(np.float32))
    outputs = layers.linear(
        x, 2, normalizer_fn=lambda y, factor: y * factor, normalizer_params={"factor": 3.0}
    )
    value, given, weights = evaluate([outputs, x, *v1.global_variables()])
    np.testing.assert_allclose(value, given @ weights * 3, rtol=1e-5)


def convolved(x, weights, stride, padding, rate):
    """Convolution of [N, H, W, C] by its definition."""
    size = [(n - 1) * r + 1 for n, r in zip(weights.shape[:2], rate, strict=True)]
    if padding == "SAME":
        wanted = [-(-n // s) for n, s in zip(x.shape[1:3], stride, strict=True)]
        extra = [
            max((w - 1) * s + k - n, 0)
            for w, s, k, n in zip(wanted, stride, size, x.shape[1:3], strict=True)
        ]
        x = np.pad(x, [(0, 0), *((e // 2, e - e // 2) for e in extra), (0, 0)])
    rows = range(0, x.shape[1] - size[0] + 1, stride[0])
    columns = range(0, x.shape[2] - size[1] + 1, stride[1])
    return np.stack(
        [
            np.stack(
                [
                    np.einsum(
                        "nhwc,hwco->no",
                        x[:, i : i + size[0] : rate[0], j : j + size[1] : rate[1]],
                        weights,
                    )
                    for j in columns
                ],
                axis=1,
            )
            for i in rows
        ],
        axis=1,
    )


@pytest.mark.parametrize(
    ("stride", "padding", "rate"),
    [(1, "SAME", 1), (2, "VALID", 1), ([2, 1], "same", 1), (1, "SAME", 2), (1, "VALID", [1, 2])],
)
def test_conv2d(evaluate, stride, padding, rate):
    inputs = holder(PICTURES)
    outputs = layers.convolution2d(
        inputs, 2, [3, 2], stride, padding, rate=rate, biases_initializer=v1.ones_initializer()
    )
    value, weights = evaluate([outputs, v1.global_variables()[0]], {inputs: PICTURES})
    pair = [each if isinstance(each, list) else [each, each] for each in (stride, rate)]
    expected = convolved(PICTURES, weights, pair[0], padding.upper(), pair[1])
    np.testing.assert_allclose(value, np.maximum(expected + 1, 0), rtol=1e-4, atol=1e-5)
    assert names() == ["Conv/weights", "Conv/biases"]


def test_other_convolutions(evaluate):
    row, block = PICTURES[:, 0], np.stack([PICTURES] * 3, axis=1)
    one = layers.convolution1d(tf.constant(row), 2, 2, activation_fn=None)
    three = layers.convolution(tf.constant(block), 2, [1, 3, 2], activation_fn=None)
    values = evaluate([one, three, *v1.global_variables()])
    weights = dict(zip(names(), values[2:], strict=True))
    expected = convolved(row[:, None], weights["Conv/weights"][None], [1, 1], "SAME", [1, 1])
    np.testing.assert_allclose(values[0], expected[:, 0], rtol=1e-4, atol=1e-5)
    expected = convolved(PICTURES, weights["Conv_1/weights"][0], [1, 1], "SAME", [1, 1])
    for layer in range(3):
        np.testing.assert_allclose(values[1][:, layer], expected, rtol=1e-4, atol=1e-5)


def test_pooling(evaluate):
    x = tf.constant(PICTURES)
    largest, mean = layers.max_pool2d(x, 2), layers.avg_pool2d(x, [3, 2], 2, "same", scope="m")
    largest, mean = evaluate([largest, mean])
    blocks = PICTURES[:, :4, :4].reshape(2, 2, 2, 2, 2, 3)
    np.testing.assert_array_equal(largest, blocks.max(axis=(2, 4)))
    # Of three rows each, one before the first and one after the last lie outside.
    rows = [PICTURES[:, 0:2], PICTURES[:, 1:4], PICTURES[:, 3:5]]
    expected = [row.reshape(2, -1, 2, 2, 3).mean(axis=(1, 3)) for row in rows]
    np.testing.assert_allclose(mean, np.stack(expected, axis=1), rtol=1e-5)


@pytest.mark.parametrize("shape", [[None, 5, 4, 3], [2, None, 4, 3], [None, None, 4, 3]])
def test_flatten(evaluate, shape):
    inputs = v1.placeholder(tf.float32, shape)
    outputs = layers.flatten(inputs)
    np.testing.assert_array_equal(evaluate(outputs, {inputs: PICTURES}), PICTURES.reshape(2, 60))
    assert outputs.shape.as_list() == [shape[0], None if None in shape[1:] else 60]


def test_dropout(evaluate):
    x, training = tf.ones([100, 100]), v1.placeholder(tf.bool)
    kept, off, asked = (
        layers.dropout(x, 0.25, seed=1),
        layers.dropout(x, is_training=False),
        layers.dropout(x, is_training=training),
    )
    rows = layers.dropout(x, noise_shape=[100, 1])
    value = evaluate(kept)
    assert set(np.unique(value)) == {0.0, 4.0} and value.mean() == pytest.approx(1, abs=0.05)
    assert (
        evaluate(off).tolist() == evaluate(asked, {training: False}).tolist() == [[1] * 100] * 100
    )
    assert set(np.unique(evaluate(asked, {training: True}))) == {0.0, 2.0}
    assert all(len(set(row)) == 1 for row in evaluate(rows).tolist())


def test_small_ones(evaluate):
    x = tf.constant([[1.0, 2.0], [0.0, -1.0]])
    biased = layers.bias_add(x, tf.nn.relu, initializer=v1.constant_initializer([-0.5, 0.5]))
    hot = layers.one_hot_encoding(tf.constant([1, 0, 4]), 3, on_value=2.0, off_value=-1.0)
    values = evaluate([biased, hot, layers.softmax(x)])
    np.testing.assert_allclose(values[0], [[0.5, 2.5], [0, 0]])
    np.testing.assert_allclose(values[1], [[-1, 2, -1], [2, -1, -1], [-1, -1, -1]])
    odds = 1 / (1 + np.exp([1.0, -1.0]))
    np.testing.assert_allclose(values[2][:, 0], odds, rtol=1e-6)
    assert names() == ["BiasAdd/biases"]


@pytest.mark.parametrize("unique", [True, False])
def test_embed_sequence(evaluate, unique):
    ids = [[1, 2, 1], [0, 3, 1]]
    outputs = layers.embed_sequence(tf.constant(ids), 5, 2, unique=unique, scope="words")
    again = layers.embed_sequence(tf.constant([[4]]), reuse=True, scope="words")
    value, row, table = evaluate([outputs, again, *v1.global_variables()])
    np.testing.assert_array_equal(value, table[np.array(ids)])
    np.testing.assert_array_equal(row, table[[[4]]])
    assert names() == ["words/embeddings"]


def test_layers_again_and_again():
    x = tf.constant(PICTURES)
    layers.stack(layers.flatten(x), layers.fully_connected, [4, 3], trainable=False)
    layers.stack(x, layers.convolution2d, [[2, 3], [1, 3]], scope="deep")
    layers.repeat(x, 2, layers.convolution2d, 3, 1)
    assert names()[::2] == [
        "Stack/fully_connected_1/weights",
        "Stack/fully_connected_2/weights",
        "deep/deep_1/weights",
        "deep/deep_2/weights",
        "Repeat/convolution2d_1/weights",
        "Repeat/convolution2d_2/weights",
    ]


def test_scopes_of_arguments_are_each_ones_own():
    x = tf.constant(PICTURES)
    with arg_scopes.arg_scope([layers.convolution2d], stride=2):
        assert layers.convolution2d(x, 1, 1).shape.as_list() == [2, 3, 2, 1]
        assert layers.convolution(x, 1, 1).shape.as_list() == [2, 5, 4, 1]
    with arg_scopes.arg_scope([layers.convolution], stride=2):
        assert layers.convolution2d(x, 1, 1).shape.as_list() == [2, 5, 4, 1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: layers.fully_connected(x, 2.0), "2.0, expected an integer"),
        (lambda x: layers.fully_connected(v1.placeholder(tf.float32, [2, None]), 2), "known"),
        (lambda x: layers.convolution2d(x[0], 2, 3), "expected 4 dimensions"),
        (lambda x: layers.convolution(x, 2, [3, 3, 3]), "expected 2 integers"),
        (lambda x: layers.convolution2d(x, 2, 3, data_format="NHCW"), "'NHCW'"),
        (lambda x: layers.max_pool2d(x, 2, data_format="NC"), "'NC'"),
        (lambda x: layers.bias_add(x[0], data_format="NCHW"), "expected 4 dimensions"),
        (lambda x: layers.embed_sequence([[1]], 5), "embed_dim None"),
        (lambda x: layers.flatten(tf.constant(1.0)), "expected a batch"),
        (lambda x: layers.dropout(x, is_training=None), "found None"),
        (lambda x: layers.stack(x, layers.convolution2d, 5), "expected a list"),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build(tf.constant(PICTURES))


@pytest.mark.parametrize("unique", [False, True])
def test_embed_sequence_takes_the_rows_of_parts_in_turn(evaluate, unique):
    rows = np.array([[0.0], [3], [6], [1], [4], [7], [2], [5]], np.float32)  # Parts of 3, 3 and 2.
    initial = iter(np.split(rows, [3, 6]))
    ids = [[0, 1, 2], [5, 7, 3]]
    with v1.variable_scope("net", partitioner=v1.fixed_size_partitioner(3)):
        outputs = layers.embed_sequence(
            tf.constant(ids),
            8,
            1,
            unique=unique,
            initializer=lambda shape, dtype, partition_info: tf.constant(next(initial)),
        )
    assert evaluate(outputs)[..., 0].tolist() == ids
