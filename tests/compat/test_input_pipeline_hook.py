"""The input goes on where it was: in the next run, and in one whose model was not saved."""

from __future__ import annotations

import importlib
import types

import pytest

from mnist_estimator.compat import estimator, tf, v1

# Once `tf` has been imported from compat, which chooses Keras.
input_pipeline_hook = importlib.import_module("mnist_estimator.compat.input_pipeline_hook")

Hook = input_pipeline_hook.CheckpointInputPipelineHook


class Seen(v1.train.SessionRunHook):
    """Notes the example of each step."""

    def __init__(self):
        self.examples = []

    def before_run(self, run_context):
        return v1.train.SessionRunArgs(run_context.session.graph.get_tensor_by_name("example:0"))

    def after_run(self, run_context, run_values):
        self.examples.append(int(run_values.results))


def model_fn(features, labels, mode):
    loss = v1.get_variable("w", []) * 1.0
    tf.identity(features, name="example")
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    train_op = optimizer.minimize(loss, v1.train.get_global_step())
    return estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def train(folder, *, steps, hook=Hook, input_fn=lambda: tf.data.Dataset.range(100), **config):
    config = estimator.RunConfig(str(folder), **{"save_checkpoints_steps": 2, **config})
    task = estimator.Estimator(model_fn, config=config)
    seen = Seen()
    task.train(input_fn, steps=steps, hooks=[seen, *([hook(task)] if hook else [])])
    return seen.examples


@pytest.mark.smoke
def test_the_input_goes_on_in_the_next_run(tmp_path):
    assert train(tmp_path, steps=3) == [0, 1, 2]
    assert train(tmp_path, steps=3) == [3, 4, 5]
    assert train(tmp_path, steps=1, hook=None) == [0]
    # Of the steps at which the model was saved.
    steps = {path.name.split("-")[1] for path in tmp_path.glob("input.ckpt-*.index")}
    assert steps == {"0.index", "2.index", "3.index", "5.index", "6.index"}


def test_the_input_is_that_of_the_model_and_not_the_newest(tmp_path):
    train(tmp_path, steps=5, save_checkpoints_steps=1)
    v1.train.update_checkpoint_state(str(tmp_path), str(tmp_path / "model.ckpt-3"))
    assert train(tmp_path, steps=2) == [3, 4]


def test_a_step_without_a_saved_input_is_told(tmp_path, monkeypatch):
    train(tmp_path, steps=2)
    train(tmp_path, steps=1, hook=None)
    told = []
    monkeypatch.setattr(v1.logging, "warning", lambda text, *values: told.append(text % values))
    assert train(tmp_path, steps=1) == [2]
    assert [line for line in told if "at step 3" in line and "input.ckpt-2" in line]


@pytest.mark.smoke
def test_it_reads_what_the_hook_of_2_15_saved_and_the_reverse(tmp_path):
    theirs = getattr(tf.data.experimental, "CheckpointInputPipelineHook", Hook)
    for first, hook in enumerate([theirs, Hook, theirs]):
        assert train(tmp_path, steps=2, hook=hook) == [2 * first, 2 * first + 1]


def fake(**config):
    config = {"num_worker_replicas": 1, "task_type": "worker", "task_id": 1, **config}
    config |= {"save_checkpoints_secs": 600, "save_checkpoints_steps": None}
    config = types.SimpleNamespace(keep_checkpoint_max=5, **config)
    return types.SimpleNamespace(config=config, model_dir="/runs/1")


def test_each_worker_has_files_of_its_own():
    hook = Hook(fake(num_worker_replicas=2))
    assert (hook._path, hook._state_file) == (
        "/runs/1/input_worker_1.ckpt",
        "checkpoint_input_worker_1",
    )


def test_a_policy_that_there_is_not():
    with pytest.raises(ValueError, match="is 'skip'; expected one of fail, ignore, warn"):
        Hook(fake(), external_state_policy="skip")


def test_an_input_with_a_state_of_its_own(tmp_path):
    def random():
        return tf.data.Dataset.range(9).map(lambda x: x + tf.random.uniform([], 0, 1, tf.int64))

    with pytest.raises(tf.errors.FailedPreconditionError, match="state"):
        train(tmp_path / "fail", steps=1, input_fn=random)
    train(tmp_path / "warn", steps=1, input_fn=random, hook=lambda task: Hook(task, "warn"))


def test_an_input_without_an_iterator(tmp_path):
    with pytest.raises(ValueError, match="no iterator to save; expected an input_fn"):
        train(tmp_path, steps=1, input_fn=lambda: (tf.constant(1, tf.int64), None))
