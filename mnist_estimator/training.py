"""Training from data to result: prepare if need be, train, evaluate, export, record.

A task of a cluster does its role's part. Whatever ends it, the model_dir holds a run that the same
command continues.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from mnist_estimator import (
    InputError,
    RunError,
    checkpoints,
    cluster,
    exports,
    hooks,
    inputs,
    lock,
    progress,
    runs,
    signals,
    sources,
    summaries,
)
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.evaluations import Evaluations
from mnist_estimator.records import FILE_ERRORS, Manifest, error_line
from mnist_estimator.scores import Scores

_LOOK_SECS = 1.0
_REPAIR_SECS = 60.0
_SAVE_SECS = 15.0  # How long a parameter server that has to go waits for the chief to save.


def train(config: TrainConfig, task: cluster.Task) -> dict[str, Any] | None:
    """Does a task's part of a training run; a process on its own does all of it.

    That is: train up to `max_steps`, or until no more is learned, evaluating each checkpoint; then
    evaluate the chosen model on the test split, once, and export it. A run that is there already
    trains nothing more, but is evaluated and exported all the same.

    Returns:
      The final test evaluation, as in metrics.json; None if there is no test split or this task is
      not the chief.

    Raises:
      InputError: if the data cannot be had, the settings do not fit it, or another trainer is at
        work in the model_dir.
      RunError: if a file cannot be read or written, or the loss is not finite any more.
      signals.Interruption: if a signal ended it; says what is saved.
    """
    if config.is_deterministic:
        tf.config.experimental.enable_op_determinism()
    with _saying_what_is_kept(config.model_dir):
        if task.role == cluster.PS:
            return _serve(config, task)
        manifest = sources.ensure_dataset(
            config.data_dir,
            dataset=config.dataset,
            validation_split=config.validation_split,
            shards=config.shards,
            seed=config.seed,
        )
        with _naming_the_cause(config, manifest):
            if task.role == cluster.EVALUATOR:
                return _evaluate_as_they_come(config, manifest, task)
            if not task.is_chief:
                return _work(config, manifest, task)
            with lock.held(config.model_dir):
                return _lead(config, manifest, task)


@contextlib.contextmanager
def _saying_what_is_kept(model_dir: str) -> Iterator[None]:
    try:
        yield
    except signals.Interruption as interruption:
        raise signals.Interruption(
            interruption.reason, interruption.exit_code, _kept(model_dir)
        ) from None


def _kept(model_dir: str) -> str:
    newest = checkpoints.newest(model_dir)
    if not newest:
        return "nothing is saved yet; the same command begins anew"
    step = checkpoints.step_of(newest)
    return f"step {step} is saved in {model_dir}; the same command continues from there"


@contextlib.contextmanager
def _naming_the_cause(config: TrainConfig, manifest: Manifest) -> Iterator[None]:
    """Turns what TensorFlow raises for a file or a record into one line that says which."""
    try:
        yield
    except (*FILE_ERRORS, tf.errors.InvalidArgumentError) as error:
        runs.check_records(config.data_dir, manifest)
        if isinstance(error, tf.errors.InvalidArgumentError):
            raise  # Not a file's fault, so a mistake in the program.
        kept = _kept(config.model_dir)
        raise RunError(
            f"stopped training in {config.model_dir}: {error_line(error)}; {kept}"
        ) from error
    except ValueError as error:
        if isinstance(error, InputError) or tf.io.gfile.isdir(config.model_dir):
            raise
        raise RunError(f"{config.model_dir}: is gone, stopped training") from error


def _lead(config: TrainConfig, manifest: Manifest, task: cluster.Task) -> dict[str, Any] | None:
    """The chief's part, or that of a process on its own."""
    newest = checkpoints.newest_whole(config.model_dir, runs.warn)
    if newest:
        runs.check_continues(config, manifest)
        checkpoints.point_to(newest)
    checkpoints.tidy(config.model_dir)
    runs.write_run(config, manifest)
    summaries.write_hparams(config.model_dir, runs.learning_flags(config))
    evaluations = Evaluations(config.model_dir, config.best_metric)
    run = runs.make_estimator(config, manifest, task)

    def evaluate(step: int, checkpoint: str) -> bool:
        with signals.at_once():
            _evaluate(run, config, manifest, evaluations, checkpoint)
        return evaluations.stops_at(step, config.early_stop_patience)

    by_itself = _evaluates(config, manifest) and not task.jobs
    step = checkpoints.step_of(newest)
    due = step % config.save_checkpoints_steps == 0 or step >= config.max_steps
    if by_itself and step and due and not evaluations.has(step):
        evaluate(step, newest)  # It was killed before it could.
    if not evaluations.stops_at(step, config.early_stop_patience) and step < config.max_steps:
        progress.say(
            f"training {config.model} on {manifest.num_examples('train'):,} examples of "
            f"{manifest.dataset} {f'from step {step} ' if step else ''}to step "
            f"{config.max_steps}, in {config.model_dir}",
            sys.stderr,
        )
        saver = hooks.CheckpointSaver(
            config.model_dir,
            every_steps=config.save_checkpoints_steps,
            after_save=evaluate if by_itself else None,
        )
        _train(run, config, manifest, task, evaluations, [saver])
    if task.jobs and config.export == runs.BEST:
        # What is best, the evaluator knows only after it has seen the last checkpoint, and exports.
        config = dataclasses.replace(config, export=runs.FINAL)
    return _finish(run, config, manifest)


