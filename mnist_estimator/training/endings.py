"""How a task of a cluster ends: with the chief, or when another one that it needs is lost."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator

from mnist_estimator import InputError, RunError
from mnist_estimator.cluster import hello, peers, ports, roles
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import checkpoints, status
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runtime import background, progress, signals
from mnist_estimator.runtime.files import error_line

# A synchronous worker that has gone cannot come back into the same session, and to start again
# takes longer than this. With parameter servers one that is back within the other time goes on.
_GONE_SECS = 2.0
_SILENT_SECS = 20.0
_LOOK_SECS = 0.2
_RECORD_SECS = 5.0  # How long the chief may take to save its last step and record its end.
_WRITE_SECS = 5.0  # How long a lost process tries to say so in the model_dir.
_TRIES = 100  # Looks, for 20 s: a shared folder may show the record of a new run late.
_NAME_SECS = 1.0
# What TensorFlow says when a task of another run, or of an earlier start, has come between.
_INTRUDED = re.compile(
    r"[Rr]estart your program to reset|incarnation does ?n[o']t match|[Cc]oordination service"
    r"|connects to a wrong cluster|Session was reset"
)


def watch(
    config: TrainConfig,
    task: roles.Task,
    *,
    recorder: status.Recorder | None = None,
    follower: status.Follower | None = None,
) -> peers.Watch:
    """Watches the tasks that this one needs; it ends the process when one of them is lost.

    It has to, as the main thread is in C++ then, and hears nothing.
    """

    def end(line: str) -> None:
        # The filesystem may be what has gone: what reads or writes there may hang, or raise.
        deadline = threading.Timer(_WRITE_SECS, os._exit, [signals.EXIT_LOST])
        deadline.start()
        code = signals.EXIT_LOST
        with contextlib.suppress(InputError, tf.errors.OpError):
            ended = follower.ended() if follower else None
            if ended and task.role == roles.EVALUATOR:
                deadline.cancel()
                return  # The last checkpoint is still to be evaluated.
            if recorder:
                recorder.write(status.LOST, code, line)
            if ended:
                line, code = _how(ended), ended.exit_code or 0
            line = f"{line}: {kept(config.model_dir)}"
        progress.complain(line)
        os._exit(code)

    introduction = _Introduction(config, task)
    synchronous = config.strategy == "multi_worker" and task.role in roles.TRAINERS
    return peers.Watch(
        peers.needed(task),
        on_lost=end,
        is_over=lambda: follower is not None and follower.ended() is not None,
        gone_secs=_GONE_SECS if synchronous else _SILENT_SECS,
        silent_secs=_SILENT_SECS,
        start_secs=config.start_timeout_secs,
        greet=lambda addresses: hello.problems(addresses, introduction.look_up()),
    )


_LOSSES = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


class _Introduction:
    """What this task says of itself to others; the run's own name is in status.json."""

    def __init__(self, config: TrainConfig, task: roles.Task) -> None:
        self._config, self._task = config, task
        self._hello = hello.of(task, config.model_dir, "")

    def __call__(self) -> hello.Hello:
        """What is known by now; looks nothing up, as others wait for the answer."""
        return self._hello

    def look_up(self) -> hello.Hello:
        """The same, after a look at the record unless the run's name is known."""
        if not self._hello.run:
            found = status.read(self._config.model_dir)
            run = found.run if found else ""
            self._hello = hello.of(self._task, self._config.model_dir, run)
        return self._hello

    def keep_looking(self, done: threading.Event) -> None:
        """Looks until the name is known: the chief has yet to write it."""
        while not self.look_up().run and not done.wait(_NAME_SECS):
            pass


