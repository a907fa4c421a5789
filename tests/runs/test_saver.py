"""Which checkpoints fit a graph, and what its Saver restores and deletes."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import saver
from mnist_estimator.runtime import files, signals

GRAPH = {"w": [3], "other": [2, 2]}


def test_a_checkpoint_of_the_same_network_fits(model_dir):
    saver.check_variables(f"{model_dir}/model.ckpt-3", GRAPH)


@pytest.mark.parametrize(
    ("graph", "line"),
    [
        (GRAPH | {"w": [4]}, r"w of shape \[3\], expected it of shape \[4\]"),
        (GRAPH | {"more": [1]}, r"more not at all, expected it of shape \[1\]"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(model_dir, graph, line):
    with pytest.raises(InputError, match=f"holds another network: {line}"):
        saver.check_variables(f"{model_dir}/model.ckpt-3", graph)


def test_a_checkpoint_without_moving_averages_says_so(model_dir):
    graph = GRAPH | {"w/ExponentialMovingAverage": [3]}
    with pytest.raises(InputError, match="ckpt-3: holds no moving averages.* without --ema_decay"):
        saver.check_variables(f"{model_dir}/model.ckpt-3", graph)


def test_weights_are_stored_under_their_own_names_and_under_those_of_averages():
    with tf.Graph().as_default():
        w = v1.get_variable("w", [3])
        mean = v1.get_variable("mean", [3], trainable=False)
        assert saver.stored_variables(averages=False) == {"w": w, "mean": mean}
        averages = saver.stored_variables(averages=True)
    assert averages == {"w/ExponentialMovingAverage": w, "mean": mean}


@pytest.mark.parametrize("folder", ["run", "run[1]"])
def test_the_exact_path_is_restored(model_dir, folder):
    path = model_dir.rename(model_dir.with_name(folder)) / "model.ckpt-2"
    with tf.Graph().as_default(), v1.Session() as session:
        w = v1.get_variable("w", [3])
        saver.add_saver()
        saver.add_saver()  # The graph keeps the first one.
        (added,) = v1.get_collection(v1.GraphKeys.SAVERS)
        added.build()
        added.restore(session, str(path))
        assert session.run(w).tolist() == [2.0, 2.0, 2.0]
        added.recover_last_checkpoints([str(path)])
        assert not added.last_checkpoints


@pytest.mark.parametrize("kind", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_the_error_of_a_store_is_told_from_that_of_a_lost_task(kind):
    outage = pytest.raises(files.OutageError, match="^s3://bucket/a: no answer$")
    with outage as found, saver.store_errors():
        raise kind(None, None, "s3://bucket/a: no answer")
    assert signals.exit_code_of(found.value) == signals.EXIT_LOST
    with pytest.raises(kind), saver.store_errors():
        raise kind(None, None, "Socket closed")


def test_parts_of_a_variable_are_the_whole_of_a_checkpoint(model_dir):
    with tf.Graph().as_default():
        v1.get_variable("w", [3], partitioner=v1.fixed_size_partitioner(3))
        v1.get_variable("other", [2, 2], partitioner=v1.fixed_size_partitioner(2, axis=1))
        assert saver.graph_variables() == GRAPH
    saver.check_variables(f"{model_dir}/model.ckpt-3", GRAPH)


def test_a_part_is_cut_out_of_the_whole():
    value = np.arange(12).reshape(4, 3)
    assert saver._part(value, "") is value
    assert saver._part(value, "4 3 1,2:0,3").tolist() == value[1:3].tolist()
    assert saver._part(value, "4 3 0,4:2,1").tolist() == value[:, 2:].tolist()
