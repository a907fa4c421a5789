"""A run in its model_dir: its record in run.json, its checkpoints, the evaluation of a split."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from mnist_estimator import InputError, RunError, __version__, estimators, networks
from mnist_estimator.compat import estimator, tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import doubts, inputs, records
from mnist_estimator.data.manifest import Manifest, TrainedOn, find_manifest, prepare_again
from mnist_estimator.data.splits import TEST
from mnist_estimator.model_fn import ACCURACY, EXAMPLES, LOSS, compute_dtype
from mnist_estimator.runs import checkpoints, run_data, run_record, status
from mnist_estimator.runs.evaluations import BEST_FOLDER, EVALUATIONS_FILE, Evaluations
from mnist_estimator.runtime import files, json_files, own_modules, progress
from mnist_estimator.runtime.files import (
    FILE_ERRORS,
    FileError,
    error_line,
    file_errors,
    is_local,
    is_out_of_memory,
    write_json,
)
from mnist_estimator.runtime.progress import warn
from mnist_estimator.runtime.streams import is_text
from mnist_estimator.scoring.scores import MAX_CLASSES, Scores
from mnist_estimator.training import hooks

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
_NETWORK_FLAGS = ("model", "hidden_units", "batch_norm", "pixel_max")
# What the weights follow from, beside the data and what `check_continues` insists on.
_LEARNING_FLAGS = (
    "deterministic",
    "batch_size",
    "seed",
    "dropout_rate",
    "initializer",
    "initial_stddev",
    "initial_bias",
    "loss_reduction",
    "learning_rate",
    "schedule",
    "warmup_steps",
    "decay_steps",
    "decay_rate",
    "momentum",
    "clip_norm",
    "cache_mb",
    "shuffle_buffer",
)


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A trained run as a command works on it, and one of its checkpoints."""

    config: TrainConfig
    record: dict[str, Any]
    checkpoint: str

    @property
    def trained_on(self) -> TrainedOn:
        """The data's shape and classes, which are known also where the data are not."""
        return run_record.trained_on(self.record)

    @property
    def params(self) -> dict[str, Any]:
        """What `model_fn.model_fn` takes as params."""
        return estimators.make_params(self.config, self.trained_on)

    def data(self, data_dir: str = "", split: str = TEST) -> tuple[str, Manifest]:
        """The run's own records, or others that fit its network: their folder and manifest.

        Args:
          split: the one to be evaluated.

        Raises:
          InputError: if there are none, or as `check`.
        """
        data_dir = data_dir or self.record["dataset"]["data_dir"]
        manifest = find_manifest(data_dir)
        if manifest is None:
            raise InputError(run_data.missing(self.record, self.config.model_dir, data_dir))
        self.check(data_dir, manifest, split)
        return data_dir, manifest

    def check(self, name: str, manifest: Manifest, split: str, *, is_file: bool = False) -> None:
        """Says what is doubtful about evaluating the run on a split, or on a file of this name.

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
      model: the network that the user names, whose module may be imported; "": none.

    Raises:
      InputError: if there is no run or no such checkpoint, or its network is another one, or of a
        module that only the run names and that may not be imported.
      RunError: if the checkpoint is damaged.
    """
    config, record = read_run(model_dir)
    config = dataclasses.replace(config, model_dir=model_dir, strategy="none", **_threads(config))
    _check_network(config, model)
    return OpenRun(config, record, _lasting_checkpoint(config, checkpoint))


def _lasting_checkpoint(config: TrainConfig, checkpoint: str) -> str:
    """The path of a run's checkpoint, which beside a trainer is held: that deletes and replaces."""
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
                checkpoints.hold(found)
            return found
        except (RunError, FileError):
            if not is_in_use or time.monotonic() > until:
                raise
        time.sleep(_LOOK_SECS)  # The next one is there in a moment.


def _threads(config: TrainConfig) -> dict[str, int]:
    """A run's threads, but no more than machines have: TensorFlow ends the process otherwise."""
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
    networks.find(config.model)  # A network of the user's own may not be at hand here.


def evaluate_alone(
    run: OpenRun,
    data_dir: str,
    manifest: Manifest,
    split: str,
    *,
    batch_size: int = 1000,
    scores: Scores | None = None,
) -> dict[str, Any]:
    """Evaluates an open run as `evaluate` does, and leaves nothing in its model_dir."""
    # Estimator writes each evaluation to its model_dir for TensorBoard, which takes one of an older
    # checkpoint for a restart and drops the points after it. The run's curves are to stay.
    with files.memory_folder() as scratch, naming_gone(run.config.model_dir, "evaluating"):
        config = dataclasses.replace(run.config, model_dir=scratch)
        return evaluate(
            # Not for the manifest's: other data may be darker, which changes no scale.
            estimators.make_estimator(config, run.trained_on),
            data_dir,
            manifest,
            split,
            batch_size=batch_size,
            checkpoint=run.checkpoint,
            scores=scores,
        )


@contextlib.contextmanager
def naming_gone(model_dir: str, work: str) -> Iterator[None]:
    """Raises RunError where a run's folder has gone, which Estimator has a ValueError for.

    Args:
      work: what was done in it, for the error's line.
    """
    try:
        yield
    except ValueError as error:
        if isinstance(error, InputError) or tf.io.gfile.isdir(model_dir):
            raise
        raise RunError(f"{model_dir}: is gone, stopped {work}") from error


