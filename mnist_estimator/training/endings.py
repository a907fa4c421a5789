"""How a task of a cluster ends: as the chief does, or when it loses a task that it needs."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from mnist_estimator import InputError, RunError
from mnist_estimator.cluster import hello, peers, roles
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import status
from mnist_estimator.runtime import progress, signals
from mnist_estimator.runtime.files import error_line
from mnist_estimator.training.joining import OwnHello
from mnist_estimator.training.run import describe_saved, is_known_complete

# A synchronous worker that is gone cannot come back into the same session, and a restart takes
# longer than this. An asynchronous one may come back within the second time.
_GONE_SECS = 2.0
_SILENT_SECS = 20.0
_LOOK_SECS = 0.2
_RECORD_SECS = 5.0  # How long the chief may take to save its last step and record its end.
_WRITE_SECS = 5.0  # How long a process that lost a peer tries to record that in the model_dir.
_LOST_PEER_ERRORS = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
# What TensorFlow says when another process answers at the address of a peer: a task of another run,
# or the peer after a restart.
_REPLACED_PEER = re.compile(
    r"[Rr]estart your program to reset|incarnation does ?n[o']t match|[Cc]oordination service"
    r"|connects to a wrong cluster|Session was reset"
)


def watch_peers(
    config: TrainConfig,
    task: roles.Task,
    *,
    recorder: status.Recorder | None = None,
    follower: status.Follower | None = None,
) -> peers.Watch:
    """Returns a watch over the tasks that this one needs. It ends the process if one is lost.

    An exception would not do: the main thread is in C++ then, and does not see it.
    """
    own_hello = OwnHello(config, task)
    return watch_tasks(
        config.model_dir,
        task,
        recorder=recorder,
        follower=follower,
        synchronous=config.strategy == "multi_worker" and task.role in roles.TRAINERS,
        start_secs=config.start_timeout_secs,
        greet=lambda addresses: hello.problems(addresses, own_hello.look_up()),
    )


def watch_tasks(
    model_dir: str,
    task: roles.Task,
    *,
    recorder: status.Recorder | None,
    follower: status.Follower | None,
    synchronous: bool,
    start_secs: float,
    greet: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda addresses: {},
) -> peers.Watch:
    """As `watch_peers`, for a run whose tasks may not answer to a hello.

    Args:
      synchronous: whether a task that is gone cannot come back.
      start_secs, greet: as of `peers.Watch`.
    """
    return peers.Watch(
        peers.needed(task),
        on_lost=functools.partial(_exit_lost, model_dir, task, recorder, follower),
        is_over=lambda: follower is not None and follower.ended() is not None,
        gone_secs=_GONE_SECS if synchronous else _SILENT_SECS,
        silent_secs=_SILENT_SECS,
        start_secs=start_secs,
        greet=greet,
        known=follower.earlier_failure if follower else lambda: "",
    )


def _exit_lost(
    model_dir: str,
    task: roles.Task,
    recorder: status.Recorder | None,
    follower: status.Follower | None,
    line: str,
) -> None:
    """Records the loss and ends the process, as the chief did if that has ended."""
    # Reading and writing may hang, as the filesystem may be what is lost.
    deadline = threading.Timer(_WRITE_SECS, os._exit, [signals.EXIT_LOST])
    deadline.start()
    code = signals.EXIT_LOST
    with contextlib.suppress(InputError, tf.errors.OpError):
        ended = follower.ended() if follower else None
        if ended and task.role == roles.EVALUATOR:
            deadline.cancel()
            return  # It has yet to evaluate the last checkpoint.
        if recorder:
            recorder.write(status.LOST, code, line)
        if ended:
            line, code = _describe_end(ended), ended.exit_code or 0
        line = f"{line}: {describe_saved(model_dir)}"
    progress.complain(line)
    os._exit(code)


@contextlib.contextmanager
def exit_when_peer_lost(task: roles.Task) -> Iterator[None]:
    """Turns TensorFlow's error for a lost peer into an Interruption with a retryable exit code."""
    try:
        yield
    except tf.errors.OpError as error:
        is_loss = isinstance(error, _LOST_PEER_ERRORS) or _REPLACED_PEER.search(str(error))
        if not task.jobs or not is_loss:
            raise
        reason = f"another task is gone ({error_line(error)})"
        raise signals.Interruption(reason, signals.EXIT_LOST) from error


@contextlib.contextmanager
def ignore_loss_after_chief(config: TrainConfig, follower: status.Follower) -> Iterator[None]:
    """Ignores a lost-peer error if the chief has already finished, or saved the last step.

    The synchronous worker that first leaves the last step may cut the others off in that step.
    """
    try:
        yield
    except signals.Interruption as lost:
        if lost.exit_code != signals.EXIT_LOST:
            raise
        until = time.monotonic() + _RECORD_SECS
        while not follower.ended() and not is_known_complete(config):
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_SECS)
        end_like_the_chief(follower.ended())


def end_like_the_chief(ended: status.Status | None) -> None:
    """Raises the error that gives this process the chief's exit code; returns if that is 0.

    Raises:
      RunError or InputError: if the chief has failed.
      signals.Interruption: if the chief is to be started again.
    """
    if not ended or not ended.exit_code:
        return
    line = _describe_end(ended)
    if ended.exit_code >= signals.FIRST_RETRYABLE:
        raise signals.Interruption(line, ended.exit_code)
    if ended.exit_code == signals.EXIT_INPUT:
        raise InputError(line)
    raise RunError(line)


def _describe_end(ended: status.Status) -> str:
    reason = f" ({ended.reason})" if ended.reason else ""
    return f"the chief ended: {ended.state}{reason}"
