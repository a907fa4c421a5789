"""The hook that saves checkpoints, and checks each global step before it is saved."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from mnist_estimator import RunError, model_fn
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints, events, lock
from mnist_estimator.runs.saver import check_variables, graph_variables, store_errors
from mnist_estimator.runtime import signals, watchdog
from mnist_estimator.training.hooks import RateLimit, diverged, first_in_collection

# In a model_dir: a parameter server that has to stop asks the chief to save its variables.
SAVE_REQUEST = ".save_request"
_MOST_STEPS_PER_SEC = 2000  # Of one worker: to a parameter server and back takes 0.5 ms at least.


class CheckpointSaver(v1.train.SessionRunHook):
    """Saves a sealed checkpoint at the multiples of `every_steps` and at the end.

    TensorFlow's own hook counts from where a run was resumed, so that every restart moves the
    checkpoints, and with them the evaluations, to other steps.
    """

    def __init__(
        self,
        model_dir: str,
        *,
        every_steps: int,
        keep: int = 0,
        after_save: Callable[[str], None] | None = None,
        others: float = 0,
        is_alone: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Saves to `model_dir`.

        Args:
          keep: how many of the newest checkpoints are kept; 0: all.
          after_save: is called with each checkpoint's path, unless a signal has come.
          others: how many other tasks make steps of their own, as asynchronous workers do.
          is_alone: whether no other process can reach the variables. Then steps are counted, and
            the global step is only read, and compared, before a checkpoint is sealed.
        """
        self._model_dir = model_dir
        self._every_steps = every_steps
        self._keep = keep
        self._after_save = after_save
        self._steps = _StepGuard(model_dir, others, clock, is_alone)
        self._look = RateLimit()
        self._request = os.path.join(model_dir, SAVE_REQUEST)
        self.saved_step = 0

    def begin(self) -> None:
        self._steps.begin()
        self._rate = first_in_collection(model_fn.LEARNING_RATE)
        self._writer = events.writer(self._model_dir)
        newest = checkpoints.newest(self._model_dir)
        if newest:
            check_variables(newest, graph_variables())
        # Fetched for a checkpoint only, so that a step does not compute it.
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
        self._clear_request()  # Also one left behind, for which nobody waits.

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        lock.check(self._model_dir)
        step = self._steps.after_step(run_context.session)
        due = step // self._every_steps > self.saved_step // self._every_steps
        if due or self._save_requested():
            self._save_and_evaluate(run_context.session, step)

    def end(self, session: v1.Session) -> None:
        step = self._steps.read(session)
        if step == self.saved_step:
            return
        self._save_and_evaluate(session, step)

    def _save_and_evaluate(self, session: v1.Session, step: int) -> None:
        path = self._save(session, step)
        # Before the evaluation, which may take long: a request that comes in it is a new one.
        self._clear_request()
        if not signals.noted():
            self._evaluate(session, path)

    def _evaluate(self, session: v1.Session, path: str) -> None:
        if self._after_save:
            with store_errors():
                self._after_save(path)

    def _save_requested(self) -> bool:
        return self._look.allows() and tf.io.gfile.exists(self._request)

    def _clear_request(self) -> None:
        # Often there is none; and a parameter server removes its own when it waits no more.
        with contextlib.suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(self._request)

    @watchdog.phase(watchdog.CHECKPOINT)
    @store_errors()
    def _save(self, session: v1.Session, step: int) -> str:
        if not tf.io.gfile.isdir(self._model_dir):
            # TensorFlow would make the folder again, with a checkpoint but no record of the run.
            raise RunError(f"{self._model_dir}: is gone, stopped training at step {step}")
        self._check_finite(session, step)
        lock.check(self._model_dir)
        # A resumed run does not compute the points up to here again.
        self._writer.flush()
        checkpoints.remove_links(os.path.join(self._model_dir, f"{checkpoints.BASENAME}-{step}"))
        (saver,) = v1.get_collection(v1.GraphKeys.SAVERS)
        path = os.path.join(self._model_dir, checkpoints.BASENAME)
        path = saver.save(
            session, path, global_step=step, write_meta_graph=False, write_state=False
        )
        self._steps.read(session)  # Before the seal: a checkpoint with a wrong step is never used.
        lock.check(self._model_dir)
        checkpoints.seal(path)
        lock.check(self._model_dir)
        checkpoints.keep_newest(path, self._keep)
        checkpoints.remove_left_overs(self._model_dir)
        self.saved_step = step
        return path

    def _check_finite(self, session: v1.Session, step: int) -> None:
        finite = session.run(self._finite)
        if not finite.all():
            name = self._floats[int(finite.argmin())].op.name
            rate = None if self._rate is None else session.run(self._rate)
            raise diverged(self._model_dir, step, f"variable {name} is not finite", rate)


class _StepGuard:
    """Reads the global step, and raises RunError if the tasks of the run cannot have reached it.

    Whoever reaches a TensorFlow server can write to its variables. A run whose global step was set
    to the last one would end as if it were done.
    """

    def __init__(
        self, model_dir: str, others: float, clock: Callable[[], float], is_alone: bool = False
    ) -> None:
        self._model_dir, self._others, self._clock = model_dir, others, clock
        self._is_alone = is_alone

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()
        self._seen, self._seen_at = 0, self._clock()

    def read_restored(self, session: v1.Session, restored: int) -> int:
        """The step in a new session, to which a checkpoint of step `restored` was restored."""
        # Where parameter servers were lost, it may be an older one than the last session had.
        most, self._seen = max(self._seen, restored), restored
        return self._checked(session, most)

    def after_step(self, session: v1.Session) -> int:
        """The step after one more step of this task."""
        if not self._is_alone:
            return self.read(session)
        # To read it takes a session.run of its own: 0.3 ms.
        self._seen, self._seen_at = self._seen + 1, self._clock()
        return self._seen

    def read(self, session: v1.Session) -> int:
        """The step, after at most one more step of this task if it has not been counted."""
        return self._checked(session, self._seen + (not self._is_alone))

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
