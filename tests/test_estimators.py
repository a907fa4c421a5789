"""The sessions of each task of a cluster."""

from __future__ import annotations

import pytest

from mnist_estimator import estimators
from mnist_estimator.cluster.roles import Task
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig

PS_CLUSTER = {"chief": ("a:1",), "worker": ("b:1", "c:1"), "ps": ("d:1",)}


@pytest.mark.parametrize(
    ("task", "filters"),
    [
        (Task(), []),
        (Task({"chief": ("a:1",), "worker": ("b:1",)}, "worker", 0), []),
        (Task(PS_CLUSTER, "chief", 0), ["/job:ps", "/job:chief"]),
        (Task(PS_CLUSTER, "worker", 1), ["/job:ps", "/job:worker/task:1"]),
        (Task(PS_CLUSTER, "ps", 0), ["/job:ps", "/job:worker", "/job:chief"]),
    ],
)
def test_asynchronous_workers_do_not_wait_for_one_another(task, filters):
    session = estimators.session_config(TrainConfig(intra_op_threads=3), task)
    assert list(session.device_filters) == filters
    assert session.intra_op_parallelism_threads == 3


@pytest.mark.parametrize("strategy", ["none", "ps", "mirrored", "multi_worker"])
def test_only_synchronous_workers_build_in_a_graph_of_their_own(strategy):
    with estimators.graph(TrainConfig(strategy=strategy)):
        assert tf.executing_eagerly() == (strategy != "multi_worker")
