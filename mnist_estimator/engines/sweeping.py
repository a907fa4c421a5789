"""A sweep as an array job of Slurm, whose tasks all work on one study.

Facts are from the manual pages of sbatch (--array, --signal, --requeue) and scontrol (requeue).
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any, ClassVar

from mnist_estimator import InputError
from mnist_estimator.engines import jobs, rendering, slurm

_MOST_TASKS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlurmSweep:
    """Workers of a sweep; the fields from `name` on are submit's flags of these names."""

    engine: ClassVar[str] = "slurm"
    template: ClassVar[str] = "sweep_slurm.sh"

    tasks: int
    sweep_flags: tuple[str, ...]
    train_flags: tuple[str, ...]
    model_dir: str
    name: str
    partition: str
    account: str
    cpus: int
    memory_gb: int
    gpus: int
    time_limit_minutes: int
    grace_secs: int
    max_restarts: int

    def render(self) -> str:
        """Returns the text of the job file.

        Raises:
          InputError: if there is too little time.
        """
        slurm.check_time(self.time_limit_minutes, self.grace_secs)
        return rendering.render(
            self.template,
            tasks=self.tasks,
            last=self.tasks - 1,
            gpus=slurm.option("gpus-per-task", self.gpus, "NUMBER"),
            grace_secs=self.grace_secs,
            model_dir=rendering.in_comment(self.model_dir),
            max_restarts=self.max_restarts,
            command=_command(self),
            **slurm.shared_values(self),
        )

    def command(self, path: str) -> list[str]:
        """Returns the command line that submits the file at `path`."""
        return ["sbatch", path]

    @property
    def watch_command(self) -> str:
        """A command that shows what the job does."""
        return f"squeue --name={self.name} && tail -f {self.name}-JOBID_*.log"

    @property
    def end_command(self) -> str:
        """A command that ends the job."""
        return "scancel JOBID"  # By its name, all jobs of that name would end.


def make_job(
    engine: str,
    tasks: int,
    sweep_flags: tuple[str, ...],
    train_flags: tuple[str, ...],
    *,
    model_dir: str,
    options: Mapping[str, Any],
    fields: list[dataclasses.Field[Any]],
) -> SlurmSweep:
    """Returns the job of a sweep.

    Args:
      options: values of submit's own flags, whose `fields` are `catalog.all_fields`.

    Raises:
      InputError: if the engine does not run sweeps, or has no use for a flag that is given.
    """
    if engine != SlurmSweep.engine:
        raise InputError(
            f"--engine: found {engine!r} with --sweep, expected {SlurmSweep.engine}; on others run "
            "the command sweep as jobs of your own, all with one --storage"
        )
    if not 0 < tasks <= _MOST_TASKS:
        raise InputError(f"--tasks: found {tasks}, expected 1 to {_MOST_TASKS}")
    return SlurmSweep(
        tasks=tasks,
        sweep_flags=sweep_flags,
        train_flags=train_flags,
        model_dir=model_dir,
        **jobs.own_options(SlurmSweep, options, fields, "--sweep"),
    )


def _command(job: SlurmSweep) -> str:
    words = [*map(shlex.quote, job.sweep_flags), "--", *map(shlex.quote, job.train_flags)]
    return " \\\n  ".join(["python -m mnist_estimator.sweep", *words])
