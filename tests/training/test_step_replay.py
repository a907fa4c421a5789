"""The last steps before a checkpoint, done again: nothing changes, and what differs is found."""

from __future__ import annotations

import types

import pytest
from support import flips
from support.datasets import CLASSES, TRAIN, VALIDATION, array_source
from support.short_runs import train, variables

from mnist_estimator import InputError, RunError, networks
from mnist_estimator.compat import tf
from mnist_estimator.data import writer
from mnist_estimator.runs import checkpoints, status
from mnist_estimator.training import step_replay

# Whatever an operation of training may do: it streams, and changes more than weights.
OPTIONS = {"model": "dnn", "hidden_units": "9", "batch_norm": "all", "ema_decay": 0.9}
OPTIONS |= {"cache_mb": 0, "mixup": 0.2, "save_checkpoints_steps": 8}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with data, and a run in which no step is done again."""
    folder = tmp_path_factory.mktemp("work")
    source = array_source(TRAIN + VALIDATION)
    split = {"validation_split": str(VALIDATION), "num_classes": CLASSES, "shards": 2}
    writer.write_dataset(f"{folder}/data", dataset="squares", train=source, test=None, **split)
    train(folder / "without", f"{folder}/data", **OPTIONS)
    return folder


def test_the_run_ends_with_the_same_bytes(work, tmp_path, monkeypatch):
    checked, check = [], step_replay.StepReplay._check

    def counted(self, session):
        checked.append((self._step, len(self._batches)))
        check(self, session)

    monkeypatch.setattr(step_replay.StepReplay, "_check", counted)
    train(tmp_path / "with", f"{work}/data", **OPTIONS, replay_steps=3)
    assert checked == [(8, 3), (12, 3)]
    assert variables(tmp_path / "with") == variables(work / "without")


def test_a_flipped_bit_is_found_and_not_saved(work, tmp_path, monkeypatch):
    options = {**OPTIONS, "save_checkpoints_steps": 4, "replay_steps": 3}
    with monkeypatch.context() as patch:
        flips.plant(patch, after=7)
        with pytest.raises(RunError) as caught:
            train(tmp_path / "run", f"{work}/data", **options)
    line = str(caught.value)
    assert line.startswith("step 8: the last 3 steps, done again, end with other bytes: ")
    assert "elements differ, by at most" in line and " more; " in line
    assert "so the first result is wrong; nothing of them was saved" in line
    assert checkpoints.newest(str(tmp_path / "run")).endswith("model.ckpt-4")
    now = status.read(str(tmp_path / "run"))
    assert (now.state, now.exit_code, now.reason) == (status.FAILED, 1, line)
    # The same command goes on from what was found right.
    train(tmp_path / "run", f"{work}/data", **options)
    assert variables(tmp_path / "run") == variables(work / "without")


def test_an_operation_that_gives_other_bits_each_time_is_named(work, tmp_path, monkeypatch):
    def noisy(images, **options):
        logits = networks.softmax(images, **options)
        return logits + tf.random.normal(tf.shape(logits), seed=3)

    monkeypatch.setitem(networks.NETWORKS, "softmax", noisy)
    expected = "or an operation of the network, does not give the same bits each time"
    with pytest.raises(RunError, match=expected):
        train(tmp_path / "run", f"{work}/data", model="softmax", max_steps=4, replay_steps=3)


def make(**options):
    return step_replay.StepReplay("m", **{"steps": 2, "every_steps": 4, "max_steps": 10} | options)


@pytest.mark.parametrize(
    ("options", "start", "expected"),
    [
        ({}, 0, [(4, [3, 4]), (8, [7, 8]), (10, [9, 10])]),
        ({"steps": 4}, 0, [(4, [1, 2, 3, 4]), (8, [5, 6, 7, 8]), (10, [9, 10])]),
        ({"steps": 1, "every_steps": 1, "max_steps": 2}, 0, [(1, [1]), (2, [2])]),
        ({}, 7, [(8, [8]), (10, [9, 10])]),  # Goes on one step before a checkpoint.
        ({}, 10, []),
    ],
)
def test_which_steps_are_done_again(monkeypatch, options, start, expected):
    hook, found = make(**options), []
    monkeypatch.setattr(hook, "_check", lambda _: found.append((hook._step, hook._batches)))
    hook._global_step, hook._values, hook._batch = start, ["w"], ["batch"]
    context = types.SimpleNamespace(
        session=types.SimpleNamespace(run=lambda fetched: fetched),
        original_args=types.SimpleNamespace(fetches="train_op"),
    )
    hook.after_create_session(context.session, None)
    for step in range(start + 1, 11):
        wanted = hook.before_run(context)
        assert (wanted is not None) == any(step in steps for _, steps in expected)
        hook.after_run(context, types.SimpleNamespace(results=step if wanted else None))
        if step == hook._max_steps:
            break
    assert found == expected


def test_a_process_that_has_to_stop_does_nothing_again(monkeypatch):
    hook = make()
    monkeypatch.setattr(step_replay.signals, "noted", lambda: True)
    monkeypatch.setattr(hook, "_put", lambda session, values: None)
    hook._step, hook._due, hook._before, hook._batches = 3, 4, ["w"], [["batch"]]
    asked = []
    session = types.SimpleNamespace(run=asked.append)
    hook.after_run(types.SimpleNamespace(session=session), types.SimpleNamespace(results=None))
    assert not asked
    # A signal that comes in the midst of it: the variables are put back, and nothing is said.
    hook._values, hook._before, hook._batches = "values", ["w"], [["batch"]]
    hook._check(session)
    assert asked == ["values"]


def test_an_input_whose_batches_cannot_be_kept_is_refused(monkeypatch):
    with tf.Graph().as_default():
        tf.compat.v1.train.get_or_create_global_step()
        with pytest.raises(InputError, match="--replay_steps: found an input for several GPUs"):
            make().begin()
