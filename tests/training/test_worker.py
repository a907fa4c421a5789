"""What a worker waits for, and when it has nothing to do."""

from __future__ import annotations

import pytest
from support.saved import save

from mnist_estimator import RunError
from mnist_estimator.cluster import roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import checkpoints, record, status
from mnist_estimator.runtime import signals
from mnist_estimator.training import worker

TASK = roles.Task({"chief": ("a:1",), "worker": ("b:1",)}, "worker", 0)


@pytest.fixture
def saved(tmp_path):
    """Path of a checkpoint in `tmp_path` that TensorFlow takes for the newest one."""
    path = f"{tmp_path}/model.ckpt-9"
    save(path)
    checkpoints.point_to(path)
    return path


def wait(tmp_path):
    config = TrainConfig(model_dir=str(tmp_path))
    return worker._wait_for_whole_checkpoint(config, status.Follower(str(tmp_path)))


def test_a_new_run_has_no_checkpoint_to_wait_for(tmp_path):
    assert wait(tmp_path) == ""


def test_a_whole_checkpoint_is_taken(tmp_path, saved):
    assert wait(tmp_path) == saved


def damage(path):
    with open(f"{path}.index", "ab") as file:
        file.write(b"more")


def test_the_chief_goes_back_to_a_whole_one(tmp_path, saved, monkeypatch):
    older = f"{tmp_path}/model.ckpt-5"
    save(older)
    checkpoints.point_to(saved)
    damage(saved)
    monkeypatch.setattr(worker.time, "sleep", lambda secs: checkpoints.point_to(older))
    assert wait(tmp_path) == older


def test_a_list_of_another_folder_is_waited_for_too(tmp_path, saved, monkeypatch):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-9"\n')
    monkeypatch.setattr(worker, "_REPAIR_SECS", 0)
    with pytest.raises(RunError, match="names another folder; found no chief that goes on from"):
        wait(tmp_path)


def test_while_it_waits_the_chief_may_end(tmp_path, saved):
    damage(saved)
    config = TrainConfig(model_dir=str(tmp_path))
    follower = status.Follower(str(tmp_path))
    status.Recorder(str(tmp_path), False).write(status.PREEMPTED, 143, "SIGTERM")
    with pytest.raises(signals.Interruption, match="the chief ended: preempted"):
        worker._wait_for_whole_checkpoint(config, follower)


def test_a_complete_run_leaves_a_worker_nothing_to_do(tmp_path, saved, monkeypatch, capsys):
    monkeypatch.setattr(record, "check_continues", lambda *_: None)
    config = TrainConfig(model_dir=str(tmp_path), max_steps=9)
    worker.run_task(config, None, TASK, status.Follower(str(tmp_path)))
    assert f"the run in {tmp_path} is complete: nothing to train" in capsys.readouterr().err


@pytest.mark.parametrize("before", [True, False])
def test_the_folder_that_tensorflow_makes_a_worker_goes_unless_it_was_there(tmp_path, before):
    scratch = tmp_path / "tmp_worker_0"
    if before:
        scratch.mkdir()
    with worker._remove_scratch(TrainConfig(model_dir=str(tmp_path)), TASK):
        scratch.mkdir(exist_ok=True)
    assert scratch.exists() == before
