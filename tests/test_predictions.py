"""Predictions of one network, of several views of an image, and of several networks."""

from __future__ import annotations

import types

import numpy as np
import pytest
from support.datasets import CLASSES

from mnist_estimator import networks, predictions
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig


def params(**options):
    data = types.SimpleNamespace(num_classes=CLASSES, brightest_pixel=255)
    return {**TrainConfig(precision="float32").model_params(data), **options}


def predicted(images, **options):
    with tf.Graph().as_default(), v1.Session() as session:
        fed = tf.constant(images, tf.float32)
        answers = predictions.predict(fed, params(**options), training=False)
        session.run(v1.global_variables_initializer())
        return session.run(answers)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


@pytest.fixture
def weighing(monkeypatch):
    """A network whose logits are an image's pixels times fixed weights, times a member's own."""
    weights = np.random.default_rng(1).normal(size=(36, CLASSES)).astype(np.float32)

    def network(images, *, num_classes, training, params):
        with v1.variable_scope("logits"):
            v1.get_variable("bias", [num_classes])
        return tf.reshape(images, [-1, 36]) @ tf.constant(weights) * params["pixel_max"]

    monkeypatch.setitem(networks.NETWORKS, "weighing", network)
    return weights


@pytest.mark.parametrize("options", [{}, {"views": 5}, {"views": 9, "temperature": 2.0}])
def test_predictions_agree_with_each_other(options):
    values = predicted(noise(5, 8, 8, 1), **options)
    assert values["logits"].shape == values["probabilities"].shape == (5, CLASSES)
    np.testing.assert_array_equal(values["classes"], values["logits"].argmax(axis=1))
    np.testing.assert_allclose(values["probabilities"], softmax(values["logits"]), rtol=1e-5)


def test_views_are_the_image_moved_by_a_pixel(weighing):
    images = noise(3, 6, 6, 1)
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)]) / 255
    moves = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    for views in (1, 5, 9):
        every = [
            softmax(padded[:, 1 - y : 7 - y, 1 - x : 7 - x].reshape(3, 36) @ weighing)
            for y, x in moves[:views]
        ]
        found = predicted(images, model="weighing", views=views)
        np.testing.assert_allclose(found["probabilities"], np.mean(every, axis=0), rtol=1e-4)


def test_networks_answer_with_the_mean_of_their_probabilities(weighing):
    images = noise(3, 6, 6, 1)
    members = [params(model="weighing", pixel_max=share) for share in (0.5, 2.0)]
    alone = [
        predicted(images, model="weighing", pixel_max=share)["probabilities"]
        for share in (0.5, 2.0)
    ]
    found = predicted(images, members=members)
    np.testing.assert_allclose(found["probabilities"], np.mean(alone, axis=0), rtol=1e-4)


def test_a_mean_is_finite_however_small_the_probabilities_are(monkeypatch):
    """Logits that are 400 apart: float32 has no number for the probability of e^-400."""

    def network(images, **_):
        return tf.constant([[0.0, 400.0, -float("inf"), 0.0]]) + 0 * images[:, 0, 0, :1]

    monkeypatch.setitem(networks.NETWORKS, "sure", network)
    found = predicted(noise(2, 6, 6, 1), model="sure", views=5)
    np.testing.assert_allclose(found["logits"][:, :2], [[-400, 0]] * 2, rtol=1e-6)
    np.testing.assert_array_equal(found["probabilities"], [[0, 1, 0, 0]] * 2)


def test_each_network_of_several_has_its_own_variables(weighing):
    with tf.Graph().as_default():
        members = [params(model="weighing")] * 2
        fed = v1.placeholder(tf.float32, [None, 6, 6, 1])
        predictions.predict(fed, params(members=members), training=False)
        names = [variable.op.name for variable in v1.global_variables()]
    assert names == ["member0/logits/bias", "member1/logits/bias"]


def test_the_temperature_divides_the_logits():
    images = noise(3, 8, 8, 1)
    plain, soft = predicted(images), predicted(images, temperature=4.0)
    np.testing.assert_allclose(soft["logits"], plain["logits"] / 4, rtol=1e-6)


@pytest.mark.parametrize(
    ("ema_decay", "use_ema", "expected"), [(0.9, True, True), (0.9, False, False), (0, True, False)]
)
def test_averages_are_used_where_they_are_kept_and_asked_for(ema_decay, use_ema, expected):
    assert predictions.uses_averages({"ema_decay": ema_decay, "use_ema": use_ema}) is expected


@pytest.mark.parametrize(
    ("cpu", "gpus", "expected"),
    [("avx2", 0, "float32"), ("avx512_bf16", 0, "bfloat16"), ("avx512_bf16", 1, "float32")],
)
def test_auto_precision_asks_the_processor(monkeypatch, cpu, gpus, expected):
    monkeypatch.setattr(predictions.pathlib.Path, "exists", lambda self: True)
    monkeypatch.setattr(predictions.pathlib.Path, "read_text", lambda self: f"flags : fpu {cpu}\n")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU"] * gpus)
    assert predictions.compute_dtype("auto").name == expected
    assert predictions.compute_dtype("float32").name == "float32"
