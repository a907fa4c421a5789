"""What is submitted to a cluster engine: one frozen, validated `Job`, and templates of job files.

The engines' modules turn a `Job` into the text of a job file. Nothing here imports TensorFlow, so
that a wrong flag is answered before anything is submitted.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shlex
import string
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.cluster import environments, roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.engines import passed_flags
from mnist_estimator.runtime import flag_fields, streams

KUBERNETES = ("kubeflow", "jobset", "trainjob")
ENGINES = ("slurm", *KUBERNETES, "vertex", "sagemaker", "ray")

_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_MAX_NAME = 40


def _setting(
    default: Any, help_text: str, *, engines: Sequence[str] = ENGINES, **limits: Any
) -> Any:
    return flag_fields.setting(default, help_text, engines=engines, **limits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A training job for an engine; every field but `train_flags` is submit's flag of that name.

    A field with `engines` is refused with another engine, unless it has its default.

    Raises:
      InputError: if a value is out of range or contradicts another; the message names the flag.
    """

    # What runs.
    engine: str = _setting("", "Engine that runs the job.", choices=ENGINES)
    name: str = _setting(
        "mnist",
        "Name of the job: lower-case letters, digits and hyphens, 40 characters at most.",
    )
    train_flags: tuple[str, ...] = ()
    workers: int = _setting(
        1,
        "Tasks that train, the chief included; with several, --strategy=multi_worker.",
        least=1,
        most=1000,
    )
    ps: int = _setting(0, "Parameter servers; with some, --strategy=ps.", most=1000)
    evaluator: bool = _setting(
        False, "Have a task of its own evaluate the checkpoints; without one the chief does."
    )
    image: str = _setting(
        "", "Container image with this package, as the Dockerfile makes it: REGISTRY/NAME:TAG."
    )

    # What a task gets.
    cpus: int = _setting(2, "Processor cores of each task.", least=1, most=1024)
    memory_gb: int = _setting(4, "Memory of each task, in GiB.", least=1, most=65_536)
    gpus: int = _setting(
        0,
        "GPUs of each task that trains; parameter servers and the evaluator get none. Several for "
        "the only worker: --strategy=mirrored.",
        most=64,
    )

    # How it ends, and begins again.
    time_limit_minutes: int = _setting(
        0,
        "The engine ends the job after so many minutes; 0: the engine's own limit.",
        most=1_000_000,
    )
    grace_secs: int = _setting(
        60,
        "Seconds between the signal of a preemption and the end of a task. Saving takes 1 to 5 "
        "s, and is given up after 20; the rest is for slow shared folders.",
        least=30,
        most=3600,
        engines=("slurm", *KUBERNETES, "ray"),
    )
    max_restarts: int = _setting(
        10, "How often the engine starts failed tasks again, if failing again may help.", most=1000
    )

    # Where a service account is what may read and write an object store.
    service_account: str = _setting(
        "",
        "Service account that the tasks run as. Default: the namespace's, or Vertex AI's.",
        engines=(*KUBERNETES, "vertex"),
    )

    # Kubernetes.
    namespace: str = _setting(
        "",
        "Kubernetes namespace of the job. Default: the one of kubectl's context.",
        engines=KUBERNETES,
    )
    volume_claim: str = _setting(
        "",
        "PersistentVolumeClaim that all tasks mount, for --model_dir and --data_dir. It has to be "
        "of access mode ReadWriteMany, unless the job is of one task.",
        engines=KUBERNETES,
    )
    mount: str = _setting("/data", "Where --volume_claim is mounted.", engines=KUBERNETES)
    network_policy: bool = _setting(
        True,
        "Submit a NetworkPolicy with the job, by which only the job's own tasks can connect to its "
        "tasks. --nonetwork_policy is for who may not create one, or has one of his own.",
        engines=KUBERNETES,
    )
    gang: bool = _setting(
        False,
        "Start no task before there is room for all; the training operator has to run with a gang "
        "scheduler.",
        engines=("kubeflow",),
    )

    # Slurm.
    partition: str = _setting(
        "", "Slurm partition, or several with commas; default: the cluster's.", engines=("slurm",)
    )
    account: str = _setting("", "Slurm account that is charged.", engines=("slurm",))

    # The clouds.
    region: str = _setting(
        "",
        "Region of the cloud; with SageMaker the default is the AWS client's.",
        engines=("vertex", "sagemaker"),
    )
    machine_type: str = _setting(
        "",
        "Machine of each task. Default: the smallest n1-standard (Vertex AI) or ml.m5 (SageMaker) "
        "with --cpus and --memory_gb.",
        engines=("vertex", "sagemaker"),
    )
    spot: bool = _setting(
        False,
        "Use machines that are cheaper and can be taken away at any time.",
        engines=("vertex", "sagemaker"),
    )

    # Vertex AI.
    package: str = _setting(
        "",
        "Source distribution of this package on Cloud Storage, gs://...; --image is then one of "
        "Vertex AI's own training images, which installs it.",
        engines=("vertex",),
    )
    accelerator_type: str = _setting(
        "NVIDIA_TESLA_T4", "Kind of the --gpus, as Vertex AI calls it.", engines=("vertex",)
    )
    tensorboard: str = _setting(
        "",
        "TensorBoard instance of Vertex AI that shows the run: "
        "projects/PROJECT/locations/REGION/tensorboards/ID.",
        engines=("vertex",),
    )

    # SageMaker.
    role: str = _setting("", "ARN of the IAM role that the tasks run as.", engines=("sagemaker",))
    s3_dir: str = _setting(
        "",
        "Folder on S3 for the checkpoints of a job of one task, and for TensorBoard's events of "
        "others: s3://BUCKET/FOLDER.",
        engines=("sagemaker",),
    )
    file_system: str = _setting(
        "",
        "Folder that all tasks mount, as efs:fs-ID:/FOLDER or fsx:fs-ID:/MOUNTNAME/FOLDER; with "
        "--subnets and --security_groups.",
        engines=("sagemaker",),
    )
    subnets: str = _setting(
        "", "Subnets of the tasks, with commas between.", engines=("sagemaker",)
    )
    security_groups: str = _setting(
        "", "Security groups of the tasks, with commas between.", engines=("sagemaker",)
    )

    # Ray.
    ray_address: str = _setting(
        "",
        "The cluster's dashboard, http://HOST:8265; default: RAY_ADDRESS, else this machine.",
        engines=("ray",),
    )

    def __post_init__(self) -> None:
        for field in flag_fields.fields_of(Job):
            self._check_field(field)
        if not _DNS_LABEL.fullmatch(self.name) or len(self.name) > _MAX_NAME:
            raise InputError(
                f"--name: found {self.name!r}, expected lower-case letters, digits and hyphens, "
                f"from a letter to a letter or digit, {_MAX_NAME} characters at most"
            )
        self._check_strategy()

    @functools.cached_property
    def train_command(self) -> list[str]:
        """The command that every task runs, a string an argument."""
        strategy = roles.strategy_for(self.workers, self.ps, self.gpus)
        train_flags = passed_flags.with_strategy(self.train_flags, strategy)
        return ["python", "-m", "mnist_estimator.train", *train_flags]

    @functools.cached_property
    def train_config(self) -> TrainConfig:
        """The train flags as the tasks will read them, with their strategy."""
        return passed_flags.parse(self.train_command[3:])[0]

    @property
    def strategy(self) -> str:
        """The train flags' `--strategy`, else the one that goes with the tasks."""
        return self.train_config.strategy

    @property
    def rank_flags(self) -> list[str]:
        """Train flags that tell roles where the engine only numbers the tasks."""
        return [f"--num_ps={self.ps}"] * bool(self.ps) + ["--evaluator"] * self.evaluator

    @property
    def num_tasks(self) -> int:
        """Tasks of all roles."""
        return self.workers + self.ps + self.evaluator

    @property
    def counts(self) -> dict[str, int]:
        """Tasks of each role that there is, in the order of their ranks."""
        return environments.counts(self.workers, self.ps, self.evaluator)

    @property
    def roles(self) -> str:
        """The tasks of each role, in words."""
        return ", ".join(f"{count} {role}" for role, count in self.counts.items())

    @property
    def num_plain_workers(self) -> int:
        """Tasks of the role worker: those that train, without the chief."""
        return self.workers - 1

    @property
    def model_dir(self) -> str:
        """Folder of the run."""
        return self.train_config.model_dir

    @property
    def data_dir(self) -> str:
        """Folder of the records."""
        return self.train_config.data_dir

    def require(self, *names: str) -> None:
        """Refuses a job that lacks what its engine cannot do without."""
        for name in names:
            if not getattr(self, name):
                raise InputError(f"--{name}: found nothing, --engine={self.engine} needs it")

    def smallest_machine(self, machines: Mapping[str, tuple[int, float]]) -> str:
        """The first of a cloud's machines, name -> (cores, GiB), that has what a task gets."""
        for name, (cores, memory) in machines.items():
            if cores >= self.cpus and memory >= self.memory_gb:
                return name
        raise InputError(
            f"--machine_type: found none with --cpus={self.cpus} and --memory_gb={self.memory_gb}, "
            f"expected one to be named; the largest known here is {name}"
        )

    def _check_field(self, field: dataclasses.Field[Any]) -> None:
        engines, value = field.metadata["engines"], getattr(self, field.name)
        flag_fields.check(field, value)
        if value != field.default and self.engine not in engines:
            raise InputError(
                f"--{field.name}: found it with --engine={self.engine}, expected it only with "
                f"--engine={'|'.join(engines)}"
            )
        if isinstance(value, str):
            _check_printable(field.name, value)

    def _check_strategy(self) -> None:
        strategy = self.train_config.strategy
        if (strategy == "ps") != bool(self.ps):
            raise InputError(
                f"--ps: found {self.ps} with the train flag --strategy={strategy}, expected "
                "parameter servers with --strategy=ps, and only then"
            )
        passed_flags.check_workers(self.train_config, self.workers)
        if strategy in ("mirrored", "multi_worker"):
            # Each GPU is a replica; without any a worker is one, on its processor.
            passed_flags.check_batch(self.train_config, self.workers * max(self.gpus, 1))


