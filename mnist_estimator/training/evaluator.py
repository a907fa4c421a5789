"""What is done with a checkpoint of a run: evaluated while training, tested at the end, exported.

The chief does it, or, while others train, an evaluator of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from mnist_estimator import InputError, RunError, estimators
from mnist_estimator.cluster import roles
from mnist_estimator.compat import estimator
from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import Manifest
from mnist_estimator.runs import checkpoints, open_run, status
from mnist_estimator.runs.evaluations import STEP, Evaluations
from mnist_estimator.runtime import progress
from mnist_estimator.runtime.files import FILE_ERRORS, error_line
from mnist_estimator.scoring import summaries
from mnist_estimator.scoring.scores import Scores
from mnist_estimator.serving import saved_model
from mnist_estimator.training import endings, hooks

_LOOK_SECS = 1.0
_COPY_FOLDER = "evaluating"  # In the model_dir: the checkpoint that the evaluator is at.


def run_task(
    config: TrainConfig, manifest: Manifest, task: roles.Task, follower: status.Follower
) -> None:
    """The part of a cluster's evaluator, up to the last checkpoint of the chief.

    Raises:
      InputError: if the chief's address is not known, or the chief evaluates by itself.
      RunError, InputError or signals.Interruption: as the chief ended; the last if it was lost.
    """
    if not task.chief_address:
        raise InputError(
            "--chief_hosts: found nothing for the evaluator, expected the chief's host:port: "
            "where the chief has gone, the evaluator ends"
        )
    if not is_wanted(config, manifest):
        progress.say("nothing to evaluate while training: no validation split", sys.stderr)
        return
    complete = endings.was_complete(config)
    run = estimators.make_estimator(config, manifest, task)
    with endings.watch(config, task, follower=follower) as watch:

        def is_over() -> bool:
            if not watch.missing():
                _check_one_evaluates(config, follower.now())
            return complete or follower.ended() is not None

        evaluations = Evaluations(config.model_dir, config.best_metric)
        _evaluate_as_they_come(run, config, manifest, evaluations, is_over)
    endings.end_like_the_chief(follower.ended())
    if config.export == open_run.BEST and evaluations.best:
        export(run, config, manifest, open_run.chosen_checkpoint(config))


def is_wanted(config: TrainConfig, manifest: Manifest) -> bool:
    """Whether checkpoints are to be evaluated while training goes on."""
    return config.eval_split != "none" and manifest.num_examples(config.eval_split) > 0


def evaluate(
    run: estimator.Estimator,
    config: TrainConfig,
    manifest: Manifest,
    evaluations: Evaluations,
    checkpoint: str,
) -> None:
    """Evaluates a checkpoint while training and records what it found."""
    hooks.drop_events_from(run.eval_dir(), checkpoints.step_of(checkpoint))
    result, _ = _scored(run, config, manifest, checkpoint, config.eval_split)
    del result["checkpoint"]  # The record stays true when the model_dir is moved.
    # Asynchronous workers count on while the chief saves: what is in the file may be a step or two
    # ahead of its name, by which it is found again.
    result[STEP] = checkpoints.step_of(checkpoint)
    evaluations.add(result, checkpoint)
    progress.say(
        f"step {result['global_step']}: {config.eval_split} "
        f"accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f}",
        sys.stderr,
    )


def test(
    run: estimator.Estimator, config: TrainConfig, manifest: Manifest, checkpoint: str
) -> dict[str, Any]:
    """Evaluates a checkpoint on the test split; writes and returns metrics.json."""
    # It may have been evaluated in an earlier process: a point of the curve is to be there once.
    hooks.drop_events_from(run.eval_dir("test"), 0)
    metrics, scores = _scored(run, config, manifest, checkpoint, "test", name="test")
    if scores:
        metrics |= scores.report()
    open_run.write_json(os.path.join(config.model_dir, open_run.METRICS_FILE), metrics)
    progress.say(open_run.describe(metrics, "test", manifest), sys.stdout)
    return metrics


def export(
    run: estimator.Estimator, config: TrainConfig, manifest: Manifest, checkpoint: str
) -> None:
    """Exports a checkpoint to `export/best` or `export/final`, as --export says."""
    if config.export == open_run.NONE:
        return
    open_run.check_no_links(config.model_dir)
    folder = os.path.join(config.model_dir, open_run.EXPORT_FOLDER, config.export)
    path = saved_model.export(run.params, manifest, checkpoint, folder)
    progress.say(f"exported to {path}", sys.stdout)
    _say_serving_accuracy(config, manifest, checkpoint)


def _say_serving_accuracy(config: TrainConfig, manifest: Manifest, checkpoint: str) -> None:
    """Says how the export does on the test split, where it computes otherwise than the run."""
    if open_run.serves_otherwise(config) and manifest.num_examples("test"):
        _, record = open_run.read_run(config.model_dir)
        run = open_run.OpenRun(dataclasses.replace(config, strategy="none"), record, checkpoint)
        accuracy = open_run.serving_accuracy(run, config.data_dir, manifest)
        progress.say(
            f"test accuracy of the export, in {config.serving_precision}: {accuracy:.4f}",
            sys.stdout,
        )


def _scored(
    run: estimator.Estimator,
    config: TrainConfig,
    manifest: Manifest,
    checkpoint: str,
    split: str,
    name: str | None = None,
) -> tuple[dict[str, Any], Scores | None]:
    """Evaluates a checkpoint, and has TensorBoard show its pictures, curves and weights."""
    scores = open_run.make_scores(manifest)
    result = open_run.evaluate(
        run,
        config.data_dir,
        manifest,
        split,
        batch_size=config.eval_batch_size,
        checkpoint=checkpoint,
        name=name,
        scores=scores,
    )
    if scores:
        folder, step = run.eval_dir(name), checkpoints.step_of(checkpoint)
        summaries.write_evaluation(folder, step, scores, checkpoint, manifest.image_shape)
    return result, scores


def _evaluate_as_they_come(
    run: estimator.Estimator,
    config: TrainConfig,
    manifest: Manifest,
    evaluations: Evaluations,
    is_over: Callable[[], bool],
) -> None:
    """Evaluates each new checkpoint up to the last one.

    Args:
      is_over: whether the chief saves no more; asked about once a second.
    """
    warned: set[str] = set()
    with _copies(config.model_dir) as folder:
        while True:
            # Asked first: what is the newest checkpoint after the end, stays it.
            over = is_over()
            newest = checkpoints.newest(config.model_dir)
            step = checkpoints.step_of(newest)
            due = step > 0 and not evaluations.has(step)
            # One without its seal is still being written, unless it comes from another program.
            is_there = due and (over or checkpoints.is_sealed(newest))
            if is_there and (copy := _copied(newest, folder, warned, over)):
                evaluate(run, config, manifest, evaluations, copy)
            elif over:
                return
            else:
                time.sleep(_LOOK_SECS)


@contextlib.contextmanager
def _copies(model_dir: str) -> Iterator[str]:
    """A folder for the checkpoint that is evaluated: newer ones may push it out meanwhile."""
    folder = os.path.join(model_dir, _COPY_FOLDER)
    try:
        yield folder
    finally:
        with contextlib.suppress(InputError):
            checkpoints.drop_copies(folder)


def _copied(checkpoint: str, folder: str, warned: set[str], over: bool) -> str:
    """Returns the path of a copy; "" if there is none (yet), with a warning, once.

    A checkpoint that has gone, or is damaged, does not stay the newest: the chief saves another
    one, or goes back to the one before. Where it is the copy that fails, that may pass.
    """
    try:
        checkpoints.keep_copy(checkpoint, folder)
    except (InputError, RunError, *FILE_ERRORS) as error:
        problem = checkpoints.damage(checkpoint)
        if over and not problem:
            raise
        if checkpoint not in warned:
            warned.add(checkpoint)
            open_run.warn(f"{problem or error_line(error)}: not evaluated yet")
        return ""
    return os.path.join(folder, os.path.basename(checkpoint))


def _check_one_evaluates(config: TrainConfig, now: status.Status | None) -> None:
    if now and now.is_training and not now.has_evaluator:
        raise InputError(
            f"{config.model_dir}: the chief evaluates by itself, found an evaluator too; give "
            "--evaluator to every task, or list the evaluator in the cluster"
        )
