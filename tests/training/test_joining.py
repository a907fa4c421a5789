"""A task joins the cluster of its own run, at a port of its own."""

from __future__ import annotations

import socket

import pytest

from mnist_estimator import InputError
from mnist_estimator.cluster import ports, roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import status
from mnist_estimator.runtime import signals, watchdog
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


@pytest.mark.parametrize(
    ("phase", "still_secs", "busy"),
    [
        (watchdog.EVALUATION, 29.0, "evaluation"),
        (watchdog.EVALUATION, 31.0, ""),  # Who waits for whom, where nothing moves at all?
        (watchdog.SET_UP, 1.0, "set-up"),
        (watchdog.STEP, 1.0, ""),
        (watchdog.SERVING, 1.0, ""),
    ],
)
def test_a_task_says_what_it_does_and_whether_others_are_to_wait(
    tmp_path, monkeypatch, phase, still_secs, busy
):
    own = joining.OwnHello(TrainConfig(model_dir=str(tmp_path)), pair("chief"))
    assert (own.current().doing, own.current().busy) == ("", "")
    state = watchdog.State(phase, 0, still_secs, 60.0, 0.0)
    monkeypatch.setattr(joining.watchdog, "state", lambda: state)
    found = own.current()
    assert found.doing == f"{phase}, nothing has moved for {still_secs:.0f} s"
    assert found.busy == busy
