"""Optimizers held against their formulas in numpy, with variables of both kinds."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import opt

TABLE = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
WANTED = np.array([0.5, -0.5], np.float32)
BATCHES = ([1, 3, 1], [0, 3], [4])


@pytest.fixture(params=[True, False], ids=["resource", "reference"])
def table(request):
    return v1.get_variable("table", initializer=TABLE, use_resource=request.param)


def step_of(table, optimizer, dense=False, **options):
    """A step that brings some rows nearer to WANTED, and what it is fed."""
    ids = v1.placeholder(tf.int32, [None])
    rows = tf.matmul(tf.one_hot(ids, 5), table) if dense else tf.gather(table, ids)
    return optimizer.minimize(tf.reduce_sum((rows - WANTED) ** 2) / 2, **options), ids


def gradient(values, batch):
    found = np.zeros_like(values)
    for row in batch:
        found[row] += values[row] - WANTED
    return found


def adam(values, m, v, grad, step, rate=0.1, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """One step (Kingma and Ba 2015), with epsilon as TensorFlow has it."""
    m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad**2
    scale = rate * np.sqrt(1 - beta2**step) / (1 - beta1**step)
    return values - scale * m / (np.sqrt(v) + epsilon), m, v


def state(evaluate, optimizer, table):
    return evaluate([table, *(optimizer.get_slot(table, name) for name in "mv")])


def test_lazy_adam(evaluate, table):
    optimizer = opt.LazyAdamOptimizer(0.1)
    train, ids = step_of(table, optimizer)
    expected = [TABLE.copy(), np.zeros_like(TABLE), np.zeros_like(TABLE)]
    for number, batch in enumerate(BATCHES, start=1):
        before = state(evaluate, optimizer, table)
        evaluate(train, {ids: batch})
        after = state(evaluate, optimizer, table)
        new = adam(*expected, gradient(expected[0], batch), number)
        rows, others = sorted(set(batch)), sorted(set(range(5)) - set(batch))
        for old, now, want, all_rows in zip(before, after, expected, new, strict=True):
            want[rows] = all_rows[rows]
            np.testing.assert_allclose(now, want, rtol=1e-4, atol=1e-6)
            np.testing.assert_array_equal(now[others], old[others])


def test_lazy_adam_is_adam_where_the_gradient_is_dense(evaluate, table):
    optimizer = opt.LazyAdamOptimizer(0.1)
    train, ids = step_of(table, optimizer, dense=True)
    expected = (TABLE, 0, 0)
    for number, batch in enumerate(BATCHES, start=1):
        evaluate(train, {ids: batch})
        expected = adam(*expected, gradient(expected[0], batch), number)
    for found, want in zip(state(evaluate, optimizer, table), expected, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)


def test_adam_with_decay(evaluate, table):
    train, ids = step_of(table, opt.AdamWOptimizer(0.01, learning_rate=0.1), dense=True)
    values, m, v = TABLE, 0, 0
    for number, batch in enumerate(BATCHES, start=1):
        evaluate(train, {ids: batch})
        values, m, v = adam(values * 0.99, m, v, gradient(values, batch), number)
    np.testing.assert_allclose(evaluate(table), values, rtol=1e-4, atol=1e-6)


def test_momentum_with_decay_of_the_rows_alone(evaluate, table):
    train, ids = step_of(table, opt.MomentumWOptimizer(lambda: 0.01, 0.1, momentum=0.9))
    values, speed = TABLE.copy(), np.zeros_like(TABLE)
    for batch in BATCHES:
        evaluate(train, {ids: batch})
        rows, grad = sorted(set(batch)), gradient(values, batch)
        speed[rows] = 0.9 * speed[rows] + grad[rows]
        values[rows] = 0.99 * values[rows] - 0.1 * speed[rows]
    np.testing.assert_allclose(evaluate(table), values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dense", [True, False])
def test_any_optimizer_can_have_decay(evaluate, table, dense):
    decaying = opt.extend_with_decoupled_weight_decay(v1.train.GradientDescentOptimizer)
    train, ids = step_of(table, decaying(0.25, learning_rate=0.1), dense=dense)
    evaluate(train, {ids: [2]})
    decay = np.full((5, 1), 0.75)
    decay[[0, 1, 3, 4]] = 0.75 if dense else 1
    expected = decay * TABLE - 0.1 * gradient(TABLE, [2])
    np.testing.assert_allclose(evaluate(table), expected, rtol=1e-5)


def test_only_listed_variables_decay(evaluate):
    a = v1.get_variable("a", initializer=[1.0])
    b = v1.get_variable("b", initializer=[1.0])
    optimizer = opt.MomentumWOptimizer(0.5, 0.0, 0.9)
    evaluate_op = optimizer.minimize(tf.reduce_sum(a + b), decay_var_list=[b])
    evaluate(evaluate_op)
    assert evaluate([a, b]) == [[1.0], [0.5]]


@pytest.mark.parametrize("dense", [True, False])
def test_moving_averages(evaluate, tmp_path, dense):
    table = v1.get_variable("table", initializer=TABLE)
    optimizer = opt.MovingAverageOptimizer(v1.train.GradientDescentOptimizer(0.1), 0.75)
    with pytest.raises(RuntimeError, match="before swapping_saver"):
        optimizer.swapping_saver()
    train, ids = step_of(table, optimizer, dense=dense)
    saver = optimizer.swapping_saver()
    values, average = TABLE, TABLE
    for batch in BATCHES:
        evaluate(train, {ids: batch})
        values = values - 0.1 * gradient(values, batch)
        average = 0.75 * average + 0.25 * values
    np.testing.assert_allclose(evaluate(table), values, rtol=1e-5)
    (session,) = evaluate.sessions
    reader = v1.train.NewCheckpointReader(saver.save(session, str(tmp_path / "model")))
    np.testing.assert_allclose(reader.get_tensor("table"), average, rtol=1e-5)
    swapped = reader.get_tensor("table/ExponentialMovingAverage")
    np.testing.assert_allclose(swapped, values, rtol=1e-5)
    with pytest.raises(ValueError, match="table, expected table/ExponentialMovingAverage with it"):
        optimizer.swapping_saver([table])
