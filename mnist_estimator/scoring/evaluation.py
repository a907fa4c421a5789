"""Evaluates a checkpoint on every example of a split."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from typing import Any

from mnist_estimator import InputError, RunError, estimators, model_fn
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import checked_records, inputs, records, shard_cache
from mnist_estimator.data.manifest import Dataset, Manifest, TrainedOn, prepare_again
from mnist_estimator.model_fn import ACCURACY, EXAMPLES, LOSS
from mnist_estimator.predictions import compute_dtype
from mnist_estimator.runs import checkpoints
from mnist_estimator.runs.open_run import OpenRun, raise_when_folder_gone
from mnist_estimator.runtime import files, progress
from mnist_estimator.runtime.files import FILE_ERRORS, error_line, is_out_of_memory
from mnist_estimator.scoring import one_graph
from mnist_estimator.scoring.scores import MAX_CLASSES, UNDEFINED, Scores


def evaluate_alone(
    run: OpenRun,
    data_dir: str,
    manifest: Manifest,
    split: str,
    *,
    batch_size: int = 1000,
    scores: Scores | None = None,
) -> dict[str, Any]:
    """Evaluates an open run as `evaluate` does, and writes nothing to its model_dir."""
    # Estimator writes each evaluation to its model_dir for TensorBoard. TensorBoard takes an
    # evaluation of an older checkpoint for a restart, and drops the points of the run's curves
    # that come after it. So this Estimator gets a model_dir in memory.
    with (
        files.memory_folder() as scratch,
        raise_when_folder_gone(run.config.model_dir, "evaluating"),
    ):
        config = dataclasses.replace(run.config, model_dir=scratch)
        # For the data it was trained on: the manifest's may be darker, which changes no scale.
        model = one_graph.OneGraph(
            estimators.make_estimator(config, run.trained_on, options=run.options)
        )
        with contextlib.closing(model):
            return evaluate(
                model,
                data_dir,
                manifest,
                split,
                batch_size=batch_size,
                checkpoint=run.checkpoint,
                scores=scores,
            )


def evaluate(
    model: one_graph.OneGraph,
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
      name: TensorBoard's events go to `eval_NAME` in the model_dir; without a name to
        `eval`.
      scores: counts the answer to every example.

    Returns:
      `accuracy`, `loss`, `examples`, `global_step`, `checkpoint`.

    Raises:
      InputError: if the split is empty.
      RunError: if the checkpoint or a record cannot be read, not every example was counted once, or
        an answer is no number.
    """
    dataset = Dataset(data_dir, manifest)
    inputs.check_split(dataset, split)
    with (
        explained_errors(data_dir, manifest, checkpoint, batch_size),
        checkpoints.readable(checkpoint) as path,
    ):
        # Each time: the graph and its input are made once.
        checked_records.prepare_split(dataset, split)
        result = model.evaluate(
            lambda: inputs.eval_batches(dataset, split, batch_size=batch_size),
            hooks=[ScoresHook(scores)] if scores else None,
            checkpoint_path=path,
            name=name,
            split=split,
        )
    counted, expected = result[EXAMPLES], manifest.num_examples(split)
    if counted != expected:
        raise RunError(f"evaluation counted {counted} {split} examples, expected {expected}")
    if math.isnan(result[LOSS]):  # Where there are too many classes for `scores`.
        raise RunError(f"{checkpoint}: the network's answer to some {split} examples {UNDEFINED}")
    return {
        # By way of text: the float64 nearest to a float32 has digits that mean nothing.
        ACCURACY: float(str(result[ACCURACY])),
        LOSS: float(str(result[LOSS])),
        EXAMPLES: int(result[EXAMPLES]),
        "global_step": int(result["global_step"]),
        "checkpoint": checkpoint,
    }


def describe(metrics: dict[str, Any], split: str, manifest: Manifest) -> str:
    """The line that tells a user the result on a split; a `split` of "" stands for a file."""
    what = f"{split} accuracy" if split else "accuracy"
    return (
        f"step {metrics['global_step']}: {what} {metrics[ACCURACY]:.4f}, "
        f"loss {metrics[LOSS]:.4f} on {metrics[EXAMPLES]:,} examples of {manifest.dataset}"
    )


def make_scores(data: Manifest | TrainedOn) -> Scores | None:
    """Scores for the classes of a dataset; None if they are too many for a confusion matrix."""
    if data.num_classes > MAX_CLASSES:
        return None
    return Scores(data.num_classes, brightest_pixel=data.brightest_pixel)


def serves_otherwise(config: TrainConfig) -> bool:
    """Whether exports compute in another arithmetic than training does on this machine."""
    return compute_dtype(config.precision) != compute_dtype(config.serving_precision)


def serving_accuracy(run: OpenRun, data_dir: str, manifest: Manifest) -> float:
    """A run's accuracy on the test split, computed in the arithmetic of its exports."""
    config = dataclasses.replace(run.config, precision=run.config.serving_precision)
    served = dataclasses.replace(run, config=config)
    return evaluate_alone(served, data_dir, manifest, "test")[ACCURACY]


def check_records(data_dir: str, manifest: Manifest) -> None:
    """Reads all records; raises RunError that names the first damaged one, if there is any."""
    shard_cache.check()
    with progress.ProgressLine() as show_progress:
        damage = records.find_damage(Dataset(data_dir, manifest), show_progress)
    if damage:
        again = prepare_again(data_dir, manifest)
        raise RunError(f"{data_dir}: {damage}; stopped; {again}")


class ScoresHook(v1.train.SessionRunHook):
    """Adds each batch of an evaluation to `scores`."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    def begin(self) -> None:
        self._tensors = v1.get_collection(model_fn.SCORED)

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs:
        return v1.train.SessionRunArgs(self._tensors)

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        self._scores.add(*run_values.results)


@contextlib.contextmanager
def explained_errors(
    data_dir: str, manifest: Manifest, checkpoint: str, batch_size: int
) -> Iterator[None]:
    """Turns what TensorFlow raises in an evaluation into a RunError that says what to do.

    Args:
      checkpoint: what is evaluated, and on which data.
      batch_size: of the evaluation.
    """
    try:
        yield
    except (*FILE_ERRORS, tf.errors.InvalidArgumentError) as error:
        if is_out_of_memory(error):
            raise RunError(
                f"a batch of {batch_size} examples to evaluate needs more memory than there is "
                f"({error_line(error)}); give a smaller one: --batch_size of evaluate, "
                "--eval_batch_size of train"
            ) from error
        if files.is_outage(error):
            raise files.OutageError(f"{checkpoint} on {data_dir}: {error_line(error)}") from error
        check_records(data_dir, manifest)
        raise RunError(f"{checkpoint} on {data_dir}: {error_line(error)}") from error
    except ValueError as error:
        is_other = isinstance(error, InputError) or tf.io.gfile.exists(f"{checkpoint}.index")
        if is_other or not tf.io.gfile.isdir(os.path.dirname(checkpoint) or "."):
            raise  # If the whole folder is gone, the caller says so.
        raise RunError(f"{checkpoint}: has been deleted; take another one") from error
