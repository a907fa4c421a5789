"""Ray: a job is a Python program that `ray job submit` runs, and that starts all tasks.

Facts are from Ray's pages "Ray Jobs CLI" and "Placement groups" and from the source of its job
supervisor (what stopping a job does), and were tried with Ray 2.60.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re

from mnist_estimator import InputError
from mnist_estimator.engines import jobs, rendering
from mnist_estimator.runtime.flag_fields import setting

# Time that the program needs in addition to the tasks' time to save.
_END_SECS = 15

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.DOTALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RayJob(jobs.JobWithGrace):
    """A job of Ray, which is a Python program that starts all tasks."""

    engine = "ray"
    template = "ray.py.template"

    ray_address: str = setting(
        "",
        "The cluster's dashboard, http://HOST:8265. Default: RAY_ADDRESS, else this machine.",
        heading="Ray",
    )

    def render(self) -> str:
        _check(self)
        return rendering.render(
            self.template,
            command="\n".join(f"    {part!r}," for part in self.train_command),
            tasks=self.counts,
            cpus=self.cpus,
            memory_gb=self.memory_gb,
            gpus=self.gpus,
            max_restarts=self.max_restarts,
            grace_secs=self.grace_secs,
            stop_secs=_stop_secs(self),
            time_limit_minutes=self.time_limit_minutes,
        )

    def command(self, path: str) -> list[str]:
        # Ray kills what a signal has not ended after this time. Its default, 3 s, is too short to
        # save.
        environ = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": _stop_secs(self)}}
        return submit_command(path, self.ray_address, f"--runtime-env-json={json.dumps(environ)}")

    @property
    def watch_command(self) -> str:
        return f"ray job list{jobs.option('address', self.ray_address)}"

    @property
    def end_command(self) -> str:
        return f"ray job stop JOB{jobs.option('address', self.ray_address)}"


def submit_command(path: str, address: str, *options: str) -> list[str]:
    """The command line that submits the Python program at `path` to the Ray at an address."""
    # The program's whole folder goes to all nodes.
    folder, name = os.path.split(os.path.abspath(path))
    submit = ["ray", "job", "submit", f"--working-dir={folder}", "--no-wait", *options]
    if address:
        submit.append(f"--address={address}")
    return [*submit, "--", "python", name]


def _stop_secs(job: RayJob) -> str:
    return str(job.grace_secs + _END_SECS)


def _check(job: RayJob) -> None:
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
