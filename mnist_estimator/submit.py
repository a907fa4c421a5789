r"""Submits a training job to Slurm, Kubernetes, Vertex AI, SageMaker or Ray, or prints its file.

  python -m mnist_estimator.submit --engine=slurm --workers=4 \
      -- --model_dir=/shared/mod1 --data_dir=/shared/mnist --max_steps=5000

Flags before the -- say what the job is, those after it are the flags of train. The job file is made
from a template of the package, with comments, and handed to the engine's own client. --dry_run
prints the file and submits nothing:

  python -m mnist_estimator.submit --engine=kubeflow --workers=4 --ps=2 --evaluator \
      --image=registry.example/mnist:1 --volume_claim=shared --dry_run \
      -- --model_dir=/data/mod1 --data_dir=/data/mnist

A dataset is prepared in parts, on Slurm, Kubernetes or Ray; then the flags after the -- are those
of prepare:

  python -m mnist_estimator.submit --engine=slurm --command=prepare --parts=16 \
      -- --data_dir=/shared/letters --train_csv='/shared/raw/part-*.csv.gz'

Flags are searched by an array job of Slurm, whose tasks take the trials of one study:

  python -m mnist_estimator.submit --engine=slurm --sweep=space.yaml --trials=100 --tasks=8 \
      --storage=postgresql+psycopg://me@db.example/sweeps \
      -- --model_dir=/shared/sweep1 --data_dir=/shared/mnist

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
from typing import Any

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.engines import catalog, passed_flags, prepare_flags, preparing, sweeping
from mnist_estimator.engines.jobs import Job
from mnist_estimator.engines.preparing import PrepareJob
from mnist_estimator.engines.sweeping import SlurmSweep
from mnist_estimator.runtime import flag_fields, help_text, local_files, program, progress, signals
from mnist_estimator.sweeps import plans


def main(argv: list[str]) -> int | None:
    """Reads the flags, makes the job file, and submits it."""
    values = flags.FLAGS
    options = {field.name: values[field.name].value for field in catalog.all_fields()}
    job = _make_job(values, tuple(argv[1:]), options)
    text = job.render()
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
    _print_how_to_watch(job)
    return None


def define_flags() -> None:
    """Defines the command's flags."""
    engines = ", ".join(catalog.ENGINES)
    flags.DEFINE_string("engine", "", f"Engine that runs the job: {engines}.")
    flags.DEFINE_bool("dry_run", False, "Print the job file, and submit nothing.")
    flag_fields.define_path(
        "output", "", "Keep the job file here; a file of that name is replaced."
    )
    help_text.group("The job", ["engine", "dry_run", "output"])
    prepare_flags.define()
    flags.adopt_module_key_flags(prepare_flags)
    _define_sweep_flags()
    flag_fields.define(catalog.all_fields(), flags.FLAGS)
    help_text.group_fields(catalog.all_fields())


def _define_sweep_flags() -> None:
    flag_fields.define_path(
        "sweep", "", "Search flags: the file of YAML that says which, as --space of sweep has it."
    )
    flags.DEFINE_integer("tasks", 1, "Tasks that take trials of the sweep.")
    help_text.group("A sweep", ["sweep", "tasks"])
    plans.define_flags("A sweep")
    flags.adopt_module_key_flags(plans)


def _make_job(
    values: flags.FlagValues, given: tuple[str, ...], options: dict[str, Any]
) -> Job | PrepareJob | SlurmSweep:
    if values.sweep:
        return _make_sweep(values, given, options)
    for name in ("tasks", *plans.FLAGS):
        if values[name].present:
            raise InputError(f"--{name}: found it without --sweep, expected both")
    if prepare_flags.is_wanted(values, ()):
        return preparing.make_job(values.engine, values.parts, given, options, catalog.all_fields())
    train_flags = passed_flags.read_flagfiles(given)
    return catalog.make_job(values.engine, train_flags=train_flags, **options)


def _make_sweep(
    values: flags.FlagValues, given: tuple[str, ...], options: dict[str, Any]
) -> SlurmSweep:
    if prepare_flags.is_wanted(values, ()):
        raise InputError("--command=prepare: found it with --sweep, expected one of them")
    plan = plans.make_plan(values.sweep, given, {name: values[name].value for name in plans.FLAGS})
    plans.check_shared_storage(plan.storage, values.tasks)
    set_flags = [name for name in plans.FLAGS if values[name].present]
    shared = [f"--{name}={values[name].value}" for name in set_flags]
    return sweeping.make_job(
        values.engine,
        values.tasks,
        (f"--space={values.sweep}", *shared),
        plan.train_flags,
        model_dir=plan.folder,
        options=options,
        fields=catalog.all_fields(),
    )


def _write(path: str, text: str) -> None:
    """Writes a file that is whole or not there."""
    try:
        with local_files.replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise InputError(f"--output={path}: {error.strerror}") from None


def _submit(job: Job | PrepareJob | SlurmSweep, text: str) -> int:
    """Hands the job file to the engine's client; returns the client's exit code."""
    suffix = pathlib.Path(job.template.removesuffix(".template")).suffix
    # Also a file that is kept is handed over as a copy with nothing beside it: Ray sends the file's
    # whole folder to the cluster.
    with tempfile.TemporaryDirectory(prefix="submit-") as folder:
        path = os.path.join(folder, job.name + suffix)
        _write(path, text)
        command = job.command(path)
        client = getattr(job, "client", command[0])
        if not shutil.which(client):
            raise InputError(
                f"{client}: not found on PATH, expected the client of --engine={job.engine}; "
                "install it, or keep the job file with --dry_run --output=PATH"
            )
        progress.say(f"submit: {shlex.join(command)}", sys.stderr)
        return subprocess.run(command, check=False).returncode


def _print_how_to_watch(job: Job | PrepareJob | SlurmSweep) -> None:
    progress.say(f"watch:       {job.watch_command}", sys.stdout)
    progress.say(f"end:         {job.end_command}", sys.stdout)
    if isinstance(job, PrepareJob):
        return
    model_dir = shlex.quote(job.model_dir)
    tensorboard = f"python -m tensorboard.main --logdir={model_dir}, where that can be read"
    progress.say(f"TensorBoard: {tensorboard}", sys.stdout)


if __name__ == "__main__":
    define_flags()
    program.run(main, takes_arguments=True, opens_paths=False, hint=passed_flags.HINT)
