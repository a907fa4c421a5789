"""What is submitted to a cluster engine: the frozen, validated base of every engine's job.

The engines' modules add their own flags and turn the job into the text of a job file. Nothing here
imports TensorFlow, so that a wrong flag is answered before anything is submitted.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mnist_estimator import InputError
from mnist_estimator.cluster import environments, roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.engines import passed_flags
from mnist_estimator.runtime import flag_fields, streams
from mnist_estimator.runtime.flag_fields import setting

_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_MAX_NAME = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A training job of one engine; every field but `train_flags` is submit's flag of that name.

    An engine is a subclass that adds its own flags, a template, and the methods that are abstract
    here.

    Raises:
      InputError: if a value is out of range or contradicts another; the message names the flag.
    """

    engine: ClassVar[str]  # As in --engine.
    template: ClassVar[str]  # Of the job file, a name in `templates`.

    name: str = setting(
        "mnist",
        "Name of the job: lower-case letters, digits and hyphens, 40 characters at most.",
        heading="The job",
    )
    train_flags: tuple[str, ...] = ()
    workers: int = setting(
        1,
        "Tasks that train, the chief included; with several, --strategy=multi_worker.",
        least=1,
        most=1000,
    )
    ps: int = setting(0, "Parameter servers; with some, --strategy=ps.", most=1000)
    evaluator: bool = setting(
        False, "Have a task of its own evaluate the checkpoints; without one the chief does."
    )
    image: str = setting(
        "", "Container image with this package, as the Dockerfile makes it: REGISTRY/NAME:TAG."
    )
    cpus: int = setting(
        2, "Processor cores of each task.", least=1, most=1024, heading="What a task gets"
    )
    memory_gb: int = setting(4, "Memory of each task, in GiB.", least=1, most=65_536)
    gpus: int = setting(
        0,
        "GPUs of each task that trains; parameter servers and the evaluator get none. Several for "
        "the only worker: --strategy=mirrored.",
        most=64,
    )
    time_limit_minutes: int = setting(
        0,
        "The engine ends the job after so many minutes; 0: the engine's own limit.",
        most=1_000_000,
        heading="How the job ends, and starts again",
    )
    max_restarts: int = setting(
        10, "How often the engine starts failed tasks again, if failing again may help.", most=1000
    )

    def __post_init__(self) -> None:
        for field in flag_fields.fields_of(type(self)):
            value = getattr(self, field.name)
            flag_fields.check(field, value)
            if isinstance(value, str):
                check_printable(field.name, value)
        check_name(self.name)
        self._check_strategy()

    def render(self) -> str:
        """Returns the text of the job file.

        Raises:
          InputError: if the job lacks what the engine needs, or asks for what it cannot do.
        """
        raise NotImplementedError

    def command(self, path: str) -> list[str]:
        """Returns the command line of the engine's client that submits the file at `path`."""
        raise NotImplementedError

    @property
    def watch_command(self) -> str:
        """A command that shows what the job does."""
        raise NotImplementedError

    @property
    def end_command(self) -> str:
        """A command that ends the job."""
        raise NotImplementedError

    @functools.cached_property
    def train_command(self) -> list[str]:
        """The command that every task runs, a string an argument."""
        strategy = roles.strategy_for(self.workers, self.ps, self.gpus)
        train_flags = passed_flags.with_strategy(self.train_flags, strategy)
        return ["python", "-m", "mnist_estimator.train", *train_flags]

    @functools.cached_property
    def train_config(self) -> TrainConfig:
        """The config that the tasks make of their train flags."""
        return passed_flags.parse(self.train_command[3:])[0]

    @property
    def strategy(self) -> str:
        """The strategy of the tasks, never auto."""
        return self.train_config.strategy

    @property
    def rank_flags(self) -> list[str]:
        """Train flags from which tasks that the engine only numbers know their roles."""
        found = [f"--num_ps={self.ps}"] if self.ps else []
        if self.evaluator:
            found.append("--evaluator")
        return found

    @property
    def num_tasks(self) -> int:
        """The number of tasks of all roles."""
        return self.workers + self.ps + self.evaluator

    @property
    def counts(self) -> dict[str, int]:
        """The number of tasks of each role that the job has, in the order of their ranks."""
        return environments.counts(self.workers, self.ps, self.evaluator)

    @property
    def roles(self) -> str:
        """The tasks of each role, in words."""
        return ", ".join(f"{count} {role}" for role, count in self.counts.items())

    @property
    def num_plain_workers(self) -> int:
        """The number of tasks that train, without the chief."""
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
        """Raises InputError if one of these flags, which the engine needs, has no value."""
        for name in names:
            if not getattr(self, name):
                raise InputError(f"--{name}: found nothing, --engine={self.engine} needs it")

    def _check_strategy(self) -> None:
        strategy = self.train_config.strategy
        if (strategy == "ps") != bool(self.ps):
            raise InputError(
                f"--ps: found {self.ps} with the train flag --strategy={strategy}, expected "
                "parameter servers with --strategy=ps, and only then"
            )
        passed_flags.check_workers(self.train_config, self.workers)
        if strategy in ("mirrored", "multi_worker"):
            # Each GPU is a replica; without GPUs each worker is one.
            passed_flags.check_batch(self.train_config, self.workers * max(self.gpus, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobWithGrace(Job):
    """A job of an engine whose users choose how long tasks have to save."""

    grace_secs: int = setting(
        60,
        "Seconds between the signal of a preemption and the end of a task. Saving takes 1 to 5 "
        "s, and is given up after 20; the rest is for slow shared folders.",
        least=30,
        most=3600,
        heading="How the job ends, and starts again",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobWithAccount(Job):
    """A job of an engine where a service account gives access to an object store."""

    service_account: str = setting(
        "",
        "Service account that the tasks run as. Default: the namespace's, or Vertex AI's.",
        heading="What a task gets",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CloudJob(Job):
    """A job on a cloud's machines."""

    region: str = setting(
        "",
        "Region of the cloud; with SageMaker the default is the AWS client's.",
        heading="Vertex AI and SageMaker",
    )
    machine_type: str = setting(
        "",
        "Machine of each task. Default: the smallest n1-standard (Vertex AI) or ml.m5 (SageMaker) "
        "with --cpus and --memory_gb.",
    )
    spot: bool = setting(False, "Use machines that are cheaper and can be taken away at any time.")

    def smallest_machine(self, machines: Mapping[str, tuple[int, float]]) -> str:
        """The first machine of a cloud, name -> (cores, GiB), that is large enough for a task."""
        for name, (cores, memory) in machines.items():
            if cores >= self.cpus and memory >= self.memory_gb:
                return name
        raise InputError(
            f"--machine_type: found none with --cpus={self.cpus} and --memory_gb={self.memory_gb}, "
            f"expected one to be named; the largest known here is {name}"
        )


def is_remote(path: str) -> bool:
    """Whether a path is of a filesystem that all machines see, such as s3:// or gs://."""
    scheme, colon, _ = path.partition("://")
    return bool(colon) and scheme not in ("file", "memory", "ram")


def option(name: str, value: str) -> str:
    """An option for a client's command line, with a space before it; "" without a value."""
    return f" --{name}={shlex.quote(value)}" if value else ""


def own_options(
    kind: type,
    options: Mapping[str, Any],
    fields: Iterable[dataclasses.Field[Any]],
    where: str,
) -> dict[str, Any]:
    """The values of submit's flags that are fields of a dataclass of jobs.

    Args:
      options: the values of all `fields`, which are those of `catalog.all_fields`.
      where: the flags that ask for such a job.

    Raises:
      InputError: if a value is wrong, or a flag is given that such a job has no use for.
    """
    own = {field.name for field in dataclasses.fields(kind)}
    for field in fields:
        value = options[field.name]
        flag_fields.check(field, value)
        if isinstance(value, str):
            check_printable(field.name, value)
        if field.name not in own and value != field.default:
            raise InputError(f"--{field.name}: found it with {where}, expected no such flag")
    check_name(options["name"])
    return {name: options[name] for name in own & set(options)}


def check_name(name: str) -> None:
    """Raises InputError for a job's name that not every engine takes."""
    if not _DNS_LABEL.fullmatch(name) or len(name) > _MAX_NAME:
        raise InputError(
            f"--name: found {name!r}, expected lower-case letters, digits and hyphens, "
            f"from a letter to a letter or digit, {_MAX_NAME} characters at most"
        )


def check_printable(name: str, text: str) -> None:
    """Raises InputError for the value of a flag that no job file can hold."""
    if not streams.is_text(text) or any(
        unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in text
    ):
        raise InputError(f"--{name}: found {text!r}, expected text without control characters")
    if name == "image" and " " in text:
        raise InputError(f"--image: found {text!r}, expected REGISTRY/NAME:TAG")
