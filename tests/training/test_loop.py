"""The order of the hooks, and when training is over early."""

from __future__ import annotations

import pytest

from mnist_estimator.cluster import roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import shard_cache
from mnist_estimator.runs import status
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.training import hooks, loop, stopping
from mnist_estimator.training.checkpoint_saver import CheckpointSaver
from mnist_estimator.training.run import Run

WORKER = roles.Task({"chief": ("a:1",), "worker": ("b:1",)}, "worker", 0)


def make(tmp_path, task=None, **options):
    config = TrainConfig(model_dir=str(tmp_path), **options)
    return Run(config, None, task or roles.Task(), Evaluations(str(tmp_path)), None)


def names(run, saver=None):
    made = loop._hooks(run, None, saver, stopping.Stopper())
    return [type(hook).__name__ for hook in made]


def test_the_hooks_of_a_chief_come_in_their_order(tmp_path):
    saver = CheckpointSaver(str(tmp_path), every_steps=1)
    assert names(make(tmp_path, profile_steps="2,3"), saver) == [
        "SessionGuard",
        "FiniteGuard",
        "Progress",
        "CheckpointSaver",
        "Stopper",
        "Profiler",
        "StopAtStepHook",
    ]


def test_a_worker_saves_and_profiles_nothing(tmp_path):
    assert names(make(tmp_path, WORKER, profile_steps="2,3")) == [
        "SessionGuard",
        "FiniteGuard",
        "Progress",
        "Stopper",
        "StopAtStepHook",
    ]


def test_an_input_that_fetches_shards_is_told_of_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_cache._State, "cache", object())
    assert "_EndOfInput" in names(make(tmp_path, WORKER))


def equal_results(count):
    return [{"global_step": step, "accuracy": 0.5, "loss": 1.0} for step in range(count)]


@pytest.mark.parametrize(("results", "over"), [(2, False), (3, True)])
def test_training_is_over_when_no_more_is_learned(tmp_path, results, over):
    run = make(tmp_path, early_stop_patience=2)
    run.evaluations.history += equal_results(results)
    assert loop._end_check(run, None)() == over


def test_a_worker_looks_for_the_end_of_the_chief_once_a_second(tmp_path, monkeypatch):
    follower = status.Follower(str(tmp_path))
    is_over = loop._end_check(make(tmp_path, WORKER), follower)
    status.Recorder(str(tmp_path), False).write(status.DONE, exit_code=0)
    assert not is_over()
    monkeypatch.setattr(hooks, "_LOOK_SECS", 0)
    assert is_over()


def test_another_workers_preemption_ends_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_input_fn", lambda run: None)
    monkeypatch.setattr(stopping.Stopper, "__init__", preempted)
    with pytest.raises(loop.signals.Interruption, match="another worker was preempted") as caught:
        loop.train(Run(TrainConfig(), None, roles.Task(), None, Trained()), None)
    assert caught.value.exit_code == 143


def preempted(self, is_finished):
    self.preempted_by_other = True


class Trained:
    """Stands for an Estimator that has nothing to train."""

    def train(self, input_fn, hooks):
        pass
