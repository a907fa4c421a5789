"""The hooks of `mnist_estimator.hooks`, for an Estimator program that is not this package's."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable

from mnist_estimator import InputError, randomness
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints, events
from mnist_estimator.runtime import files, signals
from mnist_estimator.runtime.progress import warn
from mnist_estimator.training.checkpoint_saver import CheckpointSaver
from mnist_estimator.training.hooks import drop_events_from

INPUT = "mnist_estimator_input"  # A collection: not empty if the input begins at the global step.
# In a model_dir: the step of the last checkpoint that the listeners have seen.
LISTENED = ".listened"
_EVALUATIONS = re.compile(r"eval(_.*)?/?")  # Where Estimator writes the curves of evaluations.
_MOST_NAMES = 3


class GraphCheck(v1.train.SessionRunHook):
    """Refuses a graph that cannot be resumed, and warns of what is not resumed exactly."""

    def begin(self) -> None:
        graph = v1.get_default_graph()
        if not v1.get_collection(INPUT):
            raise InputError(
                "input_fn: found one that begins from its front, expected what run.input_fn or "
                "run.shuffled returns"
            )
        own_savers = any(op.type == "SaveV2" for op in graph.get_operations())
        if own_savers or len(v1.get_collection(v1.GraphKeys.SAVERS)) != 1:
            raise InputError(
                "model_fn: found a Saver, expected none: all variables are saved and restored; "
                "leave it out, and Scaffold(saver=...) too"
            )
        roots = randomness.training_roots(v1.get_collection(v1.GraphKeys.LOSSES)[-1])
        draws = randomness.stateful_draws(roots)
        if draws:
            warn(
                f"a restart does not go on exactly: {_listed(draws)}: random numbers from a state "
                "that begins anew; use hooks.dropout, or tf.random.stateless_* by the global step"
            )
        shown = [tensor.op for tensor in v1.get_collection(v1.GraphKeys.SUMMARIES)]
        local = randomness.local_variables([*roots, *shown])
        if local:
            warn(
                f"a restart does not go on exactly: {_listed(local)}: local variables, which no "
                "checkpoint holds; the curves of metrics begin anew with them"
            )


class StepCheck(v1.train.SessionRunHook):
    """Raises InputError if a step of training does not raise the global step by one.

    The input goes on at the batch whose number is the global step. Warns if there is no such batch.
    """

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        self._step = self._first_step = int(session.run(self._global_step))

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        self._step += 1
        step = int(run_context.session.run(self._global_step))
        if step != self._step:
            raise InputError(
                f"train_op: found the global step {step} after step {self._step - 1}, expected "
                f"{self._step}: each batch has to raise it by one, as the input goes on by it"
            )

    def end(self, session: v1.Session) -> None:
        if self._step == self._first_step > 0:
            warn(
                f"trained nothing at step {self._step}: the input ends before the batch of this "
                "number; give one input for all epochs, as Dataset.repeat() does"
            )


class ListenedSaver(CheckpointSaver, v1.train.CheckpointSaverHook):
    """A `CheckpointSaver` in the place of Estimator's own, with its listeners.

    Estimator makes no CheckpointSaverHook of its own where it is given one. To this it adds the
    listeners, among them the one by which train_and_evaluate evaluates each checkpoint. A
    checkpoint that they have not seen because of a kill is shown to them by the next process.
    """

    def __init__(self, model_dir: str, *, every_steps: int, keep: int) -> None:
        # The global step may rise by more than this process's steps: StepCheck looks after that.
        super().__init__(model_dir, every_steps=every_steps, keep=keep, others=math.inf)
        self._listened = os.path.join(model_dir, LISTENED)
        self._listeners: list[v1.train.CheckpointSaverListener] = []
        self._stops = False

    def begin(self) -> None:
        super().begin()
        for listener in self._listeners:
            listener.begin()

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        if not self._listeners:
            return
        step = self.saved_step
        # TensorFlow saves here, and its listeners expect to be called once before the first step.
        self._call(lambda listener: listener.after_save(session, step))
        missed = step > 0 and step % self._every_steps == 0 and self._seen_step() < step
        for name in tf.io.gfile.listdir(self._model_dir):  # Not by a pattern, which it may be.
            folder = os.path.join(self._model_dir, name.rstrip("/"))
            if _EVALUATIONS.fullmatch(name) and events.has_any(folder):
                drop_events_from(folder, step if missed else step + 1)
        if missed:
            self._evaluate(session, f"{self._model_dir}/{checkpoints.BASENAME}-{step}")

    def before_run(self, run_context: v1.train.SessionRunContext) -> None:
        """Fetches nothing, unlike TensorFlow's own."""

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        super().after_run(run_context, run_values)
        if self._stops:
            run_context.request_stop()

    def end(self, session: v1.Session) -> None:
        super().end(session)
        self._call(lambda listener: listener.end(session, self.saved_step))

    def _save(self, session: v1.Session, step: int) -> str:
        for listener in self._listeners:
            listener.before_save(session, step)
        return super()._save(session, step)

    def _evaluate(self, session: v1.Session, path: str) -> None:
        step = checkpoints.step_of(path)
        self._call(lambda listener: listener.after_save(session, step))
        if self._listeners:
            files.write_text(self._listened, f"{step}\n")

    def _call(self, tell: Callable[[v1.train.CheckpointSaverListener], bool | None]) -> None:
        # The checkpoint is there, and an evaluation that a signal cuts off is made again.
        with signals.interruptible():
            for listener in self._listeners:
                self._stops |= bool(tell(listener))

    def _seen_step(self) -> int:
        text = (files.read_bytes(self._listened) or b"").strip()
        return int(text) if text.isdigit() else 0


class SignalsAtEnd(v1.train.SessionRunHook):
    """After the last step lets signals interrupt again, and raises for one that has come.

    It is the last of the hooks, so that the others have ended by then.
    """

    def end(self, session: v1.Session) -> None:
        signals.interrupt()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(sorted(names)[:_MOST_NAMES])}{more}"
