"""The networks: shapes, arithmetic, and randomness that is a function of (seed, name or step)."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from mnist_estimator import InputError, config, networks
from mnist_estimator.compat import tf, v1


def run_network(
    images, *, network="cnn", seed=0, step=0, before=(), training=False, num_classes=10, **options
):
    """Builds a network in a fresh graph; returns (logits, variables by name)."""
    settings = config.TrainConfig(seed=seed, **options)
    params = dataclasses.asdict(settings) | {"hidden_units": settings.layers}
    with tf.Graph().as_default():
        for _ in before:
            tf.constant(0)
        global_step = v1.train.get_or_create_global_step()
        logits = networks.find(network)(
            tf.constant(images), num_classes=num_classes, training=training, params=params
        )
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
    logits, variables = run_network(noise(3, *shape), num_classes=classes)
    assert logits.shape == (3, classes)
    assert variables["conv1/kernel"].shape == (5, 5, shape[-1], 32)
    assert variables["logits/kernel"].shape == (1024, classes)


def test_every_network_can_be_asked_for():
    assert tuple(networks.NETWORKS) == config.MODELS


def test_the_layers_are_those_of_the_guide():
    _, variables = run_network(noise(1, 28, 28, 1))
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
    logits, variables = run_network(images)
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
    _, first = run_network(images, seed=5)
    _, later_in_the_graph = run_network(images, seed=5, before=range(7))
    _, other = run_network(images, seed=6)
    for name, value in first.items():
        np.testing.assert_array_equal(value, later_in_the_graph[name])
    assert not np.array_equal(first["dense/kernel"], other["dense/kernel"])


def test_starting_weights_are_glorot_uniform():
    _, variables = run_network(noise(1, 28, 28, 1))
    limit = np.sqrt(6 / (25 * (32 + 64)))
    assert 0.99 * limit < np.abs(variables["conv2/kernel"]).max() <= limit
    assert variables["conv2/kernel"].std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not variables["conv2/bias"].any()


def test_every_variable_is_drawn_for_itself():
    _, variables = run_network(noise(1, 28, 28, 1))
    starts = [
        value.ravel()[:9] / np.abs(value).max() for value in variables.values() if value.any()
    ]
    correlations = np.corrcoef(starts) - np.eye(len(starts))
    assert len(starts) == 4
    assert np.abs(correlations).max() < 0.95


def test_bfloat16_computes_near_float32_with_float32_weights():
    images = noise(2, 8, 8, 1)
    exact, _ = run_network(images)
    rough, variables = run_network(images.astype(tf.bfloat16.as_numpy_dtype))
    assert rough.dtype == tf.bfloat16.as_numpy_dtype
    assert {value.dtype for value in variables.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(rough.astype(np.float32), exact, atol=0.02)


def test_dropout_is_for_training():
    images = noise(2, 8, 8, 1)
    plain, _ = run_network(images)
    dropped, _ = run_network(images, training=True)
    assert not np.array_equal(plain, dropped)
    np.testing.assert_array_equal(plain, run_network(images, training=True, dropout_rate=0.0)[0])


def test_dropout_is_a_function_of_seed_and_step():
    images = noise(2, 8, 8, 1)
    first, again, next_step = (run_network(images, training=True, step=s)[0] for s in (3, 3, 4))
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


def test_softmax_starts_at_zero_and_is_linear():
    images = noise(3, 4, 5, 1)
    logits, variables = run_network(images, network="softmax")
    assert {name: value.shape for name, value in variables.items()} == {
        "logits/kernel": (20, 10),
        "logits/bias": (10,),
    }
    assert not logits.any() and not variables["logits/kernel"].any()


def test_dnn_has_the_layers_that_are_asked_for():
    images = noise(2, 4, 5, 1)
    logits, variables = run_network(images, network="dnn", hidden_units="7,6")
    shapes = {name: value.shape for name, value in variables.items() if "kernel" in name}
    assert shapes == {
        "dense1/kernel": (20, 7),
        "dense2/kernel": (7, 6),
        "logits/kernel": (6, 10),
    }
    values = images.reshape(2, -1)
    for name in ("dense1", "dense2"):
        values = np.maximum(values @ variables[f"{name}/kernel"], 0)
    np.testing.assert_allclose(logits, values @ variables["logits/kernel"], rtol=1e-5, atol=1e-6)


def test_layers_of_a_dnn_drop_other_units():
    first, second = (
        np.asarray(networks.dropout(tf.ones([9, 50]), rate=0.5, seed=1, name=name))
        for name in ("dense1", "dense2")
    )
    assert not np.array_equal(first, second)


def test_weights_start_as_the_flags_say():
    options = {"initializer": "truncated_normal", "initial_stddev": 0.2, "initial_bias": 0.3}
    _, variables = run_network(noise(1, 28, 28, 1), **options)
    kernel = variables["dense/kernel"]
    assert np.abs(kernel).max() <= 0.4  # Two standard deviations.
    # That of a normal distribution cut off at two standard deviations is 0.88 times as large.
    assert kernel.std() == pytest.approx(0.2 * 0.8796, rel=0.01)
    assert (variables["conv1/bias"] == np.float32(0.3)).all()


@pytest.mark.parametrize(
    ("batch_norm", "normalized"), [("dense", ["dense"]), ("all", ["conv1", "conv2", "dense"])]
)
def test_batch_norm_replaces_the_biases_of_its_layers(batch_norm, normalized):
    _, variables = run_network(noise(1, 8, 8, 1), batch_norm=batch_norm)
    for layer in ("conv1", "conv2", "dense"):
        assert (f"{layer}/batch_norm/gamma" in variables) == (layer in normalized)
        assert (f"{layer}/bias" in variables) == (layer not in normalized)


def normalize(batches, *, training=True, steps=None):
    """Normalizes batches in turn, as steps of training; returns (last result, variables)."""
    with tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        values = v1.placeholder(tf.float32, [None, *np.shape(batches[0])[1:]])
        result = networks.batch_norm(values, training=training)
        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for number, batch in enumerate(batches):
                session.run(step.assign(number if steps is None else steps[number]))
                found, _ = session.run((result, updates), {values: batch})
            return found, session.run({v.op.name: v for v in v1.global_variables()})


def test_batch_norm_normalizes_each_channel_by_the_batch():
    batch = noise(50, 3, 4, 2) * 7 + 5
    found, _ = normalize([batch])
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_moving_averages_follow_the_batches_whenever_they_are_continued():
    batches = [noise(9, 2) + number for number in range(4)]
    _, found = normalize(batches)
    mean, variance = np.zeros(2), np.ones(2)
    for step, batch in enumerate(batches):
        decay = (1 + step) / (10 + step)
        mean = decay * mean + (1 - decay) * batch.mean(axis=0)
        variance = decay * variance + (1 - decay) * batch.var(axis=0)
    np.testing.assert_allclose(found["batch_norm/moving_mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(found["batch_norm/moving_variance"], variance, rtol=1e-5)
    _, late = normalize(batches[:1], steps=[10**6])
    np.testing.assert_allclose(late["batch_norm/moving_mean"], batches[0].mean(axis=0) * 0.01, 1e-4)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_images_are_normalized_in_one_operation_as_their_pixels_would_be(dtype):
    batch = noise(5, 4, 3, 2) * 3 + 2
    results = []
    for shape in ([5, 4, 3, 2], [60, 2]):
        with tf.Graph().as_default(), v1.Session() as session:
            values = tf.cast(tf.reshape(batch, shape), dtype)
            normalized = networks.batch_norm(values, training=True)
            loss = tf.reduce_sum(tf.cast(normalized, tf.float32) ** 3)
            sources = [*v1.trainable_variables(), values]
            wanted = [normalized, *tf.gradients(loss, sources)]
            wanted = [tf.cast(each, tf.float32) for each in wanted]
            session.run(v1.global_variables_initializer())
            updated = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
            results.append([each.ravel() for each in session.run([*wanted, *updated])])
    tolerance = 1e-4 if dtype == tf.float32 else 0.05
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(one).max())


def test_outside_of_training_the_averages_are_used_and_kept():
    batch = noise(9, 2) + 3
    found, variables = normalize([batch], training=False)
    np.testing.assert_allclose(found, batch / np.sqrt(1 + 1e-3), rtol=1e-5)
    assert not variables["batch_norm/moving_mean"].any()


MY_NETWORK = """
from mnist_estimator import networks

