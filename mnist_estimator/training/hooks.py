"""What watches a training run: guards, progress and summaries, checkpoints. See also `stopping`.

Their order counts, and `training` gives them in this one: a loss that is not finite stops the run
before anything is written; a step's summaries are on disk before its checkpoint is; a checkpoint
is saved before it is evaluated; and only then may the run stop.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from mnist_estimator import RunError, model_fn
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints, events
from mnist_estimator.runtime import progress

EXAMPLES_PER_SECOND = "examples_per_second"
_LOOK_SECS = 1.0


class FiniteGuard(v1.train.SessionRunHook):
    """Raises RunError when the loss is not finite: it would not become finite again."""

    def __init__(self, model_dir: str) -> None:
        self._model_dir = model_dir

    def begin(self) -> None:
        self._loss = v1.get_collection(v1.GraphKeys.LOSSES)[-1]
        self._rate = first_in_collection(model_fn.LEARNING_RATE)
        self._global_step = v1.train.get_global_step()

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs:
        return v1.train.SessionRunArgs(
            [self._loss] if self._rate is None else [self._loss, self._rate]
        )

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        loss, *rate = run_values.results
        if not math.isfinite(loss):
            step = int(run_context.session.run(self._global_step))
            raise diverged(self._model_dir, step, f"loss is {loss}", *rate)


def diverged(model_dir: str, step: int, what: str, rate: float | None = None) -> RunError:
    """Returns the error of a run with a number that is not finite.

    Args:
      rate: the learning rate; None if the model_fn is not this package's.
    """
    newest = checkpoints.newest(model_dir)
    saved = f"the newest checkpoint is {newest}" if newest else "there is no checkpoint yet"
    at, advice = "", "try a lower learning rate, or clip the gradients"
    if rate is not None:
        at, advice = f" at learning rate {rate:.6g}", "try a lower --learning_rate, or --clip_norm"
    return RunError(f"step {step}: {what}{at}; nothing of it was saved, {saved}; {advice}")


class Progress(v1.train.SessionRunHook):
    """Prints how far training is, and writes the summaries and the throughput for TensorBoard.

    On a terminal one line is rewritten; in a log each report is a line of its own. Reports come at
    the multiples of `every_steps`, wherever a run was resumed. The throughput counts the time in
    steps, without checkpoints and evaluations.
    """

    def __init__(
        self,
        *,
        model_dir: str,
        max_steps: int,
        batch_size: int,
        every_steps: int,
        write_summaries: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Reports every `every_steps` global steps and at `max_steps`, to stderr if no `stream`."""
        self._model_dir = model_dir
        self._max_steps = max_steps
        self._batch_size = batch_size
        self._every_steps = every_steps
        self._write_summaries = write_summaries
        self._line = progress.ProgressLine(stream)
        self._clock = clock

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()
        self._fetches = {"loss": v1.get_collection(v1.GraphKeys.LOSSES)[-1]}
        self._writer = events.writer(self._model_dir) if self._write_summaries else None

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        self._step = self._reported_step = session.run(self._global_step)
        self._seconds = 0.0
        summary_op = first_in_collection(v1.GraphKeys.SUMMARY_OP)
        if self._writer and summary_op is not None:
            self._fetches["summary"] = summary_op
        if self._writer:
            # After a kill the steps since the newest checkpoint are trained again.
            drop_events_from(self._model_dir, self._step + 1)

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs:
        # Counted here, not fetched: a fetch beside the train_op may see the step before or after.
        self._step += 1
        self._due = self._step % self._every_steps == 0 or self._step == self._max_steps
        self._started = self._clock()
        return v1.train.SessionRunArgs(self._fetches if self._due else None)

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        self._seconds += self._clock() - self._started
        if not self._due:
            return
        # Asynchronous workers have moved the global step on.
        self._step = int(run_context.session.run(self._global_step))
        steps = self._step - self._reported_step
        if steps < 0:
            # Parameter servers were restored from an older checkpoint.
            self._reported_step, self._seconds = self._step, 0.0
            return
        rate = steps / self._seconds if self._seconds else math.inf
        self._report(run_values.results, rate)
        self._reported_step, self._seconds = self._step, 0.0

    def end(self, session: v1.Session) -> None:
        if self._writer:
            self._writer.flush()
        self._line.keep()

    def _report(self, results: dict[str, object], steps_per_second: float) -> None:
        examples = steps_per_second * self._batch_size
        left = max(self._max_steps - self._step, 0) / steps_per_second
        self._line.show(
            f"step {self._step}/{self._max_steps}  loss {results['loss']:.4f}  "
            f"{examples:,.0f} examples/s  {_duration(left)} left"
        )
        if self._writer:
            value = v1.Summary.Value(tag=EXAMPLES_PER_SECOND, simple_value=examples)
            self._writer.add_summary(v1.Summary(value=[value]), self._step)
            if "summary" in results:
                self._writer.add_summary(results["summary"], self._step)


