"""How training stops: after a whole step, synchronous workers all after the same one."""

from __future__ import annotations

from collections.abc import Callable

from mnist_estimator import model_fn
from mnist_estimator.cluster import peers
from mnist_estimator.compat import tf, v1
from mnist_estimator.runtime import signals
from mnist_estimator.training.hooks import first_of

_PREEMPTED = 0  # Place in the vote of synchronous workers; at 1, that the run is finished.


class Stopper(v1.train.SessionRunHook):
    """Ends training, after a whole step, when a signal was noted or the run has come to its end.

    Synchronous workers vote, and count the votes as part of each step: all stop after the same one,
    and the chief's checkpoint has everybody's work.
    """

    def __init__(self, is_finished: Callable[[], bool] = lambda: False) -> None:
        """`is_finished` says whether the run ends early; it is asked after each step."""
        self._is_finished = is_finished
        self.preempted_by_other = False

    def begin(self) -> None:
        self._votes = v1.get_collection(model_fn.STOP_VOTES)
        self._total = first_of(model_fn.STOP_TOTAL)

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        # Before, there is nothing to save, and much that may wait for others.
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


class Together(v1.train.SessionRunHook):
    """Keeps synchronous workers together: all begin a session together, and leave it together.

    After the last step that has them all, the watch over the others stops: the chief saves and
    evaluates then, while they are gone already.
    """

    def __init__(self, watch: peers.Watch, max_steps: int) -> None:
        self._watch = watch
        self._max_steps = max_steps
        self._begun = False

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()
        self._total = first_of(model_fn.STOP_TOTAL)

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        if self._begun and self._total is not None:
            # TensorFlow begins a new session when another worker is gone. One that was started
            # again comes with the newest checkpoint's weights, and this one is steps ahead.
            raise signals.Interruption("another worker is gone", signals.EXIT_LOST)
        self._begun = True
        self._step = int(session.run(self._global_step))

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs:
        self._step += 1
        return v1.train.SessionRunArgs(self._total)

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        stop = run_values.results
        if self._step >= self._max_steps or (stop is not None and stop.any()):
            self._watch.stop()
