"""What watches a training run: progress and throughput, and the result of every evaluation."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

from mnist_estimator import RunError, model_fn, progress
from mnist_estimator.compat import estimator, tf, v1

EXAMPLES_PER_SECOND = "examples_per_second"


class Progress(v1.train.SessionRunHook):
    """Prints how far training is, and writes its throughput for TensorBoard.

    On a terminal one line is kept up to date; in a log each report is a line of its own. Only the
    time inside steps counts: with `save_listener` among the saving listeners, evaluations and
    checkpoints do not bend the throughput.
    """

    def __init__(
        self,
        *,
        model_dir: str,
        max_steps: int,
        batch_size: int,
        every_steps: int,
        write_summaries: bool = True,
        stream: TextIO = sys.stderr,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Reports every `every_steps` global steps and at `max_steps`."""
        self._model_dir = model_dir
        self._max_steps = max_steps
        self._batch_size = batch_size
        self._every_steps = every_steps
        self._write_summaries = write_summaries
        self._stream = stream
        self._clock = clock
        self.save_listener = _SaveListener(clock)

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()
        self._loss = v1.get_collection(v1.GraphKeys.LOSSES)[-1]
        self._writer = (
            v1.summary.FileWriterCache.get(self._model_dir) if self._write_summaries else None
        )

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        self._step = self._reported_step = session.run(self._global_step)
        self._seconds = 0.0

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs:
        # Counted here, not fetched: a fetch beside the train_op may see the step before or after.
        self._step += 1
        self._due = self._step % self._every_steps == 0 or self._step == self._max_steps
        self.save_listener.saved_at = None
        self._started = self._clock()
        return v1.train.SessionRunArgs(self._loss if self._due else None)

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        self._seconds += (self.save_listener.saved_at or self._clock()) - self._started
        if not self._due:
            return
        # With asynchronous workers the others have moved it on.
        self._step = int(run_context.session.run(self._global_step))
        steps = self._step - self._reported_step
        rate = steps / self._seconds if self._seconds else math.inf
        self._report(run_values.results, rate)
        self._reported_step, self._seconds = self._step, 0.0

    def end(self, session: v1.Session) -> None:
        if self._writer:
            self._writer.flush()
        if self._stream.isatty():
            print(file=self._stream)

    def _report(self, loss: float, steps_per_second: float) -> None:
        examples = steps_per_second * self._batch_size
        left = max(self._max_steps - self._step, 0) / steps_per_second
        line = (
            f"step {self._step}/{self._max_steps}  loss {loss:.4f}  "
            f"{examples:,.0f} examples/s  {_duration(left)} left"
        )
        progress.show(line, self._stream)
        if self._writer:
            value = v1.Summary.Value(tag=EXAMPLES_PER_SECOND, simple_value=examples)
            self._writer.add_summary(v1.Summary(value=[value]), self._step)


class _SaveListener(v1.train.CheckpointSaverListener):
    """Notes when a checkpoint is about to be saved, and evaluated, after a step.

    A chief's own hooks run before those of the TrainSpec, so that `Progress.after_run` comes only
    after both.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.saved_at: float | None = None

    def before_save(self, session: v1.Session, global_step_value: int) -> None:
        self.saved_at = self._clock()


class EvaluationReport(estimator.Exporter):
    """Prints the result of each evaluation while training; Estimator hands it to exporters."""

    def __init__(self, split: str, expected_examples: int, stream: TextIO = sys.stderr) -> None:
        self._split = split
        self._expected_examples = expected_examples
        self._stream = stream

    @property
    def name(self) -> str:
        return "evaluation_report"

    def export(
        self,
        estimator: object,
        export_path: str,
        checkpoint_path: str,
        eval_result: dict[str, float],
        is_the_final_export: bool,
    ) -> None:
        """Prints the line; raises RunError unless every example was counted once."""
        check_count(eval_result, self._split, self._expected_examples)
        progress.say(
            f"step {eval_result['global_step']}: {self._split} "
            f"accuracy {eval_result[model_fn.ACCURACY]:.4f}, loss {eval_result[model_fn.LOSS]:.4f}",
            self._stream,
        )


def check_count(eval_result: dict[str, float], split: str, expected: int) -> None:
    """Raises RunError unless an evaluation counted every example of the split once."""
    counted = eval_result[model_fn.EXAMPLES]
    if counted != expected:
        raise RunError(f"evaluation counted {counted} {split} examples, expected {expected}")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"
