r"""Submits a training job to Slurm, Kubernetes, Vertex AI, SageMaker or Ray, or prints its file.

  python -m mnist_estimator.submit --engine=slurm --workers=4 \
      -- --model_dir=/shared/mod1 --data_dir=/shared/mnist --max_steps=5000

Flags before the -- say what the job is, those after it are the flags of train. The job file is made
from a template of the package, with comments, and handed to the engine's own client. --dry_run
prints the file and submits nothing:

  python -m mnist_estimator.submit --engine=kubeflow --workers=4 --ps=2 --evaluator \
      --image=registry.example/mnist:1 --volume_claim=shared --dry_run \
      -- --model_dir=/data/mod1 --data_dir=/data/mnist

What was submitted ends by itself, and continues from its newest checkpoint when it is submitted
again.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.engines import jobs, kubernetes, passed_flags, ray, sagemaker, slurm, vertex
from mnist_estimator.runtime import flag_fields, local_files, program, progress, signals

# Each module has render(job), the text of the job file, and command(job, path), which submits it.
ENGINES = {
    "slurm": slurm,
    "kubeflow": kubernetes,
    "jobset": kubernetes,
    "trainjob": kubernetes,
    "vertex": vertex,
    "sagemaker": sagemaker,
    "ray": ray,
}
# How to see what a job does, and how to end it. {where} is its namespace, region or address.
_KUBERNETES_LOGS = "kubectl logs -f --prefix --max-log-requests={job.num_tasks}{where} -l "
WATCH = {
    "slurm": (
        "squeue --name={job.name} && tail -f {job.name}-JOBID.log",
        "scancel --name={job.name}",
    ),
    "kubeflow": (
        _KUBERNETES_LOGS + "training.kubeflow.org/job-name={job.name}",
        "kubectl delete tfjob,networkpolicy {job.name}{where}",
    ),
    "jobset": (
        _KUBERNETES_LOGS + "jobset.sigs.k8s.io/jobset-name={job.name}",
        "kubectl delete jobset,networkpolicy {job.name}{where}",
    ),
    "trainjob": (
        _KUBERNETES_LOGS + "jobset.sigs.k8s.io/jobset-name={job.name}",
        "kubectl delete trainjob,trainingruntime,networkpolicy {job.name}{where}",
    ),
    "vertex": (
        "gcloud ai custom-jobs list --filter=displayName={job.name}{where}",
        "gcloud ai custom-jobs cancel JOB{where}",
    ),
    "sagemaker": (
        "aws sagemaker list-training-jobs --name-contains={job.name}{where}",
        "aws sagemaker stop-training-job --training-job-name=JOB{where}",
    ),
    "ray": ("ray job list{where}", "ray job stop JOB{where}"),
}


def main(argv: list[str]) -> int | None:
    """Reads the flags, makes the job file, and submits it."""
    values = flags.FLAGS
    found = flag_fields.read(jobs.Job, values)
    job = jobs.Job(**found, train_flags=passed_flags.read_flagfiles(argv[1:]))
    text = ENGINES[job.engine].render(job)
    if values.output:
        _write(values.output, text)
        progress.say(f"submit: wrote {values.output}", sys.stderr)
    if values.dry_run:
        # Nothing else goes to stdout, so that the file can be piped.
        sys.stdout.write(text)
        progress.check_told()
        return None
    if _submit(job, text):
        return signals.EXIT_FAILED
    _say_how_to_watch(job)
    return None


def define_flags() -> None:
    """Defines the command's flags."""
    flag_fields.define(flag_fields.fields_of(jobs.Job), flags.FLAGS)
    flags.DEFINE_bool("dry_run", False, "Print the job file, and submit nothing.")
    flag_fields.define_path(
        "output", "", "Keep the job file here; a file of that name is replaced."
    )


def _write(path: str, text: str) -> None:
    """Writes a file that is whole or not there."""
    try:
        with local_files.replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise InputError(f"--output={path}: {error.strerror}") from None


def _submit(job: jobs.Job, text: str) -> int:
    """Hands the job file to the engine's client; returns the client's exit code."""
    engine = ENGINES[job.engine]
    template = engine.TEMPLATE if isinstance(engine.TEMPLATE, str) else engine.TEMPLATE[job.engine]
    suffix = pathlib.Path(template.removesuffix(".template")).suffix
    # Also a file that is kept is handed over as a copy with nothing beside it: Ray sends the file's
    # whole folder to the cluster.
    with tempfile.TemporaryDirectory(prefix="submit-") as folder:
        path = os.path.join(folder, job.name + suffix)
        _write(path, text)
        command = engine.command(job, path)
        if not shutil.which(command[0]):
            raise InputError(
                f"{command[0]}: not found on PATH, expected the client of --engine={job.engine}; "
                "install it, or keep the job file with --dry_run --output=PATH"
            )
        progress.say(f"submit: {shlex.join(command)}", sys.stderr)
        return subprocess.run(command, check=False).returncode


def _say_how_to_watch(job: jobs.Job) -> None:
    options = {"namespace": job.namespace, "region": job.region, "address": job.ray_address}
    where = "".join(f" --{name}={shlex.quote(text)}" for name, text in options.items() if text)
    watch, end = (text.format(job=job, where=where) for text in WATCH[job.engine])
    model_dir = shlex.quote(job.model_dir)
    progress.say(f"watch:       {watch}", sys.stdout)
    progress.say(f"end:         {end}", sys.stdout)
    tensorboard = f"python -m tensorboard.main --logdir={model_dir}, where that can be read"
    progress.say(f"TensorBoard: {tensorboard}", sys.stdout)


if __name__ == "__main__":
    define_flags()
    program.run(main, takes_arguments=True, hint=passed_flags.HINT)
