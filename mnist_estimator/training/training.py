"""Training from data to result: prepare if need be, train, evaluate, export, record.

A task of a cluster does its role's part, and ends when the chief has ended. Whatever ends it, the
model_dir holds a run that the same command continues.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from mnist_estimator import RunError, compat, estimators, model_fn, networks, own_networks
from mnist_estimator.cluster import peers, roles
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import doubts, inputs, sources
from mnist_estimator.data.records import Manifest
from mnist_estimator.runs import checkpoints, lock, open_run, status
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runtime import files, own_modules, progress, signals
from mnist_estimator.runtime.files import FILE_ERRORS, error_line, is_out_of_memory
from mnist_estimator.scoring import summaries
from mnist_estimator.training import endings, evaluator, hooks, parameter_server, stopping

_LOOK_SECS = 1.0
_REPAIR_SECS = 60.0


def train(
    config: TrainConfig, task: roles.Task, since: datetime.datetime | None = None
) -> dict[str, Any] | None:
    """Does a task's part of a training run; a process on its own does all of it.

    That is: train up to `max_steps`, or until no more is learned, evaluating each checkpoint; then
    evaluate the chosen model on the test split, once, and export it. A run that is there already
    trains nothing more, but is evaluated and exported all the same.

    Args:
      since: when this process began; without it, now.

    Returns:
      The final test evaluation, as in metrics.json; None if there is no test split or this task is
      not the chief.

    Raises:
      InputError: if the data cannot be had, the settings do not fit it, or another trainer is at
        work in the model_dir.
      RunError: if a file cannot be read or written, or the loss is not finite any more. Of these
        two, other tasks raise the one that the chief failed with.
      signals.Interruption: if a signal ended it, the chief's or another one's end, or the loss of
        a task that it needs; says what is saved.
    """
    compat.look_for_variables_every(_LOOK_SECS)
    if config.is_deterministic:
        tf.config.experimental.enable_op_determinism()
    with _saying_what_is_kept(config.model_dir), endings.joined(config, task):
        if task.is_chief:
            with (
                # A model_dir that is another trainer's has its record.
                lock.held(config.model_dir),
                _checked(config),
                # Without data this run ends, and the parameter servers with it.
                status.recorded(config.model_dir, task.has_evaluator) as recorder,
                _answering(task),
                _dataset(config) as manifest,
            ):
                return _lead(config, manifest, task, recorder)
        follower = status.Follower(config.model_dir, since)
        if task.role == roles.PS:
            return parameter_server.run_task(config, task, follower)
        with _dataset(config) as manifest:
            part = evaluator.run_task if task.role == roles.EVALUATOR else _work
            return part(config, manifest, task, follower)


@contextlib.contextmanager
def _checked(config: TrainConfig) -> Iterator[None]:
    """Removes checkpoints that are too many before anything is written: they may fill the disk.

    Raises:
      InputError: if the model_dir has files of another program.
    """
    open_run.check_folder(config.model_dir)
    newest, keep = checkpoints.newest(config.model_dir), config.keep_checkpoint_max
    if newest and checkpoints.surplus(newest, keep) and not checkpoints.damage(newest):
        checkpoints.keep_newest(newest, keep)
    yield


@contextlib.contextmanager
def _saying_what_is_kept(model_dir: str) -> Iterator[None]:
    try:
        yield
    except signals.Interruption as interruption:
        raise signals.Interruption(
            interruption.reason, interruption.exit_code, endings.kept(model_dir)
        ) from None


@contextlib.contextmanager
def _dataset(config: TrainConfig) -> Iterator[Manifest]:
    """The prepared dataset. What TensorFlow raises for a file or a record becomes one line."""
    open_run.check_data_there(config)
    manifest = sources.ensure_dataset(
        config.data_dir,
        dataset=config.dataset,
        validation_split=config.validation_split,
        shards=config.shards,
        seed=config.seed,
    )
    try:
        with open_run.naming_gone(config.model_dir, "training"):
            yield manifest
    except (MemoryError, *FILE_ERRORS, tf.errors.InvalidArgumentError) as error:
        if is_out_of_memory(error):
            raise _too_large(config, error) from error
        open_run.check_records(config.data_dir, manifest)
        if isinstance(error, tf.errors.InvalidArgumentError):
            raise  # Not a file's fault, so a mistake in the program.
        kept = endings.kept(config.model_dir)
        raise RunError(
            f"stopped training in {config.model_dir}: {error_line(error)}; {kept}"
        ) from error


def _too_large(config: TrainConfig, error: Exception) -> RunError:
    newest = checkpoints.newest(config.model_dir)
    kept = f"step {checkpoints.step_of(newest)} is saved" if newest else "nothing is saved yet"
    return RunError(
        f"--batch_size={config.batch_size}: needs more memory than there is ({error_line(error)}); "
        f"{kept} in {config.model_dir}; give a smaller --batch_size"
    )


def _answering(task: roles.Task) -> contextlib.AbstractContextManager[None]:
    """Has the evaluator of a chief without a TensorFlow server see that the chief is there."""
    if task.has_evaluator and task.chief_address and not task.jobs:
        return peers.listening(task.chief_address)
    return contextlib.nullcontext()


def _lead(
    config: TrainConfig, manifest: Manifest, task: roles.Task, recorder: status.Recorder
) -> dict[str, Any] | None:
    """The chief's part, or that of a process on its own."""
    doubts.check_trainable(config.data_dir, manifest)
    for line in doubts.of_dataset(config.data_dir, manifest):
        open_run.warn(line)
    newest = checkpoints.newest_whole(config.model_dir, open_run.warn)
    if newest:
        open_run.check_continues(config, manifest)
        checkpoints.keep_newest(newest, config.keep_checkpoint_max)
    checkpoints.tidy(config.model_dir)
    _check_network(config, manifest)
    open_run.write_run(config, manifest)
    summaries.write_hparams(config.model_dir, open_run.learning_flags(config))
    evaluations = Evaluations(config.model_dir, config.best_metric)
    run = estimators.make_estimator(config, manifest, task)

    def evaluate(checkpoint: str) -> None:
        with signals.interruptible():
            evaluator.evaluate(run, config, manifest, evaluations, checkpoint)

    by_itself = evaluator.is_wanted(config, manifest) and not task.has_evaluator
    step = checkpoints.step_of(newest)
    due = step % config.save_checkpoints_steps == 0 or step >= config.max_steps
    if by_itself and step and due and not evaluations.has(step):
        evaluate(newest)  # It was killed before it could.
    if step > config.max_steps:
        open_run.warn(
            f"{config.model_dir}: has reached step {step} already, --max_steps={config.max_steps}: "
            "trains nothing; give more steps, or another --model_dir to begin anew"
        )
    if not endings.is_complete(config, evaluations, step):
        progress.say(
            f"training {config.model} on {manifest.num_examples('train'):,} examples of "
            f"{manifest.dataset} {f'from step {step} ' if step else ''}to step "
            f"{config.max_steps}, in {config.model_dir}",
            sys.stderr,
        )
        saver = hooks.CheckpointSaver(
            config.model_dir,
            every_steps=config.save_checkpoints_steps,
            keep=config.keep_checkpoint_max,
            after_save=evaluate if by_itself else None,
            others=task.num_trainers - 1 if config.strategy == "ps" else 0,
        )
        watch = endings.watch(config, task, recorder=recorder)
        _train(run, config, manifest, task, evaluations, watch, saver=saver)
    recorder.write(status.TRAINED, exit_code=0)
    if task.has_evaluator and config.export == open_run.BEST:
        # What is best, the evaluator knows only after it has seen the last checkpoint, and exports.
        config = dataclasses.replace(config, export=open_run.FINAL)
    metrics = _finish(run, config, manifest)
    step = checkpoints.step_of(checkpoints.newest(config.model_dir))
    recorder.write(status.DONE if step >= config.max_steps else status.EARLY_STOPPED, exit_code=0)
    return metrics


