"""The hooks for another program's graph: what they refuse, what they warn of, whom they tell."""

from __future__ import annotations

import signal

import pytest
from support.steps import run_steps

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints, events
from mnist_estimator.runtime import signals
from mnist_estimator.training import foreign, stopping


def check(build=lambda: None, *, resumes=True):
    """Checks a graph with a global step, a loss, and what `build` adds."""
    with tf.Graph().as_default():
        v1.train.get_or_create_global_step()
        v1.add_to_collection(v1.GraphKeys.LOSSES, tf.constant(1.0))
        v1.add_to_collection(v1.GraphKeys.SAVERS, v1.train.Saver(defer_build=True))
        if resumes:
            v1.add_to_collection(foreign.INPUT, True)
        build()
        foreign.GraphCheck().begin()


def test_a_plain_graph_is_fine(capsys):
    check()
    assert not capsys.readouterr().err


def test_an_input_that_begins_from_its_front_is_refused():
    with pytest.raises(InputError, match=r"input_fn: found one that .* what run.input_fn or"):
        check(resumes=False)


def test_a_saver_of_the_programs_own_is_refused():
    def own_saver():
        v1.train.Saver([v1.get_variable("a", [])])

    with pytest.raises(InputError, match="model_fn: found a Saver, expected none"):
        check(own_saver)
    with pytest.raises(InputError, match="model_fn: found a Saver, expected none"):
        check(lambda: v1.add_to_collection(v1.GraphKeys.SAVERS, "a second one"))


def test_what_does_not_go_on_exactly_is_named(capsys):
    def noise():
        draws = [tf.random.uniform([], name=f"noise{number}") for number in range(5)]
        with tf.control_dependencies(draws):
            v1.add_to_collection(v1.GraphKeys.LOSSES, tf.identity(1.0))
        accuracy = v1.metrics.accuracy([1], [1], name="accuracy")
        v1.summary.scalar("accuracy", accuracy[1])

    check(noise)
    first, second = capsys.readouterr().err.splitlines()
    names = "noise0/RandomUniform, noise1/RandomUniform, noise2/RandomUniform and 2 more: random"
    assert names in first and "use hooks.dropout" in first
    assert "accuracy/count, accuracy/total: local variables" in second


class RaiseStep(v1.train.SessionRunHook):
    """Raises the global step once more after each step."""

    def begin(self):
        self._rise = v1.train.get_global_step().assign_add(1)

    def after_run(self, run_context, run_values):
        run_context.session.run(self._rise)


def test_a_batch_that_raises_the_global_step_twice_is_refused():
    line = "train_op: found the global step 5 after step 3, expected 4"
    with pytest.raises(InputError, match=line):
        run_steps(RaiseStep(), foreign.StepCheck(), start=3, steps=9)
    run_steps(foreign.StepCheck(), start=3, steps=9)


def test_an_input_that_ends_before_its_batch_is_warned_of(capsys):
    run_steps(foreign.StepCheck(), start=3, steps=1)
    run_steps(foreign.StepCheck(), steps=0)
    assert not capsys.readouterr().err
    run_steps(foreign.StepCheck(), start=3, steps=0)
    assert "trained nothing at step 3: the input ends before" in capsys.readouterr().err


class Listener(v1.train.CheckpointSaverListener):
    """Remembers what it is told, and stops training at a step."""

    def __init__(self, *, stop_at=None):
        self.told, self._stop_at = [], stop_at

    def begin(self):
        self.told.append("begin")

    def before_save(self, session, step):
        self.told.append(("before", step))

    def after_save(self, session, step):
        self.told.append(("after", step))
        return step == self._stop_at

    def end(self, session, step):
        self.told.append(("end", step))


def told(folder, *, steps, start=0, stop_at=None, others=()):
    saver = foreign.ListenedSaver(str(folder), every_steps=10, keep=0)
    listener = Listener(stop_at=stop_at)
    saver._listeners.append(listener)  # As Estimator does.
    run_steps(saver, *others, steps=steps, start=start)
    assert listener.told.pop(0) == "begin"
    return listener.told


def test_listeners_are_told_as_by_tensorflows_own_hook(tmp_path):
    assert isinstance(
        foreign.ListenedSaver("", every_steps=1, keep=0), v1.train.CheckpointSaverHook
    )
    assert told(tmp_path, steps=12) == [
        ("before", 0),
        ("after", 0),
        ("before", 10),
        ("after", 10),
        ("before", 12),
        ("after", 12),
        ("end", 12),
    ]


def test_after_a_restart_listeners_are_told_once_before_the_first_step(tmp_path):
    told(tmp_path, steps=10)
    assert told(tmp_path, start=10, steps=1)[0] == ("after", 10)
    assert told(tmp_path, start=11, steps=0) == [("after", 11), ("end", 11)]


def test_a_checkpoint_that_no_listener_saw_is_shown_after_the_restart(tmp_path):
    told(tmp_path, steps=10)
    (tmp_path / foreign.LISTENED).unlink()  # A kill came before the evaluation's end.
    assert told(tmp_path, start=10, steps=0) == [("after", 10), ("after", 10), ("end", 10)]
    assert told(tmp_path, start=10, steps=0) == [("after", 10), ("end", 10)]


def test_a_restart_drops_the_points_of_evaluations_that_come_again(tmp_path):
    # As a pattern the path would be that of another run.
    run, other = tmp_path / "run[1]", tmp_path / "run1"
    told(run, steps=10)
    for folder in (run, other):
        writer = events.writer(str(folder / "eval"))
        writer.add_summary(v1.Summary(), 10)
        writer.flush()
    for mine in ("eval_data", "evals"):
        (run / mine).mkdir()
    (run / "eval.tf_record").write_text("mine")
    told(run, start=10, steps=0)
    events.writer(str(run / "eval")).flush()
    assert not any((run / "eval_data").iterdir()) and not any((run / "evals").iterdir())
    (file,) = (other / "eval").glob("events.*")
    assert not any(event.session_log.status for event in v1.train.summary_iterator(str(file)))
    (file,) = (run / "eval").glob("events.*")
    logs = [event for event in v1.train.summary_iterator(str(file)) if event.session_log.status]
    assert [event.step for event in logs] == [11]


def test_a_listener_may_stop_the_training(tmp_path):
    assert told(tmp_path, steps=99, stop_at=20)[-1] == ("end", 20)


def test_a_signal_ends_the_training_without_an_evaluation_and_then_interrupts(tmp_path):
    class Signal(v1.train.SessionRunHook):
        def before_run(self, run_context):
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    listener = Listener()
    saver = foreign.ListenedSaver(str(tmp_path), every_steps=10, keep=0)
    saver._listeners.append(listener)
    hooks = (saver, stopping.Stopper(), foreign.SignalsAtEnd(), Signal())
    with signals.handled(restore=True), pytest.raises(signals.Interruption, match="SIGTERM"):
        run_steps(*hooks, steps=99, start=13)
    assert signal.getsignal(signal.SIGTERM) == before
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-14"
    assert [step for what, step in listener.told[1:] if what != "before"] == [13]


def test_signals_interrupt_again_once_training_is_over(tmp_path):
    with signals.handled(restore=True):
        run_steps(stopping.Stopper(), foreign.SignalsAtEnd(), steps=1)
        with pytest.raises(signals.Interruption):
            signal.raise_signal(signal.SIGINT)
