"""How an Estimator runs under a distribution strategy on a cluster.

TensorFlow 2.16 removed `tensorflow.python.distribute.estimator_training`, which Estimator's
`run_config`, `training` and `estimator` modules import, but kept the distribute coordinator that
it was written for. This module has the same five entry points, on that coordinator; `compat`
installs it under the removed name. On TensorFlow 2.15 the original is used and this is not
imported.

The coordinator has two modes. An independent worker is one process of a cluster described by
TF_CONFIG, each running the same program. A standalone client is one process that drives remote
servers (`DistributeConfig.remote_cluster`). In both it calls back with the strategy configured
for the task, and the estimator copied here takes on that task's place in the cluster.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from tensorflow.python.distribute import distribute_coordinator as coordinator
from tensorflow.python.distribute import distribute_coordinator_context as coordinator_context
from tensorflow.python.distribute import multi_worker_util
from tensorflow.python.platform import tf_logging as logging
from tensorflow.python.training import server_lib

# The types of tasks, as TF_CONFIG has them.
CHIEF = "chief"
EVALUATOR = "evaluator"
PS = "ps"
WORKER = "worker"

_MODES = (
    coordinator.CoordinatorMode.STANDALONE_CLIENT,
    coordinator.CoordinatorMode.INDEPENDENT_WORKER,
)


def init_run_config(config: Any, tf_config: dict[str, Any]) -> None:
    """Fills in a RunConfig's place in the cluster, and whether the coordinator is to run it.

    Args:
      config: the RunConfig under construction; changed in place.
      tf_config: the parsed TF_CONFIG, `{}` if there is none.

    Raises:
      ValueError: a strategy is given twice, or two clusters are described.
    """
    _adopt_strategy(config, "train_distribute")
    _adopt_strategy(config, "eval_distribute")
    cluster_spec = server_lib.ClusterSpec(tf_config.get("cluster", {}))
    # The values of a process on its own, until the branches below know better.
    config._init_distributed_setting_from_environment_var({})

    distribute = config._experimental_distribute
    if config._train_distribute and distribute and distribute.remote_cluster:
        if cluster_spec:
            raise ValueError(
                'Cannot set both "cluster_spec" of TF_CONFIG and '
                "`experimental_distribute.remote_cluster`"
            )
        config._distribute_coordinator_mode = coordinator.CoordinatorMode.STANDALONE_CLIENT
        config._cluster_spec = distribute.remote_cluster
    elif cluster_spec and config._train_distribute and "master" not in cluster_spec.jobs:
        # Task type, id and counts come from the coordinator, once it runs.
        config._distribute_coordinator_mode = coordinator.CoordinatorMode.INDEPENDENT_WORKER
        config._cluster_spec = cluster_spec
    else:
        # A parameter-server cluster without a strategy: Estimator itself knows how to run it.
        config._distribute_coordinator_mode = None
        config._init_distributed_setting_from_environment_var(tf_config)
        config._maybe_overwrite_session_config_for_distributed_training()
    mode = config._distribute_coordinator_mode
    logging.info("RunConfig: distribute coordinator %s", mode or "not used")


def should_run_distribute_coordinator(config: Any) -> bool:
    """Whether `config` asks for the coordinator and has the cluster to run it on."""
    mode = getattr(config, "_distribute_coordinator_mode", None)
    if mode is None:
        return False
    if mode not in _MODES:
        logging.warning("Unexpected distribute_coordinator_mode: %r", mode)
        return False
    if not config.cluster_spec:
        logging.warning("No cluster in RunConfig: running locally, without %r", mode)
        return False
    return True


def train_and_evaluate(
    estimator: Any, train_spec: Any, eval_spec: Any, executor_cls: Callable[..., Any]
) -> Any:
    """Runs this task's part of `estimator.train_and_evaluate` under the coordinator.

    Args:
      estimator: the Estimator; never changed, each task works on a copy.
      train_spec: its TrainSpec.
      eval_spec: its EvalSpec, for the evaluator task.
      executor_cls: Estimator's evaluation loop, `executor_cls(estimator, train_spec, eval_spec)`.

    Raises:
      ValueError: the RunConfig was not made for the coordinator.
    """
    config = estimator.config
    mode = config._distribute_coordinator_mode
    if not mode:
        raise ValueError("Distribute coordinator mode is not specified in `RunConfig`.")
    standalone = mode == coordinator.CoordinatorMode.STANDALONE_CLIENT

    def train(strategy: Any) -> None:
        task, context = _estimator_for_task(estimator, "train", strategy)
        task._config._distribute_coordinator_mode = None  # train() must not come back here.
        # A standalone client runs every worker in a thread of its own: the user's hooks may hold
        # tensors of one graph only, and would print as many times as there are workers.
        hooks = [] if standalone and not context.is_chief else list(train_spec.hooks)
        task.train(input_fn=train_spec.input_fn, max_steps=train_spec.max_steps, hooks=hooks)

    def evaluate(strategy: Any) -> None:
        task, _ = _estimator_for_task(estimator, "eval", strategy)
        task._config._distribute_coordinator_mode = None
        executor_cls(task, train_spec, eval_spec)._start_continuous_evaluation()

    return coordinator.run_distribute_coordinator(
        train,
        config.train_distribute,
        evaluate,
        config.eval_distribute,
        mode=mode,
        # An independent worker's coordinator reads the cluster from TF_CONFIG itself.
        cluster_spec=config.cluster_spec if standalone else None,
        session_config=config.session_config,
    )


def estimator_train(
    estimator: Any, train_distributed_fn: Callable[..., Any], hooks: Sequence[Any]
) -> Any:
    """Runs `Estimator.train` on a remote cluster and returns the trained copy of `estimator`.

    `train_distributed_fn(estimator, strategy, hooks)` trains. Raises ValueError for what only
    `train_and_evaluate` can run.
    """

    def train(strategy: Any) -> Any:
        task, context = _estimator_for_task(estimator, "train", strategy)
        train_distributed_fn(task, strategy, hooks if context.is_chief else [])
        return task

    return _run_standalone(estimator, train, estimator._config.train_distribute, "train")


def estimator_evaluate(
    estimator: Any, evaluate_distributed_fn: Callable[..., Any], hooks: Sequence[Any]
) -> Any:
    """Runs `Estimator.evaluate` on a remote cluster and returns its metrics.

    `evaluate_distributed_fn(estimator, strategy, hooks)` evaluates. Raises ValueError for what
    only `train_and_evaluate` can run.
    """

    def evaluate(strategy: Any) -> Any:
        task, context = _estimator_for_task(estimator, "eval", strategy)
        return evaluate_distributed_fn(task, strategy, hooks if context.is_chief else [])

    return _run_standalone(estimator, evaluate, estimator._config.eval_distribute, "evaluate")


def _adopt_strategy(config: Any, name: str) -> None:
    """Takes over a strategy given as `experimental_distribute.<name>`."""
    strategy = getattr(config._experimental_distribute, name, None)
    if not strategy:
        return
    if getattr(config, f"_{name}"):
        raise ValueError(f"Either `{name}` or `experimental_distribute.{name}` can be set.")
    setattr(config, f"_{name}", strategy)


def _run_standalone(
    estimator: Any, worker_fn: Callable[[Any], Any], strategy: Any, method: str
) -> Any:
    """Runs `worker_fn` on the remote cluster, after checking that it can be done."""
    config = estimator._config
    cluster_spec = multi_worker_util.normalize_cluster_spec(config.cluster_spec)
    if EVALUATOR in cluster_spec.jobs:
        raise ValueError("'evaluator' job is not supported if you don't use `train_and_evaluate`")
    if config._distribute_coordinator_mode != coordinator.CoordinatorMode.STANDALONE_CLIENT:
        raise ValueError(
            "Only `STANDALONE_CLIENT` mode is supported when you call "
            f"`Estimator.{method}`; use `train_and_evaluate` in each process of a cluster."
        )
    if strategy.extended.experimental_between_graph:
        # Each worker would return a result of its own, and nothing merges them.
        raise ValueError(
            f"`Estimator.{method}` is not supported for {type(strategy).__name__} with "
            "`STANDALONE_CLIENT` mode."
        )
    return coordinator.run_distribute_coordinator(
        worker_fn,
        strategy,
        mode=config._distribute_coordinator_mode,
        cluster_spec=cluster_spec,
        session_config=config.session_config,
    )


def _estimator_for_task(estimator: Any, phase: str, strategy: Any) -> tuple[Any, Any]:
    """A copy of `estimator` that knows its task, and the coordinator's context of that task.

    Args:
      estimator: the Estimator that the user built.
      phase: "train" or "eval": which of its strategies `strategy` replaces.
      strategy: the strategy as the coordinator configured it for this task.
    """
    context = coordinator_context.get_current_worker_context()
    task = copy.deepcopy(estimator)
    setattr(task._config, f"_{phase}_distribute", strategy)
    setattr(task, f"_{phase}_distribution", strategy)
    _place_in_cluster(task._config, context)
    return task, context


def _place_in_cluster(config: Any, context: Any) -> None:
    """Writes the task that the coordinator runs in this context into `config`."""
    config._service = None
    config._task_type = context.task_type
    config._task_id = context.task_id
    config._master = config._evaluation_master = context.master_target
    config._is_chief = context.is_chief
    # The evaluator works by itself: it must not wait for, or place variables on, the others.
    alone = context.task_type == EVALUATOR
    config._cluster_spec = server_lib.ClusterSpec({}) if alone else context.cluster_spec
    jobs = config._cluster_spec.as_dict() if config._cluster_spec else {}
    workers = len(jobs.get(CHIEF, [])) + len(jobs.get(WORKER, []))
    config._num_ps_replicas = len(jobs.get(PS, []))
    config._num_worker_replicas = 0 if alone else workers if jobs else 1
    config._global_id_in_cluster = None if alone else _global_id(jobs, context)


def _global_id(jobs: dict[str, Any], context: Any) -> int:
    """Counts this task among all tasks: chief first, then workers, parameter servers last."""
    if not jobs or not context.task_type:
        return 0
    order = sorted(jobs, key=lambda job: (job != CHIEF, job == PS, job))
    earlier = order[: order.index(context.task_type)]
    return sum(len(jobs[job]) for job in earlier) + context.task_id
