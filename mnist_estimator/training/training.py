"""Training from data to result: prepares the data if need be, then does the part of this task.

Whatever ends it, the model_dir holds a run that the same command continues.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

from mnist_estimator import RunError, compat, estimators
from mnist_estimator.cluster import peers, roles
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import data_dirs, shard_cache
from mnist_estimator.data.manifest import Dataset, Manifest
from mnist_estimator.runs import checkpoints, layout, lock, open_run, record, status
from mnist_estimator.runtime import signals, watchdog
from mnist_estimator.runtime.files import (
    FILE_ERRORS,
    OutageError,
    error_line,
    is_out_of_memory,
    is_outage,
)
from mnist_estimator.scoring import evaluation
from mnist_estimator.training import (
    chief,
    evaluator,
    joining,
    parameter_server,
    stalls,
    worker,
)
from mnist_estimator.training.run import describe_saved

_LOOK_SECS = 1.0


def train(
    config: TrainConfig, task: roles.Task, since: datetime.datetime | None = None
) -> dict[str, Any] | None:
    """Does a task's part of a training run; a process on its own does all of it.

    That is: train up to `max_steps`, or until no more is learned, evaluating each checkpoint; then
    evaluate the chosen model on the test split, once, and export it. A run that is complete already
    trains no more, but is evaluated and exported all the same.

    Args:
      since: when this process began; without it, now.

    Returns:
      The final test evaluation, as in metrics.json; None if there is no test split or this task is
      not the chief.

    Raises:
      InputError: if the data cannot be had, the settings do not fit it, or another trainer is at
        work in the model_dir.
      RunError: if a file cannot be read or written, or the loss is not finite any more. Of these
        two, other tasks raise the one that the chief failed with.
      signals.Interruption: if a signal ended it, the chief's or another one's end, or the loss of
        a task that it needs; says what is saved.

    A task that stands still for longer than --stall_timeout_secs does not return: it ends the
    process, see `stalls`.
    """
    compat.look_for_variables_every(_LOOK_SECS)
    config = estimators.with_strategy(config)
    if config.is_deterministic:
        tf.config.experimental.enable_op_determinism()
    with (
        _add_saved_step(config.model_dir),
        stalls.watching(config, task) as stall_end,
        joining.join_cluster(config, task),
    ):
        if task.is_chief:
            return _lead(config, task, stall_end)
        return _follow(config, task, since, stall_end)


def _lead(
    config: TrainConfig, task: roles.Task, stall_end: stalls.StallEnd
) -> dict[str, Any] | None:
    # The lock first: a model_dir in use has the record of the trainer at work.
    with lock.held(config.model_dir, patience=lock.PATIENCE_SECS):
        _check_model_dir(config)
        with (
            # Before the data: where there are none, the record of the end ends the other tasks.
            status.record_outcome(config.model_dir, task.has_evaluator) as recorder,
            stall_end.recording(recorder),
            _listen_for_evaluator(task),
            _open_dataset(config) as manifest,
        ):
            return chief.run_task(config, manifest, task, recorder)


def _follow(
    config: TrainConfig,
    task: roles.Task,
    since: datetime.datetime | None,
    stall_end: stalls.StallEnd,
) -> None:
    stall_end.follower = follower = status.Follower(config.model_dir, since)
    if task.role == roles.PS:
        return parameter_server.run_task(config, task, follower)
    with _open_dataset(config) as manifest:
        if task.role == roles.EVALUATOR:
            return evaluator.run_task(config, manifest, task, follower)
        return worker.run_task(config, manifest, task, follower)


def _check_model_dir(config: TrainConfig) -> None:
    """Removes checkpoints that are too many before anything is written: they may fill the disk.

    Raises:
      InputError: if the model_dir has files of another program.
    """
    layout.check_folder(config.model_dir)
    newest, keep = checkpoints.newest(config.model_dir), config.keep_checkpoint_max
    if newest and checkpoints.surplus(newest, keep) and not checkpoints.damage(newest):
        checkpoints.keep_newest(newest, keep)


def _listen_for_evaluator(task: roles.Task) -> contextlib.AbstractContextManager[None]:
    """Listens at the chief's address, by which an evaluator sees that the chief is there.

    Where the chief has a TensorFlow server, that does.
    """
    if task.has_evaluator and task.chief_address and not task.jobs:
        return peers.listening(task.chief_address)
    return contextlib.nullcontext()


@contextlib.contextmanager
def _open_dataset(config: TrainConfig) -> Iterator[Manifest]:
    """Prepares the dataset if need be, and yields its manifest.

    Raises:
      InputError: if the data cannot be had, or are not those that the run has had so far.
      RunError: if TensorFlow could not read or write a file in the block, or lacks memory.
    """
    record.check_data_there(config)
    with watchdog.phase(watchdog.PREPARING):
        manifest = data_dirs.ensure_dataset(
            config.data_dir,
            dataset=config.dataset,
            validation_split=config.validation_split,
            shards=config.shards,
            seed=config.seed,
        )
    with _copies(config, manifest):
        try:
            with open_run.raise_when_folder_gone(config.model_dir, "training"):
                yield manifest
        except (MemoryError, *FILE_ERRORS, tf.errors.InvalidArgumentError) as error:
            if is_out_of_memory(error):
                raise _out_of_memory(config, error) from error
            if is_outage(error):
                raise OutageError(f"stopped training: {error_line(error)}") from error
            evaluation.check_records(config.data_dir, manifest)
            if isinstance(error, tf.errors.InvalidArgumentError):
                raise  # Not a file's fault, so a mistake in the program.
            raise RunError(
                f"stopped training in {config.model_dir}: {error_line(error)}; "
                f"{describe_saved(config.model_dir)}"
            ) from error


def _copies(config: TrainConfig, manifest: Manifest) -> contextlib.AbstractContextManager[None]:
    """Keeps local copies of what is read from a data_dir in an object store."""
    dataset = Dataset(config.data_dir, manifest)
    return shard_cache.opened(dataset, folder=config.cache_dir, limit=config.cache_bytes)


def _out_of_memory(config: TrainConfig, error: Exception) -> RunError:
    newest = checkpoints.newest(config.model_dir)
    saved = f"step {checkpoints.step_of(newest)} is saved" if newest else "nothing is saved yet"
    return RunError(
        f"--batch_size={config.batch_size}: needs more memory than there is ({error_line(error)}); "
        f"{saved} in {config.model_dir}; give a smaller --batch_size"
    )


@contextlib.contextmanager
def _add_saved_step(model_dir: str) -> Iterator[None]:
    """Adds to an Interruption of the block which step is saved."""
    try:
        yield
    except signals.Interruption as interruption:
        raise signals.Interruption(
            interruption.reason, interruption.exit_code, describe_saved(model_dir)
        ) from None
