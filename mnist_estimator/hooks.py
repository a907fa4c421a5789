"""The guarantees of this package for an Estimator program of one's own.

    from mnist_estimator import hooks

    classifier = tf.estimator.Estimator(model_fn, "model", config)
    with hooks.resumable(classifier) as run:
        classifier.train(run.input_fn(train_input), hooks=run.hooks, max_steps=1000)

Whatever ends this program, the same program continues it: at the batch, the weights, the points of
the curves and the dropout that come next. It ends with the same bytes in every variable as if
nothing had happened, if the model_fn draws its random numbers with `dropout`, or by the seed and
the global step. `resumable` says what is guaranteed, `Run` what the program passes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from mnist_estimator import InputError, RunError, networks, randomness
from mnist_estimator.cluster import peers, roles
from mnist_estimator.compat import estimator as estimators
from mnist_estimator.compat import tf, v1
from mnist_estimator.data import inputs
from mnist_estimator.runs import checkpoints, events, lock, saver, status
from mnist_estimator.runtime import background, files, progress, signals
from mnist_estimator.training import (
    endings,
    foreign,
    parameter_server,
    stopping,
)
from mnist_estimator.training import hooks as training_hooks
from mnist_estimator.training.run import describe_saved

_START_SECS = 600.0  # How long a task of the cluster may take to answer for the first time.
_NEVER_HOURS = 10_000  # RunConfig's default of keep_checkpoint_every_n_hours.
_DROPOUT = "mnist_estimator_dropout"  # A collection: the seeds that are taken.


@contextlib.contextmanager
def resumable(estimator: estimators.Estimator, *, deterministic: bool = True) -> Iterator[Run]:
    """Guards the training of an Estimator in the block, and yields the `Run` to train with.

    - Checkpoints come at the multiples of RunConfig's `save_checkpoints_steps`, wherever the
      program was resumed, and at the end. They are sealed with digests. Of a damaged one this goes
      back to the one before, and says so.
    - Summaries come at the multiples of `save_summary_steps`. TensorBoard shows each step once,
      and no curve goes back. Estimator's own savers of checkpoints and summaries are off.
    - SIGTERM, SIGUSR1, SIGUSR2 or SIGXCPU (preemption), Ctrl-C or SIGHUP: the step ends, it is
      saved, and the program exits with 143, 130 or 129. A second signal ends it at once.
    - A loss or a variable that is not finite is a RunError, and is not saved.
    - A second program on the same model_dir is refused.
    - In a cluster of TF_CONFIG the tasks watch each other. Without a task that it needs, a task
      exits with 138, by which an engine starts it again. When the chief ends, all end as it does,
      parameter servers too. Asynchronous workers are never in step: there the weights do not
      follow from the seed, and each of n workers goes on at batch number step / n.

    Args:
      estimator: what is trained. The block uses its model_dir and its RunConfig.
      deterministic: whether TensorFlow is to use only operations that give the same bits each
        time, from now on in the whole process, and refuse others. Not in a cluster.

    Raises:
      InputError: if the settings do not allow it, or another program trains in the model_dir.
      RunError: if there are checkpoints but none is whole, or training fails as said above.
      SystemExit: after a signal, or if another task is gone.
    """
    task, config = _task(), estimator.config
    _check(config, task)
    if deterministic and not task.jobs:
        tf.config.experimental.enable_op_determinism()
    part = _lead if task.is_chief else _follow
    try:
        with (
            signals.handled(restore=True),
            signals.replacing_errors(),
            _without_own_summaries(estimator),
            _without_relative_steps(estimator),
            part(config, task) as run,
            endings.exit_when_peer_lost(task),
        ):
            yield run
    except (InputError, RunError) as error:
        # The commands of this package have a flag of this name; a program may have none.
        error.args = (str(error).replace("--model_dir", "model_dir"),)
        raise
    except signals.Interruption as interruption:
        progress.complain(f"{interruption.reason}: {describe_saved(estimator.model_dir)}")
        raise SystemExit(interruption.exit_code) from None


@dataclasses.dataclass(frozen=True)
class Run:
    """What a program trains with, in the block of `resumable`."""

    _config: estimators.RunConfig
    _task: roles.Task
    _is_over: Callable[[], bool]

    @property
    def hooks(self) -> list[v1.train.SessionRunHook]:
        """The hooks for `Estimator.train` or a TrainSpec; new ones each time."""
        config, task = self._config, self._task
        watchers = [foreign.GraphCheck(), training_hooks.FiniteGuard(config.model_dir)]
        if not task.jobs:
            watchers.append(foreign.StepCheck())
        if task.is_chief and config.save_summary_steps:
            watchers.append(training_hooks.Summaries(config.model_dir, config.save_summary_steps))
        if task.is_chief:
            watchers.append(
                foreign.ListenedSaver(
                    config.model_dir,
                    every_steps=config.save_checkpoints_steps,
                    keep=config.keep_checkpoint_max or 0,
                )
            )
        return [*watchers, stopping.Stopper(self._is_over), foreign.SignalsAtEnd()]

    def input_fn(self, input_fn: Callable[..., tf.data.Dataset]) -> Callable[..., tf.data.Dataset]:
        """Returns an input_fn that goes on where the training goes on.

        That is at the batch whose number is the global step. It reads the batches before that one
        again, and drops them, so a restart takes as long as reading them does. `shuffled` does not.

        Args:
          input_fn: returns a tf.data.Dataset that gives the same batches each time: its shuffles
            have a seed, or RunConfig's `tf_random_seed` gives them one. A training step takes one
            batch.

        Raises:
          InputError: from the new input_fn, if what it can see of the dataset is not so.
        """

        @functools.wraps(input_fn)
        def resumed(*arguments: Any, **options: Any) -> tf.data.Dataset:
            dataset = input_fn(*arguments, **options)
            if not isinstance(dataset, tf.data.Dataset):
                raise InputError(f"input_fn: found {type(dataset).__name__}, expected a Dataset")
            problem = randomness.unrepeatable(dataset)
            if problem:
                raise InputError(
                    f"input_fn: {problem}, so a restart cannot go on where it was; expected a "
                    "dataset that gives the same batches each time"
                )
            return dataset.skip(_begin_input() // self._task.num_trainers)

        # Estimator passes an input_fn only the arguments that it names.
        resumed.__signature__ = inspect.signature(input_fn)  # type: ignore[attr-defined]
        return resumed

    def shuffled(
        self,
        features: np.ndarray | Mapping[str, np.ndarray],
        labels: np.ndarray,
        *,
        batch_size: int,
        seed: int = 0,
    ) -> Callable[[], tf.data.Dataset]:
        """Returns an input_fn over arrays in memory: all of an epoch shuffled, without end.

        Example i of a training is element perm(seed, epoch)[i mod n], with epoch = i div n. A
        restart reads nothing again. Of n asynchronous workers each takes every n-th batch.

        Args:
          features: an array [n,...], or several by name.
          labels: an array [n,...].

        Raises:
          InputError: if the arrays are empty, or not of the same length.
        """
        arrays = [np.asarray(array) for array in tf.nest.flatten((features, labels))]
        lengths = sorted({len(array) for array in arrays})
        if len(lengths) != 1 or not lengths[0]:
            raise InputError(f"arrays: found lengths {lengths}, expected one that is not 0")
        if batch_size < 1:
            raise InputError(f"batch_size: found {batch_size}, expected 1 or more")
        structure = (features, labels)

        # Through Python, and not captured, which would put the arrays into the graph.
        def gather(index: np.ndarray) -> list[np.ndarray]:
            return [array[index] for array in arrays]

        @tf.autograph.experimental.do_not_convert
        def batch(step: tf.Tensor) -> Any:
            index = step * batch_size + tf.range(batch_size, dtype=tf.int64)
            index = inputs.shuffled_index(index, lengths[0], seed)
            batches = tf.numpy_function(gather, [index], [array.dtype for array in arrays])
            for values, array in zip(batches, arrays, strict=True):
                values.set_shape([batch_size, *array.shape[1:]])
            return tf.nest.pack_sequence_as(structure, batches)

        def input_fn() -> tf.data.Dataset:
            workers, worker = self._task.num_trainers, self._task.trainer
            step = _begin_input()
            steps = tf.data.Dataset.range(step + (worker - step) % workers, tf.int64.max, workers)
            return steps.map(batch).prefetch(2)

        return input_fn


def dropout(values: tf.Tensor, rate: float, *, seed: int, name: str = "") -> tf.Tensor:
    """Drops a fraction `rate` of `values` [b,...] and scales up the rest, by (seed, global step).

    For the mode TRAIN of a model_fn. A program that is resumed drops what it would have dropped.
    Layers of other seeds or names drop other units.

    Raises:
      InputError: if another layer has the seed and the name: both would drop the same.
    """
    taken = v1.get_collection_ref(_DROPOUT)
    if (seed, name) in taken:
        raise InputError(
            f"dropout: found seed={seed}, name={name!r} twice, expected another name in each layer"
        )
    taken.append((seed, name))
    return networks.dropout(values, rate=rate, seed=seed, name=name)


class BestExporter(estimators.Exporter):
    """Exports a SavedModel after each evaluation that is better than all before it.

    For `EvalSpec(exporters=...)`. The best result is in a file beside the exports, so that it is
    known after a restart. Estimator's own BestExporter exports the first evaluation after a restart
    whatever it is, even where it is given an `event_file_pattern`.
    """

    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: Callable[[], Any],
        *,
        metric: str = "accuracy",
        larger_is_better: bool = True,
    ) -> None:
        """Exports to `export/NAME` in the model_dir, by `metric` of the evaluation's results."""
        self._name = name
        self._serving_input_receiver_fn = serving_input_receiver_fn
        self._metric, self._sign = metric, 1 if larger_is_better else -1

    @property
    def name(self) -> str:
        return self._name

    def export(
        self,
        estimator: estimators.Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> bytes | None:
        """Exports the checkpoint if it is the best; returns the path of the export, else None.

        Raises:
          InputError: if there is no such metric, or the record is damaged.
        """
        if self._metric not in eval_result:
            raise InputError(f"metric: found {self._metric}, expected one of {[*eval_result]}")
        value = float(eval_result[self._metric])
        record = f"{export_path}.json"
        best = _best(record, self._metric)
        # A number that is not finite is never better than one that is.
        if best is not None and not (
            math.isfinite(value)
            and (not math.isfinite(best) or self._sign * value > self._sign * best)
        ):
            return None
        exported = estimator.export_saved_model(
            export_path, self._serving_input_receiver_fn, checkpoint_path=checkpoint_path
        )
        step = int(eval_result[v1.GraphKeys.GLOBAL_STEP])
        # Last: after a kill in between, the evaluation is made and exported again.
        files.write_json(record, {"global_step": step, self._metric: value})
        return exported


def _best(record: str, metric: str) -> float | None:
    """The best value of a metric so far; None if there is none."""
    data = files.read_bytes(record)
    try:
        return None if data is None else float(json.loads(data)[metric])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{record}: damaged, so the best model is not known ({error!r}); remove it to choose "
            "among the models to come"
        ) from None


