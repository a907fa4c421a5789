"""A task joins the cluster of its own run, at a port of its own."""

from __future__ import annotations

import socket

import pytest

from mnist_estimator import InputError
from mnist_estimator.cluster import ports, roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import status
from mnist_estimator.runtime import signals
from mnist_estimator.training import joining


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def pair(role, index=0):
    return roles.Task({"chief": (CHIEF,), "worker": (WORKER,)}, role, index)


CHIEF, WORKER = free_address(), free_address()


def test_a_worker_joins_the_chief_of_its_run_and_not_that_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "_TRIES", 2)
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder in (ours, other):
        folder.mkdir()
        status.Recorder(str(folder), False).write("training")
    (tmp_path / "link").symlink_to(ours)  # As a folder that is mounted elsewhere, too.
    with joining.join_cluster(TrainConfig(model_dir=str(ours)), pair("chief")):
        for folder in (ours, tmp_path / "link"):
            with joining.join_cluster(TrainConfig(model_dir=str(folder)), pair("worker")):
                pass
        config = TrainConfig(model_dir=str(other))
        line = rf"chief at {CHIEF} is chief of the run in .*ours .* worker 0 of the run in .*other "
        with (
            pytest.raises(signals.Interruption, match=line) as caught,
            joining.join_cluster(config, pair("worker")),
        ):
            pytest.fail("joined")
    assert caught.value.exit_code == 138


def test_a_task_whose_port_is_taken_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(ports, "_TRIES", 0)
    host, _, port = CHIEF.rpartition(":")
    config = TrainConfig(model_dir=str(tmp_path))
    with (
        socket.create_server((host, int(port))),
        pytest.raises(InputError, match=f"port {port} of chief at {CHIEF} is in use"),
        joining.join_cluster(config, pair("chief")),
    ):
        pytest.fail("joined")
