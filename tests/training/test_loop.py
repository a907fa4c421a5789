"""The order of the hooks, and when training is over early."""

from __future__ import annotations

import contextlib
import dataclasses
import types

import pytest

from mnist_estimator import InputError, predictions
from mnist_estimator.cluster import roles
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import shard_cache
from mnist_estimator.runs import record, status
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


@pytest.mark.parametrize(
    ("options", "dtype", "digest", "line"),
    [
        ({}, "float32", "a", ""),
        ({"log_steps": 7}, "float32", "a", ""),
        (
            {},
            "bfloat16",
            "a",
            "--precision float32, this task with bfloat16; give all tasks the sa",
        ),
        ({"seed": 1}, "float32", "a", "--seed 0, this task with 1"),
        ({"max_steps": 7}, "float32", "a", "--max_steps .*, this task with 7"),
        ({"model": "softmax"}, "float32", "a", "--model cnn, this task with softmax"),
        ({}, "float32", "b", "records in .* a, this task with b"),
    ],
)
def test_a_worker_that_is_started_otherwise_than_the_chief_is_refused(
    tmp_path, monkeypatch, options, dtype, digest, line
):
    found = {"compute_dtype": "float32", "dataset": {"manifest_sha256": "a"}}
    chiefs = TrainConfig(model_dir=str(tmp_path))
    monkeypatch.setattr(record, "read_run", lambda folder: (chiefs, found))
    monkeypatch.setattr(predictions, "compute_dtype", lambda _: tf.as_dtype(dtype))
    run = make(tmp_path, WORKER, **options)
    run = dataclasses.replace(run, manifest=types.SimpleNamespace(digest=digest))
    hook = loop._SameAsChief(run)
    with pytest.raises(InputError, match=line) if line else contextlib.nullcontext():
        hook.after_run(None, None)


def test_a_worker_whose_chief_has_no_record_yet_goes_on(tmp_path):
    loop._SameAsChief(make(tmp_path, WORKER)).after_run(None, None)


def test_a_worker_saves_and_profiles_nothing(tmp_path):
    assert names(make(tmp_path, WORKER, profile_steps="2,3")) == [
        "SessionGuard",
        "FiniteGuard",
        "Progress",
        "_SameAsChief",
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
