"""Who trains with whom: TF_CONFIG or the classic host flags become one validated `Task`.

A task knows its cluster, its role in it and its share of the data. TensorFlow is not imported.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from mnist_estimator import InputError

CHIEF, WORKER, PS, EVALUATOR = "chief", "worker", "ps", "evaluator"
ROLES = (CHIEF, WORKER, PS, EVALUATOR)
TRAINERS = (CHIEF, WORKER)
_ADDRESS = re.compile(r"\S+:(?P<port>\d{1,5})", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Task:
    """One process of a cluster; the default is a process that trains alone.

    Attributes:
      jobs: role -> its "host:port" addresses, in order; empty when the process trains alone.
      role: one of `ROLES`.
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
    def chief_address(self) -> str:
        """Where the chief is, "host:port"; "" if unknown."""
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
        """This process's number among those: the chief is 0, workers follow."""
        return self.index + (self.role == WORKER and self.has_chief)

    def tf_config(self) -> str:
        """The TF_CONFIG that TensorFlow reads, as JSON; without a cluster an empty object."""
        if not self.jobs:
            return "{}"
        jobs = {role: list(hosts) for role, hosts in self.jobs.items()}
        return json.dumps({"cluster": jobs, "task": {"type": self.role, "index": self.index}})


def _name(role: str, index: int) -> str:
    return role if role in (CHIEF, EVALUATOR) else f"{role} {index}"


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
    """Returns this process's task, from the host flags if given, else from TF_CONFIG.

    Args:
      environ: the environment; `TF_CONFIG` is read.
      strategy: as the flag `--strategy`.
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
        jobs = {role: text.split(",") for role, text in hosts.items() if text}
        task = _task(jobs, job_name, task_index or 0, source="--job_name")
        task = dataclasses.replace(task, source="flags")
    else:
        task = _from_tf_config(environ.get("TF_CONFIG", ""))
    has_evaluator = task.has_evaluator if evaluator is None else evaluator
    return _fit(dataclasses.replace(task, has_evaluator=has_evaluator), strategy)


def _from_tf_config(text: str) -> Task:
    if not text.strip():
        return Task()
    try:
        config = json.loads(text)
    except ValueError as error:
        raise InputError(f"TF_CONFIG: found {text[:60]!r}, expected JSON ({error})") from None
    if not isinstance(config, dict):
        raise InputError(f"TF_CONFIG: found {text[:60]!r}, expected a JSON object")
    jobs = config.get("cluster") or {}
    if not isinstance(jobs, dict):
        raise InputError(f"TF_CONFIG: cluster: found {jobs!r}, expected an object of host lists")
    if not jobs:
        return Task()
    task = config.get("task")
    if not isinstance(task, dict):
        raise InputError(f"TF_CONFIG: task: found {task!r}, expected an object with type and index")
    return _task(jobs, task.get("type"), task.get("index", 0), source="TF_CONFIG: task.type")


def _task(jobs: dict[str, Any], role: Any, index: Any, *, source: str) -> Task:
    # TensorFlow 1 called the chief master, and some launchers still do.
    jobs = {CHIEF if name == "master" else name: hosts for name, hosts in jobs.items()}
    role = CHIEF if role == "master" else role
    for name, hosts in jobs.items():
        _check_job(name, hosts)
    if role not in ROLES:
        raise InputError(f"{source}: found {role!r}, expected one of {', '.join(ROLES)}")
    if role != EVALUATOR and role not in jobs:
        raise InputError(f"{source}: found {role!r}, but the cluster has only {', '.join(jobs)}")
    try:
        index = int(index)
    except (TypeError, ValueError):
        raise InputError(f"task index: found {index!r}, expected a whole number") from None
    if role != EVALUATOR and not 0 <= index < len(jobs[role]):
        raise InputError(
            f"task index: found {index}, expected 0 to {len(jobs[role]) - 1}: the cluster has "
            f"{len(jobs[role])} of {role}"
        )
    # The evaluator talks to nobody; listed in the cluster, the others would wait for its server.
    trained = {r: tuple(h) for r, h in jobs.items() if r != EVALUATOR}
    listed = EVALUATOR in jobs or role == EVALUATOR
    return Task(trained, role, index, has_evaluator=listed, source="TF_CONFIG")


def _check_job(name: str, hosts: Any) -> None:
    if name not in ROLES:
        raise InputError(f"cluster: found a job {name!r}, expected only {', '.join(ROLES)}")
    if not isinstance(hosts, list) or not hosts:
        raise InputError(f"cluster: {name}: found {hosts!r}, expected a list of host:port")
    for host in hosts:
        found = _ADDRESS.fullmatch(host) if isinstance(host, str) else None
        if not found or not 0 < int(found["port"]) < 65536:
            raise InputError(f"cluster: {name}: found {host!r}, expected host:port")
    if name == CHIEF and len(hosts) > 1:
        raise InputError(f"cluster: chief: found {len(hosts)} hosts, expected one")


def _fit(task: Task, strategy: str) -> Task:
    everyone = [host for hosts in task.jobs.values() for host in hosts]
    twice = {host for host in everyone if everyone.count(host) > 1}
    if twice:
        raise InputError(
            f"cluster: found {min(twice)} twice, expected every task at its own address"
        )
    if strategy in ("none", "mirrored"):
        if task.num_trainers > 1 or PS in task.jobs:
            raise InputError(
                f"--strategy: found {strategy}, but a cluster of {len(everyone)} tasks is "
                "described; expected ps or multi_worker"
            )
        chief = task.chief_address if task.has_evaluator else ""
        role = EVALUATOR if task.role == EVALUATOR else CHIEF
        return dataclasses.replace(task, jobs={}, role=role, index=0, lone_chief=chief)
    if not task.jobs:
        raise InputError(
            f"--strategy: found {strategy} without a cluster, expected TF_CONFIG or "
            "--worker_hosts, --job_name and --task_index"
        )
    if strategy == "multi_worker":
        if PS in task.jobs:
            raise InputError("--strategy: found multi_worker with ps tasks, expected --strategy=ps")
        # Estimator wants a chief in the evaluator's cluster, as it would have one without strategy.
        return _with_chief(task) if task.role == EVALUATOR else task
    if PS not in task.jobs:
        raise InputError("--strategy: found ps, but the cluster has no ps task")
    return _with_chief(task)


def _with_chief(task: Task) -> Task:
    """Names the first worker chief where no task is: one process has to save the checkpoints."""
    if task.has_chief:
        return task
    if WORKER not in task.jobs:
        raise InputError("cluster: found no chief and no worker, expected one to train")
    chief, *workers = task.jobs[WORKER]
    jobs = {CHIEF: (chief,), WORKER: tuple(workers), PS: task.jobs.get(PS, ())}
    jobs = {role: hosts for role, hosts in jobs.items() if hosts}
    role, index = task.role, task.index
    if role == WORKER:
        role, index = (WORKER, index - 1) if index else (CHIEF, 0)
    return dataclasses.replace(task, jobs=jobs, role=role, index=index)