def render(template_name: str, /, **values: object) -> str:
    """The template of that name with its $placeholders replaced.

    Values have to be quoted for the template's language already.

    Raises:
      KeyError: if a placeholder has no value.
      TypeError: if a value has no placeholder.
    """
    folder = resources.files("mnist_estimator.engines").joinpath("templates")
    template = string.Template(folder.joinpath(template_name).read_text(encoding="utf-8"))
    found = template.pattern.finditer(template.template)
    unused = set(values) - {match["named"] or match["braced"] for match in found}
    if unused:
        raise TypeError(f"{template_name}: no placeholder for {', '.join(sorted(unused))}")
    return template.substitute(values)


def yaml_quoted(value: object) -> str:
    """A string, number, list or object on one line of YAML, whatever characters are in it."""
    # JSON is YAML, but for characters that YAML takes for line ends or does not allow unescaped.
    # Not ensure_ascii: of its pairs of surrogates YAML makes two characters.
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", _escape, text)


def in_comment(text: str) -> str:
    """A word of a command that stands in a comment of a job file, as a shell takes it."""
    # What YAML does not allow, it does not allow in a comment either, which a line's end would end.
    return shlex.quote(text if text.isprintable() else yaml_quoted(text)[1:-1])


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _check_printable(name: str, text: str) -> None:
    if not streams.is_text(text) or any(
        unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in text
    ):
        raise InputError(f"--{name}: found {text!r}, expected text without control characters")
    if name == "image" and " " in text:
        raise InputError(f"--image: found {text!r}, expected REGISTRY/NAME:TAG")