def _begin_input() -> tf.Tensor:
    """The global step, int64 [], at which the input begins: that of the restored checkpoint."""
    if tf.distribute.has_strategy():
        raise InputError("train_distribute: found a strategy, expected none")
    v1.add_to_collection(foreign.INPUT, True)
    saver.add_saver()
    # The iterator is initialized after the checkpoint is restored.
    return tf.cast(v1.train.get_global_step(), tf.int64)


def _task() -> roles.Task:
    """This process's place in the cluster of TF_CONFIG; the default if there is none."""
    environ = {"TF_CONFIG": os.environ.get("TF_CONFIG", "{}")}
    return roles.resolve(environ, strategy=roles.AUTO, resource_config="")


def _check(config: estimators.RunConfig, task: roles.Task) -> None:
    """Raises InputError if training by these settings cannot be guarded."""
    if config.train_distribute or (task.jobs and roles.PS not in task.jobs):
        raise InputError(
            "RunConfig: found a distribution strategy, or a cluster without parameter servers; "
            "expected a process that trains alone, or a chief, workers and parameter servers"
        )
    if not config.save_checkpoints_steps:
        raise InputError(
            f"RunConfig: found save_checkpoints_secs={config.save_checkpoints_secs}, expected "
            "save_checkpoints_steps: a checkpoint by the clock comes at another step each time"
        )
    if config.keep_checkpoint_max and config.keep_checkpoint_every_n_hours < _NEVER_HOURS:
        raise InputError(
            "RunConfig: found keep_checkpoint_every_n_hours="
            f"{config.keep_checkpoint_every_n_hours}, expected none: which checkpoints stay would "
            "depend on the clock; keep_checkpoint_max=0 keeps all"
        )
    if config.tf_random_seed is None and not task.jobs:
        raise InputError(
            "RunConfig: found tf_random_seed=None, expected a number: without it the shuffles and "
            "the first weights are others in each process"
        )


