"""What a restart would not repeat is found in the graph: what is drawn, and what is shuffled."""

from __future__ import annotations

import pytest

from mnist_estimator import randomness
from mnist_estimator.compat import tf, v1


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        v1.set_random_seed(1)
        yield


def drawn(build):
    """What is drawn from a state in a training step whose loss `build` makes of a weight."""
    step = v1.train.get_or_create_global_step()
    weight = v1.get_variable("weight", [3], initializer=v1.truncated_normal_initializer())
    loss = tf.reduce_sum(build(weight))
    v1.train.GradientDescentOptimizer(0.1).minimize(loss, step)
    return randomness.stateful_draws(randomness.training_roots(loss))


def test_dropout_is_found_by_its_name_and_an_initializer_is_not():
    found = drawn(lambda weight: tf.nn.dropout(weight, 0.5, name="drop"))
    assert len(found) == 1 and found[0].startswith("drop/")


def test_what_is_drawn_by_a_key_is_fine():
    assert not drawn(lambda weight: weight + tf.random.stateless_uniform([3], [1, 2]))


def test_what_a_function_draws_is_found():
    @tf.function
    def noisy(weight):
        return weight + tf.random.normal([3])

    assert drawn(lambda weight: noisy(noisy(weight)))


def test_noise_in_a_gradient_is_found():
    step = v1.train.get_or_create_global_step()
    weight = v1.get_variable("weight", [])
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    ((gradient, _),) = optimizer.compute_gradients(weight**2, [weight])
    noise = tf.random.normal([], name="noise")
    optimizer.apply_gradients([(gradient + noise, weight)], step)
    (found,) = randomness.stateful_draws(randomness.training_roots(weight**2))
    assert found.startswith("noise/")


def test_a_variable_that_no_checkpoint_holds_is_found():
    labels = tf.constant([1, 2])
    _, update = v1.metrics.accuracy(labels, labels, name="accuracy")
    assert len(randomness.local_variables([update.op])) == 2
    assert not randomness.local_variables([labels.op])


def numbers():
    return tf.data.Dataset.range(9)


def undetermined(dataset):
    options = tf.data.Options()
    options.deterministic = False
    return dataset.with_options(options)


def noisy(number):
    return number + tf.random.uniform([], maxval=5, dtype=tf.int64)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: numbers().shuffle(9).repeat().batch(2), ""),
        (lambda: numbers().map(noisy), ""),
        (lambda: numbers().map(lambda number: number + 1, num_parallel_calls=2), ""),
        (lambda: undetermined(numbers()).batch(2), "deterministic = False"),
        (lambda: numbers().map(noisy, num_parallel_calls=2), "in parallel"),
        (
            lambda: numbers().map(abs, num_parallel_calls=2, deterministic=False).batch(2),
            "in which they are ready",
        ),
    ],
)
def test_a_dataset_that_gives_other_elements_the_next_time_is_found(make, problem):
    found = randomness.unrepeatable(make())
    assert problem in found and bool(problem) == bool(found)


def test_a_shuffle_without_any_seed_is_found():
    v1.set_random_seed(None)
    assert "has no seed" in randomness.unrepeatable(numbers().shuffle(9))
    assert not randomness.unrepeatable(numbers().shuffle(9, seed=0))


def test_what_an_optimizer_beside_the_step_draws_is_found():
    step = v1.train.get_or_create_global_step()
    weight, other = v1.get_variable("weight", []), v1.get_variable("other", [])
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    optimizer.minimize((other + tf.random.normal([], name="noise")) ** 2, var_list=[other])
    optimizer.minimize(weight**2, step, var_list=[weight])
    (found,) = randomness.stateful_draws(randomness.training_roots(weight**2))
    assert found.startswith("noise/")
