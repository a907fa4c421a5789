"""The part of a worker that is not the chief: trains with the others until the run has ended."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from mnist_estimator import RunError, predictions
from mnist_estimator.cluster import roles
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import Manifest
from mnist_estimator.runs import checkpoints, record, status
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runtime import files, progress, watchdog
from mnist_estimator.training import endings, loop
from mnist_estimator.training.run import check_network, is_complete, make_run, say_complete

_LOOK_SECS = 1.0
_REPAIR_SECS = 60.0  # How long the chief may take to go back to a checkpoint that is whole.


def run_task(
    config: TrainConfig, manifest: Manifest, task: roles.Task, follower: status.Follower
) -> None:
    """Trains until the chief has ended.

    Raises:
      RunError, InputError or signals.Interruption: as the chief ended; the last if a task is lost.
    """
    newest = _wait_for_whole_checkpoint(config, follower)
    if newest:
        record.check_continues(config, manifest, predictions.compute_dtype(config.precision).name)
        evaluations = Evaluations(config.model_dir, config.best_metric)
        if is_complete(config, evaluations, checkpoints.step_of(newest)):
            return say_complete(config)
    check_network(config, manifest)
    run = make_run(config, manifest, task)
    watch = endings.watch_peers(config, task, follower=follower)
    progress.say(
        f"training with the chief at {task.chief_address}, in {config.model_dir}", sys.stderr
    )
    with _remove_scratch(config, task), endings.ignore_loss_after_chief(config, follower):
        loop.train(run, watch, follower=follower)
    return endings.end_like_the_chief(follower.ended())


def _wait_for_whole_checkpoint(config: TrainConfig, follower: status.Follower) -> str:
    """Waits until the newest checkpoint is one that can be restored; "" if there is none.

    Synchronous workers read it too. Of a damaged one the chief goes back to the one before.

    Raises:
      RunError: if the chief does not do so in time.
    """
    until = time.monotonic() + _REPAIR_SECS
    while newest := checkpoints.newest(config.model_dir):
        problem = checkpoints.damage(newest)
        if not problem and not checkpoints.is_pointed_to(newest):
            problem = f"{newest}: the list of checkpoints names another folder"
        if not problem:
            break
        endings.end_like_the_chief(follower.ended())
        if time.monotonic() > until:
            raise RunError(f"{problem}; found no chief that goes on from another one")
        watchdog.alive()
        time.sleep(_LOOK_SECS)
    return newest


@contextlib.contextmanager
def _remove_scratch(config: TrainConfig, task: roles.Task) -> Iterator[None]:
    """After the block removes the folder that TensorFlow has made for this worker, if it has.

    With collective operations each worker gets one for the files that only the chief keeps.
    """
    scratch = os.path.join(config.model_dir, f"tmp_{task.role}_{task.index}")
    was_there = tf.io.gfile.exists(scratch)
    try:
        yield
    finally:
        if not was_there:
            files.remove_folder(scratch)
