"""The networks: shapes, arithmetic, and randomness that is a function of (seed, name or step)."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator import config, networks
from mnist_estimator.compat import tf, v1


def run_cnn(images, *, seed=0, step=0, before=(), **options):
    """Builds the network in a fresh graph; returns (logits, variables by name)."""
    options = {"num_classes": 10, "training": False, "dropout_rate": 0.4} | options
    with tf.Graph().as_default():
        for _ in before:
            tf.constant(0)
        global_step = v1.train.get_or_create_global_step()
        logits = networks.cnn(tf.constant(images), seed=seed, **options)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run(global_step.assign(step))
            variables = {v.op.name: v for v in v1.trainable_variables()}
            return session.run((logits, variables))


def noise(*shape, dtype=np.float32):
    return np.random.default_rng(0).uniform(size=shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "classes"), [((28, 28, 1), 10), ((5, 9, 3), 300), ((1, 1, 1), 2), ((32, 32, 3), 10)]
)
def test_every_image_shape_and_number_of_classes(shape, classes):
    logits, variables = run_cnn(noise(3, *shape), num_classes=classes)
    assert logits.shape == (3, classes)
    assert variables["conv1/kernel"].shape == (5, 5, shape[-1], 32)
    assert variables["logits/kernel"].shape == (1024, classes)


def test_every_network_can_be_asked_for():
    assert tuple(networks.NETWORKS) == config.MODELS


def test_the_layers_are_those_of_the_guide():
    _, variables = run_cnn(noise(1, 28, 28, 1))
    assert {name: value.shape for name, value in variables.items()} == {
        "conv1/kernel": (5, 5, 1, 32),
        "conv1/bias": (32,),
        "conv2/kernel": (5, 5, 32, 64),
        "conv2/bias": (64,),
        "dense/kernel": (7 * 7 * 64, 1024),
        "dense/bias": (1024,),
        "logits/kernel": (1024, 10),
        "logits/bias": (10,),
    }


def test_pooling_first_computes_the_textbook_order():
    images = noise(2, 8, 8, 1)
    logits, variables = run_cnn(images)
    values = tf.constant(images)
    for name in ("conv1", "conv2"):
        values = tf.nn.conv2d(values, variables[f"{name}/kernel"], 1, "SAME")
        values = tf.nn.relu(values + variables[f"{name}/bias"])
        values = tf.nn.max_pool2d(values, 2, 2, "SAME")
    values = tf.reshape(values, [2, -1])
    values = tf.nn.relu(values @ variables["dense/kernel"] + variables["dense/bias"])
    expected = values @ variables["logits/kernel"] + variables["logits/bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_starting_weights_depend_on_seed_and_name_only():
    images = noise(1, 8, 8, 1)
    _, first = run_cnn(images, seed=5)
    _, later_in_the_graph = run_cnn(images, seed=5, before=range(7))
    _, other = run_cnn(images, seed=6)
    for name, value in first.items():
        np.testing.assert_array_equal(value, later_in_the_graph[name])
    assert not np.array_equal(first["dense/kernel"], other["dense/kernel"])


def test_starting_weights_are_glorot_uniform():
    _, variables = run_cnn(noise(1, 28, 28, 1))
    limit = np.sqrt(6 / (25 * (32 + 64)))
    assert 0.99 * limit < np.abs(variables["conv2/kernel"]).max() <= limit
    assert variables["conv2/kernel"].std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not variables["conv2/bias"].any()


def test_every_variable_is_drawn_for_itself():
    _, variables = run_cnn(noise(1, 28, 28, 1))
    starts = [
        value.ravel()[:9] / np.abs(value).max() for value in variables.values() if value.any()
    ]
    correlations = np.corrcoef(starts) - np.eye(len(starts))
    assert len(starts) == 4
    assert np.abs(correlations).max() < 0.95


def test_bfloat16_computes_near_float32_with_float32_weights():
    images = noise(2, 8, 8, 1)
    exact, _ = run_cnn(images)
    rough, variables = run_cnn(images.astype(tf.bfloat16.as_numpy_dtype))
    assert rough.dtype == tf.bfloat16.as_numpy_dtype
    assert {value.dtype for value in variables.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(rough.astype(np.float32), exact, atol=0.02)


def test_dropout_is_for_training():
    images = noise(2, 8, 8, 1)
    plain, _ = run_cnn(images)
    dropped, _ = run_cnn(images, training=True)
    assert not np.array_equal(plain, dropped)
    np.testing.assert_array_equal(plain, run_cnn(images, training=True, dropout_rate=0.0)[0])


def test_dropout_is_a_function_of_seed_and_step():
    images = noise(2, 8, 8, 1)
    first, again, next_step = (run_cnn(images, training=True, step=s)[0] for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, next_step)


def test_dropout_drops_the_rate_and_keeps_the_mean():
    v1.reset_default_graph()
    dropped = networks.dropout(tf.ones([200, 500]), rate=0.3, seed=1)
    kept = np.asarray(dropped) != 0
    assert kept.mean() == pytest.approx(0.7, abs=0.01)
    assert np.asarray(dropped)[kept] == pytest.approx(1 / 0.7)


def test_replicas_drop_what_one_device_would(monkeypatch):
    class Replica:
        num_replicas_in_sync = 2
        replica_id_in_sync_group = 1

    whole = np.asarray(networks.dropout(tf.ones([8, 50]), rate=0.5, seed=1))
    monkeypatch.setattr(tf.distribute, "get_replica_context", Replica)
    half = np.asarray(networks.dropout(tf.ones([4, 50]), rate=0.5, seed=1))
    np.testing.assert_array_equal(half, whole[4:])
