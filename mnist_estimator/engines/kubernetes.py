"""Kubernetes: a `Job` becomes a TFJob, a JobSet, or a TrainJob, which `kubectl` submits.

Facts are from the source of Kubeflow's training operator 1.9, JobSet 0.12, Kubeflow Trainer 2.3 and
of Kubernetes (pkg/controller/job/pod_failure_policy.go). The tests hold what is rendered against
the CustomResourceDefinitions of these releases.
"""

from __future__ import annotations

import posixpath
import re

from mnist_estimator import InputError
from mnist_estimator.cluster import roles as cluster
from mnist_estimator.engines import jobs
from mnist_estimator.engines.jobs import yaml_quoted

TEMPLATE = {"kubeflow": "kubeflow.yaml", "jobset": "jobset.yaml", "trainjob": "trainjob.yaml"}

# The label by which the pods of a job are known.
_LABEL = {
    "kubeflow": "training.kubeflow.org/job-name",
    "jobset": "jobset.sigs.k8s.io/jobset-name",
    "trainjob": "jobset.sigs.k8s.io/jobset-name",  # Trainer makes a JobSet of it.
}
_PORT = 2222
# Exit codes of what would happen again: Kubeflow's ExitCode policy, written out for Jobs.
_PERMANENT_CODES = tuple(range(1, 128))
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)


def render(job: jobs.Job) -> str:
    """Returns the YAML of a job.

    Raises:
      InputError: if the job lacks what Kubernetes needs.
    """
    _check(job)
    return {"kubeflow": _kubeflow, "jobset": _jobset, "trainjob": _trainjob}[job.engine](job)


def command(job: jobs.Job, path: str) -> list[str]:
    """The command line that submits the file at `path`."""
    del job
    # Not apply: to a job of this name that has ended, it says "unchanged" and does nothing.
    return ["kubectl", "create", f"--filename={path}"]


def _kubeflow(job: jobs.Job) -> str:
    roles = {"chief": "Chief", "worker": "Worker", "ps": "PS", "evaluator": "Evaluator"}
    tasks = [
        jobs.render(
            "kubeflow_task.yaml",
            role=roles[role],
            count=count,
            command=yaml_quoted(job.train_command[:3]),
            args=_args(job.train_command[3:], indent=12),
            **_pod(job),
            resources=_resources(job, role),
        )
        for role, count in job.counts.items()
    ]
    gang = f'schedulingPolicy: {{"minAvailable": {job.num_tasks}}}'
    return jobs.render(
        TEMPLATE[job.engine],
        **_head(job),
        time_limit=_time_limit(job),
        gang=gang if job.gang else "# No --gang: each task starts as soon as there is room for it.",
        tasks="".join(tasks).rstrip(),
    )


def _jobset(job: jobs.Job) -> str:
    counts = job.counts
    hosts = {role: [f"{job.name}-{role}-0-{i}" for i in range(n)] for role, n in counts.items()}
    tasks = [
        jobs.render(
            "jobset_task.yaml",
            role=role,
            count=count,
            backoff_limit=job.max_restarts * count,
            time_limit=_time_limit(job),
            permanent_codes=yaml_quoted(_PERMANENT_CODES),
            command=yaml_quoted(job.train_command[:3]),
            args=_args(
                job.train_command[3:] + _host_flags(job, hosts, f"--job_name={role}"), indent=14
            ),
            **_pod(job),
            resources=_resources(job, role),
        )
        for role, count in counts.items()
    ]
    return jobs.render(TEMPLATE[job.engine], **_head(job), tasks="".join(tasks).rstrip())


def _trainjob(job: jobs.Job) -> str:
    ranks = iter(range(job.num_tasks))
    # In the order of the ranks.
    hosts = {
        role: [f"{job.name}-node-0-{next(ranks)}" for _ in range(count)]
        for role, count in job.counts.items()
    }
    return jobs.render(
        TEMPLATE[job.engine],
        **_head(job),
        backoff_limit=job.max_restarts * job.num_tasks,
        time_limit=_time_limit(job),
        permanent_codes=yaml_quoted(_PERMANENT_CODES),
        command=yaml_quoted(job.train_command[:3]),
        args=_args(job.train_command[3:] + _host_flags(job, hosts), indent=4),
        **_pod(job),
        resources=_resources(job, "worker"),
    )


