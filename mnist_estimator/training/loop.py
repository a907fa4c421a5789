"""The training loop of the chief and of workers: Estimator's, with the hooks of this package."""

from __future__ import annotations

from collections.abc import Callable

from mnist_estimator import estimators, predictions
from mnist_estimator.cluster import peers
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import inputs, shard_cache
from mnist_estimator.data.manifest import Dataset
from mnist_estimator.runs import checkpoints, record, status
from mnist_estimator.runtime import signals, watchdog
from mnist_estimator.training import endings, hooks, step_replay, stopping
from mnist_estimator.training.checkpoint_saver import CheckpointSaver
from mnist_estimator.training.run import Run


def train(
    run: Run,
    watch: peers.Watch,
    *,
    saver: CheckpointSaver | None = None,
    follower: status.Follower | None = None,
) -> None:
    """Trains up to `max_steps`, or until the run ends early.

    Args:
      watch: ends the process when a task that this one needs is lost.
      saver: saves checkpoints; None in a task that is not the chief.
      follower: tells when the chief has ended; None in the chief.

    Raises:
      signals.Interruption: if this worker or another one was asked to stop, or one was lost.
    """
    stopper = stopping.Stopper(_end_check(run, follower))
    watchers = _hooks(run, watch, saver, stopper)
    with signals.deferrable(), endings.exit_when_peer_lost(run.task):
        if run.task.jobs:
            _train_in_cluster(run, watch, watchers)
        else:
            run.estimator.train(_input_fn(run), hooks=watchers)
    if stopper.preempted_by_other:
        raise signals.Interruption("another worker was preempted", signals.EXIT_PREEMPTED)


def _train_in_cluster(
    run: Run, watch: peers.Watch, watchers: list[v1.train.SessionRunHook]
) -> None:
    input_fn = _input_fn(run)
    spec = estimator.TrainSpec(input_fn, hooks=watchers)
    # The watch over the other tasks limits how long they may take to start.
    with watch, watchdog.excused_while(watch.missing), estimators.graph(run.config):
        if run.config.strategy == "ps":
            # TensorFlow would wait for them in C++, where no signal is heard.
            watch.wait()
        # The EvalSpec is for an evaluator, which this task is not.
        estimator.train_and_evaluate(run.estimator, spec, estimator.EvalSpec(input_fn))


def _hooks(
    run: Run, watch: peers.Watch, saver: CheckpointSaver | None, stopper: stopping.Stopper
) -> list[v1.train.SessionRunHook]:
    """The hooks in their order, which `hooks` explains."""
    config, is_chief = run.config, run.task.is_chief
    watchers = [
        stopping.SessionGuard(watch, config.max_steps, is_alone=not run.task.jobs),
        hooks.FiniteGuard(config.model_dir),
        hooks.Progress(
            model_dir=config.model_dir,
            max_steps=config.max_steps,
            batch_size=config.batch_size,
            every_steps=config.log_steps,
            write_summaries=is_chief,
        ),
    ]
    if not is_chief:
        watchers.append(_SameAsChief(run))
    if config.replay_steps:
        watchers.append(_step_replay(config))
    if saver:
        watchers.append(saver)
    watchers.append(stopper)
    if shard_cache.is_open():
        watchers.append(_EndOfInput())
    if config.profiled and is_chief:
        # After the others, so that its time holds none of their work.
        watchers.append(hooks.Profiler(config.model_dir, *config.profiled))
    # Estimator's own max_steps looks for checkpoints by a pattern.
    watchers.append(v1.train.StopAtStepHook(last_step=config.max_steps))
    return watchers


def _step_replay(config: TrainConfig) -> step_replay.StepReplay:
    return step_replay.StepReplay(
        config.model_dir,
        steps=config.replay_steps,
        every_steps=config.save_checkpoints_steps,
        max_steps=config.max_steps,
    )


class _SameAsChief(v1.train.SessionRunHook):
    """Refuses to train with other flags, data or arithmetic than the chief."""

    def __init__(self, run: Run) -> None:
        self._run, self._is_known = run, False

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        # A synchronous step ends once the chief has made one, and has recorded its flags before.
        if not self._is_known:
            config = self._run.config
            dtype = predictions.compute_dtype(config.precision).name
            record.check_same(config, self._run.manifest, dtype)
            self._is_known = True


class _EndOfInput(v1.train.SessionRunHook):
    """Lets a session end whose input waits for a shard that the steps no longer need."""

    def end(self, session: v1.Session) -> None:
        shard_cache.end_training()


def _end_check(run: Run, follower: status.Follower | None) -> Callable[[], bool]:
    """Returns a function that says, after each step, whether the run is over early."""
    config, evaluations = run.config, run.evaluations
    look = hooks.RateLimit()

    def is_over() -> bool:
        if follower or run.task.has_evaluator:
            # Other tasks evaluate, or end the run, and say so in a file.
            if not look.allows():
                return False
            evaluations.reload()
        if evaluations.stops_at(config.max_steps, config.early_stop_patience):
            return True
        return follower is not None and follower.ended() is not None

    return is_over


def _input_fn(run: Run) -> Callable[[], tf.data.Dataset]:
    config, task = run.config, run.task
    asynchronous = config.strategy == "ps"
    return inputs.train_input_fn(
        Dataset(config.data_dir, run.manifest),
        batch_size=config.batch_size,
        seed=config.seed,
        cache_bytes=config.cache_mb * 2**20,
        shuffle_buffer=config.shuffle_buffer,
        saved_step=lambda: checkpoints.newest_step(config.model_dir),
        worker=task.trainer if asynchronous else 0,
        num_workers=task.num_trainers if asynchronous else 1,
    )
