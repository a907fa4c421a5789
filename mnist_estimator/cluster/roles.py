"""Decides which task of which cluster this process is, from the flags or the engine's variables.

A `Task` knows its cluster, its role and its share of the data. TensorFlow is not imported.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.cluster import environments, slurm_step
from mnist_estimator.cluster.environments import CHIEF, EVALUATOR, PS, WORKER

TRAINERS = (CHIEF, WORKER)
ALONE = ("none", "mirrored")  # Strategies of a process that trains alone.
AUTO = "auto"  # The strategy that the cluster and the machine call for.


@dataclasses.dataclass(frozen=True)
class Task:
    """One process of a cluster; the default is a process that trains alone.

    Attributes:
      jobs: role -> its "host:port" addresses, in order; empty when the process trains alone.
      role: chief, worker, ps or evaluator.
      index: this process's place in `jobs[role]`.
      has_evaluator: whether a task of its own evaluates; else the chief does.
      source: what this was read from, as "TF_CONFIG".
      lone_chief: address of a chief that trains alone, beside an evaluator.
    """

    jobs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    role: str = CHIEF
    index: int = 0
    has_evaluator: bool = False
    source: str = dataclasses.field(default="", compare=False)
    lone_chief: str = ""

    @property
    def name(self) -> str:
        """As "worker 1"; there is only one chief and one evaluator."""
        return _name(self.role, self.index)

    @property
    def address(self) -> str:
        """The address at which this process listens, "host:port"; "" if it does not."""
        if not self.jobs:
            return self.lone_chief if self.role == CHIEF else ""
        hosts = self.jobs.get(self.role, ())  # The evaluator is not listed.
        return hosts[self.index] if self.index < len(hosts) else ""

    @property
    def chief_address(self) -> str:
        """The address of the chief, "host:port"; "" if unknown."""
        chiefs = self.jobs.get(CHIEF) or self.jobs.get(WORKER) or (self.lone_chief,)
        return chiefs[0]

    @property
    def peers(self) -> tuple[tuple[str, str], ...]:
        """(name, address) of all other tasks in `jobs`."""
        everyone = [
            (_name(role, index), address)
            for role, addresses in self.jobs.items()
            for index, address in enumerate(addresses)
        ]
        return tuple((name, address) for name, address in everyone if name != self.name)

    @property
    def is_chief(self) -> bool:
        """Whether this process saves checkpoints and writes the results."""
        return self.role == CHIEF or (self.role == WORKER and not self.index and not self.has_chief)

    @property
    def has_chief(self) -> bool:
        return CHIEF in self.jobs or not self.jobs

    @property
    def num_trainers(self) -> int:
        """How many processes compute gradients."""
        return sum(len(self.jobs.get(role, ())) for role in TRAINERS) or 1

    @property
    def trainer(self) -> int:
        """This process's rank among the trainers: the chief is 0, the workers follow."""
        return self.index + (self.role == WORKER and self.has_chief)

    def strategy(self, strategy: str) -> str:
        """Returns a `--strategy` as this task trains by it; auto where this task trains alone.

        In that case the machine's GPUs decide, which only TensorFlow counts.
        """
        if strategy != AUTO or not self.jobs:
            return strategy
        return strategy_for(self.num_trainers, len(self.jobs.get(PS, ())))

    def tf_config(self) -> str:
        """The value of TF_CONFIG for TensorFlow, as JSON; "{}" without a cluster."""
        if not self.jobs:
            return "{}"
        jobs = {role: list(hosts) for role, hosts in self.jobs.items()}
        return json.dumps({"cluster": jobs, "task": {"type": self.role, "index": self.index}})


def strategy_for(workers: int, num_ps: int, gpus: int = 0) -> str:
    """The strategy that `--strategy=auto` stands for.

    Args:
      workers: the tasks that train, the chief included.
      num_ps: the parameter servers.
      gpus: the GPUs of each task that trains.
    """
    if num_ps:
        return "ps"
    if workers > 1:
        return "multi_worker"
    return "mirrored" if gpus > 1 else "none"


def resolve(
    environ: Mapping[str, str],
    *,
    strategy: str,
    ps_hosts: str = "",
    worker_hosts: str = "",
    chief_hosts: str = "",
    job_name: str = "",
    task_index: int | None = None,
    num_ps: int = 0,
    evaluator: bool | None = None,
    base_port: int = 0,
    resource_config: str = "/opt/ml/input/config/resourceconfig.json",
) -> Task:
    """Returns this process's task, from the host flags or what the engine says.

    The first of these counts: the host flags, TF_CONFIG, CLUSTER_SPEC, SageMaker's hosts, Slurm's
    variables. Nothing, or a cluster of one, is a process that trains alone, and so is one of
    several trainers whose strategy is none or mirrored.

    Args:
      environ: the environment.
      resource_config: the file that SageMaker describes a job in.
      The others are the flags of the same names.

    Raises:
      InputError: if the description is malformed or does not fit the strategy; names the field.
    """
    hosts = {CHIEF: chief_hosts, WORKER: worker_hosts, PS: ps_hosts}
    if any(hosts.values()) or job_name:
        if environ.get("TF_CONFIG", "{}").strip() not in ("", "{}"):
            raise InputError(
                "TF_CONFIG: found it beside --job_name or --*_hosts, expected one of the two; "
                "unset TF_CONFIG or drop the flags"
            )
        found: environments.Description | None = environments.from_flags(
            environ, hosts, job_name=job_name, task_index=task_index, evaluator=bool(evaluator)
        )
    else:
        sizes: dict[str, Any] = {
            "num_ps": num_ps,
            "evaluator": bool(evaluator),
            "base_port": base_port,
        }
        in_shell = strategy in (AUTO, *ALONE) and slurm_step.is_shell(environ)
        found = (
            environments.from_tf_config(environ)
            or environments.from_cluster_spec(environ)
            or environments.from_sagemaker(environ, resource_config, **sizes)
            or (None if in_shell else environments.from_slurm(environ, **sizes))
        )
    _check_flags(found, num_ps, evaluator)
    if found:
        return _fit(_task(found, evaluator), strategy)
    _check_alone(strategy, environ)
    return Task()


