"""The part of a parameter server: holds its share of the weights until the run has ended."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable

from mnist_estimator import InputError, estimators
from mnist_estimator.cluster import peers, roles
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import status
from mnist_estimator.runtime import files, progress, signals
from mnist_estimator.training import endings, hooks

_LOOK_SECS = 0.2
_SAVE_SECS = 15.0  # How long one that has to go waits for the chief to save.
_LEAVE_SECS = 10.0  # How long the workers have, after the chief's end, to leave first.


def run_task(config: TrainConfig, task: roles.Task, follower: status.Follower) -> None:
    """Serves until the chief has ended.

    Raises:
      RunError, InputError or signals.Interruption: as the chief ended; the last if it was lost, or
        if a signal asked for this one's end.
    """
    if endings.was_complete(config):
        return endings.nothing_to_do(config)
    with endings.watch(config, task, follower=follower):
        _serve(config, task, lambda: follower.ended() is not None)
    return endings.end_like_the_chief(follower.ended())


def _serve(config: TrainConfig, task: roles.Task, is_over: Callable[[], bool]) -> None:
    """Serves parameters until `is_over`, or until a signal asks for its end.

    Estimator's own waits in C++ for ever, where no signal is heard.
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
            time.sleep(_LOOK_SECS)
        if signals.noted():
            signals.acknowledge()
            _have_saved(config.model_dir, is_over)
        else:
            _let_workers_leave(task)


def _have_saved(model_dir: str, is_over: Callable[[], bool]) -> None:
    """Asks the chief to save what only this process holds, and gives it time to."""
    request = os.path.join(model_dir, hooks.SAVE_REQUEST)
    with contextlib.suppress(InputError, tf.errors.OpError):
        files.write_text(request, "")
        until = time.monotonic() + _SAVE_SECS
        # The chief removes it once it has saved.
        while tf.io.gfile.exists(request) and not is_over() and time.monotonic() < until:
            time.sleep(_LOOK_SECS)
        if tf.io.gfile.exists(request):
            files.remove(request)


def _let_workers_leave(task: roles.Task) -> None:
    """Waits a little for the workers: one in the middle of a step would take it for a fault."""
    workers = {name: address for name, address in task.peers if name.startswith(roles.WORKER)}
    until = time.monotonic() + _LEAVE_SECS
    while time.monotonic() < until and not signals.noted():
        if peers.ANSWERS not in peers.probe_all(workers).values():
            return
        time.sleep(_LOOK_SECS)
