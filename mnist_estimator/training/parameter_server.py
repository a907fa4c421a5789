"""The part of a parameter server: holds its share of the variables until the run has ended."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable

from mnist_estimator import InputError, estimators
from mnist_estimator.cluster import peers, roles
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import status
from mnist_estimator.runtime import files, progress, signals, watchdog
from mnist_estimator.training import endings
from mnist_estimator.training.checkpoint_saver import SAVE_REQUEST
from mnist_estimator.training.run import say_complete, was_complete

_LOOK_SECS = 0.2
_SAVE_SECS = 15.0  # How long the chief may take to save when this process has to stop.
_LEAVE_SECS = 10.0  # How long the workers may take to leave after the chief's end.


def run_task(config: TrainConfig, task: roles.Task, follower: status.Follower) -> None:
    """Serves until the chief has ended.

    Raises:
      RunError, InputError or signals.Interruption: as the chief ended; the last if it was lost, or
        if a signal asked this one to stop.
    """
    if was_complete(config):
        return say_complete(config)
    with endings.watch_peers(config, task, follower=follower):
        _serve(config, task, lambda: follower.ended() is not None)
    return endings.end_like_the_chief(follower.ended())


def _serve(config: TrainConfig, task: roles.Task, is_over: Callable[[], bool]) -> None:
    """Serves variables until `is_over`, or until a signal asks this process to stop.

    Estimator's own parameter server waits in C++ for ever, where no signal is heard.
    """
    server = v1.train.Server(
        tf.train.ClusterSpec({role: list(hosts) for role, hosts in task.jobs.items()}),
        job_name=task.role,
        task_index=task.index,
        config=estimators.session_config(config, task),
    )
    progress.say(f"serving parameters at {server.target}", sys.stderr)
    with signals.deferrable():
        signals.defer()
        while not signals.noted() and not is_over():
            watchdog.enter(watchdog.SERVING)
            time.sleep(_LOOK_SECS)
        if signals.noted():
            signals.acknowledge()
            _request_save(config.model_dir, is_over)
        else:
            let_workers_leave(task)


def _request_save(model_dir: str, is_over: Callable[[], bool]) -> None:
    """Asks the chief to save the variables that only this process holds, and waits for it."""
    request = os.path.join(model_dir, SAVE_REQUEST)
    with contextlib.suppress(InputError, tf.errors.OpError):
        files.write_text(request, "")
        until = time.monotonic() + _SAVE_SECS
        # The chief removes it once it has saved.
        while tf.io.gfile.exists(request) and not is_over() and time.monotonic() < until:
            time.sleep(_LOOK_SECS)
        if tf.io.gfile.exists(request):
            files.remove(request)


def end_with_chief(task: roles.Task, follower: status.Follower, done: threading.Event) -> None:
    """Ends the process as the chief ended, once it has, unless `done` is set before.

    For a thread beside Estimator's own parameter server, which waits in C++ for ever, or beside its
    evaluator. That ends by itself if the chief is done: it has yet to evaluate the last checkpoint.
    """
    while not done.wait(_LOOK_SECS):
        ended = follower.ended()
        if ended and (ended.exit_code or task.role == roles.PS):
            let_workers_leave(task)
            sys.stderr.flush()
            os._exit(ended.exit_code or 0)


def let_workers_leave(task: roles.Task) -> None:
    """Waits until the workers have left: one in the middle of a step would report a lost peer."""
    workers = {name: address for name, address in task.peers if name.startswith(roles.WORKER)}
    until = time.monotonic() + _LEAVE_SECS
    while time.monotonic() < until and not signals.noted():
        if peers.ANSWERS not in peers.probe_all(workers).values():
            return
        time.sleep(_LOOK_SECS)
