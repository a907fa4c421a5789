"""Reads the description of the cluster that each engine gives: flags, variables, or a file.

Every function returns a checked `Description`, or None if its engine describes no cluster. Where an
engine only gives each task a rank, the roles follow from the ranks: first the chief, then the
workers, the parameter servers, and last the evaluator.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.cluster import fields, slurm_step

CHIEF, WORKER, PS, EVALUATOR = "chief", "worker", "ps", "evaluator"
ROLES = (CHIEF, WORKER, PS, EVALUATOR)
RANK = "JOB_COMPLETION_INDEX"  # Kubernetes sets it in the pods of an Indexed Job.

_SAGEMAKER_PORT = 2222
# TensorFlow 1 called the chief master, and Kubeflow still has that role.
_NAMES = {"master": CHIEF}
_POOLS = {"workerpool0": CHIEF, "workerpool1": WORKER, "workerpool2": PS, "workerpool3": EVALUATOR}


@dataclasses.dataclass(frozen=True)
class Description:
    """A cluster as an engine describes it.

    Attributes:
      jobs: role -> "host:port" of its tasks, in order; the evaluator may be missing.
      role: the role of this process.
      index: its place in `jobs[role]`.
      source: where the description was found, as "TF_CONFIG".
    """

    jobs: Mapping[str, tuple[str, ...]]
    role: str
    index: int
    source: str


def counts(trainers: int, num_ps: int, evaluator: bool) -> dict[str, int]:
    """How many tasks each role has, in the order of their ranks; one trainer is the chief."""
    found = {CHIEF: 1, WORKER: trainers - 1, PS: num_ps, EVALUATOR: int(evaluator)}
    return {role: count for role, count in found.items() if count}


def from_flags(
    environ: Mapping[str, str],
    hosts: Mapping[str, str],
    *,
    job_name: str,
    task_index: int | None,
    evaluator: bool,
) -> Description:
    """Reads the host flags.

    Without `job_name` and `task_index`, JOB_COMPLETION_INDEX is this process's rank over all roles,
    as in the pods of a Kubernetes Indexed Job, a JobSet or a TrainJob with one template.

    Args:
      environ: the environment.
      hosts: role -> its host flag, "host:port,host:port" or "".
      The others are the flags of the same names.
    """
    jobs = {
        role: _addresses([host.strip() for host in text.split(",")], f"--{role}_hosts", role)
        for role, text in hosts.items()
        if text
    }
    rank = environ.get(RANK, "")
    if rank and not job_name and task_index is None:
        sizes = {role: len(jobs.get(role, ())) for role in ROLES} | {EVALUATOR: int(evaluator)}
        role, index = _at_rank(sizes, fields.whole(rank, RANK), RANK)
        return Description(jobs, role, index, "flags")
    if task_index is None and rank:
        index, field = fields.whole(rank, RANK), RANK
    else:
        index, field = task_index or 0, "--task_index"
    role = _NAMES.get(job_name, job_name)
    return _located(jobs, role, index, "--job_name", field, "flags")


def from_tf_config(environ: Mapping[str, str]) -> Description | None:
    """Reads TF_CONFIG, which Kubeflow's TFJob, Ray Train, Vertex AI and TensorFlow's guides set.

    A TFJob of a single replica gets none. On Vertex AI the evaluator is only in CLUSTER_SPEC, which
    is also set.
    """
    found = _from_json(environ, "TF_CONFIG", _NAMES)
    if found is None:
        return None
    beside = from_cluster_spec(environ)
    if beside and EVALUATOR in beside.jobs:
        jobs = {EVALUATOR: beside.jobs[EVALUATOR], **found.jobs}
        found = dataclasses.replace(found, jobs=jobs)
    return found


def from_cluster_spec(environ: Mapping[str, str]) -> Description | None:
    """Reads CLUSTER_SPEC, which Vertex AI sets, with its worker pools as roles."""
    return _from_json(environ, "CLUSTER_SPEC", _NAMES | _POOLS)


def from_sagemaker(
    environ: Mapping[str, str],
    resource_config: str,
    *,
    base_port: int,
    num_ps: int,
    evaluator: bool,
) -> Description | None:
    """Reads the names of SageMaker's hosts; each has one task, and all use the same port.

    An image with SageMaker's training toolkit has them in SM_HOSTS and SM_CURRENT_HOST. Otherwise
    they are in the file `resource_config`, which SageMaker puts into every container.
    """
    if environ.get("SM_HOSTS"):
        hosts_field, current_field = "SM_HOSTS", "SM_CURRENT_HOST"
        hosts = fields.parsed(environ["SM_HOSTS"], hosts_field)
        current = environ.get(current_field)
    else:
        config = _read_json(resource_config)
        if config is None:
            return None
        hosts_field, current_field = (f"{resource_config}: {k}" for k in ("hosts", "current_host"))
        hosts, current = config.get("hosts"), config.get("current_host")
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise fields.wrong(hosts_field, hosts, "a list of hosts")
    port = base_port or _SAGEMAKER_PORT
    fields.addresses([f"{host}:{port}" for host in hosts], hosts_field)
    if current not in hosts:
        raise fields.wrong(current_field, current, f"one of the hosts {fields.shown(hosts)}")
    # SageMaker puts algo-10 before algo-2.
    hosts = sorted(hosts, key=_in_order_of_numbers)
    addresses = [f"{host}:{port}" for host in hosts]
    return _by_rank(addresses, hosts.index(current), num_ps, evaluator, "SageMaker")


def from_slurm(
    environ: Mapping[str, str], *, base_port: int, num_ps: int, evaluator: bool
) -> Description | None:
    """Reads the variables that srun sets in each task of a job step."""
    if not slurm_step.is_step(environ):
        return None
    addresses, rank = slurm_step.tasks(environ, base_port=base_port)
    return _by_rank(addresses, rank, num_ps, evaluator, "Slurm")


def _from_json(
    environ: Mapping[str, str], variable: str, names: Mapping[str, str]
) -> Description | None:
    text = environ.get(variable, "")
    config = fields.parsed(text, variable) if text.strip() else {}
    if not isinstance(config, dict):
        raise fields.wrong(variable, text, "a JSON object")
    if config.get("sparseCluster"):
        raise InputError(
            f"{variable}: found sparseCluster, expected cluster; leave enableDynamicWorker out of "
            "the TFJob"
        )
    cluster = config.get("cluster") or {}
    if not isinstance(cluster, dict):
        raise fields.wrong(f"{variable}: cluster", cluster, "an object of host lists")
    if not cluster:
        return None
    task = config.get("task")
    if not isinstance(task, dict):
        raise fields.wrong(f"{variable}: task", task, "an object with type and index")
    role = task.get("type")
    role = names.get(role, role) if isinstance(role, str) else role
    where = f"{variable}: task.type", f"{variable}: task.index"
    jobs = _jobs(cluster, names, variable)
    return _located(jobs, role, task.get("index", 0), *where, variable)


def _jobs(
    cluster: Mapping[str, Any], names: Mapping[str, str], variable: str
) -> dict[str, tuple[str, ...]]:
    jobs: dict[str, tuple[str, ...]] = {}
    for name, hosts in cluster.items():
        role = names.get(name, name)
        if role not in ROLES or role in jobs:
            found = f"{variable}: cluster: found a job {fields.shown(name)}"
            raise InputError(f"{found}, expected only {', '.join(ROLES)}, each once")
        jobs[role] = _addresses(hosts, f"{variable}: cluster.{name}", role)
    return jobs


def _addresses(hosts: Any, field: str, role: str) -> tuple[str, ...]:
    found = fields.addresses(hosts, field)
    if role in (CHIEF, EVALUATOR) and len(found) > 1:
        raise InputError(f"{field}: found {len(found)} hosts, expected one")
    return found


def _located(
    jobs: Mapping[str, tuple[str, ...]],
    role: Any,
    index: Any,
    role_field: str,
    index_field: str,
    source: str,
) -> Description:
    if role not in ROLES:
        raise fields.wrong(role_field, role, f"one of {', '.join(ROLES)}")
    if role != EVALUATOR and role not in jobs:
        has = f"the cluster has only {', '.join(jobs)}" if jobs else "no hosts are given"
        raise InputError(f"{role_field}: found {role!r}, but {has}")
    index = fields.whole(index, index_field)
    # An evaluator needs no address, so it need not be listed.
    count = len(jobs[role]) if role in jobs else 1
    if not 0 <= index < count:
        raise fields.wrong(
            index_field, index, f"0 to {count - 1}: the cluster has {count} of {role}"
        )
    return Description(jobs, role, index, source)


def _by_rank(
    addresses: Sequence[str], rank: int, num_ps: int, evaluator: bool, source: str
) -> Description:
    trainers = len(addresses) - num_ps - evaluator
    if trainers < 1:
        given = f"{num_ps} ps" + (" and an evaluator" if evaluator else "")
        raise InputError(
            f"--{'num_ps' if num_ps else 'evaluator'}: found {given}, but {source} has "
            f"{len(addresses)} tasks, expected at least one more, to train"
        )
    sizes = counts(trainers, num_ps, evaluator)
    rest = iter(addresses)
    jobs = {role: tuple(next(rest) for _ in range(size)) for role, size in sizes.items()}
    role, index = _at_rank(sizes, rank, source)
    return Description(jobs, role, index, source)


def _at_rank(sizes: Mapping[str, int], rank: int, field: str) -> tuple[str, int]:
    first = 0
    for role, size in sizes.items():
        if 0 <= rank - first < size:
            return role, rank - first
        first += size
    raise fields.wrong(field, rank, f"0 to {first - 1}: the cluster has {first} tasks")


def _read_json(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            config = fields.parsed(file.read(), path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(config, dict):
        raise fields.wrong(path, config, "a JSON object")
    return config


def _in_order_of_numbers(host: str) -> list[Any]:
    parts = re.split(r"([0-9]+)", host)
    return [int(part) if at % 2 else part for at, part in enumerate(parts)]
