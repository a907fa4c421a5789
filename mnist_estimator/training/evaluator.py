"""The part of an evaluator: evaluates each checkpoint of the chief, and exports the best one."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from mnist_estimator import InputError, RunError
from mnist_estimator.cluster import roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import Manifest
from mnist_estimator.runs import checkpoints, copies, layout, open_run, status
from mnist_estimator.runtime import progress, watchdog
from mnist_estimator.runtime.files import FILE_ERRORS, error_line
from mnist_estimator.training import endings, results
from mnist_estimator.training.run import Run, make_run, was_complete

_LOOK_SECS = 1.0
_COPY_FOLDER = "evaluating"  # In the model_dir: the checkpoint that is being evaluated.


def run_task(
    config: TrainConfig, manifest: Manifest, task: roles.Task, follower: status.Follower
) -> None:
    """Evaluates checkpoints up to the last one of the chief.

    Raises:
      InputError: if the chief's address is not known, or the chief evaluates by itself.
      RunError, InputError or signals.Interruption: as the chief ended; the last if it was lost.
    """
    if not task.chief_address:
        raise InputError(
            "--chief_hosts: found nothing for the evaluator, expected the chief's host:port: "
            "where the chief has gone, the evaluator ends"
        )
    if not results.evaluates_while_training(config, manifest):
        progress.say("nothing to evaluate while training: no validation split", sys.stderr)
        return
    complete = was_complete(config)
    run = make_run(config, manifest, task)
    with endings.watch_peers(config, task, follower=follower) as watch:

        def is_over() -> bool:
            if not watch.missing():
                _check_chief_does_not_evaluate(config, follower.now())
            return complete or follower.ended() is not None

        _evaluate_each(run, is_over)
    endings.end_like_the_chief(follower.ended())
    if config.export == layout.BEST and run.evaluations.best:
        results.export(run, open_run.chosen_checkpoint(config))


def _evaluate_each(run: Run, is_over: Callable[[], bool]) -> None:
    """Evaluates each new checkpoint up to the last one.

    Args:
      is_over: whether the chief saves no more; asked about once a second.
    """
    model_dir = run.config.model_dir
    warned: set[str] = set()
    with _copy_folder(model_dir) as folder:
        while True:
            # Asked before the look: the newest checkpoint after the end stays the newest.
            over = is_over()
            newest = checkpoints.newest(model_dir)
            step = checkpoints.step_of(newest)
            run.evaluations.reload()  # A chief that goes back drops those of later steps.
            due = step > 0 and not run.evaluations.has(step)
            # One without a seal is still being written, unless it comes from another program.
            is_there = due and (over or checkpoints.is_sealed(newest))
            if is_there and (copy := _copied(newest, folder, warned, over)):
                results.evaluate(run, copy)
            elif over:
                return
            else:
                watchdog.enter(watchdog.WAITING)
                time.sleep(_LOOK_SECS)


@contextlib.contextmanager
def _copy_folder(model_dir: str) -> Iterator[str]:
    """A folder for a copy of the checkpoint at hand, which the chief may delete meanwhile."""
    folder = os.path.join(model_dir, _COPY_FOLDER)
    try:
        yield folder
    finally:
        with contextlib.suppress(InputError):
            copies.drop_copies(folder)


def _copied(checkpoint: str, folder: str, warned: set[str], over: bool) -> str:
    """Returns the path of a copy; "" if there is none (yet), with one warning a checkpoint.

    A checkpoint that is gone or damaged does not stay the newest: the chief saves another one, or
    goes back to the one before. If only the copy fails, the next try may succeed.

    Raises:
      InputError, RunError or an error of the file: if the copy fails after the chief's end.
    """
    try:
        copies.keep_copy(checkpoint, folder)
    except (InputError, RunError, *FILE_ERRORS) as error:
        problem = checkpoints.damage(checkpoint)
        if over and not problem:
            raise
        if checkpoint not in warned:
            warned.add(checkpoint)
            progress.warn(f"{problem or error_line(error)}: not evaluated yet")
        return ""
    return os.path.join(folder, os.path.basename(checkpoint))


def _check_chief_does_not_evaluate(config: TrainConfig, now: status.Status | None) -> None:
    """Raises InputError if the chief evaluates too."""
    if now and now.is_training and not now.has_evaluator:
        raise InputError(
            f"{config.model_dir}: the chief evaluates by itself, found an evaluator too; give "
            "--evaluator to every task, or list the evaluator in the cluster"
        )
