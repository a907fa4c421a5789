"""The Estimator of a run: its network's parameters, its strategy, its sessions."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.cluster import roles
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import Manifest, TrainedOn
from mnist_estimator.model_fn import model_fn
from mnist_estimator.runtime.progress import warn


def make_estimator(
    config: TrainConfig,
    data: Manifest | TrainedOn,
    task: roles.Task | None = None,
    options: Mapping[str, Any] | None = None,
) -> estimator.Estimator:
    """Returns the Estimator of a run.

    Args:
      data: what the network trains on, or was trained on.
      task: this process's place in a cluster, if any. Without it the Estimator is that of a
        process alone, also where TF_CONFIG tells of a cluster.
      options: params in place of those that follow from the config and the data.
    """
    task = task or roles.Task()
    with graph(config), _environment(task):
        return estimator.Estimator(
            model_fn,
            params={**config.model_params(data), **(options or {})},
            config=_run_config(config, task),
        )


def with_strategy(config: TrainConfig) -> TrainConfig:
    """Returns the config of a process with the strategy that its `--strategy=auto` stands for.

    In a cluster `roles.Task.strategy` has decided already; here the GPUs of this machine decide.
    """
    if config.strategy != roles.AUTO:
        return config
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus and config.batch_size % config.batch_unit(gpus):
        warn(
            f"training on one of {gpus} GPUs: --batch_size={config.batch_size} cannot be shared "
            f"evenly; give a multiple of {config.batch_unit(gpus)} to train on all"
        )
        gpus = 1
    return dataclasses.replace(config, strategy=roles.strategy_for(1, 0, gpus))


def graph(config: TrainConfig) -> contextlib.AbstractContextManager[object]:
    """Where the strategy of several workers has to be made and used: in a graph, not eagerly.

    Made eagerly it starts a coordination service. That takes SIGTERM for itself, waits in C++ for
    all workers before training is set up, and on a busy machine takes a late heartbeat for the end
    of a task. Estimator trains in a graph, and needs none of it.
    """
    multi_worker = config.strategy == "multi_worker"
    return tf.Graph().as_default() if multi_worker else contextlib.nullcontext()


def session_config(config: TrainConfig, task: roles.Task) -> v1.ConfigProto:
    """Threads and device filters of a task's sessions."""
    # A session_config of one's own replaces RunConfig's device filters too. Without them a process
    # of a parameter-server cluster waits until all the others have started.
    filters = {
        roles.CHIEF: ["/job:ps", "/job:chief"],
        roles.WORKER: ["/job:ps", f"/job:worker/task:{task.index}"],
        roles.PS: ["/job:ps", "/job:worker", "/job:chief"],
        roles.EVALUATOR: [],
    }
    return v1.ConfigProto(
        allow_soft_placement=True,
        intra_op_parallelism_threads=config.intra_op_threads,
        inter_op_parallelism_threads=config.inter_op_threads,
        device_filters=filters[task.role] if roles.PS in task.jobs else [],
    )


@contextlib.contextmanager
def _environment(task: roles.Task) -> Iterator[None]:
    """Sets TF_CONFIG to this task's for the block: RunConfig takes a process's place from there.

    The chief of a cluster also makes Estimators of a process alone, as to evaluate its export.
    """
    before = os.environ.get("TF_CONFIG")
    os.environ["TF_CONFIG"] = task.tf_config()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TF_CONFIG"]
        else:
            os.environ["TF_CONFIG"] = before


def _run_config(config: TrainConfig, task: roles.Task) -> estimator.RunConfig:
    # An evaluator works alone, on whatever was trained how.
    strategy = None if task.role == roles.EVALUATOR else _strategy(config)
    return estimator.RunConfig(
        model_dir=config.model_dir,
        tf_random_seed=config.seed,
        keep_checkpoint_max=config.keep_checkpoint_max,
        # Our own hooks save, summarize and report: Estimator's count from where a run was resumed.
        save_checkpoints_steps=None,
        save_checkpoints_secs=None,
        save_summary_steps=0,
        log_step_count_steps=None,
        session_config=session_config(config, task),
        # Estimator lets worker i wait 5 * (i + 1) seconds; the session waits for the chief anyway.
        experimental_max_worker_delay_secs=0,
        train_distribute=strategy,
    )


def _strategy(config: TrainConfig) -> tf.distribute.Strategy | None:
    if config.strategy == "mirrored":
        made = tf.distribute.MirroredStrategy()
    elif config.strategy == "multi_worker":
        made = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        return None
    replicas = made.num_replicas_in_sync
    if config.batch_size % config.batch_unit(replicas) and not config.batch_size % replicas:
        # Here and not where they are mixed: an error in the thread of a replica is a traceback.
        raise InputError(
            f"--batch_size: found {config.batch_size} with --mixup, expected a multiple of "
            f"{config.batch_unit(replicas)}: each of the {replicas} replicas mixes pairs of images"
        )
    return made
