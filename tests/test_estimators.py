"""The Estimator of a run: its strategy by the machine's GPUs, and the sessions of each task."""

from __future__ import annotations

import dataclasses
import os
import types

import pytest

from mnist_estimator import InputError, estimators
from mnist_estimator.cluster.roles import Task
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import TrainedOn

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


@pytest.mark.parametrize(
    ("strategy", "gpus", "batch_size", "expected"),
    [
        ("auto", 0, 100, "none"),
        ("auto", 1, 100, "none"),
        ("auto", 4, 100, "mirrored"),
        ("auto", 8, 100, "none"),
        ("none", 4, 100, "none"),
        ("mirrored", 1, 100, "mirrored"),
        ("ps", 4, 100, "ps"),
    ],
)
def test_the_gpus_of_a_machine_decide_what_auto_is(
    monkeypatch, capsys, strategy, gpus, batch_size, expected
):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * gpus)
    config = TrainConfig(strategy=strategy, batch_size=batch_size)
    assert estimators.with_strategy(config) == TrainConfig(strategy=expected, batch_size=batch_size)
    warned = "training on one of 8 GPUs: --batch_size=100 cannot be shared evenly"
    assert (warned in capsys.readouterr().err) == (gpus == 8)


def test_an_estimator_takes_its_place_from_the_task_and_not_from_the_environment(
    tmp_path, monkeypatch
):
    """The first of several workers, no chief among them, also makes one of a process alone."""
    chief = Task({"chief": ("a:1",), "worker": ("b:1",), "ps": ("c:1",)}, "chief", 0)
    workers = Task({"worker": ("a:1", "b:1")}, "worker", 0).tf_config()
    config = TrainConfig(model_dir=str(tmp_path), strategy="none")
    data = TrainedOn((8, 8, 1), 4, ("a", "b", "c", "d"), 16, "plain", "")
    monkeypatch.setenv("TF_CONFIG", workers)
    alone = estimators.make_estimator(config, data).config
    assert (alone.master, alone.cluster_spec.jobs, alone.is_chief) == ("", [], True)
    assert estimators.make_estimator(config, data, chief).config.master == "grpc://a:1"
    assert os.environ["TF_CONFIG"] == workers
    monkeypatch.delenv("TF_CONFIG")
    assert estimators.make_estimator(config, data, chief).config.num_ps_replicas == 1
    assert "TF_CONFIG" not in os.environ


def test_replicas_without_pairs_to_mix_are_refused(monkeypatch):
    made = types.SimpleNamespace(num_replicas_in_sync=4)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: made)
    mixes = TrainConfig(strategy="mirrored", mixup=0.2, batch_size=24)
    assert estimators._strategy(mixes) is made
    line = "--batch_size: found 20 with --mixup, expected a multiple of 8: each of the 4 replicas"
    with pytest.raises(InputError, match=line):
        estimators._strategy(dataclasses.replace(mixes, batch_size=20))
    assert estimators._strategy(dataclasses.replace(mixes, mixup=0, batch_size=20)) is made