def my_network(images, *, num_classes, training, params):
    return networks.dense(networks.flatten(images), "mine", units=num_classes, params=params)

not_one = 3
"""


@pytest.fixture
def my_module(tmp_path, monkeypatch):
    (tmp_path / "my_own_networks.py").write_text(MY_NETWORK)
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("my_own_networks", None)


def test_a_network_may_come_from_a_module_of_the_user(my_module):
    _, variables = run_network(noise(1, 2, 3, 1), network="my_own_networks:my_network")
    assert variables["mine/kernel"].shape == (6, 10)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nowhere:network", "--model: found no module 'nowhere', expected nowhere.py in this"),
        ("my_own_networks:other", "--model: found no function 'other' in .*my_own_networks.py"),
        ("my_own_networks:not_one", "--model: found no function 'not_one'"),
        ("my_own_networks.inner:f", "--model: found no module 'my_own_networks.inner'"),
    ],
)
def test_a_network_that_is_not_there_is_one_line(my_module, name, line):
    with pytest.raises(InputError, match=line):
        networks.find(name)


def test_what_a_users_module_lacks_is_not_hidden(my_module):
    with pytest.raises(InputError, match="module 'needs_more': .*not_installed_anywhere"):
        networks.find("needs_more:network")


def test_a_users_module_that_cannot_be_imported_is_one_line(my_module, tmp_path):
    (tmp_path / "broken_networks.py").write_text("def network(:\n")
    sys.path.insert(0, str(tmp_path))
    with pytest.raises(InputError, match="module 'broken_networks', but importing it raises Synt"):
        networks.find("broken_networks:network")
