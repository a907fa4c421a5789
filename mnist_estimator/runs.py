"""A run in its model_dir: its Estimator, its record in run.json, and the evaluation of a split."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
from typing import Any

import numpy as np

from mnist_estimator import InputError, RunError, __version__, cluster, hooks, inputs
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.model_fn import ACCURACY, EXAMPLES, LOSS, compute_dtype, model_fn
from mnist_estimator.records import FILE_ERRORS, Manifest, error_line, file_errors
from mnist_estimator.workspace import is_local

RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"


def make_estimator(
    config: TrainConfig, manifest: Manifest, task: cluster.Task | None = None
) -> estimator.Estimator:
    """Returns the Estimator of a run; `task` is this process's place in a cluster, if any."""
    return estimator.Estimator(
        model_fn, params=make_params(config, manifest), config=_run_config(config, task)
    )


def make_params(config: TrainConfig, manifest: Manifest) -> dict[str, Any]:
    """What `model_fn.model_fn` takes as params."""
    return dataclasses.asdict(config) | {
        "num_classes": manifest.num_classes,
        "schedule_steps": config.schedule_steps,
    }


def evaluate(
    run: estimator.Estimator,
    data_dir: str,
    manifest: Manifest,
    split: str,
    *,
    batch_size: int,
    checkpoint: str,
) -> dict[str, Any]:
    """Evaluates a checkpoint on every example of a split; events go to the Estimator's model_dir.

    Returns:
      `accuracy`, `loss`, `examples`, `global_step`, `checkpoint`: what `evaluate --json` prints.

    Raises:
      InputError: if the split is empty.
      RunError: if the checkpoint or a record cannot be read, or not every example was counted once.
    """
    inputs.check_split(data_dir, manifest, split)
    try:
        result = run.evaluate(
            lambda: inputs.eval_batches(data_dir, manifest, split, batch_size=batch_size),
            steps=None,
            checkpoint_path=checkpoint,
            name=split,
        )
    except FILE_ERRORS as error:
        raise RunError(f"{checkpoint} on {data_dir}: {error_line(error)}") from error
    hooks.check_count(result, split, manifest.num_examples(split))
    return {
        # Through text, as the float64 nearest to a float32 shows digits that mean nothing.
        ACCURACY: float(str(result[ACCURACY])),
        LOSS: float(str(result[LOSS])),
        EXAMPLES: int(result[EXAMPLES]),
        "global_step": int(result["global_step"]),
        "checkpoint": checkpoint,
    }


def describe(metrics: dict[str, Any], split: str, manifest: Manifest) -> str:
    """The line that tells a user what `evaluate` found."""
    return (
        f"step {metrics['global_step']}: {split} accuracy {metrics[ACCURACY]:.4f}, "
        f"loss {metrics[LOSS]:.4f} on {metrics[EXAMPLES]:,} examples of {manifest.dataset}"
    )


def find_checkpoint(model_dir: str, checkpoint: str = "") -> str:
    """Returns the path of the checkpoint asked for, or of the newest one of a model_dir.

    Raises:
      InputError: if there is none.
    """
    if checkpoint and not v1.train.checkpoint_exists(checkpoint):
        raise InputError(f"--checkpoint: {checkpoint} not found, expected one of {model_dir}")
    found = checkpoint or tf.train.latest_checkpoint(model_dir)
    if not found:
        raise InputError(f"{model_dir}: found no checkpoint, expected one; train first")
    return found


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
            "image_shape": manifest.image_shape,
            "num_classes": manifest.num_classes,
            "examples": {split: manifest.num_examples(split) for split in manifest.splits},
        },
    }
    write_json(config.model_dir, RUN_FILE, record)


