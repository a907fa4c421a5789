"""Training from data to result: prepare if need be, train, evaluate, record."""

from __future__ import annotations

import sys
from typing import Any

from mnist_estimator import RunError, cluster, hooks, inputs, progress, runs, sources
from mnist_estimator.compat import estimator, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.records import FILE_ERRORS, Manifest, error_line

_EVALUATOR_PAUSE_SECS = 1


def train(config: TrainConfig, task: cluster.Task) -> dict[str, Any] | None:
    """Trains up to `max_steps`, evaluating each checkpoint, then evaluates the test split once.

    A run that is there already trains nothing more, but is evaluated all the same.

    Returns:
      The final test evaluation, as in metrics.json; None if there is no test split or this task is
      not the chief.

    Raises:
      InputError: if the data cannot be had or the settings do not fit it.
      RunError: if a file cannot be read or written, or the loss is not a number any more.
    """
    manifest = sources.ensure_dataset(
        config.data_dir,
        dataset=config.dataset,
        validation_split=config.validation_split,
        shards=config.shards,
        seed=config.seed,
    )
    run = runs.make_estimator(config, manifest, task)
    if task.is_chief:
        runs.check_continues(config, manifest)
        runs.write_run(config, manifest)
    if task.role in cluster.TRAINERS:
        progress.say(
            f"training {config.model} on {manifest.num_examples('train'):,} examples of "
            f"{manifest.dataset} to step {config.max_steps}, in {config.model_dir}",
            sys.stderr,
        )
    try:
        _train_and_evaluate(run, config, manifest, task)
    except FILE_ERRORS as error:
        line = error_line(error)
        raise RunError(f"stopped training in {config.model_dir}: {line}") from error
    except v1.train.NanLossDuringTrainingError:
        raise RunError("the loss is not a number any more; try a lower --learning_rate") from None
    return _finish(run, config, manifest) if task.is_chief else None


def _train_and_evaluate(
    run: estimator.Estimator, config: TrainConfig, manifest: Manifest, task: cluster.Task
) -> None:
    spec = _train_spec(config, manifest, task)
    if _evaluates(config, manifest):
        estimator.train_and_evaluate(run, spec, _eval_spec(config, manifest, task))
    elif task.role == cluster.EVALUATOR:
        progress.say("nothing to evaluate while training: no validation split", sys.stderr)
    elif task.jobs:
        # Of a cluster only the evaluator, which is not here, would use the EvalSpec.
        estimator.train_and_evaluate(run, spec, estimator.EvalSpec(spec.input_fn))
    else:
        run.train(
            spec.input_fn,
            hooks=spec.hooks,
            max_steps=spec.max_steps,
            saving_listeners=spec.saving_listeners,
        )


def _train_spec(config: TrainConfig, manifest: Manifest, task: cluster.Task) -> estimator.TrainSpec:
    asynchronous = config.strategy == "ps"
    input_fn = inputs.train_input_fn(
        config.data_dir,
        manifest,
        batch_size=config.batch_size,
        seed=config.seed,
        cache_bytes=config.cache_mb * 2**20,
        shuffle_buffer=config.shuffle_buffer,
        model_dir=config.model_dir,
        worker=task.trainer if asynchronous else 0,
        num_workers=task.num_trainers if asynchronous else 1,
    )
    report = hooks.Progress(
        model_dir=config.model_dir,
        max_steps=config.max_steps,
        batch_size=config.batch_size,
        every_steps=config.log_steps,
        write_summaries=task.is_chief,
    )
    return estimator.TrainSpec(
        input_fn,
        max_steps=config.max_steps,
        hooks=[report],
        saving_listeners=[report.save_listener],
    )


def _evaluates(config: TrainConfig, manifest: Manifest) -> bool:
    return config.eval_split != "none" and manifest.num_examples(config.eval_split) > 0


def _eval_spec(config: TrainConfig, manifest: Manifest, task: cluster.Task) -> estimator.EvalSpec:
    split = config.eval_split
    # By default 100 batches are evaluated, not before two minutes, not more often than every ten.
    return estimator.EvalSpec(
        lambda: inputs.eval_batches(
            config.data_dir, manifest, split, batch_size=config.eval_batch_size
        ),
        steps=None,
        exporters=[hooks.EvaluationReport(split, manifest.num_examples(split))],
        start_delay_secs=0,
        # A dedicated evaluator would look for the next checkpoint without a pause; elsewhere it is
        # what keeps a checkpoint from being evaluated.
        throttle_secs=_EVALUATOR_PAUSE_SECS if task.role == cluster.EVALUATOR else 0,
    )


def _finish(
    run: estimator.Estimator, config: TrainConfig, manifest: Manifest
) -> dict[str, Any] | None:
    if not manifest.num_examples("test"):
        print(f"trained to step {config.max_steps}; the data has no test split to evaluate")
        return None
    metrics = runs.evaluate(
        run,
        config.data_dir,
        manifest,
        "test",
        batch_size=config.eval_batch_size,
        checkpoint=runs.find_checkpoint(config.model_dir),
    )
    runs.write_json(config.model_dir, runs.METRICS_FILE, metrics)
    print(runs.describe(metrics, "test", manifest))
    print(f"results in {config.model_dir}; watch with: tensorboard --logdir {config.model_dir}")
    return metrics
