"""Trains a stretch of a run again, from one of its checkpoints to a later one."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from mnist_estimator import InputError, RunError, storage
from mnist_estimator.cluster import roles
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import shard_cache
from mnist_estimator.data.manifest import Dataset, Manifest, find_manifest
from mnist_estimator.runs import (
    checkpoints,
    copies,
    differences,
    machine,
    open_run,
    record,
    run_data,
    starts,
    status,
)
from mnist_estimator.runtime import files, flag_fields, progress
from mnist_estimator.scoring import evaluation
from mnist_estimator.training import endings, loop, step_replay
from mnist_estimator.training.checkpoint_saver import CheckpointSaver
from mnist_estimator.training.run import check_network, make_run

_END_SECS = 40.0  # How long a cluster on this machine has to end.


@dataclasses.dataclass(frozen=True)
class Replayed:
    """A run whose stretches are trained again.

    Attributes:
      record: all of its run.json.
      config: its flags, with a number of threads that TensorFlow bears.
      data: its dataset.
      kept: its checkpoints, in the order of their steps.
    """

    record: dict[str, Any]
    config: TrainConfig
    data: Dataset
    kept: list[str]

    @property
    def stretches(self) -> list[Stretch]:
        """From each checkpoint to the next one."""
        pairs = zip(self.kept, self.kept[1:], strict=False)
        return [Stretch(self, first, last) for first, last in pairs]


@dataclasses.dataclass(frozen=True)
class Stretch:
    """The steps of a run from one checkpoint to another."""

    run: Replayed
    first: str
    last: str

    @property
    def steps(self) -> tuple[int, int]:
        return checkpoints.step_of(self.first), checkpoints.step_of(self.last)


def open_replayed(model_dir: str, model: str = "", data_dir: str = "") -> Replayed:
    """Opens a run to train stretches of it again.

    Args:
      model: the network that the user named, as for `open_run.open_run`.
      data_dir: where the run's own data are; "" for where it had them.

    Raises:
      InputError: if there is no such run, fewer than two checkpoints, or not its data.
      RunError: if no checkpoint is whole.
    """
    _check_is_of_train(model_dir)
    found = open_run.open_run(model_dir, open_run.NEWEST, model)
    kept = [*checkpoints.older_than(found.checkpoint), found.checkpoint]
    if len(kept) < 2:
        raise InputError(
            f"{model_dir}: found one checkpoint, expected two or more: one to begin at and one to "
            "compare with; keep more with --keep_checkpoint_max"
        )
    data = _open_data(found, data_dir)
    return Replayed(found.record, found.config, data, kept)


def replay(stretch: Stretch) -> list[str]:
    """Trains a stretch again and compares every variable with the run's; writes nothing to the run.

    Returns:
      A line for each variable that differs and one that says what that means; none if none does.

    Raises:
      InputError: if nothing gives the same bits as the run, as asynchronous workers.
      RunError: if a checkpoint or a record is damaged, or training fails.
    """
    first, last = stretch.steps
    passed = starts.between(stretch.run.record, first, last)
    config, trainers = _how_trained(stretch, passed)
    others = _warn_of_machines(passed, first, last)
    expected = _values(stretch.last)  # Read first: a run that goes on may delete it meanwhile.
    found = differences.find(expected, again := _train(stretch, config, trainers))
    if not found:
        return []
    meaning = step_replay.verdict(not differences.find(again, _train(stretch, config, trainers)))
    if others:
        meaning += "; the run had other machines or libraries, which may be the reason"
    return [*found, meaning]


def _check_is_of_train(model_dir: str) -> None:
    """Raises InputError for a model_dir of a program of the user's own."""
    is_ours = tf.io.gfile.exists(f"{model_dir}/{record.RUN_FILE}")
    if not is_ours and (checkpoints.newest(model_dir) or status.read(model_dir)):
        raise InputError(
            f"{model_dir}: holds checkpoints of another program and no {record.RUN_FILE}, expected "
            "a run of the command train: only of that the steps are known"
        )


def _open_data(found: open_run.OpenRun, data_dir: str) -> Dataset:
    trained = found.record["dataset"]
    data_dir = data_dir or trained["data_dir"]
    storage.install_for(data_dir)  # No flag need have named it.
    manifest = find_manifest(data_dir)
    if manifest is None:
        raise InputError(run_data.missing(found.record, found.config.model_dir, data_dir))
    if manifest.digest != trained["manifest_sha256"]:
        raise InputError(
            f"{data_dir}: holds other records (manifest {manifest.digest[:12]}) than the run in "
            f"{found.config.model_dir} was trained on ({trained['manifest_sha256'][:12]}); name "
            "the folder of those with --data_dir"
        )
    return Dataset(data_dir, manifest)


def _values(path: str) -> dict[str, np.ndarray]:
    problem = checkpoints.damage(path)
    if problem:
        raise RunError(f"{problem}; cannot be compared")
    return differences.values_of(path)