def _work(config: TrainConfig, manifest: Manifest, task: cluster.Task) -> None:
    """The part of a worker that is not the chief."""
    until = time.monotonic() + _REPAIR_SECS
    while newest := checkpoints.newest(config.model_dir):
        problem = checkpoints.damage(newest)
        if not problem:
            break
        # Synchronous workers read it too. The chief is about to point to the one before it.
        if time.monotonic() > until:
            raise RunError(f"{problem}; found no chief that goes on from another one")
        time.sleep(_LOOK_SECS)
    evaluations = Evaluations(config.model_dir, config.best_metric)
    run = runs.make_estimator(config, manifest, task)
    _train(run, config, manifest, task, evaluations, [])


def _train(
    run: estimator.Estimator,
    config: TrainConfig,
    manifest: Manifest,
    task: cluster.Task,
    evaluations: Evaluations,
    savers: list[hooks.CheckpointSaver],
) -> None:
    def stops_early() -> bool:
        evaluations.reload()
        return evaluations.stops_at(config.max_steps, config.early_stop_patience)

    # On its own, a process learns it from the evaluation itself.
    stopper = hooks.Stopper(stops_early if task.jobs else lambda: False)
    report = hooks.Progress(
        model_dir=config.model_dir,
        max_steps=config.max_steps,
        batch_size=config.batch_size,
        every_steps=config.log_steps,
        write_summaries=task.is_chief,
    )
    watchers = [hooks.FiniteGuard(config.model_dir), report, *savers, stopper]
    if config.profiled and task.is_chief:
        # The last, so that its time holds no other hook's work.
        watchers.append(hooks.Profiler(config.model_dir, *config.profiled))
    input_fn = _input_fn(config, manifest, task)
    with signals.deferrable():
        if task.jobs:
            spec = estimator.TrainSpec(input_fn, max_steps=config.max_steps, hooks=watchers)
            # The EvalSpec is for an evaluator, which this task is not.
            estimator.train_and_evaluate(run, spec, estimator.EvalSpec(input_fn))
        else:
            run.train(input_fn, hooks=watchers, max_steps=config.max_steps)
    if stopper.preempted_by_other:
        raise signals.Interruption("another worker was preempted", signals.EXIT_PREEMPTED)


