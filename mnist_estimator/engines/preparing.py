"""A dataset prepared in parts by an array job of Slurm, a Job of Kubernetes, or tasks of Ray.

Facts are from the manual page of sbatch (--array, --dependency, --kill-on-invalid-dep), Kubernetes'
pages "Indexed Job for Parallel Processing with Static Work Assignment" and "Handling retriable and
non-retriable pod failures with Pod failure policy", and Ray's page "Tasks".
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping
from typing import Any, ClassVar

from mnist_estimator import InputError
from mnist_estimator.engines import jobs, kubernetes, prepare_flags, ray, rendering, slurm
from mnist_estimator.engines.rendering import yaml_quoted

_PROGRAM = ("python", "-m", "mnist_estimator.prepare")
_PERMANENT_CODES = tuple(range(1, 128))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareJob:
    """The parts of a dataset as a job; a field but the first two is submit's flag of that name."""

    engine: ClassVar[str]
    template: ClassVar[str]  # Of the job file, a name in `templates`.
    client: ClassVar[str]  # The program that takes the job file.

    parts: int
    prepare_flags: tuple[str, ...]
    name: str
    cpus: int
    memory_gb: int

    def render(self) -> str:
        """Returns the text of the job file.

        Raises:
          InputError: if the parts would not share the data_dir.
        """
        raise NotImplementedError

    def command(self, path: str) -> list[str]:
        """Returns the command line that submits the file at `path`."""
        raise NotImplementedError

    @property
    def watch_command(self) -> str:
        """A command that shows what the job does."""
        raise NotImplementedError

    @property
    def end_command(self) -> str:
        """A command that ends the job."""
        raise NotImplementedError

    @property
    def data_dir(self) -> str:
        """The folder of the dataset."""
        return prepare_flags.data_dir_of(self.prepare_flags)

    @property
    def part_command(self) -> list[str]:
        """The command of each part, without its --part."""
        return [*_PROGRAM, *self.prepare_flags]

    @property
    def merge_command(self) -> list[str]:
        """The command that merges the parts."""
        return [*_PROGRAM, *prepare_flags.merge_flags(self.prepare_flags)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlurmPrepare(PrepareJob):
    """An array job, and a job that depends on it and merges."""

    engine = "slurm"
    template = "prepare_slurm.sh"
    client = "sbatch"

    partition: str
    account: str
    time_limit_minutes: int

    def render(self) -> str:
        return rendering.render(
            self.template,
            parts=self.parts,
            part=_quoted(self.part_command),
            merge=_quoted(self.merge_command),
            **slurm.shared_values(self),
        )

    def command(self, path: str) -> list[str]:
        return ["bash", path]

    @property
    def watch_command(self) -> str:
        return f"squeue --name={self.name} && tail -f {self.name}-JOBID*.log"

    @property
    def end_command(self) -> str:
        return f"scancel --name={self.name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KubernetesPrepare(PrepareJob):
    """An Indexed Job; the pod that finds all parts there merges them."""

    engine = "kubeflow"
    template = "prepare_job.yaml"
    client = "kubectl"

    image: str
    namespace: str
    service_account: str
    volume_claim: str
    mount: str
    secrets: str
    queue: str
    time_limit_minutes: int
    max_restarts: int

    def render(self) -> str:
        self._check()
        # The shell adds the part's number. Kubernetes takes $(NAME) for a variable of its own.
        part = f'exec "$@" "--part=$((JOB_COMPLETION_INDEX + 1))/{self.parts}" --merge'
        command = ["sh", "-c", part.replace("$", "$$"), "prepare", *_PROGRAM]
        resources = {"cpu": self.cpus, "memory": f"{self.memory_gb}Gi"}
        seconds = self.time_limit_minutes * 60
        return rendering.render(
            self.template,
            name=yaml_quoted(self.name),
            title=self.name,
            namespace=f"namespace: {yaml_quoted(self.namespace)}"
            if self.namespace
            else "# No --namespace: the one of kubectl's context.",
            labels=kubernetes.labels(self),
            parts=self.parts,
            backoff_limit=self.max_restarts * self.parts,
            time_limit=f"activeDeadlineSeconds: {seconds}"
            if seconds
            else "# No --time_limit_minutes: no activeDeadlineSeconds.",
            permanent_codes=yaml_quoted(_PERMANENT_CODES),
            image=yaml_quoted(self.image),
            command=yaml_quoted(command),
            args=kubernetes.args(list(self.prepare_flags), indent=8),
            resources=yaml_quoted(resources),
            **kubernetes.places(self),
        )

    def command(self, path: str) -> list[str]:
        return ["kubectl", "create", f"--filename={path}"]

    @property
    def watch_command(self) -> str:
        label = f"batch.kubernetes.io/job-name={self.name}"
        return kubernetes.logs_command(label, self.parts, self.namespace)

    @property
    def end_command(self) -> str:
        return f"kubectl delete job {self.name}{jobs.option('namespace', self.namespace)}"

    def _check(self) -> None:
        if not self.image:
            raise InputError("--image: found nothing, a job of Kubernetes needs it")
        kubernetes.check_places(self)
        if not jobs.is_remote(self.data_dir) and not kubernetes.is_mounted(self, self.data_dir):
            raise InputError(
                f"--data_dir: found {self.data_dir!r}, expected s3://BUCKET/FOLDER or the like, or "
                f"a folder below {self.mount}, with --volume_claim before the --: all parts write "
                "there"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RayPrepare(PrepareJob):
    """A Python program that runs each part as a task of Ray, and then the merge."""

    engine = "ray"
    template = "prepare_ray.py.template"
    client = "ray"

    ray_address: str
    max_restarts: int

    def render(self) -> str:
        if not os.path.isabs(self.data_dir) and not jobs.is_remote(self.data_dir):
            raise InputError(
                f"--data_dir: found {self.data_dir!r}, expected a path from the root that all "
                "nodes see: Ray starts each task in a folder of its own"
            )
        return rendering.render(
            self.template,
            part=_python_list(self.part_command),
            merge=_python_list(self.merge_command),
            parts=self.parts,
            cpus=self.cpus,
            memory_gb=self.memory_gb,
            max_restarts=self.max_restarts,
        )

    def command(self, path: str) -> list[str]:
        return ray.submit_command(path, self.ray_address)

    @property
    def watch_command(self) -> str:
        return f"ray job list{jobs.option('address', self.ray_address)}"

    @property
    def end_command(self) -> str:
        return f"ray job stop JOB{jobs.option('address', self.ray_address)}"


# Kubeflow's operators and JobSet know no parts, and nothing of theirs is needed for a Job.
_CLASSES: dict[str, Any] = {
    "slurm": SlurmPrepare,
    "kubeflow": KubernetesPrepare,
    "jobset": KubernetesPrepare,
    "trainjob": KubernetesPrepare,
    "ray": RayPrepare,
}


def make_job(
    engine: str,
    parts: int,
    given: tuple[str, ...],
    options: Mapping[str, Any],
    fields: list[dataclasses.Field[Any]],
) -> PrepareJob:
    """Returns the job of an engine that prepares a dataset.

    Args:
      given: the flags of prepare.
      options: values of submit's own flags, whose `fields` are `catalog.all_fields`.

    Raises:
      InputError: if the engine does not run parts, or has no use for a flag that is given.
    """
    if engine not in _CLASSES:
        raise InputError(
            f"--engine: found {engine!r} with --command=prepare, expected one of "
            f"{', '.join(_CLASSES)}; on others run prepare with --part=1/N to --part=N/N as jobs "
            "of your own, and then with --merge"
        )
    kind = _CLASSES[engine]
    where = f"--command=prepare and --engine={engine}"
    values = jobs.own_options(kind, options, fields, where)
    prepare_flags.data_dir_of(given)
    return kind(parts=parts, prepare_flags=given, **values)


def _quoted(command: list[str]) -> str:
    return " \\\n      ".join([" ".join(command[:3]), *map(shlex.quote, command[3:])])


def _python_list(command: list[str]) -> str:
    return "\n".join(f"    {part!r}," for part in command)
