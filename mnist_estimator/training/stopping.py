"""How training stops: after a whole step, and synchronous workers all after the same step."""

from __future__ import annotations

from collections.abc import Callable

from mnist_estimator import model_fn
from mnist_estimator.cluster import peers
from mnist_estimator.compat import tf, v1
from mnist_estimator.runtime import files, signals, watchdog
from mnist_estimator.training.hooks import first_in_collection

_PREEMPTED = 0  # Place in a worker's vote; place 1 says that the run is finished.


class Stopper(v1.train.SessionRunHook):
    """Stops training after a whole step when a signal was noted or the run is finished.

    Synchronous workers vote, and sum the votes in an all-reduce of each step. So they all stop
    after the same step, and the chief's checkpoint has the work of all.
    """

    def __init__(self, is_finished: Callable[[], bool] = lambda: False) -> None:
        """Asks `is_finished` after each step whether the run ends early."""
        self._is_finished = is_finished
        self.preempted_by_other = False

    def begin(self) -> None:
        self._votes = v1.get_collection(model_fn.STOP_VOTES)
        self._total = first_in_collection(model_fn.STOP_TOTAL)

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        # Until now there was nothing to save, and a wait for other tasks has to be interruptible.
        signals.defer()

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs | None:
        if self._total is None:
            return None
        vote = [float(signals.noted()), float(self._is_finished())]
        return v1.train.SessionRunArgs(self._total, dict.fromkeys(self._votes, vote))

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        if self._total is None:
            stop = signals.noted() or self._is_finished()
        else:
            stop = run_values.results.any()
            self.preempted_by_other = run_values.results[_PREEMPTED] > 0 and not signals.noted()
        if stop:
            signals.acknowledge()
            run_context.request_stop()


class SessionGuard(v1.train.SessionRunHook):
    """Keeps a synchronous worker, and a process on its own, from going on in a new session.

    It is the first hook, so it tells the watchdog that a step has ended.

    After the last step of all workers it stops the watch over the others: they may be gone while
    the chief saves and evaluates.
    """

    def __init__(self, watch: peers.Watch, max_steps: int, is_alone: bool = False) -> None:
        self._watch = watch
        self._is_alone = is_alone
        self._max_steps = max_steps
        self._begun = False

    def begin(self) -> None:
        watchdog.alive()  # The graph has been built.
        self._global_step = v1.train.get_global_step()
        self._total = first_in_collection(model_fn.STOP_TOTAL)

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        watchdog.alive()
        if self._begun and self._total is not None:
            # TensorFlow begins a new session when another worker is gone. That worker restarts from
            # the newest checkpoint, and this one is some steps ahead of it.
            raise signals.Interruption("another worker is gone", signals.EXIT_LOST)
        if self._begun and self._is_alone:
            # It would begin as many as it takes, and say nothing.
            raise files.OutageError(
                "a file in a store could not be read, however often it was tried; see whether the "
                "store answers; the same command continues from the newest checkpoint"
            )
        self._begun = True
        self._step = int(session.run(self._global_step))

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs:
        self._step += 1
        return v1.train.SessionRunArgs(self._total)

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        watchdog.end_step(self._step)
        stop = run_values.results
        if self._step >= self._max_steps or (stop is not None and stop.any()):
            self._watch.stop()