def _host_flags(job: jobs.Job, hosts: dict[str, list[str]], *role_flags: str) -> list[str]:
    if job.num_tasks == 1 and job.strategy in cluster.ALONE:
        return []  # It trains alone, and needs no address.
    # The JobSet's own name is that of the network its pods are in.
    flags = [
        f"--{role}_hosts={','.join(f'{host}.{job.name}:{_PORT}' for host in hosts[role])}"
        for role in ("chief", "worker", "ps")
        if role in hosts
    ]
    return [*flags, *role_flags, *["--evaluator"] * job.evaluator]


def _args(arguments: list[str], *, indent: int) -> str:
    # Kubernetes takes $(NAME) for a variable of the container's; $$ is how it writes a dollar.
    escaped = [argument.replace("$", "$$") for argument in arguments]
    return "\n".join(f"{' ' * indent}- {yaml_quoted(argument)}" for argument in escaped)


def _metadata(job: jobs.Job) -> dict[str, str]:
    return {
        "name": yaml_quoted(job.name),  # Quoted, as true or null would be names too.
        "namespace": f"namespace: {yaml_quoted(job.namespace)}"
        if job.namespace
        else "# No --namespace: the one of kubectl's context.",
    }


def _head(job: jobs.Job) -> dict[str, object]:
    return {
        **_metadata(job),
        "title": job.name,  # For the comments.
        "roles": job.roles,
        "logdir": jobs.in_comment(job.model_dir),
        "num_tasks": job.num_tasks,
        "max_restarts": job.max_restarts,
        "network_policy": _network_policy(job),
    }


def _network_policy(job: jobs.Job) -> str:
    if not job.network_policy:
        return "# --nonetwork_policy: every pod that reaches the tasks can connect to them."
    label = _LABEL[job.engine]
    return jobs.render("network_policy.yaml", label=label, **_metadata(job)).rstrip()


def _pod(job: jobs.Job) -> dict[str, object]:
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": job.volume_claim}}
    mount = {"name": "data", "mountPath": job.mount}
    account = f"serviceAccountName: {yaml_quoted(job.service_account)}"
    return {
        "image": yaml_quoted(job.image),
        "grace_secs": job.grace_secs,
        "service_account": account
        if job.service_account
        else "# No --service_account: the namespace's default.",
        "volumes": yaml_quoted([claim] if job.volume_claim else []),
        "mounts": yaml_quoted([mount] if job.volume_claim else []),
    }


def _time_limit(job: jobs.Job) -> str:
    if not job.time_limit_minutes:
        return "# No --time_limit_minutes: no activeDeadlineSeconds."
    return f"activeDeadlineSeconds: {job.time_limit_minutes * 60}"


def _resources(job: jobs.Job, role: str) -> str:
    resources: dict[str, object] = {"cpu": job.cpus, "memory": f"{job.memory_gb}Gi"}
    if job.gpus and role in cluster.TRAINERS:
        resources["nvidia.com/gpu"] = job.gpus
    return yaml_quoted(resources)


def _check(job: jobs.Job) -> None:
    job.require("image")
    for flag in ("namespace", "service_account", "volume_claim"):
        value = getattr(job, flag)
        if value and not _NAME.fullmatch(value):
            raise InputError(
                f"--{flag}: found {value!r}, expected a name of Kubernetes: lower-case letters, "
                "digits and hyphens"
            )
    mount = job.mount
    if not mount.startswith("/") or posixpath.normpath(mount) in ("/", "//") or ":" in mount:
        raise InputError(f"--mount: found {mount!r}, expected an absolute folder such as /data")
    if not (_is_remote(job.model_dir) or _is_mounted(job, job.model_dir)):
        raise InputError(
            f"--model_dir: found {job.model_dir!r}, expected gs://BUCKET/FOLDER or the like, or a "
            f"folder below {mount}, with --volume_claim before the --: a container's own files "
            "are gone with it"
        )
    # An absolute folder may be one that the image brings.
    if not (_is_remote(job.data_dir) or job.data_dir.startswith("/")):
        raise InputError(
            f"--data_dir: found {job.data_dir!r}, expected gs://BUCKET/FOLDER or the like, or an "
            f"absolute folder such as {mount}/mnist, that all tasks share"
        )


def _is_remote(path: str) -> bool:
    return "://" in path


def _is_mounted(job: jobs.Job, path: str) -> bool:
    below = posixpath.normpath(path).startswith(posixpath.normpath(job.mount) + "/")
    return bool(job.volume_claim) and below
