"""From logits to loss, train_op, metrics and predictions."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
from support.datasets import CLASSES, TEST

from mnist_estimator import estimators, model_fn, networks
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import inputs
from mnist_estimator.data.manifest import Dataset, read_manifest
from mnist_estimator.optimizers import OPTIMIZERS
from mnist_estimator.runs import open_run
from mnist_estimator.scoring import evaluation, one_graph
from mnist_estimator.training.checkpoint_saver import CheckpointSaver


def params(**options):
    data = types.SimpleNamespace(num_classes=CLASSES, brightest_pixel=255)
    config = TrainConfig(**({"max_steps": 100} | options))
    return config.model_params(data)


def rate(step, **options):
    return float(model_fn.learning_rate(tf.constant(step, tf.int64), params(**options)))


@pytest.mark.parametrize(
    ("options", "step", "expected"),
    [
        ({"schedule": "constant"}, 99, 1.0),
        ({"schedule": "cosine"}, 0, 1.0),
        ({"schedule": "cosine"}, 50, 0.5),
        ({"schedule": "cosine"}, 25, 0.5 + math.sqrt(0.125)),
        ({"schedule": "cosine"}, 100, 0.0),
        ({"schedule": "cosine"}, 500, 0.0),
        ({"schedule": "cosine", "decay_steps": 200}, 100, 0.5),
        ({"schedule": "exponential", "decay_rate": 0.5, "decay_steps": 10}, 20, 0.25),
        ({"schedule": "exponential", "decay_rate": 0.5, "decay_steps": 10}, 5, math.sqrt(0.5)),
        ({"schedule": "constant", "warmup_steps": 10}, 0, 0.1),
        ({"schedule": "constant", "warmup_steps": 10}, 9, 1.0),
        ({"schedule": "cosine", "warmup_steps": 20}, 9, 0.5),
        ({"schedule": "cosine", "warmup_steps": 20}, 60, 0.5),
        ({"schedule": "one_cycle"}, 0, 0.04),
        ({"schedule": "one_cycle"}, 15, 0.52),
        ({"schedule": "one_cycle"}, 30, 1.0),
        ({"schedule": "one_cycle"}, 65, 0.5),
        ({"schedule": "one_cycle"}, 100, 0.0),
        ({"schedule": "one_cycle", "warmup_steps": 50}, 50, 1.0),
        ({"schedule": "one_cycle", "decay_steps": 200}, 60, 1.0),
    ],
)
def test_learning_rate(options, step, expected):
    assert rate(step, learning_rate=1.0, **options) == pytest.approx(expected, abs=1e-6)


def train_and_save(run, data_dir, manifest, *, steps):
    input_fn = inputs.train_input_fn(
        Dataset(data_dir, manifest),
        batch_size=8,
        seed=0,
        cache_bytes=2**30,
        shuffle_buffer=1,
        saved_step=lambda: 0,
    )
    saver = CheckpointSaver(run.model_dir, every_steps=steps)
    run.train(input_fn, hooks=[saver], max_steps=steps)


def train_once(tmp_path, make_dataset, **options):
    """Trains a step; returns the change of every trainable variable."""
    data_dir = make_dataset()
    manifest = read_manifest(data_dir)
    options = {"precision": "float32", "schedule": "constant", "dropout_rate": 0.0} | options
    config = TrainConfig(model_dir=str(tmp_path / "run"), batch_size=8, **options)
    run = estimators.make_estimator(config, manifest)
    train_and_save(run, data_dir, manifest, steps=1)
    reader = tf.train.load_checkpoint(run.model_dir)
    before = tf.train.load_checkpoint(f"{run.model_dir}/model.ckpt-0")
    return {
        name: reader.get_tensor(name) - before.get_tensor(name)
        for name in ("conv1/kernel", "dense/kernel", "logits/bias")
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_moves_the_weights(tmp_path, make_dataset, optimizer):
    change = train_once(tmp_path, make_dataset, optimizer=optimizer, learning_rate=0.1)
    assert all(np.abs(values).max() > 1e-4 for values in change.values())


def test_clip_norm_bounds_the_step(tmp_path, make_dataset):
    change = train_once(tmp_path, make_dataset, optimizer="sgd", learning_rate=1.0, clip_norm=0.001)
    assert 0 < np.linalg.norm(np.concatenate([v.ravel() for v in change.values()])) <= 0.001001


def test_smoothed_labels_are_what_is_minimized(tmp_path, make_dataset):
    options = {"optimizer": "sgd", "learning_rate": 1.0}
    plain, smooth, smoother = (
        train_once(tmp_path / str(share), make_dataset, label_smoothing=share, **options)
        for share in (0.0, 0.2, 0.4)
    )
    effect, double = (each["logits/bias"] - plain["logits/bias"] for each in (smooth, smoother))
    assert np.abs(effect).max() > 1e-3
    np.testing.assert_allclose(double, 2 * effect, atol=1e-5)


def test_clip_norm_takes_every_kind_of_gradient():
    """None of a variable that is not used, and rows of a table, of which one counts twice."""
    with tf.Graph().as_default(), v1.Session() as session:
        table, unused = v1.get_variable("table", [3, 1]), v1.get_variable("unused", [3])
        optimizer = v1.train.GradientDescentOptimizer(1.0)
        loss = tf.reduce_sum(tf.gather(table, [0, 0, 2]))
        gradients = optimizer.compute_gradients(loss, [table, unused])
        ((clipped, variable),) = model_fn._clip(gradients, 1.0)
        expected = np.array([[2.0], [0.0], [1.0]]) / math.sqrt(5)
        np.testing.assert_allclose(session.run(clipped), expected, rtol=1e-6)
        assert variable is table


@pytest.mark.parametrize("batch_size", [1, 8, TEST, 1000])
def test_evaluation_does_not_depend_on_the_batch_size(tmp_path, make_dataset, batch_size):
    data_dir = make_dataset()
    manifest = read_manifest(data_dir)
    config = TrainConfig(model_dir=str(tmp_path / "run"), batch_size=8, precision="float32")
    run = estimators.make_estimator(config, manifest)
    train_and_save(run, data_dir, manifest, steps=2)
    metrics = evaluation.evaluate(
        one_graph.OneGraph(run),
        data_dir,
        manifest,
        "test",
        batch_size=batch_size,
        checkpoint=open_run.find_checkpoint(run.model_dir, "newest"),
    )
    predicted = list(
        run.predict(
            lambda: inputs.eval_batches(Dataset(data_dir, manifest), "test", batch_size=7).map(
                lambda features, labels: {inputs.IMAGES: features[inputs.IMAGES]}
            )
        )
    )
    whole = inputs.eval_batches(Dataset(data_dir, manifest), "test", batch_size=TEST)
    ((_, labels),) = whole.as_numpy_iterator()
    likelihood = [p["probabilities"][label] for p, label in zip(predicted, labels, strict=True)]
    assert metrics["loss"] == pytest.approx(-np.log(likelihood).mean(), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(
        np.mean([p["classes"] == label for p, label in zip(predicted, labels, strict=True)])
    )
    assert (metrics["examples"], metrics["global_step"]) == (TEST, 2)


def training_losses(labels, logits, share=None, **options):
    labels, logits = tf.constant(labels, tf.int64), tf.constant(logits, tf.float32)
    share = None if share is None else tf.constant(share, tf.float32)
    return np.asarray(model_fn._training_losses(labels, logits, share, params(**options)))


def test_smoothed_and_mixed_labels_have_the_cross_entropy_of_their_shares():
    """What is shown is the loss without the smoothing, and so compares with an evaluation's."""
    logits = np.random.default_rng(0).normal(size=(3, CLASSES)).astype(np.float32)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    own, others = np.eye(CLASSES)[[0, 3, 2]], np.eye(CLASSES)[[3, 0, 2]]
    share = np.array([0.25, 0.5, 0.75])
    mixed = share[:, None] * own + (1 - share)[:, None] * others
    for targets, given in ((own, None), (mixed, share)):
        for smoothing in (0.0, 0.2):
            shown, minimized = training_losses([0, 3, 2], logits, given, label_smoothing=smoothing)
            smooth = (1 - smoothing) * targets + smoothing / CLASSES
            for found, expected in ((shown, targets), (minimized, smooth)):
                losses = -(expected * log_probabilities).sum(axis=1)
                np.testing.assert_allclose(found, losses, rtol=1e-5)


