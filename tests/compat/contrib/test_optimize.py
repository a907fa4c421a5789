"""One step of training, held against one worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import optimize

START = np.array([3.0, -4.0], np.float32)


@pytest.fixture
def loss():
    """w**2 / 2 summed, whose gradient is w: of norm 5 at the start."""
    w = v1.get_variable("w", initializer=START)
    v1.train.get_or_create_global_step()
    return tf.reduce_sum(w**2) / 2


def trained(evaluate, train_op):
    """The loss that a step gives, and the weights after it."""
    value = evaluate(train_op)
    return value, evaluate(v1.trainable_variables()[0])


@pytest.mark.parametrize(
    ("options", "factor"),
    [
        ({}, 1.0),
        ({"clip_gradients": 1.0}, 0.2),
        ({"clip_gradients": lambda pairs: [(2 * g, v) for g, v in pairs]}, 2.0),
        ({"gradient_multipliers": {"w:0": 3.0}}, 3.0),
        ({"learning_rate_decay_fn": lambda rate, step: rate / 4}, 0.25),
        ({"learning_rate": tf.constant, "optimizer": v1.train.GradientDescentOptimizer}, 1.0),
        ({"optimizer": lambda rate: v1.train.GradientDescentOptimizer(rate * 2)}, 2.0),
        ({"optimizer": lambda: v1.train.GradientDescentOptimizer(0.5), "learning_rate": None}, 5.0),
    ],
)
def test_a_step(evaluate, loss, options, factor):
    options = {"learning_rate": 0.1, "optimizer": "SGD", **options}
    if options["learning_rate"] is tf.constant:
        options["learning_rate"] = tf.constant(0.1)
    value, weights = trained(evaluate, optimize.optimize_loss(loss, None, **options))
    assert value == 12.5
    np.testing.assert_allclose(weights, START * (1 - 0.1 * factor), rtol=1e-5)
    assert evaluate(v1.train.get_global_step()) == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [("Adam", [-0.1, 0.1]), ("Momentum", [-0.3, 0.4]), ("Adagrad", [-0.0994, 0.0997])],
)
def test_named_optimizers(evaluate, loss, name, change):
    _, weights = trained(evaluate, optimize.optimize_loss(loss, None, 0.1, name))
    np.testing.assert_allclose(weights - START, change, atol=1e-3)


def test_updates_come_first_and_the_step_can_stay(evaluate, loss):
    counter = v1.get_variable("n", initializer=0.0, trainable=False)
    v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, counter.assign_add(1))
    step = v1.train.get_global_step()
    collected = optimize.optimize_loss(loss, step, 0.1, "SGD", increment_global_step=False)
    mine = optimize.optimize_loss(loss, step, 0.1, "SGD", update_ops=[], name="mine")
    evaluate(collected)
    assert evaluate([counter, step]) == [1, 0]
    evaluate(mine)
    assert evaluate([counter, step]) == [1, 1]
    rates = [v.op.name for v in v1.global_variables() if "rate" in v.op.name]
    assert rates == ["OptimizeLoss/learning_rate", "mine/learning_rate"]


def test_sparse_gradients_are_multiplied_and_noise_is_added(evaluate):
    table = v1.get_variable("t", initializer=np.ones((3, 2), np.float32))
    loss = tf.reduce_sum(tf.gather(table, [1]))
    train_op = optimize.optimize_loss(loss, None, 0.5, "SGD", gradient_multipliers={"t:0": 2.0})
    noisy = optimize.optimize_loss(loss, None, 1.0, "SGD", gradient_noise_scale=0.1, name="noisy")
    _, value = trained(evaluate, train_op)
    np.testing.assert_allclose(value, [[1, 1], [0, 0], [1, 1]])
    _, other = trained(evaluate, noisy)
    changed = value - other - [[0, 0], [1, 1], [0, 0]]
    assert (changed != 0).all() and abs(changed).max() <= 0.2


def test_summaries(evaluate, loss):
    rate = {"learning_rate_decay_fn": lambda rate, step: rate}
    optimize.optimize_loss(
        loss, None, 0.1, "SGD", clip_gradients=1.0, summaries=optimize.OPTIMIZER_SUMMARIES, **rate
    )
    found = {}
    for text in evaluate(v1.get_collection(v1.GraphKeys.SUMMARIES)):
        (value,) = v1.Summary.FromString(text).value
        found[value.tag.removeprefix("OptimizeLoss/")] = value.simple_value
    assert found == pytest.approx(
        {
            "learning_rate_1": 0.1,  # The first is the variable, as in TensorFlow 1.
            "loss": 12.5,
            "global_norm/gradient_norm": 5.0,
            "global_norm/clipped_gradient_norm": 1.0,
            "gradient_norm/w_0": 1.0,
            "gradients/w_0": 0.0,  # A histogram.
        }
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "Foo"}, "'Foo', expected one of Adagrad"),
        ({"optimizer": 3}, "gave None"),
        ({"learning_rate": 1}, "1, expected a scalar tensor or a float"),
        ({"learning_rate": -0.1}, "-0.1"),
        ({"learning_rate": None}, "needs a learning_rate"),
        ({"summaries": ["norm"]}, "'norm'"),
        ({"clip_gradients": 1}, "clip_gradients is 1"),
    ],
)
def test_wrong_arguments_are_refused(loss, options, message):
    arguments = {"learning_rate": 0.1, "optimizer": "SGD", **options}
    with pytest.raises(ValueError, match=message):
        optimize.optimize_loss(loss, None, **arguments)


def test_the_loss_is_one_number(loss):
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        optimize.optimize_loss(tf.constant([1.0, 2.0]), None, 0.1, "SGD")
