"""Strategies with the arguments that they had."""

from __future__ import annotations

import json

import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import distribute


@pytest.fixture
def no_gpus(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])


def devices(strategy):
    return [device.lower().split("/")[-1] for device in strategy.extended.worker_devices]


@pytest.mark.parametrize(
    "options", [{"num_gpus": 0}, {"num_gpus_per_worker": 0}, {"devices": ["/cpu:0"]}]
)
def test_mirrored(options):
    strategy = distribute.MirroredStrategy(**options)
    assert isinstance(strategy, v1.distribute.MirroredStrategy)
    assert devices(strategy) == ["device:cpu:0"]


def test_as_many_gpus_as_are_asked_for(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * 3)
    strategy = distribute.MirroredStrategy(num_gpus=2)
    assert devices(strategy) == ["device:gpu:0", "device:gpu:1"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_gpus": 1}, ValueError, "num_gpus is 1, expected at most 0"),
        ({"num_gpus": 0, "num_gpus_per_worker": 0}, ValueError, "both num_gpus and num_gpus_per"),
        ({"num_gpus": 0, "devices": ["/cpu:0"]}, ValueError, "both devices and num_gpus"),
        ({"cross_device_ops": 1, "cross_tower_ops": 1}, ValueError, "both cross_device_ops"),
        ({"auto_shard_dataset": True}, NotImplementedError, "dataset.shard"),
    ],
)
def test_what_cannot_be_is_refused(no_gpus, options, error, message):
    with pytest.raises(error, match=message):
        distribute.MirroredStrategy(**options)


def test_a_batch_a_device_is_refused():
    with pytest.raises(NotImplementedError, match="make_input_fn_iterator"):
        distribute.MirroredStrategy(num_gpus=0).make_dataset_iterator(None)


def test_one_device():
    assert devices(distribute.OneDeviceStrategy("/cpu:0")) == ["device:cpu:0"]


def test_parameter_servers_of_the_cluster(monkeypatch):
    cluster = {"chief": ["a:1"], "ps": ["b:1", "c:1"]}
    task = {"type": "chief", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    strategy = distribute.ParameterServerStrategy(num_gpus_per_worker=0)
    assert len(strategy.extended.parameter_devices) == 2
    assert "chief" in strategy.extended.worker_devices[0]


def test_collective_alone():
    strategy = distribute.CollectiveAllReduceStrategy()
    assert isinstance(strategy, v1.distribute.experimental.MultiWorkerMirroredStrategy)
    assert devices(strategy) == ["device:cpu:0"]