def evaluate(
    run: estimator.Estimator,
    data_dir: str,
    manifest: Manifest,
    split: str,
    *,
    batch_size: int,
    checkpoint: str,
    name: str | None = None,
    scores: Scores | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint on every example of a split.

    Args:
      name: events for TensorBoard go to `eval_NAME` in the Estimator's model_dir, without it to
        `eval`.
      scores: takes every example's answer.

    Returns:
      `accuracy`, `loss`, `examples`, `global_step`, `checkpoint`.

    Raises:
      InputError: if the split is empty.
      RunError: if the checkpoint or a record cannot be read, or not every example was counted once.
    """
    inputs.check_split(data_dir, manifest, split)
    try:
        with checkpoints.readable(checkpoint) as path:
            result = run.evaluate(
                lambda: inputs.eval_batches(data_dir, manifest, split, batch_size=batch_size),
                steps=None,
                hooks=[hooks.ScoreKeeper(scores)] if scores else None,
                checkpoint_path=path,
                name=name,
            )
    except (*FILE_ERRORS, tf.errors.InvalidArgumentError) as error:
        if is_out_of_memory(error):
            raise RunError(
                f"a batch of {batch_size} examples to evaluate needs more memory than there is "
                f"({error_line(error)}); give a smaller one: --batch_size of evaluate, "
                "--eval_batch_size of train"
            ) from error
        check_records(data_dir, manifest)
        raise RunError(f"{checkpoint} on {data_dir}: {error_line(error)}") from error
    except ValueError as error:
        is_other = isinstance(error, InputError) or tf.io.gfile.exists(f"{checkpoint}.index")
        if is_other or not tf.io.gfile.isdir(os.path.dirname(checkpoint) or "."):
            raise  # Where the whole folder is gone, the caller says so.
        raise RunError(f"{checkpoint}: has been deleted; take another one") from error
    counted, expected = result[EXAMPLES], manifest.num_examples(split)
    if counted != expected:
        raise RunError(f"evaluation counted {counted} {split} examples, expected {expected}")
    return {
        # Through text, as the float64 nearest to a float32 shows digits that mean nothing.
        ACCURACY: float(str(result[ACCURACY])),
        LOSS: float(str(result[LOSS])),
        EXAMPLES: int(result[EXAMPLES]),
        "global_step": int(result["global_step"]),
        "checkpoint": checkpoint,
    }


def serves_otherwise(config: TrainConfig) -> bool:
    """Whether exports compute in another arithmetic than the training on this machine."""
    return compute_dtype(config.precision) != compute_dtype(config.serving_precision)


def serving_accuracy(run: OpenRun, data_dir: str, manifest: Manifest) -> float:
    """A run's accuracy on the test split as its exports compute it."""
    config = dataclasses.replace(run.config, precision=run.config.serving_precision)
    served = dataclasses.replace(run, config=config)
    return evaluate_alone(served, data_dir, manifest, "test")[ACCURACY]


def make_scores(manifest: Manifest | TrainedOn) -> Scores | None:
    """Scores for the classes of a dataset; None if they are too many for a confusion matrix."""
    if manifest.num_classes > MAX_CLASSES:
        return None
    return Scores(manifest.num_classes, brightest_pixel=manifest.brightest_pixel)


def check_records(data_dir: str, manifest: Manifest) -> None:
    """Raises RunError that names the first damaged record, if there is one: reads all of them."""
    with progress.ProgressLine() as report:
        damage = records.find_damage(data_dir, manifest, report)
    if damage:
        again = prepare_again(data_dir, manifest)
        raise RunError(f"{data_dir}: {damage}; stopped; {again}")


def describe(metrics: dict[str, Any], split: str, manifest: Manifest) -> str:
    """The line that tells a user what `evaluate` found on a split, or with "" on a file."""
    what = f"{split} accuracy".lstrip()
    return (
        f"step {metrics['global_step']}: {what} {metrics[ACCURACY]:.4f}, "
        f"loss {metrics[LOSS]:.4f} on {metrics[EXAMPLES]:,} examples of {manifest.dataset}"
    )


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
    """The checkpoint that a run exports and evaluates on the test split, by its `--export`."""
    best = config.export == BEST and Evaluations(config.model_dir).best
    return find_checkpoint(config.model_dir, BEST if best else NEWEST)


def write_run(config: TrainConfig, manifest: Manifest) -> None:
    """Writes run.json: all flags, the versions, and which data the run trains on."""
    record = {
        "flags": dataclasses.asdict(config),
        "compute_dtype": compute_dtype(config.precision).name,
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
      InputError: if there is no run.json or it is not one of this package.
    """
    path = os.path.join(model_dir, RUN_FILE)
    with file_errors(path):
        data = files.read_bytes(path, json_files.MOST_BYTES)
    if data is None:
        raise InputError(f"{path}: not found, expected the record of a run; train first")
    try:
        return run_record.parse(data)
    except ValueError as error:
        line = str(error)[:_MOST_LINE]
        raise InputError(
            f"{path}: found no record of a run ({line}); move it away, or give another --model_dir"
        ) from None


def check_continues(config: TrainConfig, manifest: Manifest) -> None:
    """Says which flags differ from those that the run in the model_dir has had so far.

    Raises:
      InputError: if these settings or data cannot continue it.
    """
    before, record = read_run(config.model_dir)
    computed_in = compute_dtype(config.precision).name
    insisted = (*_NETWORK_FLAGS, "optimizer", "best_metric")
    pairs = {f"--{name}": (getattr(before, name), getattr(config, name)) for name in insisted}
    pairs |= {
        "--precision": (record["compute_dtype"], computed_in),
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
    names = (*_NETWORK_FLAGS, "optimizer", "precision", "max_steps", *_LEARNING_FLAGS)
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
