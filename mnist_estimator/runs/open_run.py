"""A run that a command opens: its record, and the checkpoint that the command works on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from mnist_estimator import InputError, RunError, networks, storage
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import doubts
from mnist_estimator.data.manifest import Manifest, TrainedOn, find_manifest
from mnist_estimator.data.splits import TEST
from mnist_estimator.runs import checkpoints, record, run_data, status
from mnist_estimator.runs.evaluations import BEST_FOLDER, Evaluations
from mnist_estimator.runs.layout import BEST
from mnist_estimator.runtime import files, own_modules
from mnist_estimator.runtime.files import FileError
from mnist_estimator.runtime.progress import warn

NEWEST = "newest"
MOST_THREADS = 1024
_SETTLE_SECS, _LOOK_SECS = 3.0, 0.1


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A trained run as a command works on it, and one of its checkpoints.

    Attributes:
      config: the flags that it was trained with, where this process needs no others.
      record: all of its run.json.
      checkpoint: path of the checkpoint.
      options: params of `model_fn.model_fn` that this process sets, such as the temperature.
      others: the runs that answer together with this one.
    """

    config: TrainConfig
    record: dict[str, Any]
    checkpoint: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    others: tuple[OpenRun, ...] = ()

    @property
    def trained_on(self) -> TrainedOn:
        """The shape and classes of the data, which are known even if the data are not at hand."""
        return record.trained_on(self.record)

    @property
    def params(self) -> dict[str, Any]:
        """The params of `model_fn.model_fn`."""
        return {**self.config.model_params(self.trained_on), **self.options}

    def data(self, data_dir: str = "", split: str = TEST) -> tuple[str, Manifest]:
        """Returns the folder and manifest of the run's own data, or of others that fit its network.

        Args:
          data_dir: the folder; "" for that of the run's own data.
          split: the one to be evaluated.

        Raises:
          InputError: if there are no data, or as `check`.
        """
        data_dir = data_dir or self.record["dataset"]["data_dir"]
        storage.install_for(data_dir)  # No flag need have named it.
        manifest = find_manifest(data_dir)
        if manifest is None:
            raise InputError(run_data.missing(self.record, self.config.model_dir, data_dir))
        self.check(data_dir, manifest, split)
        return data_dir, manifest

    def check(self, name: str, manifest: Manifest, split: str, *, is_file: bool = False) -> None:
        """Warns of what is doubtful about an evaluation on a split, or on a file of this name.

        Raises:
          InputError: if the examples do not fit the network, or are of another scale.
        """
        record.check_fits(self.record, name, manifest)
        kind = {"name": name, "records": not is_file}
        lines = [
            f"{line} ({run.config.model_dir})" if self.others else line
            for run in (self, *self.others)
            for line in doubts.of_evaluation(manifest, split, run.record["dataset"], **kind)
        ]
        for line in lines:
            warn(line)


def open_run(model_dir: str, checkpoint: str = "", model: str = "") -> OpenRun:
    """Opens the run in a model_dir.

    Args:
      checkpoint: as for `find_checkpoint`; "" for the one that training chose.
      model: the network that the user named, whose module may be imported; "" if none.

    Raises:
      InputError: if there is no run or no such checkpoint, or its network is another one, or of a
        module that only the run names and that may not be imported.
      RunError: if the checkpoint is damaged.
    """
    config, found = record.read_run(model_dir)
    config = dataclasses.replace(
        config, model_dir=model_dir, strategy="none", **_limited_threads(config)
    )
    _check_network(config, model)
    return OpenRun(config, found, _stable_checkpoint(config, checkpoint))


def _stable_checkpoint(config: TrainConfig, checkpoint: str) -> str:
    """Returns the path of a checkpoint; copies it to memory first if a trainer may delete it."""
    until = time.monotonic() + _SETTLE_SECS
    while True:
        now = status.read(config.model_dir)
        is_in_use = now is not None and now.state in (status.TRAINING, status.TRAINED)
        try:
            if checkpoint:
                found = find_checkpoint(config.model_dir, checkpoint)
            else:
                found = chosen_checkpoint(config)
            if is_in_use:
                checkpoints.copy_to_memory(found)
            return found
        except (RunError, FileError):
            if not is_in_use or time.monotonic() > until:
                raise
        time.sleep(_LOOK_SECS)  # The trainer is about to save, or to record, the next one.


def _limited_threads(config: TrainConfig) -> dict[str, int]:
    """The run's numbers of threads, up to a limit above which TensorFlow ends the process."""
    names = ("intra_op_threads", "inter_op_threads")
    return {name: min(getattr(config, name), MOST_THREADS) for name in names}


def _check_network(config: TrainConfig, named: str) -> None:
    if named and named != config.model:
        raise InputError(
            f"--model: found {named}, expected {config.model}, which the run in "
            f"{config.model_dir} was trained with"
        )
    if not named and config.model not in networks.NETWORKS:
        own_modules.check_trusted(config.model, config.model_dir)
    networks.find(config.model)  # Raises InputError where the user's own network is not installed.


def find_checkpoint(model_dir: str, checkpoint: str) -> str:
    """Returns the path of a checkpoint that is whole: "best", "newest" or the path itself.

    Raises:
      InputError: if there is none.
      RunError: if it is damaged.
    """
    if checkpoint == NEWEST:
        found = checkpoints.newest_whole(model_dir, warn)
        if not found:
            raise InputError(f"{model_dir}: found no checkpoint, expected one; train first")
        return found
    if checkpoint == BEST:
        found = Evaluations(model_dir).best_checkpoint
        if not found:
            raise InputError(f"{model_dir}: no checkpoint has been evaluated, so none is the best")
    else:
        found = checkpoint
        if not tf.io.gfile.exists(f"{found}.index"):
            raise InputError(f"--checkpoint: {found} not found, expected one of {model_dir}")
        _check_own(found, model_dir)
    problem = checkpoints.damage(found)
    if problem:
        raise RunError(f"{problem}; take another one")
    return found


def _check_own(checkpoint: str, model_dir: str) -> None:
    """Raises InputError if a checkpoint is in the folder of another run."""
    folder = os.path.dirname(checkpoint) or "."
    if os.path.basename(folder) == BEST_FOLDER and not _is_run(folder):
        folder = os.path.dirname(folder) or "."
    if _is_run(folder) and _absolute(folder) != _absolute(model_dir):
        raise InputError(
            f"--checkpoint: {checkpoint} is one of the run in {folder}, expected one of "
            f"{model_dir}; give --model_dir={folder}"
        )


def _is_run(folder: str) -> bool:
    return tf.io.gfile.exists(os.path.join(folder, record.RUN_FILE))


def _absolute(folder: str) -> str:
    return os.path.realpath(folder) if files.is_local(folder) else folder.rstrip("/")


def chosen_checkpoint(config: TrainConfig) -> str:
    """The checkpoint that --export says is exported; it is evaluated on the test split too."""
    best = config.export == BEST and Evaluations(config.model_dir).best
    return find_checkpoint(config.model_dir, BEST if best else NEWEST)


@contextlib.contextmanager
def raise_when_folder_gone(model_dir: str, work: str) -> Iterator[None]:
    """Turns the ValueError that Estimator raises for a folder that is gone into a RunError.

    Args:
      work: what was done in the folder, for the error's line.
    """
    try:
        yield
    except ValueError as error:
        if isinstance(error, InputError) or tf.io.gfile.isdir(model_dir):
            raise
        raise RunError(f"{model_dir}: is gone, stopped {work}") from error
