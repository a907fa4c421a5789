"""What watches the steps of training: each hook with a train_op that only counts."""

from __future__ import annotations

import io
import math

import pytest
from support.steps import run_steps

from mnist_estimator import RunError
from mnist_estimator.compat import v1
from mnist_estimator.training import hooks
from mnist_estimator.training.checkpoint_saver import CheckpointSaver


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(stream, *, steps, max_steps, start=0, model_dir="", extra=()):
    """Runs steps under Progress, each taking half a second by its clock."""
    ticks = iter(range(10**6))
    progress = hooks.Progress(
        model_dir=model_dir,
        max_steps=max_steps,
        batch_size=10,
        every_steps=4,
        write_summaries=bool(model_dir),
        stream=stream,
        clock=lambda: next(ticks) * 0.5,
    )
    run_steps(progress, *extra, steps=steps, start=start, build=lambda: v1.summary.scalar("x", 1.5))


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


def test_a_terminal_gets_one_line_kept_up_to_date(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    train(terminal, steps=8, max_steps=8)
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().startswith("\r\x1b[Kstep 4/8  ")
    assert "\r\x1b[Kstep 8/8  " in terminal.getvalue()


def points(folder):
    """The (step, tag, value) of all events of a folder, in the order they were written."""
    return [
        (event.step, value.tag, value.simple_value)
        for path in sorted(folder.glob("events.*"))
        for event in v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]


def test_summaries_come_at_the_same_steps_after_a_restart(tmp_path):
    train(io.StringIO(), start=6, steps=6, max_steps=11, model_dir=str(tmp_path))
    assert points(tmp_path) == [
        (step, *point)
        for step in (8, 11, 12)
        for point in (("examples_per_second", 20.0), ("x", 1.5))
    ]


def test_a_restart_drops_what_came_after_its_checkpoint(tmp_path):
    train(io.StringIO(), start=6, steps=2, max_steps=99, model_dir=str(tmp_path))
    (events,) = tmp_path.glob("events.*")
    starts = [
        event.step
        for event in v1.train.summary_iterator(str(events))
        if event.session_log.status == v1.SessionLog.START
    ]
    assert starts == [7]


def test_summaries_of_another_program_come_at_the_same_steps_after_a_restart(tmp_path):
    summaries = hooks.Summaries(str(tmp_path), 4)
    run_steps(summaries, start=6, steps=7, build=lambda: v1.summary.scalar("x", 1.5))
    assert points(tmp_path) == [(8, "x", 1.5), (12, "x", 1.5)]
    run_steps(hooks.Summaries(str(tmp_path), 1), steps=1)  # A graph without summaries.
    (file,) = tmp_path.glob("events.*")
    logs = [event for event in v1.train.summary_iterator(str(file)) if event.session_log.status]
    assert [event.step for event in logs] == [7, 1]


def test_a_step_back_is_not_reported_as_a_speed():
    class Restore(v1.train.SessionRunHook):
        """As when parameter servers come back with an older checkpoint."""

        def begin(self):
            self._back = v1.train.get_global_step().assign(1)
            self._steps = 0

        def after_run(self, run_context, run_values):
            self._steps += 1
            if self._steps == 7:
                run_context.session.run(self._back)

    log = io.StringIO()
    train(log, steps=12, max_steps=99, extra=[Restore()])
    rates = [line.split("  ")[2] for line in log.getvalue().splitlines()]
    assert rates == ["20 examples/s", "20 examples/s"], log.getvalue()


def test_saving_and_evaluating_do_not_count_as_training(tmp_path):
    log = io.StringIO()
    saver = CheckpointSaver(str(tmp_path), every_steps=4, after_save=lambda path: None)
    # All of it takes ticks of the same clock; only what is between a step's two is counted.
    train(log, steps=8, max_steps=8, model_dir=str(tmp_path), extra=[saver])
    assert [line.split("  ")[2] for line in log.getvalue().splitlines()] == ["20 examples/s"] * 2


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_an_error(tmp_path, loss):
    line = f"step 1: loss is {loss} at learning rate 0.5; nothing of it was saved, there is no "
    with pytest.raises(RunError, match=line):
        run_steps(hooks.FiniteGuard(str(tmp_path)), steps=1, loss=loss)


def test_a_file_is_looked_at_once_a_second(monkeypatch):
    now = iter([0.0, 0.9, 1.0, 1.5, 2.1])
    monkeypatch.setattr(hooks.time, "monotonic", lambda: next(now))
    look = hooks.RateLimit()
    assert [look.allows() for _ in range(4)] == [False, True, False, True]
