"""Progress and evaluation lines, with a clock of the test's own."""

from __future__ import annotations

import io

import pytest

from mnist_estimator import RunError, hooks
from mnist_estimator.compat import tf, v1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(stream, *, steps, max_steps, start=0, model_dir="", clock=None, listeners=None):
    """Runs a train_op that counts steps, each taking half a second by the clock of Progress.

    With listeners a checkpoint is saved every 4 steps.
    """
    ticks = iter(range(10**6))
    with tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        v1.add_to_collection(v1.GraphKeys.LOSSES, tf.constant(0.25))
        train_op = step.assign_add(1)
        progress = hooks.Progress(
            model_dir=model_dir,
            max_steps=max_steps,
            batch_size=10,
            every_steps=4,
            write_summaries=bool(model_dir),
            stream=stream,
            clock=clock or (lambda: next(ticks) * 0.5),
        )
        scaffold = v1.train.Scaffold(init_op=[step.initializer, step.assign(start)][start > 0])
        hooks_in_order = [progress]
        if listeners:
            # As Estimator does it: the chief's saver before the hooks of the TrainSpec.
            listeners = [progress.save_listener, *listeners]
            saver = v1.train.CheckpointSaverHook(
                model_dir, save_steps=4, scaffold=scaffold, listeners=listeners
            )
            hooks_in_order = [saver, progress]
        creator = v1.train.ChiefSessionCreator(scaffold)
        with v1.train.MonitoredSession(creator, hooks=hooks_in_order) as session:
            for _ in range(steps):
                session.run(train_op)


def test_saving_and_evaluating_do_not_count_as_training(tmp_path):
    log, listener_log = io.StringIO(), []

    class Slow(v1.train.CheckpointSaverListener):
        def after_save(self, session, global_step_value):
            listener_log.append(global_step_value)
            clock.now += 1000

    class Clock:
        now = 0.0

        def __call__(self):
            self.now += 0.5
            return self.now

    clock = Clock()
    train(log, steps=8, max_steps=8, model_dir=str(tmp_path), clock=clock, listeners=[Slow()])
    assert listener_log == [0, 4, 8]
    assert log.getvalue().splitlines() == [
        "step 4/8  loss 0.2500  20 examples/s  0m02s left",
        "step 8/8  loss 0.2500  20 examples/s  0m00s left",
    ]


def test_a_log_gets_a_line_every_few_steps_and_at_the_end():
    log = io.StringIO()
    train(log, steps=10, max_steps=10)
    assert log.getvalue().splitlines() == [
        "step 4/10  loss 0.2500  20 examples/s  0m03s left",
        "step 8/10  loss 0.2500  20 examples/s  0m01s left",
        "step 10/10  loss 0.2500  20 examples/s  0m00s left",
    ]


def test_reports_stay_at_the_same_steps_after_a_restart():
    log = io.StringIO()
    train(log, start=6, steps=4, max_steps=99)
    assert log.getvalue().startswith("step 8/99  loss 0.2500  20 examples/s  0m46s left")


def test_a_terminal_gets_one_line_kept_up_to_date():
    terminal = Terminal()
    train(terminal, steps=8, max_steps=8)
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().startswith("\r\x1b[Kstep 4/8  ")
    assert "\r\x1b[Kstep 8/8  " in terminal.getvalue()


def test_throughput_is_written_for_tensorboard(tmp_path):
    train(io.StringIO(), steps=8, max_steps=8, model_dir=str(tmp_path))
    (events,) = tmp_path.glob("events.*")
    points = [
        (event.step, value.tag, value.simple_value)
        for event in v1.train.summary_iterator(str(events))
        for value in event.summary.value
    ]
    assert points == [(4, "examples_per_second", 20.0), (8, "examples_per_second", 20.0)]


RESULT = {"global_step": 7, "accuracy": 0.91, "loss": 0.5, "examples": 12}


def test_each_evaluation_is_a_line():
    log = io.StringIO()
    hooks.EvaluationReport("validation", 12, log).export(None, "", "", RESULT, False)
    assert log.getvalue() == "step 7: validation accuracy 0.9100, loss 0.5000\n"


def test_an_evaluation_that_lost_an_example_is_refused():
    with pytest.raises(RunError, match="counted 12 validation examples, expected 13"):
        hooks.EvaluationReport("validation", 13, io.StringIO()).export(None, "", "", RESULT, True)