def test_each_class_has_its_own_accuracy():
    labels, classes = [0, 0, 1, 1, 1, 3], [0, 1, 1, 1, 0, 3]
    with tf.Graph().as_default(), v1.Session() as session:
        metrics = model_fn._metrics(
            tf.constant(labels, tf.int64), tf.constant(classes, tf.int64), CLASSES
        )
        session.run(v1.local_variables_initializer())
        session.run([update for _, update in metrics.values()])
        values = session.run({name: value for name, (value, _) in metrics.items()})
    assert values["examples"] == 6
    by_class = [values[f"class_accuracy/{number}"] for number in range(CLASSES)]
    assert by_class == pytest.approx([1 / 2, 2 / 3, 0, 1])


def test_the_picture_of_inputs_is_a_grid_in_reading_order():
    images = np.zeros((26, 2, 3, 1), np.float32)
    images += np.arange(26).reshape(-1, 1, 1, 1)
    grid = np.asarray(model_fn._image_grid(tf.constant(images)))
    assert grid.shape == (1, 10, 15, 1)
    np.testing.assert_array_equal(grid[0, ::2, ::3, 0], np.arange(25).reshape(5, 5))


def test_a_summed_loss_moves_the_weights_by_the_batch_size_as_much(tmp_path, make_dataset):
    options = {"optimizer": "sgd", "learning_rate": 1e-4}
    mean = train_once(tmp_path / "mean", make_dataset, **options)
    summed = train_once(tmp_path / "sum", make_dataset, **options, loss_reduction="sum")
    for name, change in mean.items():
        np.testing.assert_allclose(summed[name], 8 * change, rtol=0.05, atol=1e-6)


@pytest.mark.parametrize("white", [255, 16, 1])
@pytest.mark.parametrize("pixel_max", [1.0, 255.0])
def test_the_brightest_pixel_is_what_the_flag_says(monkeypatch, pixel_max, white):
    seen = []

    def network(images, *, num_classes, training, params):
        seen.append(images)
        return tf.zeros([2, num_classes])

    monkeypatch.setitem(networks.NETWORKS, "seeing", network)
    options = params(pixel_max=pixel_max) | {"model": "seeing", "precision": "float32"}
    options["full_scale"] = white
    with tf.Graph().as_default(), v1.Session() as session:
        images = tf.constant([[[[white]]], [[[0]]]], tf.uint8)
        model_fn.model_fn({"images": images}, None, estimator.ModeKeys.PREDICT, options)
        values = session.run(seen[0]).ravel()
    assert values.tolist() == pytest.approx([pixel_max, 0])
