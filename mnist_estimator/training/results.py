"""The results of a run's checkpoints: evaluations while training, the final test, the export.

The chief makes them. Where the cluster has an evaluator, that evaluates, and exports the best one.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any

from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import Manifest
from mnist_estimator.runs import checkpoints, layout, lock, open_run, record
from mnist_estimator.runs.evaluations import STEP
from mnist_estimator.runtime import files, progress, watchdog
from mnist_estimator.scoring import evaluation, summaries
from mnist_estimator.scoring.scores import Scores
from mnist_estimator.serving import card_files, saved_model
from mnist_estimator.training import hooks
from mnist_estimator.training.run import Run


def evaluates_while_training(config: TrainConfig, manifest: Manifest) -> bool:
    """Whether the run's checkpoints are evaluated while training goes on, by whichever task."""
    return config.eval_split != "none" and manifest.num_examples(config.eval_split) > 0


@watchdog.phase(watchdog.EVALUATION)
def evaluate(run: Run, checkpoint: str) -> None:
    """Evaluates a checkpoint while training, and records the result."""
    hooks.drop_events_from(run.estimator.eval_dir(), checkpoints.step_of(checkpoint))
    result, _ = _scored(run, checkpoint, run.config.eval_split)
    del result["checkpoint"]  # The record stays true when the model_dir is moved.
    # Asynchronous workers go on while the chief saves: the step in the file may be one or two
    # ahead of the one in its name. By its name the checkpoint is found again.
    result[STEP] = checkpoints.step_of(checkpoint)
    run.evaluations.add(result, checkpoint)
    progress.say(
        f"step {result['global_step']}: {run.config.eval_split} "
        f"accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f}",
        sys.stderr,
    )


@watchdog.phase(watchdog.EVALUATION)
def test(run: Run, checkpoint: str) -> dict[str, Any]:
    """Evaluates a checkpoint on the test split; writes and returns metrics.json."""
    # An earlier process may have evaluated it, and a curve is to have each point once.
    hooks.drop_events_from(run.estimator.eval_dir("test"), 0)
    metrics, scores = _scored(run, checkpoint, "test", name="test")
    metrics[layout.CHECKPOINT_SHA256] = checkpoints.digest(checkpoint)
    if scores:
        metrics |= scores.to_json()
    lock.check(run.config.model_dir)
    files.write_json(os.path.join(run.config.model_dir, layout.METRICS_FILE), metrics)
    progress.say(evaluation.describe(metrics, "test", run.manifest), sys.stdout)
    return metrics


@watchdog.phase(watchdog.EXPORT)
def export(run: Run, checkpoint: str) -> None:
    """Exports a checkpoint to `export/best` or `export/final`, as --export says."""
    config = run.config
    if config.export == layout.NONE:
        return
    lock.check(config.model_dir)
    layout.check_no_links(config.model_dir)
    folder = os.path.join(config.model_dir, layout.EXPORT_FOLDER, config.export)
    path = saved_model.export(run.estimator.params, run.manifest, checkpoint, folder)
    progress.say(f"exported to {path}", sys.stdout)
    card_files.beside_saved_model(_opened(run, checkpoint), path)
    _say_serving_accuracy(run, checkpoint)


def _say_serving_accuracy(run: Run, checkpoint: str) -> None:
    """Says the export's accuracy on the test split if it computes in another precision."""
    config = run.config
    tests = config.final_test and run.manifest.num_examples("test")
    if not tests or not evaluation.serves_otherwise(config):
        return
    opened = _opened(run, checkpoint)
    accuracy = evaluation.serving_accuracy(opened, config.data_dir, run.manifest)
    progress.say(
        f"test accuracy of the export, in {config.serving_precision}: {accuracy:.4f}", sys.stdout
    )


def _opened(run: Run, checkpoint: str) -> open_run.OpenRun:
    _, found = record.read_run(run.config.model_dir)
    config = dataclasses.replace(run.config, strategy="none")
    return open_run.OpenRun(config, found, checkpoint)


def _scored(
    run: Run, checkpoint: str, split: str, name: str | None = None
) -> tuple[dict[str, Any], Scores | None]:
    """Evaluates a checkpoint, and writes its pictures, curves and weights for TensorBoard."""
    scores = evaluation.make_scores(run.manifest)
    result = evaluation.evaluate(
        run.evaluator,
        run.config.data_dir,
        run.manifest,
        split,
        batch_size=run.config.eval_batch_size,
        checkpoint=checkpoint,
        name=name,
        scores=scores,
    )
    if scores:
        folder, step = run.estimator.eval_dir(name), checkpoints.step_of(checkpoint)
        summaries.write_evaluation(folder, step, scores, checkpoint, run.manifest.image_shape)
    return result, scores
