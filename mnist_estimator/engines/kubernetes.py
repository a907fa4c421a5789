"""Kubernetes: a job is a TFJob, a JobSet, or a TrainJob, which `kubectl` submits.

Facts are from the source of Kubeflow's training operator 1.9, JobSet 0.12, Kubeflow Trainer 2.3 and
of Kubernetes (pkg/controller/job/pod_failure_policy.go). The tests hold what is rendered against
the CustomResourceDefinitions of these releases. Kueue's label is from its pages "Run A TFJob", "Run
A JobSet", "Run A TrainJob" and "Run A Kubernetes Job"; Volcano's names from its API
(pkg/apis/scheduling/v1beta1) and from Trainer's plugin for it, which leaves the scheduler's name to
the runtime.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from typing import Any, ClassVar

from mnist_estimator import InputError
from mnist_estimator.cluster import roles as cluster
from mnist_estimator.engines import jobs, rendering
from mnist_estimator.engines.rendering import yaml_quoted
from mnist_estimator.runtime.flag_fields import setting

_PORT = 2222
# Exit codes of errors that would happen again, as in Kubeflow's ExitCode policy.
_PERMANENT_CODES = tuple(range(1, 128))
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KubernetesJob(jobs.JobWithGrace, jobs.JobWithAccount):
    """What the three kinds of job that `kubectl` submits have in common."""

    kind: ClassVar[str]  # As kubectl calls it; several with commas.
    label: ClassVar[str]  # The label by which the pods of a job are known.

    namespace: str = setting(
        "",
        "Kubernetes namespace of the job. Default: the one of kubectl's context.",
        heading="Kubernetes",
    )
    volume_claim: str = setting(
        "",
        "PersistentVolumeClaim that all tasks mount, for --model_dir and --data_dir. It has to be "
        "of access mode ReadWriteMany, unless the job is of one task. Where both are on an object "
        "store, as s3://BUCKET/FOLDER, none is needed.",
    )
    mount: str = setting("/data", "Where --volume_claim is mounted.")
    secrets: str = setting(
        "",
        "Secrets of Kubernetes, by name, with commas between: their keys become environment "
        "variables of the tasks, as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL.",
    )
    network_policy: bool = setting(
        True,
        "Submit a NetworkPolicy with the job, by which only the job's own tasks can connect to its "
        "tasks. --nonetwork_policy is for who may not create one, or has one of his own.",
    )
    queue: str = setting(
        "", "LocalQueue of Kueue in which the job waits until there is quota for all its tasks."
    )
    gang: bool = setting(
        False,
        "Start no task before there is room for all, by the scheduler Volcano; with "
        "--engine=kubeflow by the gang scheduler that the training operator runs with.",
    )

    def command(self, path: str) -> list[str]:
        # Not apply: if a job of this name has ended, it says "unchanged" and does nothing.
        return ["kubectl", "create", f"--filename={path}"]

    @property
    def watch_command(self) -> str:
        return logs_command(f"{self.label}={self.name}", self.num_tasks, self.namespace)

    @property
    def end_command(self) -> str:
        namespace = jobs.option("namespace", self.namespace)
        return f"kubectl delete {','.join(self.kinds)} {self.name}{namespace}"

    @property
    def kinds(self) -> list[str]:
        """The kinds of what is submitted under the job's name."""
        return [self.kind, *(["networkpolicy"] if self.network_policy else [])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class KubeflowJob(KubernetesJob):
    """A TFJob of Kubeflow's training operator."""

    engine = "kubeflow"
    template = "kubeflow.yaml"
    kind = "tfjob"
    label = "training.kubeflow.org/job-name"

    def render(self) -> str:
        _check(self)
        roles = {"chief": "Chief", "worker": "Worker", "ps": "PS", "evaluator": "Evaluator"}
        tasks = [
            rendering.render(
                "kubeflow_task.yaml",
                role=roles[role],
                count=count,
                command=yaml_quoted(self.train_command[:3]),
                args=args(self.train_command[3:], indent=12),
                **_pod(self),
                resources=_resources(self, role),
            )
            for role, count in self.counts.items()
        ]
        gang = f'schedulingPolicy: {{"minAvailable": {self.num_tasks}}}'
        return rendering.render(
            self.template,
            **_head(self),
            time_limit=_time_limit(self),
            gang=gang
            if self.gang
            else "# No --gang: each task starts as soon as there is room for it.",
            tasks="".join(tasks).rstrip(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobSetJob(KubernetesJob):
    """A JobSet."""

    engine = "jobset"
    template = "jobset.yaml"
    kind = "jobset"
    label = "jobset.sigs.k8s.io/jobset-name"

    def render(self) -> str:
        _check(self)
        tasks = "".join(map(self._task, self.counts))
        return rendering.render(
            self.template, **_head(self), tasks=tasks.rstrip(), pod_group=_pod_group(self)
        )

    def _task(self, role: str) -> str:
        hosts = {
            name: [f"{self.name}-{name}-0-{index}" for index in range(count)]
            for name, count in self.counts.items()
        }
        given = self.train_command[3:] + _host_flags(self, hosts, f"--job_name={role}")
        group = f"scheduling.k8s.io/group-name: {yaml_quoted(self.name)}"
        return rendering.render(
            "jobset_task.yaml",
            role=role,
            count=self.counts[role],
            backoff_limit=self.max_restarts * self.counts[role],
            time_limit=_time_limit(self),
            permanent_codes=yaml_quoted(_PERMANENT_CODES),
            command=yaml_quoted(self.train_command[:3]),
            args=args(given, indent=14),
            group=group if self.gang else "# No --gang: no PodGroup.",
            scheduler=_scheduler(self),
            **_pod(self),
            resources=_resources(self, role),
        )

    @property
    def kinds(self) -> list[str]:
        # Nobody owns the group, so that it would stay.
        return super().kinds + (["podgroups.scheduling.volcano.sh"] if self.gang else [])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainJobJob(KubernetesJob):
    """A TrainJob of Kubeflow Trainer, which makes a JobSet of it."""

    engine = "trainjob"
    template = "trainjob.yaml"
    kind = "trainjob,trainingruntime"
    label = "jobset.sigs.k8s.io/jobset-name"

    def render(self) -> str:
        _check(self)
        ranks = iter(range(self.num_tasks))
        # In the order of the ranks.
        hosts = {
            role: [f"{self.name}-node-0-{next(ranks)}" for _ in range(count)]
            for role, count in self.counts.items()
        }
        return rendering.render(
            self.template,
            **_head(self),
            backoff_limit=self.max_restarts * self.num_tasks,
            time_limit=_time_limit(self),
            permanent_codes=yaml_quoted(_PERMANENT_CODES),
            command=yaml_quoted(self.train_command[:3]),
            args=args(self.train_command[3:] + _host_flags(self, hosts), indent=4),
            pod_group='podGroupPolicy: {"volcano": {}}' if self.gang else "# No --gang.",
            scheduler=_scheduler(self),
            **_pod(self),
            resources=_resources(self, "worker"),
        )


def _host_flags(job: KubernetesJob, hosts: dict[str, list[str]], *role_flags: str) -> list[str]:
    if job.num_tasks == 1 and job.strategy in cluster.ALONE:
        return []  # It trains alone, and needs no address.
    # The network of the pods has the name of the JobSet.
    flags = [
        f"--{role}_hosts={','.join(f'{host}.{job.name}:{_PORT}' for host in hosts[role])}"
        for role in ("chief", "worker", "ps")
        if role in hosts
    ]
    evaluator = ["--evaluator"] if job.evaluator else []
    return [*flags, *role_flags, *evaluator]


def logs_command(label: str, pods: int, namespace: str) -> str:
    """A command that follows the logs of all pods with a label."""
    place = jobs.option("namespace", namespace)
    return f"kubectl logs -f --prefix --max-log-requests={pods}{place} -l {label}"


def args(arguments: list[str], *, indent: int) -> str:
    """The lines of a container's arguments, each as it is."""
    # Kubernetes takes $(NAME) for a variable of the container's; $$ is how it writes a dollar.
    escaped = [argument.replace("$", "$$") for argument in arguments]
    return "\n".join(f"{' ' * indent}- {yaml_quoted(argument)}" for argument in escaped)


def labels(job: Any) -> str:
    """The line of a job's labels."""
    # Kueue itself suspends a job with this label, until it is admitted.
    label = yaml_quoted({"kueue.x-k8s.io/queue-name": job.queue})
    return f"labels: {label}" if job.queue else "# No --queue: no queue of Kueue."


def _metadata(job: KubernetesJob) -> dict[str, str]:
    return {
        "name": yaml_quoted(job.name),  # Quoted, as true or null would be names too.
        "namespace": f"namespace: {yaml_quoted(job.namespace)}"
        if job.namespace
        else "# No --namespace: the one of kubectl's context.",
    }


def _scheduler(job: KubernetesJob) -> str:
    return "schedulerName: volcano" if job.gang else "# No --gang: the cluster's scheduler."


def _pod_group(job: KubernetesJob) -> str:
    if not job.gang:
        return "# No --gang: each task starts as soon as there is room for it."
    group = rendering.render("pod_group.yaml", num_tasks=job.num_tasks, **_metadata(job))
    return group.rstrip()


def _head(job: KubernetesJob) -> dict[str, object]:
    return {
        **_metadata(job),
        "labels": labels(job),
        "title": job.name,  # For the comments.
        "roles": job.roles,
        "logdir": rendering.in_comment(job.model_dir),
        "num_tasks": job.num_tasks,
        "max_restarts": job.max_restarts,
        "network_policy": _network_policy(job),
    }


def _network_policy(job: KubernetesJob) -> str:
    if not job.network_policy:
        return "# --nonetwork_policy: every pod that reaches the tasks can connect to them."
    policy = rendering.render("network_policy.yaml", label=job.label, **_metadata(job))
    return policy.rstrip()


def _pod(job: KubernetesJob) -> dict[str, object]:
    return {"image": yaml_quoted(job.image), "grace_secs": job.grace_secs, **places(job)}


def places(job: Any) -> dict[str, str]:
    """Whom a pod's processes are, what they mount, and which secrets they get."""
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": job.volume_claim}}
    mount = {"name": "data", "mountPath": job.mount}
    account = f"serviceAccountName: {yaml_quoted(job.service_account)}"
    return {
        "service_account": account
        if job.service_account
        else "# No --service_account: the namespace's default.",
        "volumes": yaml_quoted([claim] if job.volume_claim else []),
        "mounts": yaml_quoted([mount] if job.volume_claim else []),
        # By name: the values stay in the cluster.
        "env_from": yaml_quoted([{"secretRef": {"name": name}} for name in _secrets(job)]),
    }


def _time_limit(job: KubernetesJob) -> str:
    if not job.time_limit_minutes:
        return "# No --time_limit_minutes: no activeDeadlineSeconds."
    return f"activeDeadlineSeconds: {job.time_limit_minutes * 60}"


def _resources(job: KubernetesJob, role: str) -> str:
    resources: dict[str, object] = {"cpu": job.cpus, "memory": f"{job.memory_gb}Gi"}
    if job.gpus and role in cluster.TRAINERS:
        resources["nvidia.com/gpu"] = job.gpus
    return yaml_quoted(resources)


def _check(job: KubernetesJob) -> None:
    job.require("image")
    check_places(job)
    if not (jobs.is_remote(job.model_dir) or is_mounted(job, job.model_dir)):
        raise InputError(
            f"--model_dir: found {job.model_dir!r}, expected gs://BUCKET/FOLDER, "
            f"s3://BUCKET/FOLDER or the like, or a folder below {job.mount}, with --volume_claim "
            "before the --: a container's own files are gone with it"
        )
    # An absolute folder may be one that the image brings.
    if not (jobs.is_remote(job.data_dir) or job.data_dir.startswith("/")):
        raise InputError(
            f"--data_dir: found {job.data_dir!r}, expected gs://BUCKET/FOLDER or the like, or an "
            f"absolute folder such as {job.mount}/mnist, that all tasks share"
        )


def check_places(job: Any) -> None:
    """Raises InputError for names that are none of Kubernetes, or a mount that cannot be."""
    names = [(flag, getattr(job, flag)) for flag in ("namespace", "service_account", "queue")]
    names += [("volume_claim", job.volume_claim), *(("secrets", name) for name in _secrets(job))]
    for flag, value in names:
        if (value or flag == "secrets") and not _NAME.fullmatch(value):
            raise InputError(
                f"--{flag}: found {value!r}, expected a name of Kubernetes: lower-case letters, "
                "digits and hyphens"
            )
    mount = job.mount
    if not mount.startswith("/") or posixpath.normpath(mount) in ("/", "//") or ":" in mount:
        raise InputError(f"--mount: found {mount!r}, expected an absolute folder such as /data")


def _secrets(job: Any) -> list[str]:
    return job.secrets.split(",") if job.secrets else []


def is_mounted(job: Any, path: str) -> bool:
    """Whether a path is on the job's volume."""
    below = posixpath.normpath(path).startswith(posixpath.normpath(job.mount) + "/")
    return bool(job.volume_claim) and below
