"""Weight decay and moving averages, against what numpy computes step by step."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator import weight_updates
from mnist_estimator.compat import tf, v1
from mnist_estimator.optimizers import AVERAGE, OPTIMIZERS, is_optimizer_variable

RATE = 0.1


def trained(steps, *, optimizer="sgd", **options):
    """Kernel, bias and averages after each step on a loss whose gradients are all 1."""
    with tf.Graph().as_default(), v1.Session() as session:
        step = v1.train.get_or_create_global_step()
        kernel = v1.get_variable("kernel", [2, 3], initializer=v1.constant_initializer(4.0))
        bias = v1.get_variable("bias", [3], initializer=v1.constant_initializer(2.0))
        made = weight_updates.refined(
            OPTIMIZERS[optimizer].make(v1.train, tf.constant(RATE), {"momentum": 0.9}),
            tf.constant(RATE),
            **{"weight_decay": 0.0, "ema_decay": 0.0} | options,
        )
        loss = tf.reduce_sum(kernel) + tf.reduce_sum(bias)
        train = made.minimize(loss, global_step=step)
        session.run(v1.global_variables_initializer())
        history = []
        for _ in range(steps):
            session.run(train)
            history.append(session.run({v.op.name: v for v in v1.global_variables()}))
        return history


def test_without_flags_an_optimizer_is_as_it_was():
    optimizer = v1.train.AdamOptimizer(RATE)
    same = weight_updates.refined(optimizer, tf.constant(RATE), weight_decay=0.0, ema_decay=0.0)
    assert same is optimizer and type(same) is v1.train.AdamOptimizer


def test_kernels_decay_by_the_rate_and_biases_do_not():
    kernel = 4.0
    for values in trained(3, weight_decay=0.5):
        kernel = kernel * (1 - RATE * 0.5) - RATE
        np.testing.assert_allclose(values["kernel"], kernel, rtol=1e-6)
    np.testing.assert_allclose(values["bias"], 2.0 - 3 * RATE, rtol=1e-6)


def test_decay_does_not_pass_through_adam():
    """Adam divides a gradient by its size, so a decay by the gradient would be another one."""
    for plain, decayed in zip(
        trained(1, optimizer="adam"), trained(1, optimizer="adam", weight_decay=0.5), strict=True
    ):
        lost = plain["kernel"] - decayed["kernel"]
        np.testing.assert_allclose(lost, 4.0 * RATE * 0.5, rtol=1e-5)
        np.testing.assert_array_equal(plain["kernel/Adam"], decayed["kernel/Adam"])


def test_averages_follow_the_weights_and_forget_their_start():
    average = 0.0
    for step, values in enumerate(trained(60, ema_decay=0.8)):
        kept = min(0.8, step / (10 + step))
        average = kept * average + (1 - kept) * values["kernel"]
        np.testing.assert_allclose(values[f"kernel/{AVERAGE}"], average, rtol=1e-5)
        if step == 0:
            np.testing.assert_array_equal(values[f"bias/{AVERAGE}"], values["bias"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_takes_both_and_names_what_it_adds(optimizer):
    plain = trained(2, optimizer=optimizer)[-1]
    both = trained(2, optimizer=optimizer, weight_decay=0.1, ema_decay=0.9)[-1]
    assert set(both) - set(plain) == {f"kernel/{AVERAGE}", f"bias/{AVERAGE}"}
    np.testing.assert_array_equal(both["bias"], plain["bias"])
    assert (both["kernel"] < plain["kernel"]).all()
    assert {name for name in both if is_optimizer_variable(name)} == set(both) - {
        *("kernel", "bias", "global_step")
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("resource", [True, False])
@pytest.mark.parametrize("looked_up", [True, False])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_every_kind_of_update_has_both(optimizer, resource, looked_up, dtype):
    with tf.Graph().as_default(), v1.Session() as session:
        step = v1.train.get_or_create_global_step()
        start = v1.constant_initializer(4.0)
        table = v1.get_variable("table", [3, 2], dtype, start, use_resource=resource)
        made = weight_updates.refined(
            OPTIMIZERS[optimizer].make(v1.train, tf.constant(RATE), {"momentum": 0.9}),
            tf.constant(RATE),
            weight_decay=0.5,
            ema_decay=0.9,
        )
        # Row 0 has twice the gradient, row 1 none.
        train = made.minimize(
            tf.reduce_sum(tf.gather(table, [0, 0, 2]) if looked_up else table), global_step=step
        )
        session.run(v1.global_variables_initializer())
        average = made.get_slot(table, AVERAGE)
        session.run(train)
        first = session.run(table)
        np.testing.assert_array_equal(session.run(average), first)
        session.run(train)
        second = session.run(table)
        expected = first / 11 + second * 10 / 11
        np.testing.assert_allclose(session.run(average), expected, rtol=1e-6)
        if looked_up:
            np.testing.assert_allclose(first[1], 4.0 * (1 - RATE * 0.5), rtol=1e-6)
        assert (first[0] < 4.0 * (1 - RATE * 0.5)).all()


def test_an_average_is_of_the_values_that_a_constraint_leaves():
    with tf.Graph().as_default(), v1.Session() as session:
        step = v1.train.get_or_create_global_step()
        start = v1.constant_initializer(0.05)
        weight = v1.get_variable("weight", [2], initializer=start, constraint=tf.nn.relu)
        optimizer = v1.train.GradientDescentOptimizer(RATE)
        made = weight_updates.refined(optimizer, tf.constant(RATE), weight_decay=0.0, ema_decay=0.9)
        train = made.minimize(tf.reduce_sum(weight), global_step=step)
        session.run(v1.global_variables_initializer())
        session.run(train)
        np.testing.assert_array_equal(session.run([weight, made.get_slot(weight, AVERAGE)]), 0)
