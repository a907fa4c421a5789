"""The hook of `--replay_steps`: does the last steps before a checkpoint again, and compares.

The steps are those of the same session, on the batches that they have had, from what the variables
were before them. So a bit that has flipped in memory, or a wrong result of arithmetic, is found
before anything that follows from it is saved. The examples are not read again: the command `replay`
reads them.
"""

from __future__ import annotations

import numpy as np

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints, differences
from mnist_estimator.runtime import signals

_MOST_NAMES = 3


class StepReplay(v1.train.SessionRunHook):
    """Raises RunError if the last steps before a checkpoint, done again, end with other bytes.

    It comes before the hook that saves. The variables are left as they were.
    """

    def __init__(self, model_dir: str, *, steps: int, every_steps: int, max_steps: int) -> None:
        """Does up to `steps` steps again before the checkpoints of `CheckpointSaver`."""
        self._model_dir = model_dir
        self._steps, self._every_steps, self._max_steps = steps, every_steps, max_steps
        self._step = self._due = 0
        self._before: list[np.ndarray] = []
        self._batches: list[list[np.ndarray]] = []

    def begin(self) -> None:
        self._global_step = v1.train.get_global_step()
        self._compared = _copies(v1.global_variables())
        # A network of the user's own may count in local ones. They are put back, too.
        held = [*self._compared, *_copies(v1.local_variables())]
        self._values = [variable.read_value() for variable in held]
        self._given = [v1.placeholder(value.dtype, value.shape) for value in self._values]
        self._put_back = tf.group(
            *(
                variable.assign(given, read_value=False)
                for variable, given in zip(held, self._given, strict=True)
            )
        )
        inputs = [op for op in v1.get_default_graph().get_operations() if _gives_batches(op)]
        self._batch = [tensor for op in inputs for tensor in op.outputs]
        if not self._batch:
            raise InputError(
                "--replay_steps: found an input for several GPUs, whose batches cannot be kept; "
                "expected one; leave the flag out, and use the command replay"
            )

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        self._step = int(session.run(self._global_step))
        self._plan(session)

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs | None:
        self._fetches = run_context.original_args.fetches
        return v1.train.SessionRunArgs(self._batch) if self._before else None

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        self._step += 1
        if self._before:
            self._batches.append(run_values.results)
        # A process that has to stop has no time; what it saves is as good as without this hook.
        if self._step == self._due and not signals.noted():
            self._check(run_context.session)
        self._plan(run_context.session)

    def _plan(self, session: v1.Session) -> None:
        """Finds the next checkpoint's step; keeps the variables where its last steps begin."""
        if self._before and self._step < self._due:
            return
        self._before, self._batches = [], []
        due = self._step // self._every_steps * self._every_steps + self._every_steps
        self._due = min(due, self._max_steps)
        if self._due - self._steps <= self._step < self._due:
            self._before = session.run(self._values)

    def _check(self, session: v1.Session) -> None:
        now = session.run(self._values)
        again = self._again(session)
        if again is not None:
            found = differences.find(self._named(now), self._named(again))
            if found:
                twice = self._again(session)
                is_same = twice is not None and not differences.find(
                    self._named(again), self._named(twice)
                )
                raise RunError(self._line(found, is_same))
        self._put(session, now)

    def _again(self, session: v1.Session) -> list[np.ndarray] | None:
        """The variables after the steps are done again; None if a signal has come."""
        self._put(session, self._before)
        for batch in self._batches:
            if signals.noted():
                return None
            session.run(self._fetches, dict(zip(self._batch, batch, strict=True)))
        return session.run(self._values)

    def _put(self, session: v1.Session, values: list[np.ndarray]) -> None:
        session.run(self._put_back, dict(zip(self._given, values, strict=True)))

    def _named(self, values: list[np.ndarray]) -> dict[str, np.ndarray]:
        names = [variable.op.name for variable in self._compared]
        return dict(zip(names, values, strict=False))  # The local ones come last.

    def _line(self, found: list[str], is_same_twice: bool) -> str:
        newest = checkpoints.newest(self._model_dir)
        saved = f"the newest checkpoint is {newest}" if newest else "there is no checkpoint yet"
        more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
        return (
            f"step {self._step}: the last {len(self._batches)} steps, done again, end with other "
            f"bytes: {'; '.join(found[:_MOST_NAMES])}{more}; {verdict(is_same_twice)}; nothing of "
            f"them was saved, {saved}; see what is kept with python -m mnist_estimator.replay "
            "--every"
        )


def verdict(is_same_twice: bool) -> str:
    """Says what a difference means.

    Args:
      is_same_twice: whether the steps end with the same bytes when they are done a third time.
    """
    if is_same_twice:
        return "the second and the third time end with the same bytes, so the first result is wrong"
    return (
        "done once more they end otherwise once more, so this machine, or an operation of the "
        "network, does not give the same bits each time"
    )


def _copies(variables: list[tf.Variable]) -> list[tf.Variable]:
    """The variables of this process: of one that is mirrored each device's, each once."""
    every = [copy for variable in variables for copy in getattr(variable, "values", (variable,))]
    return list({copy.name: copy for copy in every}.values())


def _gives_batches(op: tf.Operation) -> bool:
    return op.type == "IteratorGetNext"
