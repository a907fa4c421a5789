"""A run in its model_dir: its record in run.json, and the checkpoint that a command works on."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from mnist_estimator import InputError, RunError, __version__, networks
from mnist_estimator.compat import tf
from mnist_estimator.config import LEARNING, NETWORK, TrainConfig, flags_affecting
from mnist_estimator.data import doubts
from mnist_estimator.data.manifest import Manifest, TrainedOn, find_manifest
from mnist_estimator.data.splits import TEST
from mnist_estimator.runs import checkpoints, formats, run_data, run_record, status
from mnist_estimator.runs.evaluations import BEST_FOLDER, EVALUATIONS_FILE, Evaluations
from mnist_estimator.runtime import files, json_files, own_modules
from mnist_estimator.runtime.files import (
    FileError,
    file_errors,
    is_local,
    write_json,
)
from mnist_estimator.runtime.progress import warn
from mnist_estimator.runtime.streams import is_text

RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
EXPORT_FOLDER = "export"
BEST, FINAL, NONE = "best", "final", "none"  # Which model is exported.
NEWEST = "newest"
_MOST_THREADS = 1024
_MOST_LINE = 500  # Characters of what a record says that an error repeats.
_SETTLE_SECS, _LOOK_SECS = 3.0, 0.1
# Those that a run makes in its model_dir. TensorFlow names the last ones.
_FOLDERS = (
    BEST_FOLDER,
    EXPORT_FOLDER,
    os.path.join(EXPORT_FOLDER, BEST),
    os.path.join(EXPORT_FOLDER, FINAL),
    "eval",
    "eval_test",
    "plugins",
    os.path.join("plugins", "profile"),
)
_NETWORK_FLAGS = flags_affecting(NETWORK)
# What the weights follow from, beside the data and what `check_continues` insists on.
_LEARNING_FLAGS = flags_affecting(LEARNING)


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A trained run as a command works on it, and one of its checkpoints.

    Attributes:
      config: the flags that it was trained with, where this process needs no others.
      record: all of its run.json.
      checkpoint: path of the checkpoint.
    """

    config: TrainConfig
    record: dict[str, Any]
    checkpoint: str

    @property
    def trained_on(self) -> TrainedOn:
        """The shape and classes of the data, which are known even if the data are not at hand."""
        return run_record.trained_on(self.record)

    @property
    def params(self) -> dict[str, Any]:
        """The params of `model_fn.model_fn`."""
        return self.config.model_params(self.trained_on)

    def data(self, data_dir: str = "", split: str = TEST) -> tuple[str, Manifest]:
        """Returns the folder and manifest of the run's own data, or of others that fit its network.

        Args:
          data_dir: the folder; "" for that of the run's own data.
          split: the one to be evaluated.

        Raises:
          InputError: if there are no data, or as `check`.
        """
        data_dir = data_dir or self.record["dataset"]["data_dir"]
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
        check_fits(self.record, name, manifest)
        trained, kind = self.record["dataset"], {"name": name, "records": not is_file}
        for line in doubts.of_evaluation(manifest, split, trained, **kind):
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
    config, record = read_run(model_dir)
    config = dataclasses.replace(
        config, model_dir=model_dir, strategy="none", **_limited_threads(config)
    )
    _check_network(config, model)
    return OpenRun(config, record, _stable_checkpoint(config, checkpoint))


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
    return {name: min(getattr(config, name), _MOST_THREADS) for name in names}


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
    problem = checkpoints.damage(found)
    if problem:
        raise RunError(f"{problem}; take another one")
    return found


def chosen_checkpoint(config: TrainConfig) -> str:
    """The checkpoint that --export says is exported; it is evaluated on the test split too."""
    best = config.export == BEST and Evaluations(config.model_dir).best
    return find_checkpoint(config.model_dir, BEST if best else NEWEST)