def _input_fn(config: TrainConfig, manifest: Manifest, task: cluster.Task):
    asynchronous = config.strategy == "ps"
    return inputs.train_input_fn(
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


def _evaluates(config: TrainConfig, manifest: Manifest) -> bool:
    return config.eval_split != "none" and manifest.num_examples(config.eval_split) > 0


def _evaluate(
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
    evaluations.add(result, checkpoint)
    progress.say(
        f"step {result['global_step']}: {config.eval_split} "
        f"accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f}",
        sys.stderr,
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
    scores = runs.make_scores(manifest)
    result = runs.evaluate(
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


def _evaluate_as_they_come(config: TrainConfig, manifest: Manifest, task: cluster.Task) -> None:
    """The part of a cluster's evaluator: each new checkpoint, up to the last one."""
    if not _evaluates(config, manifest):
        progress.say("nothing to evaluate while training: no validation split", sys.stderr)
        return
    evaluations = Evaluations(config.model_dir, config.best_metric)
    run = runs.make_estimator(config, manifest, task)
    step = 0
    while step < config.max_steps and not evaluations.stops_at(step, config.early_stop_patience):
        newest = checkpoints.newest(config.model_dir)
        if checkpoints.step_of(newest) in (0, step):
            time.sleep(_LOOK_SECS)
            continue
        step = checkpoints.step_of(newest)
        if not evaluations.has(step):
            _evaluate(run, config, manifest, evaluations, newest)
    if config.export == runs.BEST:
        _export(run, config, manifest, runs.chosen_checkpoint(config))


def _serve(config: TrainConfig, task: cluster.Task) -> None:
    """The part of a parameter server: holds its share of the weights until it is told to end."""
    server = v1.train.Server(
        tf.train.ClusterSpec({role: list(hosts) for role, hosts in task.jobs.items()}),
        job_name=task.role,
        task_index=task.index,
        config=runs.session_config(config, task),
    )
    progress.say(f"serving parameters at {server.target}", sys.stderr)
    with signals.deferrable():
        signals.defer()
        # Estimator would wait in C++, where no signal is heard.
        while not signals.noted():
            time.sleep(_LOOK_SECS / 5)
        signals.answer()
        _have_saved(config.model_dir)


def _have_saved(model_dir: str) -> None:
    """Asks the chief to save what only this process holds, and gives it time to."""
    before = checkpoints.newest(model_dir)
    request = os.path.join(model_dir, hooks.SAVE_REQUEST)
    with contextlib.suppress(tf.errors.OpError):
        with tf.io.gfile.GFile(request, "w") as file:
            file.write("")
        until = time.monotonic() + _SAVE_SECS
        while checkpoints.newest(model_dir) == before and time.monotonic() < until:
            time.sleep(_LOOK_SECS / 5)
        tf.io.gfile.remove(request)


def _finish(
    run: estimator.Estimator, config: TrainConfig, manifest: Manifest
) -> dict[str, Any] | None:
    """Evaluates the chosen model on the test split, and exports it."""
    metrics = None
    with signals.at_once():
        checkpoint = runs.chosen_checkpoint(config)  # Which reads all of it.
        if manifest.num_examples("test"):
            metrics = _test(run, config, manifest, checkpoint)
        else:
            print(f"trained to step {config.max_steps}; the data has no test split to evaluate")
    with signals.at_once():
        _export(run, config, manifest, checkpoint)
    print(f"results in {config.model_dir}; watch with: tensorboard --logdir {config.model_dir}")
    return metrics


def _test(
    run: estimator.Estimator, config: TrainConfig, manifest: Manifest, checkpoint: str
) -> dict[str, Any]:
    # It may have been evaluated in an earlier process: a point of the curve is to be there once.
    hooks.drop_events_from(run.eval_dir("test"), 0)
    metrics, scores = _scored(run, config, manifest, checkpoint, "test", name="test")
    if scores:
        metrics |= scores.report()
    runs.write_json(os.path.join(config.model_dir, runs.METRICS_FILE), metrics)
    print(runs.describe(metrics, "test", manifest))
    return metrics


def _export(
    run: estimator.Estimator, config: TrainConfig, manifest: Manifest, checkpoint: str
) -> None:
    if config.export == runs.NONE:
        return
    folder = os.path.join(config.model_dir, runs.EXPORT_FOLDER, config.export)
    path = exports.export(run.params, manifest, checkpoint, folder)
    print(f"exported to {path}")
