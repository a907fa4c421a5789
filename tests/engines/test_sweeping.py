"""The array job of a sweep: its batch script, run with stand-ins for srun, squeue and scontrol."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from mnist_estimator import InputError
from mnist_estimator.engines import catalog, sweeping

SWEEP = ("--space=a b.yaml", "--trials=7", "--storage=journal:$(touch evil)`'\"")
TRAIN = ("--model_dir=it's\n$HOME", "--max_steps=5")
# Says what it was called with, sends this shell what Slurm sends a job, and ends like the task.
SRUN = """#!/bin/bash
printf '%s\\0' "$@" >srun
[[ -z $SIGNAL ]] || kill -"$SIGNAL" $PPID
exit "$CODE"
"""
SQUEUE = """#!/bin/bash
[[ $* == "--noheader --jobs=40_2 --format=%T" ]] && echo "$STATE"
"""
SCONTROL = """#!/bin/bash
echo "$@" >>scontrol
"""


def make(engine="slurm", tasks=3, **options) -> sweeping.SlurmSweep:
    fields = catalog.all_fields()
    values = {field.name: field.default for field in fields} | options
    model_dir = {"model_dir": "it's\n$HOME", "options": values, "fields": fields}
    return sweeping.make_job(engine, tasks, SWEEP, TRAIN, **model_dir)


def sbatch_options(script: str) -> dict[str, str]:
    comments = script[: script.index("\nmax_restarts=")].splitlines()
    words = [shlex.split(line)[1] for line in comments if line.startswith("#SBATCH ")]
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)


def test_sbatch_gets_an_array_and_every_setting():
    assert sbatch_options(make(tasks=1).render()) == {
        "job-name": "mnist",
        "array": "0-0",
        "ntasks": "1",
        "cpus-per-task": "2",
        "mem-per-cpu": "2048",
        "signal": "USR1@60",
        "requeue": "",
        "output": "%x-%A_%a.log",
        "open-mode": "append",
    }
    settings = {"name": "digits", "cpus": 3, "memory_gb": 5, "gpus": 1, "time_limit_minutes": 90}
    settings |= {"grace_secs": 120, "partition": "a,b", "account": "physics"}
    found = sbatch_options(make(tasks=16, **settings).render())
    assert (found["array"], found["time"], found["signal"]) == ("0-15", "90", "USR1@120")
    assert (found["partition"], found["account"]) == ("a,b", "physics")
    assert (found["job-name"], found["gpus-per-task"]) == ("digits", "1")
    assert found["mem-per-cpu"] == "1707"  # Three times that is no less than 5 GiB.


@pytest.fixture
def run(tmp_path):
    """Runs a job's script in an empty folder; CODE, STATE and SIGNAL tell how things go."""
    (tmp_path / "bin").mkdir()
    for name, text in {"srun": SRUN, "squeue": SQUEUE, "scontrol": SCONTROL}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()

    def run(job, **variables):
        given = {"CODE": 0, "STATE": "RUNNING", "SIGNAL": "", "SLURM_JOB_ID": 42} | variables
        given |= {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        given |= {"SLURM_CPUS_PER_TASK": job.cpus, "SLURM_JOB_NODELIST": "n1"}
        given |= {"SLURM_ARRAY_JOB_ID": 40, "SLURM_ARRAY_TASK_ID": 2}
        return subprocess.run(
            ["bash", "-u", "-c", job.render()],
            cwd=folder,
            env={name: str(value) for name, value in given.items()},
            capture_output=True,
            text=True,
            timeout=60,
        )

    run.folder = folder
    return run


def test_each_task_runs_the_sweep_with_its_flags_as_given(run):
    done = run(make(cpus=3))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "job 40_2 on n1, restart 0\n"
    words = (run.folder / "srun").read_text().split("\0")[:-1]
    program = ["python", "-m", "mnist_estimator.sweep"]
    assert words == ["--cpus-per-task=3", *program, *SWEEP, "--", *TRAIN]
    assert os.listdir(run.folder) == ["srun"]


@pytest.mark.parametrize(
    ("variables", "requeued"),
    [
        ({"CODE": 143}, True),
        ({"CODE": 143, "SIGNAL": "USR1"}, True),
        ({"CODE": 143, "SIGNAL": "TERM"}, True),
        ({"CODE": 138}, True),
        ({"CODE": 137, "SLURM_RESTART_COUNT": 9}, True),
        ({"CODE": 137, "SLURM_RESTART_COUNT": 10}, False),
        ({"CODE": 143, "STATE": "CANCELLED"}, False),
        ({"CODE": 2}, False),
        ({"CODE": 1}, False),
        ({"CODE": 0}, False),
    ],
)
def test_a_task_that_may_go_on_is_queued_again(run, variables, requeued):
    assert run(make(), **variables).returncode == variables["CODE"]
    assert (run.folder / "scontrol").exists() == requeued
    if requeued:
        assert (run.folder / "scontrol").read_text() == "requeue 40_2\n"


def test_how_it_is_submitted_watched_and_ended():
    job = make(name="digits")
    assert job.command("/tmp/x.sh") == ["sbatch", "/tmp/x.sh"]
    assert job.watch_command == "squeue --name=digits && tail -f digits-JOBID_*.log"
    assert job.end_command == "scancel JOBID"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"engine": "kubeflow"}, "--engine: found 'kubeflow' with --sweep, expected slurm; on oth"),
        ({"tasks": 0}, "--tasks: found 0, expected 1 to 1000"),
        ({"tasks": 1001}, "--tasks: found 1001, expected 1 to 1000"),
        ({"workers": 4}, "--workers: found it with --sweep, expected no such flag"),
        ({"image": "x"}, "--image: found it with --sweep, expected no such flag"),
        ({"cpus": 0}, "--cpus: found 0, expected at least 1"),
        ({"partition": "a\nb"}, r"--partition: found 'a\\nb', expected text without control"),
        ({"name": "A"}, "--name: found 'A', expected lower-case letters"),
        ({"time_limit_minutes": 1}, "--time_limit_minutes: found 1, expected 3 or more with"),
    ],
)
def test_a_mistake_is_one_line(options, line):
    with pytest.raises(InputError, match=f"^{line}") as error:
        make(**options).render()
    assert "\n" not in str(error.value)
