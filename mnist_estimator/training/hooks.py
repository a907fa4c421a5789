"""What watches a training run: guards, progress and summaries, checkpoints. See also `stopping`.

Their order counts, and `training` gives them in this one: a loss that is not finite stops the run
before anything is written; a step's summaries are on disk before its checkpoint is; a checkpoint
is saved before it is evaluated; and only then may the run stop.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from mnist_estimator import RunError, model_fn
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints, events
from mnist_estimator.runtime import progress, signals

EXAMPLES_PER_SECOND = "examples_per_second"
# In a model_dir: a parameter server that has to go asks the chief to save what it holds.
SAVE_REQUEST = ".save_request"
_LOOK_SECS = 1.0
_MOST_STEPS_PER_SEC = 2000  # Of one worker: to a parameter server and back takes 0.5 ms at least.


class FiniteGuard(v1.train.SessionRunHook):
    """Stops training when the loss is not finite any more: it would not get better again."""

    def __init__(self, model_dir: str) -> None:
        self._model_dir = model_dir

    def begin(self) -> None:
        self._loss = v1.get_collection(v1.GraphKeys.LOSSES)[-1]
        self._rate = first_of(model_fn.LEARNING_RATE)
        self._global_step = v1.train.get_global_step()

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs:
        return v1.train.SessionRunArgs([self._loss, self._rate])

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        loss, rate = run_values.results
        if not math.isfinite(loss):
            step = int(run_context.session.run(self._global_step))
            raise diverged(self._model_dir, step, f"loss is {loss}", rate)


def diverged(model_dir: str, step: int, what: str, rate: float) -> RunError:
    """The error of a run whose numbers are not finite any more."""
    newest = checkpoints.newest(model_dir)
    kept = f"the newest checkpoint is {newest}" if newest else "there is no checkpoint yet"
    return RunError(
        f"step {step}: {what} at learning rate {rate:.6g}; nothing of it was saved, {kept}; "
        "try a lower --learning_rate, or --clip_norm"
    )


class Progress(v1.train.SessionRunHook):
    """Prints how far training is, and writes the summaries and the throughput for TensorBoard.

    On a terminal one line is kept up to date; in a log each report is a line of its own. Reports
    come at the multiples of `every_steps`, wherever a run was resumed. Only the time inside steps
    counts, not that of checkpoints and evaluations.
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
        self._stream = stream or sys.stderr
        self._clock = clock

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()
        self._fetches = {"loss": v1.get_collection(v1.GraphKeys.LOSSES)[-1]}
        self._writer = events.writer(self._model_dir) if self._write_summaries else None

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        self._step = self._reported_step = session.run(self._global_step)
        self._seconds = 0.0
        summary_op = first_of(v1.GraphKeys.SUMMARY_OP)
        if self._writer and summary_op is not None:
            self._fetches["summary"] = summary_op
        if self._writer:
            # Of a run that was killed, the steps after its newest checkpoint come once more.
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
        # With asynchronous workers the others have moved it on.
        self._step = int(run_context.session.run(self._global_step))
        steps = self._step - self._reported_step
        if steps < 0:
            # Parameter servers came back with an older checkpoint.
            self._reported_step, self._seconds = self._step, 0.0
            return
        rate = steps / self._seconds if self._seconds else math.inf
        self._report(run_values.results, rate)
        self._reported_step, self._seconds = self._step, 0.0

    def end(self, session: v1.Session) -> None:
        if self._writer:
            self._writer.flush()
        if progress.is_live(self._stream):
            print(file=self._stream)

    def _report(self, results: dict[str, object], steps_per_second: float) -> None:
        examples = steps_per_second * self._batch_size
        left = max(self._max_steps - self._step, 0) / steps_per_second
        line = (
            f"step {self._step}/{self._max_steps}  loss {results['loss']:.4f}  "
            f"{examples:,.0f} examples/s  {_duration(left)} left"
        )
        progress.show(line, self._stream)
        if self._writer:
            value = v1.Summary.Value(tag=EXAMPLES_PER_SECOND, simple_value=examples)
            self._writer.add_summary(v1.Summary(value=[value]), self._step)
            if "summary" in results:
                self._writer.add_summary(results["summary"], self._step)


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
    """Has TensorBoard drop what earlier event files of a folder say of this step and later ones."""
    start = v1.SessionLog(status=v1.SessionLog.START)
    events.writer(folder).add_session_log(start, step)


