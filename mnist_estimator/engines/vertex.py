"""Vertex AI: a job is a CustomJobSpec in YAML that `gcloud ai custom-jobs create` submits.

Facts are from Vertex AI's pages "Distributed training" (a pool's place decides its role),
"Understand the custom training service" (what is restarted, and when a job ends) and the REST
reference of CustomJobSpec; and from the source of gcloud's `ai custom-jobs create`.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap

from mnist_estimator import InputError
from mnist_estimator.engines import jobs, rendering
from mnist_estimator.runtime.flag_fields import setting

# Machines that Vertex AI trains on: (cores, GiB of memory).
_MACHINES = {f"n1-standard-{cores}": (cores, 3.75 * cores) for cores in (4, 8, 16, 32, 64, 96)}
_REGION = re.compile(r"[a-z]+(-[a-z]+)+\d+", re.ASCII)
_MODEL_DIR = re.compile(r"(?:gs://|/gcs/)(?P<path>[^/]+(?:/.*)?)", re.DOTALL)

# A task that ends with another code than 0 ends the job, unless the code says that something
# crashed: of those Vertex AI lists 134 and 139 for containers, and tries the job again.
_ENTRY = """\
trap 'kill -TERM "$task"' TERM
"$0" "$@" &
task=$!
wait "$task"
code=$?
# A signal ends the wait, but not yet the task: it saves first.
while kill -0 "$task" 2>/dev/null; do
  wait "$task"
  code=$?
done
# 128 and more, to be tried again: 143 told to go, 138 another task is gone, 137 killed.
if [ "$code" -ge 128 ]; then exit 134; fi
exit "$code"
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VertexJob(jobs.CloudJob, jobs.JobWithAccount):
    """A job of Vertex AI, which is a CustomJobSpec."""

    engine = "vertex"
    template = "vertex.yaml"

    package: str = setting(
        "",
        "Source distribution of this package on Cloud Storage, gs://...; --image is then one of "
        "Vertex AI's own training images, which installs it.",
        heading="Vertex AI",
    )
    accelerator_type: str = setting("NVIDIA_TESLA_T4", "Kind of the --gpus, as Vertex AI calls it.")
    tensorboard: str = setting(
        "",
        "TensorBoard instance of Vertex AI that shows the run: "
        "projects/PROJECT/locations/REGION/tensorboards/ID.",
    )

    def render(self) -> str:
        _check(self)
        # AIP_TENSORBOARD_LOG_DIR, from where Vertex AI's TensorBoard is fed, is logs/ below it.
        path = _MODEL_DIR.fullmatch(self.model_dir)["path"]
        base = "gs://" + path.rstrip("/").removesuffix("/logs")
        seconds = self.time_limit_minutes * 60
        return rendering.render(
            self.template,
            name=self.name,
            machine=rendering.yaml_quoted(_machine(self, self.gpus)),
            task=textwrap.indent(_task(self), "  "),
            workers=_pool(self, "workers", self.num_plain_workers, "*machine"),
            ps=_pool(
                self, "parameter servers", self.ps, rendering.yaml_quoted(_machine(self, gpus=0))
            ),
            timeout=_line("timeout", f"{seconds}s" if seconds else ""),
            strategy="SPOT" if self.spot else "STANDARD",
            restart_all=rendering.yaml_quoted(self.strategy != "ps"),
            disable_retries=rendering.yaml_quoted(not self.max_restarts),
            model_dir=rendering.in_comment(self.model_dir),
            base=rendering.yaml_quoted(base),
            service_account=_line("serviceAccount", self.service_account),
            tensorboard=_line("tensorboard", self.tensorboard),
        )

    def command(self, path: str) -> list[str]:
        create = ["gcloud", "ai", "custom-jobs", "create"]
        return [
            *create,
            f"--region={self.region}",
            f"--display-name={self.name}",
            f"--config={path}",
        ]

    @property
    def watch_command(self) -> str:
        return (
            f"gcloud ai custom-jobs list --filter=displayName={self.name}"
            f"{jobs.option('region', self.region)}"
        )

    @property
    def end_command(self) -> str:
        return f"gcloud ai custom-jobs cancel JOB{jobs.option('region', self.region)}"