@contextlib.contextmanager
def joined(config: TrainConfig, task: roles.Task) -> Iterator[None]:
    """Around a task's part in a cluster: says who it is, and shields its port from the network.

    Raises:
      InputError: if its port is in use.
      signals.Interruption: if a task of another run is where one of this run is expected.
    """
    if not task.address and not peers.needed(task):
        yield  # It trains alone.
        return
    with contextlib.ExitStack() as stack:
        if task.jobs and task.address:
            ports.wait_until_free(task)
            stack.enter_context(ports.shielded(task))
        introduction = _Introduction(config, task)
        if task.address:
            stack.enter_context(background.running(introduction.keep_looking, "name"))
            stack.enter_context(hello.answering(task.address, introduction))
        _check_expected(task, introduction)
        yield


def _check_expected(task: roles.Task, introduction: _Introduction) -> None:
    for left in reversed(range(_TRIES)):
        answers = hello.problems(peers.needed(task), introduction.look_up())
        found = [problem for problem in answers.values() if problem]
        if not found:
            return
        if not left:
            # The address may have gone to another run for a while: started again, it may be right.
            raise signals.Interruption(found[0], signals.EXIT_LOST)
        time.sleep(_LOOK_SECS)


@contextlib.contextmanager
def naming_the_lost(task: roles.Task) -> Iterator[None]:
    """Of an error that another task's end caused, says so, and exits to be started again."""
    try:
        yield
    except tf.errors.OpError as error:
        is_loss = isinstance(error, _LOSSES) or _INTRUDED.search(str(error))
        if not task.jobs or not is_loss:
            raise
        reason = f"another task is gone ({error_line(error)})"
        raise signals.Interruption(reason, signals.EXIT_LOST) from error


@contextlib.contextmanager
def cut_off(config: TrainConfig, follower: status.Follower) -> Iterator[None]:
    """Around a worker's training: not everything that looks like a loss is one.

    Who leaves the last step of synchronous training first may cut the others off in it. If the
    chief has come to its end meanwhile, or has saved the last step, that is what happened.
    """
    try:
        yield
    except signals.Interruption as lost:
        if lost.exit_code != signals.EXIT_LOST:
            raise
        until = time.monotonic() + _RECORD_SECS
        while not follower.ended() and not _is_known_complete(config):
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_SECS)
        end_like_the_chief(follower.ended())


def end_like_the_chief(ended: status.Status | None) -> None:
    """Gives this process the exit code of the chief."""
    if ended and ended.exit_code:
        if ended.exit_code >= signals.FIRST_RETRYABLE:
            raise signals.Interruption(_how(ended), ended.exit_code)
        raise (InputError if ended.exit_code == signals.EXIT_INPUT else RunError)(_how(ended))


def _how(ended: status.Status) -> str:
    return f"the chief ended: {ended.state}" + (f" ({ended.reason})" if ended.reason else "")


def is_complete(config: TrainConfig, evaluations: Evaluations, step: int) -> bool:
    """Whether a run whose newest checkpoint is of this step trains no more."""
    return step >= config.max_steps or evaluations.stops_at(step, config.early_stop_patience)


def was_complete(config: TrainConfig) -> bool:
    """Whether the run has come to its end; reads its last checkpoint whole."""
    newest = checkpoints.newest(config.model_dir)
    if not newest:
        return False
    evaluations = Evaluations(config.model_dir, config.best_metric)
    complete = is_complete(config, evaluations, checkpoints.step_of(newest))
    return complete and not checkpoints.damage(newest)


def _is_known_complete(config: TrainConfig) -> bool:
    try:
        return was_complete(config)
    except InputError:  # The filesystem may have gone together with the other task.
        return False


def nothing_to_do(config: TrainConfig) -> None:
    """Says that this task has no part in a run."""
    progress.say(f"the run in {config.model_dir} is complete: nothing to train", sys.stderr)


def kept(model_dir: str) -> str:
    """What of a run is not lost, in words."""
    newest = checkpoints.newest(model_dir)
    if not newest:
        return "nothing is saved yet; the same command begins anew"
    step = checkpoints.step_of(newest)
    return f"step {step} is saved in {model_dir}; the same command continues from there"
