"""Slurm: a job is a batch script that `sbatch` submits.

Facts are from the manual pages of sbatch, srun, scancel and slurm.conf, and were tried with Slurm
22.05.
"""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.engines import jobs, rendering
from mnist_estimator.runtime.flag_fields import setting

# "Due to the resolution of event handling by Slurm, the signal may be sent up to 60 seconds earlier
# than specified": sbatch's manual on --signal.
_SIGNAL_EARLY_SECS = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlurmJob(jobs.JobWithGrace):
    """A job of Slurm, which is a batch script."""

    engine = "slurm"
    template = "slurm.sh"

    partition: str = setting(
        "", "Slurm partition, or several with commas. Default: the cluster's.", heading="Slurm"
    )
    account: str = setting("", "Slurm account that is charged.")

    def render(self) -> str:
        _check(self)
        return rendering.render(
            self.template,
            log=f"{self.name}-JOBID.log",
            roles=self.roles,
            ntasks=self.num_tasks,
            gpus=option("gpus-per-task", self.gpus, "NUMBER"),
            grace_secs=self.grace_secs,
            model_dir=shlex.quote(self.model_dir),
            max_restarts=self.max_restarts,
            command=_command(self),
            **shared_values(self),
        )

    def command(self, path: str) -> list[str]:
        return ["sbatch", path]

    @property
    def watch_command(self) -> str:
        return f"squeue --name={self.name} && tail -f {self.name}-JOBID.log"

    @property
    def end_command(self) -> str:
        return "scancel JOBID"  # By its name, all jobs of that name would end.


def _check(job: SlurmJob) -> None:
    if job.image:
        raise InputError(
            f"--image: found {job.image!r}, expected nothing: with --engine=slurm the tasks run "
            "the python that is active where the job is submitted"
        )
    check_time(job.time_limit_minutes, job.grace_secs)


def check_time(minutes: int, grace_secs: int) -> None:
    """Raises InputError for a time limit before which there is no time to work."""
    least = (grace_secs + _SIGNAL_EARLY_SECS) // 60 + 1
    if 0 < minutes < least:
        raise InputError(
            f"--time_limit_minutes: found {minutes}, expected {least} or more with "
            f"--grace_secs={grace_secs}: Slurm's warning may come {_SIGNAL_EARLY_SECS} s early"
        )


def shared_values(job: Any) -> dict[str, object]:
    """What the templates of all jobs of Slurm have: name, time, and what a task gets.

    Args:
      job: has submit's flags of these names.
    """
    return {
        "name": job.name,
        "partition": option("partition", job.partition, "NAME"),
        "account": option("account", job.account, "NAME"),
        "cpus": job.cpus,
        "mem_per_cpu": memory_per_cpu(job.memory_gb, job.cpus),
        "time_limit": option("time", job.time_limit_minutes, "MINUTES"),
    }


def memory_per_cpu(memory_gb: int, cpus: int) -> int:
    """MiB for each processor of a task, such that the task gets no less than so many GiB."""
    return -(-memory_gb * 1024 // cpus)


def option(name: str, value: object, example: str) -> str:
    """A line for sbatch; without a value an example in a comment."""
    if not value:
        return f"##SBATCH --{name}={example}"
    return f"#SBATCH --{name}={shlex.quote(str(value))}"


def _command(job: SlurmJob) -> str:
    python, dash_m, module, *flags = map(shlex.quote, [*job.train_command, *job.rank_flags])
    return " \\\n  ".join([f"{python} {dash_m} {module}", *flags])