def read_run(model_dir: str) -> tuple[TrainConfig, dict[str, Any]]:
    """Returns the flags of the run in a model_dir and its whole record.

    Raises:
      InputError: if there is no run.json or it is not one of this package.
    """
    path = f"{model_dir}/{RUN_FILE}"
    if not tf.io.gfile.exists(path):
        raise InputError(f"{path}: not found, expected the record of a run; train first")
    try:
        with tf.io.gfile.GFile(path) as file:
            record = json.load(file)
        return TrainConfig(**record["flags"]), record
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: found no record of a run ({error}); train again") from None


def check_continues(config: TrainConfig, manifest: Manifest) -> None:
    """Raises InputError if the model_dir holds a run that these settings cannot continue."""
    if not tf.train.latest_checkpoint(config.model_dir):
        return
    before, record = read_run(config.model_dir)
    computed_in = compute_dtype(config.precision).name
    pairs = {
        "--model": (before.model, config.model),
        "--optimizer": (before.optimizer, config.optimizer),
        "--precision": (record["compute_dtype"], computed_in),
        f"records in {config.data_dir}": (record["dataset"]["manifest_sha256"], manifest.digest),
    }
    for what, (old, new) in pairs.items():
        if old != new:
            raise InputError(
                f"{config.model_dir}: holds a run with {what} {old}, found {new}; "
                "continue it as it began, or give another --model_dir"
            )


def check_fits(record: dict[str, Any], data_dir: str, manifest: Manifest) -> None:
    """Raises InputError unless the records in `data_dir` fit the network of a recorded run."""
    trained = record["dataset"]
    expected = (tuple(trained["image_shape"]), trained["num_classes"])
    if (manifest.image_shape, manifest.num_classes) != expected:
        raise InputError(
            f"{data_dir}: found images {manifest.image_shape} of {manifest.num_classes} classes, "
            f"expected {expected[0]} of {expected[1]}, which the run was trained on"
        )


def write_json(folder: str, name: str, value: dict[str, Any]) -> None:
    """Writes `folder/name` whole or not at all."""
    path = f"{folder}/{name}"
    with file_errors(folder):
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(path + ".tmp", "w") as file:
            file.write(json.dumps(value, indent=2) + "\n")
        tf.io.gfile.rename(path + ".tmp", path, overwrite=True)


def _absolute(path: str) -> str:
    return os.path.abspath(path) if is_local(path) else path


def _run_config(config: TrainConfig, task: cluster.Task | None) -> estimator.RunConfig:
    task = task or cluster.Task()
    # An evaluator works alone, on whatever was trained how.
    strategy = "none" if task.role == cluster.EVALUATOR else config.strategy
    return estimator.RunConfig(
        model_dir=config.model_dir,
        tf_random_seed=config.seed,
        save_summary_steps=config.log_steps,
        save_checkpoints_steps=config.save_checkpoints_steps,
        keep_checkpoint_max=config.keep_checkpoint_max,
        # hooks.Progress reports the speed.
        log_step_count_steps=None,
        session_config=_session_config(config, task),
        # Estimator lets worker i wait 5 * (i + 1) seconds; the session waits for the chief anyway.
        experimental_max_worker_delay_secs=0,
        train_distribute=_strategy(strategy),
    )


def _session_config(config: TrainConfig, task: cluster.Task) -> v1.ConfigProto:
    # A session_config of one's own replaces RunConfig's device filters too. Without them a process
    # of a parameter-server cluster waits until all the others have started.
    filters = {
        cluster.CHIEF: ["/job:ps", "/job:chief"],
        cluster.WORKER: ["/job:ps", f"/job:worker/task:{task.index}"],
        cluster.PS: ["/job:ps", "/job:worker", "/job:chief"],
        cluster.EVALUATOR: [],
    }
    return v1.ConfigProto(
        allow_soft_placement=True,
        intra_op_parallelism_threads=config.intra_op_threads,
        inter_op_parallelism_threads=config.inter_op_threads,
        device_filters=filters[task.role] if cluster.PS in task.jobs else [],
    )


def _strategy(name: str) -> tf.distribute.Strategy | None:
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return None