def _check_network(config: TrainConfig, manifest: Manifest) -> None:
    dtype = model_fn.compute_dtype(config.precision)
    params = estimators.make_params(config, manifest)
    own_networks.check(config.model, manifest.image_shape, dtype, params)
    if config.model not in networks.NETWORKS:
        own_modules.note_trained(config.model)


def _finish(
    run: estimator.Estimator, config: TrainConfig, manifest: Manifest
) -> dict[str, Any] | None:
    """Evaluates the chosen model on the test split, and exports it."""
    metrics = None
    with signals.interruptible():
        checkpoint = open_run.chosen_checkpoint(config)  # Which reads all of it.
        if manifest.num_examples("test"):
            metrics = evaluator.test(run, config, manifest, checkpoint)
        else:
            step = checkpoints.step_of(checkpoint)
            progress.say(
                f"trained to step {step}; the data has no test split to evaluate", sys.stdout
            )
    with signals.interruptible():
        evaluator.export(run, config, manifest, checkpoint)
    logdir = shlex.quote(config.model_dir)
    progress.say(
        f"results in {config.model_dir}; watch with: tensorboard --logdir {logdir}", sys.stdout
    )
    return metrics


def _work(
    config: TrainConfig, manifest: Manifest, task: roles.Task, follower: status.Follower
) -> None:
    """The part of a worker that is not the chief."""
    until = time.monotonic() + _REPAIR_SECS
    while newest := checkpoints.newest(config.model_dir):
        problem = checkpoints.damage(newest)
        if not problem and not checkpoints.is_pointed_to(newest):
            problem = f"{newest}: the list of checkpoints names another folder"
        if not problem:
            break
        # Synchronous workers read it too. The chief is about to point to one that can be read.
        endings.end_like_the_chief(follower.ended())
        if time.monotonic() > until:
            raise RunError(f"{problem}; found no chief that goes on from another one")
        time.sleep(_LOOK_SECS)
    if newest:
        open_run.check_continues(config, manifest)
    evaluations = Evaluations(config.model_dir, config.best_metric)
    if newest and endings.is_complete(config, evaluations, checkpoints.step_of(newest)):
        return endings.nothing_to_do(config)
    _check_network(config, manifest)
    run = estimators.make_estimator(config, manifest, task)
    watch = endings.watch(config, task, follower=follower)
    progress.say(
        f"training with the chief at {task.chief_address}, in {config.model_dir}", sys.stderr
    )
    scratch = os.path.join(config.model_dir, f"tmp_{task.role}_{task.index}")
    was_there = tf.io.gfile.exists(scratch)
    try:
        with endings.cut_off(config, follower):
            _train(run, config, manifest, task, evaluations, watch, follower=follower)
    finally:
        # With collective operations TensorFlow makes each worker a folder for what only the chief
        # writes.
        if not was_there:
            files.remove_folder(scratch)
    return endings.end_like_the_chief(follower.ended())