@contextlib.contextmanager
def _without_own_summaries(estimator: estimators.Estimator) -> Iterator[None]:
    """Keeps Estimator in the block from adding its hook that saves summaries.

    Its own saver of checkpoints it leaves out by itself, as it is given another one.
    """
    config = estimator._config
    estimator._config = config.replace(save_summary_steps=0)
    try:
        yield
    finally:
        estimator._config = config


@contextlib.contextmanager
def _without_relative_steps(estimator: estimators.Estimator) -> Iterator[None]:
    """Refuses `train(steps=...)` in the block: each start would train so many more."""
    original = estimator._convert_train_steps_to_hooks

    def convert(steps: int | None, max_steps: int | None) -> list[v1.train.SessionRunHook]:
        if steps is not None:
            raise InputError(
                f"train: found steps={steps}, expected max_steps: a program that is started again "
                "would train so many steps more"
            )
        return original(steps, max_steps)

    estimator._convert_train_steps_to_hooks = convert
    try:
        yield
    finally:
        vars(estimator).pop("_convert_train_steps_to_hooks", None)


@contextlib.contextmanager
def _lead(config: estimators.RunConfig, task: roles.Task) -> Iterator[Run]:
    """The part of the chief, or of a process on its own."""
    model_dir, keep = config.model_dir, config.keep_checkpoint_max or 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock.held(model_dir, patience=lock.PATIENCE_SECS))
        in_cluster = bool(task.jobs or task.lone_chief)
        recorder = None
        if in_cluster:
            files.check_ours(os.path.join(model_dir, status.STATUS_FILE), b'"has_evaluator"')
            recorder = stack.enter_context(status.record_outcome(model_dir, task.has_evaluator))
        newest = checkpoints.newest_whole(model_dir, progress.warn)
        if newest:
            checkpoints.keep_newest(newest, keep)
        checkpoints.remove_left_overs(model_dir)
        # Before Estimator's hooks, which would name its file by the clock alone.
        events.writer(model_dir)
        if task.lone_chief:
            stack.enter_context(peers.listening(task.lone_chief))
        if task.jobs:
            stack.enter_context(_watch(model_dir, task, recorder, None))
        yield Run(config, task, lambda: False)
        if recorder:
            recorder.write(status.DONE, exit_code=0)


@contextlib.contextmanager
def _follow(config: estimators.RunConfig, task: roles.Task) -> Iterator[Run]:
    """The part of any other task: it ends when the chief does, and as that does."""
    follower = status.Follower(config.model_dir)
    look = training_hooks.RateLimit()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_watch(config.model_dir, task, None, follower))
        if task.role != roles.WORKER:  # It looks after each step.
            end = functools.partial(parameter_server.end_with_chief, task, follower)
            stack.enter_context(background.running(end, "chief"))
        yield Run(config, task, lambda: look.allows() and follower.ended() is not None)
    endings.end_like_the_chief(follower.ended())


def _watch(
    model_dir: str,
    task: roles.Task,
    recorder: status.Recorder | None,
    follower: status.Follower | None,
) -> peers.Watch:
    return endings.watch_tasks(
        model_dir,
        task,
        recorder=recorder,
        follower=follower,
        synchronous=False,
        start_secs=_START_SECS,
    )