def _check_flags(
    found: environments.Description | None, num_ps: int, evaluator: bool | None
) -> None:
    """Raises InputError if the flags name other tasks than the description."""
    jobs = found.jobs if found else {}
    listed = len(jobs.get(PS, ()))
    where = f"{found.source} has {listed}" if found else "no cluster is described"
    if num_ps and num_ps != listed:
        raise InputError(f"--num_ps: found {num_ps}, but {where}")
    if evaluator and not found:
        raise InputError(f"--evaluator: found it, but {where}; see --strategy")
    if evaluator is False and found and (EVALUATOR in jobs or found.role == EVALUATOR):
        raise InputError(f"--noevaluator: found it, but {found.source} has an evaluator")


def _task(found: environments.Description, evaluator: bool | None) -> Task:
    # Not the evaluator: it runs no server, for which the others would wait.
    jobs = {role: found.jobs[role] for role in (*TRAINERS, PS) if role in found.jobs}
    everyone = collections.Counter(host for hosts in jobs.values() for host in hosts)
    for host, times in everyone.most_common(1):
        if times > 1:
            raise InputError(f"cluster: found {host} twice, expected every task at its own address")
    if not any(role in jobs for role in TRAINERS):
        raise InputError("cluster: found no chief and no worker, expected one to train")
    return Task(
        jobs,
        found.role,
        found.index,
        has_evaluator=bool(evaluator) or EVALUATOR in (*found.jobs, found.role),
        source=found.source,
    )


def _check_alone(strategy: str, environ: Mapping[str, str]) -> None:
    if strategy in (AUTO, *ALONE):
        return
    what_to_do = "expected TF_CONFIG or --worker_hosts, --job_name and --task_index"
    if "SLURM_JOB_ID" in environ and not slurm_step.is_step(environ):
        what_to_do = "expected the tasks of a Slurm job step; start the command with srun"
    raise InputError(f"--strategy: found {strategy} without a cluster, {what_to_do}")


def _fit(task: Task, strategy: str) -> Task:
    """Returns the task as the strategy needs it: without a cluster if it trains alone."""
    is_alone = task.num_trainers == 1 and PS not in task.jobs
    if strategy in ALONE and not is_alone:
        if task.role in TRAINERS:
            return Task(source=f"--strategy={strategy}, not {task.source}")
        raise _cannot_train_alone(task, strategy)
    if strategy in (AUTO, *ALONE, "multi_worker") and is_alone:
        # Without a cluster TensorFlow starts no server, which anybody could connect to.
        chief = task.chief_address if task.has_evaluator else ""
        role = EVALUATOR if task.role == EVALUATOR else CHIEF
        return dataclasses.replace(task, jobs={}, role=role, index=0, lone_chief=chief)
    strategy = task.strategy(strategy)
    if strategy == "multi_worker":
        if PS in task.jobs:
            raise InputError("--strategy: found multi_worker with ps tasks, expected --strategy=ps")
        # Estimator expects a chief in the evaluator's cluster, as without a strategy.
        return _with_chief(task) if task.role == EVALUATOR else task
    if PS not in task.jobs:
        raise InputError("--strategy: found ps, but the cluster has no ps task")
    return _with_chief(task)


def _cannot_train_alone(task: Task, strategy: str) -> InputError:
    """The error of a parameter server or an evaluator that is told to train alone."""
    tasks = sum(map(len, task.jobs.values()))
    return InputError(
        f"--strategy: found {strategy}, but a cluster of {tasks} tasks is described "
        f"({task.source}), in which this is the {task.name}; expected auto or "
        f"{task.strategy(AUTO)}: it cannot train alone"
    )


def _with_chief(task: Task) -> Task:
    """Makes the first worker the chief if there is none: one task has to save the checkpoints."""
    if task.has_chief:
        return task
    chief, *workers = task.jobs[WORKER]
    jobs = {CHIEF: (chief,), WORKER: tuple(workers), PS: task.jobs.get(PS, ())}
    jobs = {role: hosts for role, hosts in jobs.items() if hosts}
    role, index = task.role, task.index
    if role == WORKER:
        role, index = (WORKER, index - 1) if index else (CHIEF, 0)
    return dataclasses.replace(task, jobs=jobs, role=role, index=index)


def _name(role: str, index: int) -> str:
    return role if role in (CHIEF, EVALUATOR) else f"{role} {index}"
