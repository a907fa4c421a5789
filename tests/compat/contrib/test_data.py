"""Transformations of datasets, by the elements that they give."""

from __future__ import annotations

import pytest

from mnist_estimator.compat import tf, v1


def elements(evaluate, dataset):
    following = v1.data.make_one_shot_iterator(dataset).get_next()
    found = []
    while True:
        try:
            found.append(evaluate(following).tolist())
        except tf.errors.OutOfRangeError:
            return found


def test_batches_without_the_rest(evaluate, contrib):
    dataset = v1.data.Dataset.range(5).apply(contrib.data.batch_and_drop_remainder(2))
    assert dataset.element_spec.shape.as_list() == [2]
    assert elements(evaluate, dataset) == [[0, 1], [2, 3]]


def test_padded_batches_without_the_rest(evaluate, contrib):
    dataset = v1.data.Dataset.range(1, 4).map(lambda n: tf.fill([n], n))
    padding = tf.constant(-1, tf.int64)
    dataset = dataset.apply(contrib.data.padded_batch_and_drop_remainder(2, [None], padding))
    assert elements(evaluate, dataset) == [[[1, -1], [2, 2]]]


def test_map_and_batch_and_shuffle_and_repeat(evaluate, contrib):
    dataset = v1.data.Dataset.range(4).apply(contrib.data.shuffle_and_repeat(4, 2))
    dataset = dataset.apply(contrib.data.map_and_batch(lambda n: n * 2, 4))
    assert [sorted(batch) for batch in elements(evaluate, dataset)] == [[0, 2, 4, 6]] * 2


def test_interleaving(evaluate, contrib):
    def inner(n):
        return v1.data.Dataset.from_tensors(n).repeat(2)

    dataset = v1.data.Dataset.range(3)
    plain = dataset.apply(contrib.data.parallel_interleave(inner, cycle_length=2))
    sloppy = dataset.apply(contrib.data.sloppy_interleave(inner, cycle_length=2))
    assert elements(evaluate, plain) == [0, 1, 0, 1, 2, 2]
    assert sorted(elements(evaluate, sloppy)) == [0, 0, 1, 1, 2, 2]


def test_shapes_are_known_and_checked(evaluate, contrib):
    def dataset_of(rows):
        dataset = v1.data.Dataset.from_generator(lambda: [[0.0] * rows], tf.float32, [None])
        return dataset.apply(contrib.data.assert_element_shape(tf.TensorShape([2])))

    assert v1.data.get_output_shapes(dataset_of(2)).as_list() == [2]
    assert elements(evaluate, dataset_of(2)) == [[0.0, 0.0]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="shape"):
        elements(evaluate, dataset_of(3))
    pair = v1.data.Dataset.from_tensors((tf.zeros([3]), {"a": tf.zeros([2, 1])}))
    shapes = (tf.TensorShape([None]), {"a": tf.TensorShape([2, None])})
    pair = pair.apply(contrib.data.assert_element_shape(shapes))
    assert v1.data.get_output_shapes(pair)[1]["a"].as_list() == [2, 1]
    with pytest.raises(ValueError, match="not compatible"):
        pair.apply(contrib.data.assert_element_shape((tf.TensorShape([4]), shapes[1])))
