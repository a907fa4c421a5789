"""Random numbers of a step: by seed, name and step, the same however many replicas draw them."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator import draws
from mnist_estimator.compat import tf, v1

DRAWS = {
    "uniform": lambda rows, **key: draws.uniform(rows, [3], **key),
    "normal": lambda rows, **key: draws.normal(rows, [3], **key),
    "beta": lambda rows, **key: draws.beta(rows, 0.3, **key),
}


def drawn(kind, rows, *, step=0, seed=1, name="x"):
    with tf.Graph().as_default(), v1.Session() as session:
        global_step = v1.train.get_or_create_global_step()
        numbers = DRAWS[kind](tf.constant(rows), seed=seed, name=name)
        session.run(global_step.assign(step))
        return session.run(numbers)


@pytest.mark.parametrize("kind", DRAWS)
def test_numbers_follow_from_the_seed_the_name_and_the_step(kind):
    first = drawn(kind, 8, step=3)
    np.testing.assert_array_equal(first, drawn(kind, 8, step=3))
    for other in ({"step": 4}, {"step": 3, "seed": 2}, {"step": 3, "name": "y"}):
        assert not np.isclose(first, drawn(kind, 8, **other)).any()


@pytest.mark.parametrize("kind", DRAWS)
def test_a_replica_draws_its_rows_of_the_whole_batch(kind, monkeypatch):
    class Replica:
        num_replicas_in_sync = 4
        replica_id_in_sync_group = 2

    whole = drawn(kind, 8)
    monkeypatch.setattr(tf.distribute, "get_replica_context", Replica)
    np.testing.assert_array_equal(drawn(kind, 2), whole[4:6])


@pytest.mark.parametrize(
    ("kind", "mean", "deviation"),
    [("uniform", 0.5, 12**-0.5), ("normal", 0.0, 1.0), ("beta", 0.5, (0.25 / 1.6) ** 0.5)],
)
def test_numbers_have_their_distribution(kind, mean, deviation):
    numbers = drawn(kind, 20_000)
    assert numbers.dtype == np.float32
    assert numbers.mean() == pytest.approx(mean, abs=0.02)
    assert numbers.std() == pytest.approx(deviation, abs=0.02)


def test_shares_are_numbers_even_where_all_are_near_0_or_1():
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.get_or_create_global_step()
        shares = draws.beta(tf.constant(10_000), 0.001, seed=1, name="x")
        session.run(v1.global_variables_initializer())
        values = session.run(shares)
    assert ((values >= 0) & (values <= 1)).all()
