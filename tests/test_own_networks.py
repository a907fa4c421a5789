"""Networks of users that would go wrong after hours, or give wrong results and say nothing."""

from __future__ import annotations

import sys
import types

import pytest

from mnist_estimator import InputError, networks, own_networks
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig

DATA = types.SimpleNamespace(num_classes=10, brightest_pixel=255)
PARAMS = TrainConfig().model_params(DATA)


def logits_of(images, units=10):
    return networks.dense(networks.flatten(images), "logits", units=units, params=PARAMS)


def good(images, *, num_classes, training, params):
    values = networks.batch_norm(networks.flatten(images), training=training)
    if training:
        values = networks.dropout(values, rate=0.3, seed=1)
    return networks.dense(values, "logits", units=num_classes, params=params)


def raises(images, **_):
    return logits_of(images).no_such_thing


def raises_elsewhere(images, **_):
    return tf.reshape(images, [3, 5, 7])[9, 9, 9, 9]


def wrong_width(images, **_):
    return logits_of(images, 13)


def not_flat(images, **_):
    return images


def nothing(images, **_):
    logits_of(images)


def whole_numbers(images, **_):
    return tf.cast(logits_of(images), tf.int32)


def not_saved(images, **_):
    weights = v1.get_variable("w", [784, 10], collections=[v1.GraphKeys.TRAINABLE_VARIABLES])
    return tf.matmul(networks.flatten(images), weights)


def local(images, **_):
    weights = v1.get_variable("w", [784, 10], collections=[v1.GraphKeys.LOCAL_VARIABLES])
    return tf.matmul(networks.flatten(images), weights)


def fixed(images, **_):
    return tf.matmul(networks.flatten(images), tf.ones([784, 10]))


def without_gradient(images, **_):
    return tf.one_hot(tf.argmax(logits_of(images), axis=1), 10)


def update_forgotten(images, **_):
    values = logits_of(images)
    mean = v1.get_variable("mean", [10], trainable=False)
    mean.assign(0.9 * mean + 0.1 * tf.reduce_mean(values, axis=0))
    return values - mean


def partitioned(images, *, num_classes, **_):
    parts = v1.fixed_size_partitioner(2)
    return networks.flatten(images) @ v1.get_variable("w", [784, num_classes], partitioner=parts)


def unused(images, **_):
    v1.get_variable("spare", [3])
    return logits_of(images)


_count = iter(range(10**6))


def other_names(images, **_):
    with v1.variable_scope(f"layer{next(_count)}"):
        return logits_of(images)


def regularized(images, **_):
    weight = v1.get_variable("w", [], regularizer=lambda value: tf.square(value))
    return logits_of(images * weight)


def with_loss(images, **_):
    v1.losses.add_loss(tf.reduce_sum(images, name="extra"))
    return logits_of(images)


REFUSED = [
    (raises, r"raises AttributeError: .*no_such_thing.* \(.*test_own_networks.py:\d+\), expected"),
    (raises_elsewhere, r"raises ValueError: .* \(.*test_own_networks.py:\d+\), expected logits"),
    (wrong_width, r"returns \(None, 13\), expected logits \[batch, 10\]"),
    (not_flat, r"returns \(None, 28, 28, 1\), expected logits \[batch, 10\]"),
    (nothing, r"returns NoneType, expected logits \[batch, 10\]"),
    (whole_numbers, "returns int32, expected float32 logits"),
    (not_saved, "variable w is not in the collection of global variables"),
    (local, "variable w is not in the collection of global variables"),
    (partitioned, "variable w/part_0 is a part of a partitioned variable, expected whole ones"),
    (fixed, "its logits come from no variable that can be trained"),
    (without_gradient, "its logits come from no variable that can be trained"),
    (regularized, "adds the loss w/Regularizer/.*, and training minimizes only that of the logits"),
    (
        with_loss,
        "adds the loss extra, and training minimizes only that of the logits; use --weight",
    ),
    (update_forgotten, "nothing runs the update of mean, as Keras layers leave it"),
    (other_names, r"built again, it has a variable layer\d+/logits/\w+ that it did not have"),
]


def drops(images, *, training, **_):
    return logits_of(tf.nn.dropout(images, 0.5) if training else images)


def drops_in_function(images, *, training, **_):
    @tf.function
    def drop():
        return tf.nn.dropout(images, 0.5)

    return logits_of(drop() if training else images)


def probabilities(images, **_):
    return tf.nn.softmax(logits_of(images))


def in_python(images, **_):
    return logits_of(tf.ensure_shape(tf.numpy_function(abs, [images], tf.float32), images.shape))


def check(monkeypatch, network, **params):
    module = types.ModuleType("mine")
    module.network = network
    monkeypatch.setitem(sys.modules, "mine", module)
    own_networks.check("mine:network", (28, 28, 1), tf.float32, {**PARAMS, **params})


def test_a_good_network_is_used_in_silence(monkeypatch, capsys):
    check(monkeypatch, good)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("network", "line"), REFUSED, ids=[f.__name__ for f, _ in REFUSED])
def test_what_can_only_go_wrong_is_refused_by_name(network, line, monkeypatch):
    with pytest.raises(InputError, match=f"^--model=mine:network: {line}"):
        check(monkeypatch, network)


def test_a_variable_that_is_not_trained_has_no_average(monkeypatch):
    check(monkeypatch, unused)
    with pytest.raises(InputError, match="not come from variable spare, so --ema_decay has no mov"):
        check(monkeypatch, unused, ema_decay=0.9)


@pytest.mark.parametrize(
    ("network", "line"),
    [
        (drops, "draws random numbers that a resumed run draws anew"),
        (drops_in_function, "draws random numbers that a resumed run draws anew"),
        (probabilities, "returns probabilities, expected logits"),
        (in_python, "calls Python while it computes"),
    ],
)
def test_what_is_doubtful_is_said_in_a_line(network, line, monkeypatch, capsys):
    check(monkeypatch, network)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: --model=mine:network: {line}")
    assert said.count("\n") == 1


def test_layers_of_keras_3_are_refused_where_their_names_change(monkeypatch):
    keras = pytest.importorskip("keras", minversion="3")

    def network(images, *, num_classes, **_):
        return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(num_classes)])(images)

    with pytest.raises(InputError, match="did not have for training, as layers of Keras 3 do"):
        check(monkeypatch, network)


def test_the_packages_own_networks_are_not_tried(monkeypatch):
    monkeypatch.setattr(own_networks, "logits", None)
    own_networks.check("cnn", (28, 28, 1), tf.float32, PARAMS)