def _how_trained(stretch: Stretch, passed: list[starts.Start]) -> tuple[TrainConfig, int]:
    """The flags of a stretch, and how many processes computed its gradients."""
    run, (first, last) = stretch.run, stretch.steps
    configs = [starts.config_of(run.record, start) for start in passed]
    config = configs[0]
    if any(other != config for other in configs) or len({s.trainers for s in passed}) > 1:
        raise InputError(
            f"{run.config.model_dir}: after step {first} the run went on with other flags or "
            f"workers, at a step before {last} of which no checkpoint is kept: it cannot be "
            "trained again"
        )
    trainers = passed[0].trainers
    _check_gives_the_same(run, config, trainers)
    return _replaying(run, config, last), trainers


def _check_gives_the_same(run: Replayed, config: TrainConfig, trainers: int) -> None:
    """Raises InputError where training again does not give the same bits, whatever the machine."""
    model_dir = run.config.model_dir
    if config.strategy == "ps":
        raise InputError(
            f"{model_dir}: was trained with --strategy=ps, whose workers are never in step: "
            "training again never gives the same bits; with multi_worker it does"
        )
    if config.strategy == "multi_worker" and not trainers:
        raise InputError(
            f"{model_dir}: {record.RUN_FILE} does not tell how many workers there were, as an "
            "older version wrote it: it cannot be trained again"
        )
    if not config.is_deterministic:
        progress.warn("trained with --nodeterministic: differences need not mean anything")


def _replaying(run: Replayed, config: TrainConfig, last: int) -> TrainConfig:
    """The flags of a run, changed in what only shows, saves, evaluates or exports."""
    return dataclasses.replace(
        config,
        data_dir=run.data.folder,
        precision=run.record["compute_dtype"],
        decay_steps=config.schedule_steps,
        max_steps=last,
        save_checkpoints_steps=last,
        replay_steps=0,
        eval_split="none",
        early_stop_patience=0,
        export="none",
        profile_steps="",
        intra_op_threads=min(config.intra_op_threads, open_run.MOST_THREADS),
        inter_op_threads=min(config.inter_op_threads, open_run.MOST_THREADS),
    )


def _warn_of_machines(passed: list[starts.Start], first: int, last: int) -> bool:
    """Says which libraries and processors a stretch was trained with; False if with these."""
    now, others = machine.describe(), False
    for start in passed:
        where = f"steps {max(first, start.step)} to {last} were trained with"
        if not start.machine:
            progress.warn(f"{where} what run.json does not tell, as an older version wrote it")
        elif changed := machine.differences(start.machine, now):
            progress.warn(f"{where} {'; '.join(changed)}")
        others |= start.machine != now
    return others


def _train(stretch: Stretch, config: TrainConfig, trainers: int) -> dict[str, np.ndarray]:
    """Trains a stretch in a folder of its own; returns the variables after it."""
    data = stretch.run.data
    with files.temporary_folder() as folder, _explained(stretch):
        copies.keep_copy(stretch.first, folder)
        config = dataclasses.replace(config, model_dir=folder)
        progress.say("training steps {} to {} again".format(*stretch.steps), sys.stderr)
        if config.strategy == "multi_worker":
            _train_in_cluster(config, data.manifest, stretch.run.record, trainers)
        else:
            _train_alone(config, data)
        newest = checkpoints.newest(folder)
        if checkpoints.step_of(newest) != stretch.steps[1]:
            raise RunError(f"training again ended at step {checkpoints.step_of(newest)}")
        return differences.values_of(newest)


def _train_alone(config: TrainConfig, data: Dataset) -> None:
    if config.is_deterministic:
        tf.config.experimental.enable_op_determinism()
    check_network(config, data.manifest)
    with shard_cache.opened(data, folder=config.cache_dir, limit=config.cache_bytes):
        run = make_run(config, data.manifest, roles.Task())
        saver = CheckpointSaver(config.model_dir, every_steps=config.max_steps, is_alone=True)
        loop.train(run, endings.watch_peers(config, run.task), saver=saver)


def _train_in_cluster(
    config: TrainConfig, manifest: Manifest, recorded: dict[str, Any], workers: int
) -> None:
    """Trains with as many workers as the run had, all on this machine."""
    record.write_run(config, manifest, recorded["compute_dtype"])
    command = [sys.executable, "-m", "mnist_estimator.launch", f"--workers={workers}", "--"]
    with subprocess.Popen([*command, *_as_flags(config)], stdout=subprocess.DEVNULL) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()  # It has its tasks end, too.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECS)
            process.kill()
            raise
    if code:
        raise RunError(f"training again with {workers} workers on this machine ended with {code}")


def _as_flags(config: TrainConfig) -> list[str]:
    """The flags of a config that are not the default, as words of a command line."""
    words = []
    for field in flag_fields.fields_of(TrainConfig):
        value = getattr(config, field.name)
        if value == field.default or value is None or field.metadata["set_by"]:
            continue
        if isinstance(value, bool):
            words.append(f"--{field.name}" if value else f"--no{field.name}")
        else:
            words.append(f"--{field.name}={value}")
    return words


@contextlib.contextmanager
def _explained(stretch: Stretch) -> Iterator[None]:
    """Turns what TensorFlow raises while a stretch is trained into a RunError of one line."""
    data = stretch.run.data
    try:
        yield
    except (*files.FILE_ERRORS, tf.errors.InvalidArgumentError) as error:
        line = f"training again: {files.error_line(error)}"
        if files.is_outage(error):
            raise files.OutageError(line) from error
        evaluation.check_records(data.folder, data.manifest)
        raise RunError(line) from error