class CheckpointSaver(v1.train.SessionRunHook):
    """Saves a sealed checkpoint at the multiples of `every_steps` and at the end.

    TensorFlow's own counts from where a run was resumed, so that every restart moves the
    checkpoints, and with them the evaluations, to other steps.
    """

    def __init__(
        self,
        model_dir: str,
        *,
        every_steps: int,
        keep: int = 0,
        after_save: Callable[[str], None] | None = None,
        others: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Saves to `model_dir`.

        Args:
          keep: how many of the newest checkpoints are kept; 0: all.
          after_save: is called with each checkpoint's path, unless a signal has come.
          others: how many other tasks make steps of their own, as asynchronous workers do.
        """
        self._model_dir = model_dir
        self._every_steps = every_steps
        self._keep = keep
        self._after_save = after_save
        self._steps = _Steps(model_dir, others, clock)
        self._look_due = Seldom()
        self._request = os.path.join(model_dir, SAVE_REQUEST)
        self.saved_step = 0

    def begin(self) -> None:
        self._steps.begin()
        self._rate = first_of(model_fn.LEARNING_RATE)
        self._writer = events.writer(self._model_dir)
        newest = checkpoints.newest(self._model_dir)
        if newest:
            checkpoints.check_variables(newest, _shapes())
        # One vector beside a step's work; fetched for a checkpoint only.
        self._floats = [v for v in v1.global_variables() if v.dtype.is_floating]
        self._finite = tf.stack(
            [tf.reduce_all(tf.math.is_finite(v.read_value())) for v in self._floats]
            or [tf.constant(True)]
        )

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        newest = checkpoints.newest(self._model_dir)
        step = self._steps.read_restored(session, checkpoints.saved_step(newest) if newest else 0)
        if newest and checkpoints.step_of(newest) == step:
            self.saved_step = step
        else:
            self._save(session, step)
        self._answer_request()  # Also one that nobody waits for any more.

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        step = self._steps.read(run_context.session)
        due = step // self._every_steps > self.saved_step // self._every_steps
        if due or self._asked_to():
            self._save_and_tell(run_context.session, step)

    def end(self, session: v1.Session) -> None:
        step = self._steps.read(session)
        if step == self.saved_step:
            return
        self._save_and_tell(session, step)

    def _save_and_tell(self, session: v1.Session, step: int) -> None:
        path = self._save(session, step)
        self._answer_request()  # Before what may take long; one that comes later is a new one.
        if self._after_save and not signals.noted():
            self._after_save(path)

    def _asked_to(self) -> bool:
        return self._look_due() and tf.io.gfile.exists(self._request)

    def _answer_request(self) -> None:
        # Whoever asked may have gone without removing it.
        with contextlib.suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(self._request)

    def _save(self, session: v1.Session, step: int) -> str:
        if not tf.io.gfile.isdir(self._model_dir):
            # TensorFlow would make it again, and leave a checkpoint there without its run.
            raise RunError(f"{self._model_dir}: is gone, stopped training at step {step}")
        self._check_finite(session, step)
        # The points up to here must not be lost, as they will not be computed again.
        self._writer.flush()
        checkpoints.make_way(os.path.join(self._model_dir, f"{checkpoints.BASENAME}-{step}"))
        (saver,) = v1.get_collection(v1.GraphKeys.SAVERS)
        path = os.path.join(self._model_dir, checkpoints.BASENAME)
        path = saver.save(
            session, path, global_step=step, write_meta_graph=False, write_state=False
        )
        self._steps.read(session)  # It is in the checkpoint: without a seal nothing points to that.
        checkpoints.seal(path)
        checkpoints.keep_newest(path, self._keep)
        checkpoints.tidy(self._model_dir)
        self.saved_step = step
        return path

    def _check_finite(self, session: v1.Session, step: int) -> None:
        finite = session.run(self._finite)
        if not finite.all():
            name = self._floats[int(finite.argmin())].op.name
            rate = session.run(self._rate)
            raise diverged(self._model_dir, step, f"variable {name} is not finite", rate)


class _Steps:
    """Reads the global step, and raises when the tasks of the run cannot have moved it there.

    Whoever reaches a TensorFlow server can write to its variables. A run whose step was set to its
    last one would end as if it were done.
    """

    def __init__(self, model_dir: str, others: int, clock: Callable[[], float]) -> None:
        self._model_dir, self._others, self._clock = model_dir, others, clock

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()
        self._seen, self._seen_at = 0, self._clock()

    def read_restored(self, session: v1.Session, restored: int) -> int:
        """The step in a new session, to which a checkpoint of step `restored` was restored."""
        # Where parameter servers lost theirs, it is an older one than the last session had.
        most, self._seen = max(self._seen, restored), restored
        return self._checked(session, most)

    def read(self, session: v1.Session) -> int:
        """The step after at most one more step of this task."""
        return self._checked(session, self._seen + 1)

    def _checked(self, session: v1.Session, most: int) -> int:
        step, now = int(session.run(self._global_step)), self._clock()
        waited = now - self._seen_at
        most += self._others * (2 + round(waited * _MOST_STEPS_PER_SEC))
        if not self._seen <= step <= most:
            newest = checkpoints.newest(self._model_dir)
            raise RunError(
                f"step {step}: the global step was {self._seen} {waited:.1f} s before, and the "
                f"tasks of this run cannot have moved it back, nor beyond {most}; something else "
                "writes to this cluster, see who can reach its ports; nothing of it was saved, "
                + (f"the newest checkpoint is {newest}" if newest else "there is no checkpoint")
            )
        self._seen, self._seen_at = step, now
        return step


class Seldom:
    """Says, as often as it is asked, whether it is time again to look at a file: once a second."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self) -> bool:
        now = time.monotonic()
        if now < self._last + _LOOK_SECS:
            return False
        self._last = now
        return True


def first_of(collection: str) -> tf.Tensor | None:
    """The first thing in one of the graph's collections, if there is any."""
    found = v1.get_collection(collection)
    return found[0] if found else None


def _shapes() -> dict[str, list[int]]:
    """Name and shape of each variable of the graph, of mirrored ones only the first copy's."""
    return {
        v.op.name: v.shape.as_list() for v in v1.global_variables() if "/replica_" not in v.op.name
    }


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"
