"""Ray: a `Job` becomes a Python program that `ray job submit` runs, and that starts all tasks.

Facts are from Ray's pages "Ray Jobs CLI" and "Placement groups" and from the source of its job
supervisor (what stopping a job does), and were tried with Ray 2.60.
"""

from __future__ import annotations

import json
import os
import re

from mnist_estimator import InputError
from mnist_estimator.engines import jobs

TEMPLATE = "ray.py.template"

# What the program may need beside the tasks' time to save.
_END_SECS = 15

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.DOTALL)


def render(job: jobs.Job) -> str:
    """Returns the program that runs a job.

    Raises:
      InputError: if the job asks for what Ray cannot do.
    """
    _check(job)
    return jobs.render(
        TEMPLATE,
        command="\n".join(f"    {part!r}," for part in job.train_command),
        tasks=job.counts,
        cpus=job.cpus,
        memory_gb=job.memory_gb,
        gpus=job.gpus,
        max_restarts=job.max_restarts,
        grace_secs=job.grace_secs,
        stop_secs=_stop_secs(job),
        time_limit_minutes=job.time_limit_minutes,
    )


def command(job: jobs.Job, path: str) -> list[str]:
    """The command line that submits the program at `path`; its folder goes to all nodes."""
    folder, name = os.path.split(os.path.abspath(path))
    # Ray kills what a signal has not ended after so long; its own 3 s are too short to save.
    environ = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": _stop_secs(job)}}
    submit = ["ray", "job", "submit", f"--working-dir={folder}", "--no-wait"]
    submit += [f"--runtime-env-json={json.dumps(environ)}"]
    submit += [f"--address={job.ray_address}"] * bool(job.ray_address)
    return [*submit, "--", "python", name]


def _stop_secs(job: jobs.Job) -> str:
    return str(job.grace_secs + _END_SECS)


def _check(job: jobs.Job) -> None:
    if job.image:
        raise InputError(
            f"--image: found {job.image!r}, expected nothing: with --engine=ray the tasks run the "
            "python of the cluster's nodes"
        )
    for name in ("model_dir", "data_dir"):
        folder = getattr(job, name)
        if not os.path.isabs(folder) and not _SCHEME.fullmatch(folder):
            raise InputError(
                f"train flag --{name}: found {folder!r}, expected a path from the root that all "
                "nodes see: Ray starts each task in a folder of its own"
            )
