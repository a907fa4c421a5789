"""Slurm: a `Job` becomes a batch script that `sbatch` submits.

Facts are from the manual pages of sbatch, srun, scancel and slurm.conf, and were tried with Slurm
22.05.
"""

from __future__ import annotations

import shlex

from mnist_estimator import InputError
from mnist_estimator.engines import jobs

TEMPLATE = "slurm.sh"

# "Due to the resolution of event handling by Slurm, the signal may be sent up to 60 seconds earlier
# than specified": sbatch's manual on --signal.
_SIGNAL_EARLY_SECS = 60


def render(job: jobs.Job) -> str:
    """Returns the batch script of a job.

    Raises:
      InputError: if the job asks for what Slurm cannot do.
    """
    _check(job)
    return jobs.render(
        TEMPLATE,
        name=job.name,
        log=f"{job.name}-JOBID.log",
        partition=_option("partition", job.partition, "NAME"),
        account=_option("account", job.account, "NAME"),
        roles=job.roles,
        ntasks=job.num_tasks,
        cpus=job.cpus,
        mem_per_cpu=-(-job.memory_gb * 1024 // job.cpus),
        gpus=_option("gpus-per-task", job.gpus, "NUMBER"),
        time_limit=_option("time", job.time_limit_minutes, "MINUTES"),
        grace_secs=job.grace_secs,
        model_dir=shlex.quote(job.model_dir),
        max_restarts=job.max_restarts,
        command=_command(job),
    )


def command(job: jobs.Job, path: str) -> list[str]:
    """The command line that submits the script at `path`."""
    del job
    return ["sbatch", path]


def _check(job: jobs.Job) -> None:
    if job.image:
        raise InputError(
            f"--image: found {job.image!r}, expected nothing: with --engine=slurm the tasks run "
            "the python that is active where the job is submitted"
        )
    least = (job.grace_secs + _SIGNAL_EARLY_SECS) // 60 + 1
    if 0 < job.time_limit_minutes < least:
        raise InputError(
            f"--time_limit_minutes: found {job.time_limit_minutes}, expected {least} or more with "
            f"--grace_secs={job.grace_secs}: Slurm's warning may come {_SIGNAL_EARLY_SECS} s early"
        )


def _option(name: str, value: object, example: str) -> str:
    """A line for sbatch; one that is switched off if there is no value."""
    if not value:
        return f"##SBATCH --{name}={example}"
    return f"#SBATCH --{name}={shlex.quote(str(value))}"


def _command(job: jobs.Job) -> str:
    python, dash_m, module, *flags = map(shlex.quote, [*job.train_command, *job.rank_flags])
    return " \\\n  ".join([f"{python} {dash_m} {module}", *flags])
