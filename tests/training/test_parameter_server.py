"""How a parameter server asks for a checkpoint, and lets the workers leave first."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
from support.saved import save

from mnist_estimator.cluster import peers, roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import status
from mnist_estimator.training import parameter_server
from mnist_estimator.training.checkpoint_saver import SAVE_REQUEST

TASK = roles.Task({"chief": ("a:1",), "worker": ("b:1",), "ps": ("c:1",)}, "ps", 0)


def test_a_complete_run_needs_no_parameter_server(tmp_path, capsys):
    save(f"{tmp_path}/model.ckpt-9")
    config = TrainConfig(model_dir=str(tmp_path), max_steps=9)
    parameter_server.run_task(config, TASK, status.Follower(str(tmp_path)))
    assert "is complete: nothing to train" in capsys.readouterr().err


class Looks:
    """Stands for the time between two looks: counts them, and may do something in the first."""

    def __init__(self, monkeypatch, act=lambda: None):
        self.count, self._act = 0, act
        monkeypatch.setattr(parameter_server.time, "sleep", self)
        monkeypatch.setattr(parameter_server.time, "monotonic", lambda: float(self.count))

    def __call__(self, secs):
        self.count += 1
        if self.count == 1:
            self._act()


@pytest.mark.parametrize("saved", [True, False])
def test_it_waits_until_the_chief_has_saved_but_not_for_ever(tmp_path, monkeypatch, saved):
    request = Path(tmp_path / SAVE_REQUEST)
    looks = Looks(monkeypatch, request.unlink if saved else lambda: None)
    parameter_server._request_save(str(tmp_path), lambda: False)
    assert looks.count == (1 if saved else parameter_server._SAVE_SECS)
    assert not request.exists()


def test_where_nothing_can_be_written_nothing_is_asked(tmp_path):
    parameter_server._request_save(str(tmp_path / "gone/run"), lambda: True)


@pytest.mark.parametrize(("answers", "looks"), [(1, 1), (99, parameter_server._LEAVE_SECS)])
def test_the_workers_leave_first_but_not_for_ever(monkeypatch, answers, looks):
    left, seen = iter(range(answers)), Looks(monkeypatch)

    def probe_all(addresses):
        assert list(addresses.values()) == ["b:1"]
        return {"worker 0": peers.ANSWERS if next(left, None) is not None else "gone"}

    monkeypatch.setattr(peers, "probe_all", probe_all)
    parameter_server.let_workers_leave(TASK)
    assert seen.count == looks


@pytest.mark.parametrize(
    ("role", "code", "exits"),
    [("ps", 0, [0]), ("ps", 143, [143]), ("evaluator", 143, [143]), ("evaluator", 0, [])],
)
def test_estimators_own_server_ends_when_the_chief_has(tmp_path, monkeypatch, role, code, exits):
    found, done = [], threading.Event()
    monkeypatch.setattr(parameter_server, "_LOOK_SECS", 0.01)
    monkeypatch.setattr(parameter_server, "let_workers_leave", lambda task: None)
    monkeypatch.setattr(parameter_server.os, "_exit", lambda code: (found.append(code), done.set()))
    task, follower = dataclasses.replace(TASK, role=role), status.Follower(str(tmp_path))
    status.Recorder(str(tmp_path), False).write(status.DONE, code)
    if not exits:
        monkeypatch.setattr(follower, "ended", Ended(follower.ended, done))
    parameter_server.end_with_chief(task, follower, done)
    assert found == exits


class Ended:
    """Asks a follower, and says after the second time that the block is over."""

    def __init__(self, ask, done):
        self._ask, self._done, self._left = ask, done, 2

    def __call__(self):
        self._left -= 1
        if not self._left:
            self._done.set()
        return self._ask()
