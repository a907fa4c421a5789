"""The part of the chief, or of a process on its own: resumes the run, trains, and finishes it."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from typing import Any

from mnist_estimator import InputError, networks, predictions
from mnist_estimator.cluster import roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import doubts
from mnist_estimator.data.manifest import Manifest
from mnist_estimator.runs import checkpoints, layout, open_run, record, starts, status
from mnist_estimator.runs.evaluations import BEST_FOLDER, EVALUATIONS_FILE, Evaluations
from mnist_estimator.runtime import progress, signals
from mnist_estimator.scoring import summaries
from mnist_estimator.training import checkpoint_saver, endings, loop, results
from mnist_estimator.training.run import Run, check_network, make_run


def run_task(
    config: TrainConfig, manifest: Manifest, task: roles.Task, recorder: status.Recorder
) -> dict[str, Any] | None:
    """Trains the run to its end, evaluates and exports it, and records how it stands.

    Returns:
      The final test evaluation, as in metrics.json; None if there is no test split.
    """
    _check(config, manifest)
    newest = _resume(config, manifest, task)
    run = make_run(config, manifest, task)
    _train(run, newest, recorder)
    recorder.write(status.TRAINED, exit_code=0)
    metrics = _finish(run)
    recorder.write(_final_state(config), exit_code=0)
    return metrics


# Flags that are read with some choices of another flag only.
_READ_WITH = {
    "momentum": ("optimizer", ("momentum",)),
    "decay_rate": ("schedule", ("exponential",)),
    "decay_steps": ("schedule", ("exponential", "cosine", "one_cycle")),
    "initial_stddev": ("initializer", ("truncated_normal",)),
    "hidden_units": ("model", ("dnn",)),
    "dropout_rate": ("model", ("cnn", "dnn")),
    "batch_norm": ("model", ("cnn", "dnn")),
}


def _check(config: TrainConfig, manifest: Manifest) -> None:
    if config.early_stop_patience and not results.evaluates_while_training(config, manifest):
        raise InputError(
            f"--early_stop_patience: found it for data without examples of {config.eval_split}, "
            "expected some: it counts their evaluations"
        )
    if config.schedule != "constant" and config.warmup_steps >= config.schedule_steps:
        progress.warn(
            f"--warmup_steps={config.warmup_steps}: the learning rate only rises, as "
            f"--schedule={config.schedule} ends at step {config.schedule_steps}"
        )
    steps = config.schedule_steps
    if config.schedule in ("cosine", "one_cycle") and steps < config.max_steps:
        progress.warn(
            f"--decay_steps={steps}: the learning rate is 0 from there to "
            f"--max_steps={config.max_steps}, and nothing is learned"
        )
    _warn_of_unread(config)
    doubts.check_trainable(config.data_dir, manifest)
    for line in doubts.of_dataset(config.data_dir, manifest):
        progress.warn(line)


def _warn_of_unread(config: TrainConfig) -> None:
    """Warns of a flag that was given, and that nothing reads with the others."""
    usual = TrainConfig()
    for name, (other, readers) in _READ_WITH.items():
        chosen = getattr(config, other)
        is_own = other == "model" and chosen not in networks.NETWORKS  # It may read all flags.
        if getattr(config, name) != getattr(usual, name) and chosen not in readers and not is_own:
            progress.warn(f"--{name}={getattr(config, name)}: not read with --{other}={chosen}")


def _resume(config: TrainConfig, manifest: Manifest, task: roles.Task) -> str:
    """Records the run in its model_dir; returns the checkpoint to go on from, "" for none.

    Raises:
      InputError: if the run that is there cannot be continued with these flags and data.
    """
    newest = checkpoints.newest_whole(config.model_dir, progress.warn)
    compute_dtype, before = predictions.compute_dtype(config.precision).name, None
    if newest:
        before = record.check_continues(config, manifest, compute_dtype)
        checkpoints.keep_newest(newest, config.keep_checkpoint_max)
        Evaluations(config.model_dir).forget_after(checkpoints.step_of(newest))
    else:
        _check_begins(config.model_dir)
    checkpoints.remove_left_overs(config.model_dir)
    check_network(config, manifest)
    step, trainers = checkpoints.step_of(newest), task.num_trainers
    history = starts.after(before, config, step=step, trainers=trainers)
    record.write_run(config, manifest, compute_dtype, history)
    flags, defaults = record.learning_flags(config), record.learning_flags(TrainConfig())
    summaries.write_hparams(config.model_dir, flags, defaults)
    return newest


def _check_begins(model_dir: str) -> None:
    """Raises InputError if a run that begins anew would go on with the best model of another.

    A run has a checkpoint before its first evaluation. Where only the checkpoints were removed, the
    best model that is recorded is not one of the run that begins.
    """
    if Evaluations(model_dir).best is not None:
        raise InputError(
            f"{model_dir}: holds the evaluations of a run ({EVALUATIONS_FILE}, {BEST_FOLDER}/), "
            f"but none of its checkpoints; to begin anew remove both, and {layout.METRICS_FILE}, "
            "or give another --model_dir"
        )


def _train(run: Run, newest: str, recorder: status.Recorder) -> None:
    """Trains from the newest checkpoint on, unless the run is complete."""
    config, step = run.config, checkpoints.step_of(newest)
    evaluates = (
        results.evaluates_while_training(config, run.manifest) and not run.task.has_evaluator
    )
    if evaluates:
        _evaluate_if_missed(run, newest)
    if step > config.max_steps:
        progress.warn(
            f"{config.model_dir}: has reached step {step} already, --max_steps={config.max_steps}: "
            "trains nothing; give more steps, or another --model_dir to begin anew"
        )
    if run.is_complete_at(step):
        return
    _say_training(run, step)
    watch = endings.watch_peers(config, run.task, recorder=recorder)
    loop.train(run, watch, saver=_saver(run, evaluates))


def _evaluate_if_missed(run: Run, newest: str) -> None:
    """Evaluates the newest checkpoint if an earlier process was killed before it could."""
    step = checkpoints.step_of(newest)
    due = step % run.config.save_checkpoints_steps == 0 or run.is_complete_at(step)
    if step and due and not run.evaluations.has(step):
        _evaluate(run, newest)


def _evaluate(run: Run, checkpoint: str) -> None:
    with signals.interruptible():
        results.evaluate(run, checkpoint)


def _say_training(run: Run, step: int) -> None:
    config, manifest = run.config, run.manifest
    progress.say(
        f"training {config.model} on {manifest.num_examples('train'):,} examples of "
        f"{manifest.dataset} {f'from step {step} ' if step else ''}to step "
        f"{config.max_steps}, in {config.model_dir}",
        sys.stderr,
    )


def _saver(run: Run, evaluates: bool) -> checkpoint_saver.CheckpointSaver:
    config = run.config
    return checkpoint_saver.CheckpointSaver(
        config.model_dir,
        every_steps=config.save_checkpoints_steps,
        keep=config.keep_checkpoint_max,
        after_save=(lambda checkpoint: _evaluate(run, checkpoint)) if evaluates else None,
        others=run.task.num_trainers - 1 if config.strategy == "ps" else 0,
        is_alone=not run.task.jobs,
    )


def _finish(run: Run) -> dict[str, Any] | None:
    """Evaluates the chosen model on the test split, and exports it."""
    run = _without_best(run)
    metrics = None
    with signals.interruptible():
        checkpoint = open_run.chosen_checkpoint(run.config)  # Which reads all of it.
        if run.config.final_test and run.manifest.num_examples("test"):
            metrics = results.test(run, checkpoint)
        else:
            why = (
                "the data has no test split to evaluate" if run.config.final_test else "not tested"
            )
            progress.say(f"trained to step {checkpoints.step_of(checkpoint)}; {why}", sys.stdout)
    with signals.interruptible():
        results.export(run, checkpoint)
    model_dir = run.config.model_dir
    progress.say(
        f"results in {model_dir}; watch with: tensorboard --logdir {shlex.quote(model_dir)}",
        sys.stdout,
    )
    return metrics


def _without_best(run: Run) -> Run:
    """Makes the chief export the final model where an evaluator exports the best one.

    Which one is the best, is known only after the evaluator has seen the last checkpoint.
    """
    if not run.task.has_evaluator or run.config.export != layout.BEST:
        return run
    config = dataclasses.replace(run.config, export=layout.FINAL)
    return dataclasses.replace(run, config=config)


def _final_state(config: TrainConfig) -> str:
    step = checkpoints.step_of(checkpoints.newest(config.model_dir))
    return status.DONE if step >= config.max_steps else status.EARLY_STOPPED