class Summaries(v1.train.SessionRunHook):
    """Writes the summaries of a graph at the multiples of `every_steps`, wherever it was resumed.

    TensorFlow's own hook writes after the first step and counts from there, so that every restart
    moves the points of the curves.
    """

    def __init__(self, folder: str, every_steps: int) -> None:
        self._folder, self._every_steps = folder, every_steps

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()
        self._summary = v1.summary.merge_all()  # None if there are no summaries.
        self._writer = events.writer(self._folder)

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        self._step = int(session.run(self._global_step))
        # After a kill the steps since the newest checkpoint are trained again.
        drop_events_from(self._folder, self._step + 1)

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs | None:
        self._step += 1
        self._due = self._summary is not None and self._step % self._every_steps == 0
        return v1.train.SessionRunArgs(self._summary) if self._due else None

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        if self._due:
            # Asynchronous workers have moved the global step on.
            self._step = int(run_context.session.run(self._global_step))
            self._writer.add_summary(run_values.results, self._step)

    def end(self, session: v1.Session) -> None:
        self._writer.flush()


class Profiler(v1.train.SessionRunHook):
    """Profiles the steps from `first` to `last`, into `model_dir/plugins/profile`.

    That is where TensorBoard's profile page looks (`pip install tensorboard-plugin-profile`).
    TensorFlow's own `ProfilerHook` writes Chrome traces, which that page does not read.
    """

    def __init__(self, model_dir: str, first: int, last: int) -> None:
        self._model_dir = model_dir
        self._first, self._last = first, last
        self._running = False

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        self._step = int(session.run(self._global_step))

    def before_run(self, run_context: v1.train.SessionRunContext) -> None:
        self._step += 1
        if self._first <= self._step <= self._last and not self._running:
            tf.profiler.experimental.start(self._model_dir)
            self._running = True

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        if self._running and self._step >= self._last:
            self._stop()

    def end(self, session: v1.Session) -> None:
        if self._running:
            self._stop()

    def _stop(self) -> None:
        tf.profiler.experimental.stop()
        self._running = False
        folder = os.path.join(self._model_dir, "plugins", "profile")
        progress.say(f"profiled steps to {self._step}, in {folder}", sys.stderr)


def drop_events_from(folder: str, step: int) -> None:
    """Makes TensorBoard drop the events of this step and later ones in a folder's older files."""
    start = v1.SessionLog(status=v1.SessionLog.START)
    events.writer(folder).add_session_log(start, step)


class RateLimit:
    """Allows a look at a file at most once a second, however often it is asked."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def allows(self) -> bool:
        """Whether a second has passed since the last look that was allowed."""
        now = time.monotonic()
        if now < self._last + _LOOK_SECS:
            return False
        self._last = now
        return True


def first_in_collection(collection: str) -> tf.Tensor | None:
    """The first entry of one of the graph's collections; None if it is empty."""
    found = v1.get_collection(collection)
    return found[0] if found else None


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"