def _check(job: VertexJob) -> None:
    job.require("image", "region")
    if not _REGION.fullmatch(job.region):
        raise InputError(f"--region: found {job.region!r}, expected one as us-central1")
    if job.evaluator:
        raise InputError(
            "--evaluator: found it with --engine=vertex, which ends all tasks when the chief has "
            "ended, so the last checkpoint may not be evaluated; drop it: the chief evaluates"
        )
    if job.ps and not job.num_plain_workers:
        raise InputError(
            "--workers: found 1 with --ps, expected 2 or more with --engine=vertex: gcloud refuses "
            "a job whose second pool, that of the workers, is empty"
        )
    if job.package and not job.package.startswith("gs://"):
        raise InputError(f"--package: found {job.package!r}, expected gs://BUCKET/FILE.tar.gz")
    for flag in job.train_flags:
        if "$(" in flag or "$$" in flag:
            raise InputError(
                f"train flags: found {flag!r}, expected no $( and no $$: Vertex AI runs tasks on "
                "Kubernetes, which replaces them"
            )
    _check_folders(job)
    if job.tensorboard and not job.model_dir.rstrip("/").endswith("/logs"):
        raise InputError(
            f"--tensorboard: found it with the train flag --model_dir={job.model_dir}, expected a "
            "folder named logs: only that of a job's output is shown"
        )
    if job.tensorboard:
        job.require("service_account")


def _check_folders(job: VertexJob) -> None:
    shared = {"model_dir": job.model_dir} | ({"data_dir": job.data_dir} if job.workers > 1 else {})
    for name, folder in shared.items():
        if not _MODEL_DIR.fullmatch(folder):
            raise InputError(
                f"train flag --{name}: found {folder!r}, expected gs://BUCKET/FOLDER or "
                "/gcs/BUCKET/FOLDER, which all tasks of Vertex AI see"
            )


def _machine(job: VertexJob, gpus: int) -> dict[str, object]:
    spec: dict[str, object] = {"machineType": job.machine_type or job.smallest_machine(_MACHINES)}
    if gpus:
        spec |= {"acceleratorType": job.accelerator_type, "acceleratorCount": gpus}
    return spec


def _task(job: VertexJob) -> str:
    """The part of the file that says what tasks run: a command of the image, or the package."""
    quoted = rendering.yaml_quoted
    program, flags = job.train_command[:3], job.train_command[3:]
    if job.package:
        lines = [
            "# The package, installed by an image of Vertex AI's own.",
            "pythonPackageSpec: &task",
        ]
        lines += [
            f"  executorImageUri: {quoted(job.image)}",
            f"  packageUris: [{quoted(job.package)}]",
        ]
        lines += [f"  pythonModule: {program[-1]}", "  args:"]
    else:
        entry = textwrap.indent(_ENTRY, "    ").splitlines()
        lines = ["containerSpec: &task", f"  imageUri: {quoted(job.image)}"]
        lines += ["  command:", "  - sh", "  - -c"]
        lines += ["  # Makes the exit code one with which Vertex AI tries the job again.", "  - |"]
        lines += [*entry, "  args:", *(f"  - {part}" for part in program)]
    return "\n".join([*lines, *(f"  - {quoted(flag)}" for flag in flags)])


def _pool(job: VertexJob, what: str, count: int, machine: str) -> str:
    if not count:
        # Only at the end of the list: gcloud refuses an empty pool before others, though Vertex AI
        # takes it, as {}.
        return f"# No {what}."
    kind = "pythonPackageSpec" if job.package else "containerSpec"
    lines = [f"# The {what}.", f"- replicaCount: {count}"]
    return "\n".join([*lines, f"  machineSpec: {machine}", f"  {kind}: *task"])


def _line(name: str, value: str) -> str:
    """A line of the file; without a value a comment."""
    return f"{name}: {rendering.yaml_quoted(value)}" if value else f"# {name}: ..."