def write_run(config: TrainConfig, manifest: Manifest, compute_dtype: str) -> None:
    """Writes run.json: all flags, the versions, and which data the run trains on.

    Args:
      compute_dtype: the arithmetic that --precision means on this machine, as "bfloat16".
    """
    record = {
        formats.KEY: formats.VERSION,
        "flags": dataclasses.asdict(config),
        "compute_dtype": compute_dtype,
        "versions": {
            "mnist_estimator": __version__,
            "tensorflow": tf.__version__,
            "tensorflow-estimator": importlib.metadata.version("tensorflow-estimator"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "dataset": {
            "name": manifest.dataset,
            "data_dir": _absolute(config.data_dir),
            "manifest_sha256": manifest.digest,
            "sources": manifest.sources,
            "split_rule": manifest.split_rule,
            "image_shape": manifest.image_shape,
            "num_classes": manifest.num_classes,
            "class_names": manifest.class_names,
            "brightest_pixel": manifest.brightest_pixel,
            "pictures": manifest.pictures,
            "examples": {split: manifest.num_examples(split) for split in manifest.splits},
        },
    }
    write_json(os.path.join(config.model_dir, RUN_FILE), record)


def check_folder(model_dir: str) -> None:
    """Raises InputError if a model_dir has files of other programs that a run would replace.

    Or if one of the folders in it is a link: what is in there is replaced and deleted.
    """
    check_no_links(model_dir)
    if tf.io.gfile.exists(os.path.join(model_dir, RUN_FILE)):
        read_run(model_dir)
        return
    ours = (
        METRICS_FILE,
        EVALUATIONS_FILE,
        *([] if status.read(model_dir) else [status.STATUS_FILE]),
    )
    for name in ours:
        if tf.io.gfile.exists(os.path.join(model_dir, name)):
            raise InputError(
                f"{model_dir}: found {name} without a run's {RUN_FILE}, so it may not be this "
                "package's; move it away, or give another --model_dir"
            )


def check_no_links(model_dir: str) -> None:
    """Raises InputError if a folder that a run has in its model_dir is a symbolic link.

    The model_dir itself may be one.
    """
    for name in _FOLDERS:
        files.check_no_link(os.path.join(model_dir, name))


def read_run(model_dir: str) -> tuple[TrainConfig, dict[str, Any]]:
    """Returns the flags of the run in a model_dir and its whole record.

    Raises:
      InputError: if there is no run.json, or it is not one of this package or of an older one.
    """
    path = os.path.join(model_dir, RUN_FILE)
    with file_errors(path):
        data = files.read_bytes(path, json_files.MOST_BYTES)
    if data is None:
        raise InputError(f"{path}: not found, expected the record of a run; train first")
    try:
        return run_record.parse(data, lambda line: _warn_once(f"{path}: {line}"))
    except formats.NewerFormatError as error:
        raise InputError(f"{path}: {error}") from None
    except ValueError as error:
        line = str(error)[:_MOST_LINE]
        raise InputError(
            f"{path}: found no record of a run ({line}); move it away, or give another --model_dir"
        ) from None


@functools.cache
def _warn_once(line: str) -> None:
    """Warns of what a command would otherwise say each time it reads the record."""
    warn(line)


def check_continues(config: TrainConfig, manifest: Manifest, compute_dtype: str) -> None:
    """Says which flags differ from those that the run in the model_dir has had so far.

    Args:
      compute_dtype: as for `write_run`.

    Raises:
      InputError: if these settings or data cannot continue it.
    """
    before, record = read_run(config.model_dir)
    insisted = (*_NETWORK_FLAGS, "optimizer", "best_metric")
    pairs = {f"--{name}": (getattr(before, name), getattr(config, name)) for name in insisted}
    pairs |= {
        "--precision": (record["compute_dtype"], compute_dtype),
        f"records in {config.data_dir}": (record["dataset"]["manifest_sha256"], manifest.digest),
    }
    for what, (old, new) in pairs.items():
        if old != new:
            raise InputError(
                f"{config.model_dir}: holds a run with {what} {old}, found {new}; "
                "continue it as it began, or give another --model_dir"
            )
    changed = [
        f"--{name}={getattr(config, name)} (was {getattr(before, name)})"
        for name in _LEARNING_FLAGS
        if getattr(before, name) != getattr(config, name)
    ]
    if changed:
        warn(f"{config.model_dir}: continuing with other flags: {', '.join(changed)}")


def learning_flags(config: TrainConfig) -> dict[str, Any]:
    """The flags that the weights follow from, beside the data."""
    names = (*_NETWORK_FLAGS, *_LEARNING_FLAGS, "precision", "max_steps")
    return {name: getattr(config, name) for name in names}


def check_fits(record: dict[str, Any], data_dir: str, manifest: Manifest) -> None:
    """Raises InputError unless the records in `data_dir` fit the network of a recorded run."""
    trained = record["dataset"]
    expected = (tuple(trained["image_shape"]), trained["num_classes"])
    if (manifest.image_shape, manifest.num_classes) != expected:
        raise InputError(
            f"{data_dir}: found images {manifest.image_shape} of {manifest.num_classes} classes, "
            f"expected {expected[0]} of {expected[1]}, which the run was trained on"
        )


def check_data_there(config: TrainConfig) -> None:
    """Raises InputError if other data would be fetched than the run in the model_dir has."""
    if checkpoints.newest(config.model_dir):
        _, record = read_run(config.model_dir)
        run_data.check_there(record, config.model_dir, config.data_dir, config.dataset)


def _absolute(path: str) -> str:
    absolute = os.path.abspath(path) if is_local(path) else path
    # TensorFlow takes no name that is no UTF-8; below such a folder a relative one still works.
    return absolute if is_text(absolute) else path


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
