"""Somebody's own Estimator program with the hooks: what goes on exactly, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import warnings

import numpy as np
import pytest

from mnist_estimator import InputError, RunError, hooks
from mnist_estimator.cluster import roles
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.runs import checkpoints

STEPS = 12
FEATURES = np.arange(50, dtype=np.float32)
LABELS = FEATURES % 3


def model_fn(features, labels, mode, params):
    values = tf.stack([features["x"], features["x"] ** 2 / 50], axis=1)
    weights = v1.get_variable("weights", [2, 4])
    hidden = values @ weights
    if mode == estimator.ModeKeys.TRAIN:
        hidden = hooks.dropout(hidden, 0.5, seed=1)
    if mode == estimator.ModeKeys.PREDICT:
        return estimator.EstimatorSpec(mode, predictions=hidden)
    loss = tf.reduce_mean((tf.reduce_sum(hidden, 1) - labels) ** 2) * params["scale"]
    optimizer = v1.train.AdamOptimizer(params["rate"])
    train_op = optimizer.minimize(loss, v1.train.get_global_step())
    return estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def make(folder, *, scale=1.0, rate=0.01, **settings):
    usual = {"tf_random_seed": 1, "save_checkpoints_steps": 5, "save_summary_steps": 4}
    config = estimator.RunConfig(str(folder), **(usual | settings))
    return estimator.Estimator(model_fn, config=config, params={"scale": scale, "rate": rate})


def from_dataset(run):
    def input_fn(mode):
        assert mode == estimator.ModeKeys.TRAIN
        arrays = tf.data.Dataset.from_tensor_slices(({"x": FEATURES}, LABELS))
        return arrays.shuffle(50).repeat().batch(8)

    return run.input_fn(input_fn)


def from_arrays(run):
    return run.shuffled({"x": FEATURES}, LABELS, batch_size=8, seed=3)


def train(folder, steps, kind=from_dataset, *, more=(), **settings):
    classifier = make(folder, **settings)
    with hooks.resumable(classifier) as run:
        classifier.train(kind(run), hooks=[*more, *run.hooks], max_steps=steps)
    return classifier


def variables(folder):
    reader = tf.train.load_checkpoint(str(folder))
    return {name: reader.get_tensor(name).tobytes() for name in reader.get_variable_to_shape_map()}


def points(folder):
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


@pytest.fixture(scope="module", params=[from_dataset, from_arrays])
def undisturbed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(folder, STEPS, request.param)
    return folder, request.param


class EndAfter(v1.train.SessionRunHook):
    """Does something during a step, as whatever ends a program does."""

    def __init__(self, step, action):
        self._left, self._action = step, action

    def before_run(self, run_context):
        self._left -= 1
        if not self._left:
            self._action()


class Killed(BaseException):
    pass


def kill():
    raise Killed


def test_a_killed_program_goes_on_as_if_nothing_had_happened(undisturbed, tmp_path):
    whole, kind = undisturbed
    # After step 9 the newest checkpoint is of step 5, and the curve has a point at step 8.
    with pytest.raises(Killed):
        train(tmp_path, STEPS, kind, more=[EndAfter(10, kill)])
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-5"
    train(tmp_path, STEPS, kind)
    assert variables(tmp_path) == variables(whole)
    assert points(tmp_path) == points(whole)
    assert [step for step, _ in points(whole)] == [4, 8, 12]


def own_handler(number, frame):
    raise AssertionError


def test_a_signal_saves_the_step_and_decides_the_exit_code(undisturbed, tmp_path, capsys):
    whole, kind = undisturbed
    before = signal.signal(signal.SIGTERM, own_handler)
    with pytest.raises(SystemExit) as caught:
        sigterm = EndAfter(7, lambda: signal.raise_signal(signal.SIGTERM))
        train(tmp_path, STEPS, kind, more=[sigterm])
    assert caught.value.code == 143
    assert f"SIGTERM: step 7 is saved in {tmp_path}; the same" in capsys.readouterr().err
    assert signal.signal(signal.SIGTERM, before) == own_handler
    train(tmp_path, STEPS, kind)
    assert variables(tmp_path) == variables(whole)
    assert points(tmp_path) == points(whole)
    steps = sorted(checkpoints.step_of(str(path)[:-6]) for path in tmp_path.glob("*.index"))
    assert steps == [0, 5, 7, 10, 12]


def test_a_damaged_checkpoint_is_left_out(undisturbed, tmp_path, capsys):
    whole, kind = undisturbed
    train(tmp_path, 10, kind)
    (data,) = tmp_path.glob("model.ckpt-10.data*")
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    train(tmp_path, STEPS, kind)
    line = f"{data} is damaged: its sha256 is not the one in {tmp_path.name}"
    assert line[: len(str(data)) + 11] in capsys.readouterr().err
    assert variables(tmp_path) == variables(whole)


def test_an_epoch_of_arrays_has_every_example_once(tmp_path):
    with hooks.resumable(make(tmp_path)) as run, tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        dataset = run.shuffled(FEATURES, LABELS, batch_size=10)()
        batch = v1.data.make_initializable_iterator(dataset)
        values = batch.get_next()
        with v1.Session() as session:
            session.run(step.initializer)
            seen = []
            for first in (0, 3):  # As a restart after three steps.
                session.run(step.assign(first))
                session.run(batch.initializer)
                seen += [session.run(values) for _ in range(3 if first == 0 else 2)]
    features = np.concatenate([each for each, _ in seen])
    assert sorted(features) == list(FEATURES) and list(features) != list(FEATURES)
    np.testing.assert_array_equal(np.concatenate([each for _, each in seen]), features % 3)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"scale": math.inf}, "loss is inf"),
        ({"rate": math.inf, "save_checkpoints_steps": 1}, "variable weights.* is not finite"),
    ],
)
def test_what_is_not_finite_ends_the_training_and_is_not_saved(tmp_path, settings, what):
    with pytest.raises(RunError, match=f"step 1: {what}; nothing .* a lower learning rate, or"):
        train(tmp_path, STEPS, **settings)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-0"


def test_train_and_evaluate_evaluates_each_checkpoint_and_exports_the_best(tmp_path):
    classifier = make(tmp_path)

    def evaluate_input():
        return tf.data.Dataset.from_tensors(({"x": FEATURES}, LABELS))

    def receiver():
        features = {"x": v1.placeholder(tf.float32, [None])}
        return estimator.export.ServingInputReceiver(features, features)

    seen = {}

    class Best(hooks.BestExporter):
        def export(self, **given):
            seen[int(given["eval_result"]["global_step"])] = given["eval_result"]["loss"]
            return super().export(**given)

    with hooks.resumable(classifier) as run:
        spec = estimator.TrainSpec(from_dataset(run), max_steps=STEPS, hooks=run.hooks)
        exporters = [Best("best", receiver, metric="loss", larger_is_better=False)]
        evaluation = estimator.EvalSpec(
            evaluate_input, steps=None, exporters=exporters, throttle_secs=0
        )
        estimator.train_and_evaluate(classifier, spec, evaluation)
    assert [*seen] == [5, 10, 12]
    best = min(seen, key=seen.get)
    record = json.loads((tmp_path / "export" / "best.json").read_text())
    assert record == {"global_step": best, "loss": pytest.approx(seen[best])}


class Exported:
    """Stands for an Estimator: remembers which checkpoints it exported."""

    def __init__(self):
        self.checkpoints = []

    def export_saved_model(self, folder, receiver, checkpoint_path):
        self.checkpoints.append(checkpoint_path)
        return b"exported"


def export(folder, value, **options):
    """Whether a new process exports a checkpoint with this result."""
    exported, exporter = Exported(), hooks.BestExporter("best", lambda: None, **options)
    result = {options.get("metric", "accuracy"): value, "global_step": 7}
    (folder / "export").mkdir(exist_ok=True)
    path = exporter.export(exported, str(folder / "export" / "best"), "ckpt", result, False)
    assert (path == b"exported") == (exported.checkpoints == ["ckpt"])
    return path is not None


def test_the_best_is_known_after_a_restart(tmp_path):
    values = (0.5, 0.4, 0.5, 0.6, math.nan, 0.55)
    assert [export(tmp_path, np.float32(value)) for value in values] == [
        *(True, False, False),
        *(True, False, False),
    ]
    record = json.loads((tmp_path / "export" / "best.json").read_text())
    assert record == {"global_step": 7, "accuracy": pytest.approx(0.6)}


@pytest.mark.parametrize("first", [math.nan, math.inf])
def test_after_a_number_that_is_not_finite_any_other_is_better(tmp_path, first):
    values = (first, math.nan, 0.5, 0.4, math.inf, 0.6)
    assert [export(tmp_path, value) for value in values] == [True, False, True, False, False, True]


def test_a_smaller_loss_may_be_better(tmp_path):
    options = {"metric": "loss", "larger_is_better": False}
    assert [export(tmp_path, value, **options) for value in (2, 3, 1)] == [True, False, True]


def test_a_record_of_the_best_that_is_damaged_is_named(tmp_path):
    export(tmp_path, 0.5)
    (tmp_path / "export" / "best.json").write_text("{")
    with pytest.raises(InputError, match=r"best.json: damaged, so the best model is not known"):
        export(tmp_path, 0.6)
    with pytest.raises(InputError, match="metric: found auc, expected one of"):
        hooks.BestExporter("best", lambda: None, metric="auc").export(None, "", "", {"a": 1}, False)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"save_checkpoints_steps": None, "save_checkpoints_secs": 60}, "secs=60, expected save_"),
        ({"tf_random_seed": None}, "found tf_random_seed=None, expected a number"),
        ({"keep_checkpoint_every_n_hours": 1}, "every_n_hours=1, expected none"),
        ({"train_distribute": tf.distribute.OneDeviceStrategy("/cpu:0")}, "found a distribution"),
    ],
)
def test_settings_that_cannot_be_resumed_are_refused(tmp_path, settings, line):
    with (
        pytest.raises(InputError, match=f"RunConfig: .*{line}"),
        hooks.resumable(make(tmp_path, **settings)),
    ):
        pytest.fail("not refused")


def test_steps_that_count_from_each_start_are_refused(tmp_path):
    classifier = make(tmp_path)
    with (
        pytest.raises(InputError, match="train: found steps=9, expected max_steps"),
        hooks.resumable(classifier) as run,
    ):
        classifier.train(from_dataset(run), hooks=run.hooks, steps=9)
    classifier.train(lambda: tf.data.Dataset.from_tensors(({"x": FEATURES}, LABELS)), steps=1)
    assert checkpoints.newest_step(str(tmp_path)) == 1


def test_a_program_with_parts_of_variables_goes_on(tmp_path):
    def partitioned(features, labels, mode, params):
        v1.get_variable_scope().set_partitioner(v1.fixed_size_partitioner(2))
        return model_fn(features, labels, mode, params)

    def make(folder):
        config = estimator.RunConfig(str(folder), tf_random_seed=1, save_checkpoints_steps=5)
        return estimator.Estimator(partitioned, config=config, params={"scale": 1.0, "rate": 0.01})

    # TensorFlow would take the second path for a pattern; the values are then fed.
    for folder in (tmp_path / "run", tmp_path / "run[1]"):
        for steps in (5, STEPS):
            classifier = make(folder)
            with hooks.resumable(classifier) as run:
                classifier.train(from_dataset(run), hooks=run.hooks, max_steps=steps)
    assert variables(tmp_path / "run")["weights"]
    assert checkpoints.newest_step(str(tmp_path / "run[1]")) == STEPS
    with checkpoints.opened(f"{tmp_path}/run[1]/model.ckpt-{STEPS}") as reader:
        found = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    assert {name: each.tobytes() for name, each in found.items()} == variables(tmp_path / "run")


def test_a_status_of_another_program_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "status.json").write_text('{"state": "mine"}')
    monkeypatch.setattr(hooks, "_task", lambda: dataclasses.replace(roles.Task(), lone_chief="x:1"))
    with (
        pytest.raises(InputError, match="status.json: a file of another program is there"),
        hooks.resumable(make(tmp_path)),
    ):
        pytest.fail("not refused")
    assert (tmp_path / "status.json").read_text() == '{"state": "mine"}'


def test_estimators_own_saver_of_summaries_is_off_in_the_block_only(tmp_path):
    classifier = make(tmp_path)
    with hooks.resumable(classifier) as run:
        assert classifier.config.save_summary_steps == 0
        assert classifier.config.save_checkpoints_steps == 5
        assert len(run.hooks) == len({*run.hooks, *run.hooks}) / 2  # New ones each time.
    assert classifier.config.save_summary_steps == 4


def test_a_second_program_on_the_model_dir_is_refused(tmp_path):
    with (
        hooks.resumable(make(tmp_path)),
        pytest.raises(InputError, match="in use by the trainer on .* or give another model_dir"),
        hooks.resumable(make(tmp_path)),
    ):
        pytest.fail("not refused")


def test_an_input_that_cannot_go_on_is_refused(tmp_path):
    with hooks.resumable(make(tmp_path)) as run, tf.Graph().as_default():
        unseeded = run.input_fn(lambda: tf.data.Dataset.range(9).shuffle(9))
        undetermined = run.input_fn(
            lambda: tf.data.Dataset.range(9).map(abs, num_parallel_calls=2, deterministic=False)
        )
        with pytest.raises(InputError, match="found tuple, expected a Dataset"):
            run.input_fn(lambda: (1, 2))()
        with pytest.raises(InputError, match="are ready, so a restart cannot go on where it was"):
            undetermined()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises((InputError, RuntimeError), match="seed"):
                unseeded()


@pytest.mark.parametrize(
    ("features", "labels", "size", "line"),
    [
        (FEATURES, LABELS[:9], 1, r"arrays: found lengths \[9, 50\], expected one that is not 0"),
        (FEATURES[:0], LABELS[:0], 1, r"found lengths \[0\]"),
        (FEATURES, LABELS, 0, "batch_size: found 0, expected 1 or more"),
    ],
)
def test_arrays_that_give_no_batches_are_refused(tmp_path, features, labels, size, line):
    with hooks.resumable(make(tmp_path)) as run, pytest.raises(InputError, match=line):
        run.shuffled(features, labels, batch_size=size)


def dropped(shape, step=5, **options):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.get_or_create_global_step()
        values = v1.placeholder(tf.float32, shape)
        kept = hooks.dropout(values, 0.5, **({"seed": 1} | options))
        session.run(v1.train.get_global_step().assign(step))
        ones = np.ones([size or 6 for size in shape], np.float32)
        return session.run(kept, {values: ones})


def test_dropout_follows_from_the_seed_the_name_and_the_step():
    first = dropped([None, 7, None, 3])
    assert first.shape == (6, 7, 6, 3) and {*np.unique(first)} == {0.0, 2.0}
    assert 0.4 < (first > 0).mean() < 0.6
    np.testing.assert_array_equal(first, dropped([None, 7, None, 3]))
    for other in ({"step": 6}, {"seed": 2}, {"name": "b"}):
        assert (first != dropped([None, 7, None, 3], **other)).any()


def test_two_layers_that_would_drop_the_same_are_refused():
    with tf.Graph().as_default():
        v1.train.get_or_create_global_step()
        values = tf.ones([2, 2])
        hooks.dropout(values, 0.5, seed=1, name="a")
        hooks.dropout(values, 0.5, seed=1, name="b")
        with pytest.raises(InputError, match="dropout: found seed=1, name='a' twice"):
            hooks.dropout(values, 0.5, seed=1, name="a")