def _train(
    run: estimator.Estimator,
    config: TrainConfig,
    manifest: Manifest,
    task: roles.Task,
    evaluations: Evaluations,
    watch: peers.Watch,
    *,
    saver: hooks.CheckpointSaver | None = None,
    follower: status.Follower | None = None,
) -> None:
    stopper = stopping.Stopper(_stops_early(config, task, evaluations, follower))
    report = hooks.Progress(
        model_dir=config.model_dir,
        max_steps=config.max_steps,
        batch_size=config.batch_size,
        every_steps=config.log_steps,
        write_summaries=task.is_chief,
    )
    watchers = [stopping.Together(watch, config.max_steps), hooks.FiniteGuard(config.model_dir)]
    watchers += [report, *([saver] if saver else []), stopper]
    if config.profiled and task.is_chief:
        # The last, so that its time holds no other hook's work.
        watchers.append(hooks.Profiler(config.model_dir, *config.profiled))
    # Estimator's own max_steps looks for checkpoints by a pattern.
    watchers.append(v1.train.StopAtStepHook(last_step=config.max_steps))
    input_fn = _input_fn(config, manifest, task)
    with signals.deferrable(), endings.naming_the_lost(task):
        if task.jobs:
            spec = estimator.TrainSpec(input_fn, hooks=watchers)
            with watch, estimators.graph(config):
                if config.strategy == "ps":
                    # TensorFlow would wait for them in C++, where no signal is heard.
                    watch.wait()
                # The EvalSpec is for an evaluator, which this task is not.
                estimator.train_and_evaluate(run, spec, estimator.EvalSpec(input_fn))
        else:
            run.train(input_fn, hooks=watchers)
    if stopper.preempted_by_other:
        raise signals.Interruption("another worker was preempted", signals.EXIT_PREEMPTED)


def _stops_early(
    config: TrainConfig,
    task: roles.Task,
    evaluations: Evaluations,
    follower: status.Follower | None,
) -> Callable[[], bool]:
    """Asked after each step: whether the run is over although no signal came."""
    look_due = hooks.Seldom()

    def stops() -> bool:
        if follower or task.has_evaluator:
            # Others evaluate, or end the run, and tell in a file.
            if not look_due():
                return False
            evaluations.reload()
        early = evaluations.stops_at(config.max_steps, config.early_stop_patience)
        return early or (follower is not None and follower.ended() is not None)

    return stops


def _input_fn(config: TrainConfig, manifest: Manifest, task: roles.Task):
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
