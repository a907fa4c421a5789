"""The batch script for Slurm, run with stand-ins for srun, squeue and scontrol."""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess

import pytest

from mnist_estimator import InputError
from mnist_estimator.engines import catalog
from mnist_estimator.engines.slurm import SlurmJob

# Says what it was called with, sends this shell what Slurm sends a job, and ends like the tasks.
SRUN = """#!/bin/bash
printf '%s\\0' "$@" >srun
[[ -z $SIGNAL ]] || kill -"$SIGNAL" $PPID
exit "$CODE"
"""
SQUEUE = """#!/bin/bash
echo >>../asked
(($(wc -l <../asked) > ${FAIL:-0})) || exit 1
[[ $* == "--noheader --jobs=42 --format=%T" ]] && echo "$STATE"
"""
SCONTROL = """#!/bin/bash
echo "$@" >>scontrol
(($(wc -l <scontrol) > ${FAIL:-0}))
"""
SLEEP = """#!/bin/bash
exit 0
"""


def job(*train_flags: str, **settings) -> SlurmJob:
    return catalog.make_job(engine="slurm", train_flags=train_flags, **settings)


def options(script: str) -> dict[str, str]:
    """What sbatch would read: its options end at the first command."""
    comments = script[: script.index("\nmodel_dir=")].splitlines()
    words = [shlex.split(line)[1] for line in comments if line.startswith("#SBATCH ")]
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)


def test_a_small_job_leaves_the_rest_to_the_cluster():
    found = options(job().render())
    assert found == {
        "job-name": "mnist",
        "ntasks": "1",
        "cpus-per-task": "2",
        "mem-per-cpu": "2048",
        "signal": "USR1@60",
        "requeue": "",
        "output": "%x-%j.log",
        "open-mode": "append",
    }


def test_every_setting_reaches_sbatch():
    settings = {"name": "digits", "workers": 4, "ps": 2, "evaluator": True, "cpus": 3, "gpus": 1}
    settings |= {"memory_gb": 5, "time_limit_minutes": 90, "grace_secs": 120, "partition": "a,b"}
    found = options(job(**settings, account="physics").render())
    assert found == {
        "job-name": "digits",
        "partition": "a,b",
        "account": "physics",
        "ntasks": "7",
        "cpus-per-task": "3",
        "mem-per-cpu": "1707",  # Three times that is no less than 5 GiB.
        "gpus-per-task": "1",
        "time": "90",
        "signal": "USR1@120",
        "requeue": "",
        "output": "%x-%j.log",
        "open-mode": "append",
    }


def test_the_script_is_submitted():
    assert job().command("/tmp/job.sh") == ["sbatch", "/tmp/job.sh"]


@pytest.fixture
def run(tmp_path):
    """Runs a job's script in an empty folder; CODE, STATE and SIGNAL tell how things go."""
    for name, text in {
        "srun": SRUN,
        "squeue": SQUEUE,
        "scontrol": SCONTROL,
        "sleep": SLEEP,
    }.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()

    def run(job: SlurmJob, **variables: object) -> subprocess.CompletedProcess[str]:
        given = {"CODE": 0, "STATE": "RUNNING", "SIGNAL": "", "SLURM_JOB_ID": 42} | variables
        given |= {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        given |= {"SLURM_CPUS_PER_TASK": job.cpus, "SLURM_JOB_NODELIST": "n[1-3]"}
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


def srun_arguments(folder: pathlib.Path) -> list[str]:
    return (folder / "srun").read_text().split("\0")[:-1]


def test_the_tasks_get_their_flags_as_given(run):
    flags = ("--model_dir=a b'c\n$(touch evil)\"`", "--dataset=sample")
    done = run(job(*flags, workers=2, ps=1, evaluator=True, cpus=3))
    assert (done.returncode, done.stderr) == (0, "")
    # As a shell takes it.
    assert "tensorboard --logdir=$'a b\\'c\\n$(touch evil)\"`'\n" in done.stdout
    options = srun_arguments(run.folder)
    command = options[options.index("python") :]
    assert command[:4] == ["python", "-m", "mnist_estimator.train", "--strategy=ps"]
    assert command[4:] == [*flags, "--num_ps=1", "--evaluator"]
    assert options[: -len(command)] == [
        "--cpus-per-task=3",
        "--distribution=block",
        "--kill-on-bad-exit=0",
        "--wait=0",
        "--label",
    ]
    assert os.listdir(run.folder) == ["srun"]


@pytest.mark.parametrize("code", [137, 138, 143, 139])
def test_a_job_that_may_succeed_goes_back_into_the_queue(run, code):
    done = run(job(), CODE=code)
    assert done.returncode == code
    assert (run.folder / "scontrol").read_text() == "requeue 42\n"
    assert f"code {code}: back into the queue" in done.stdout


def test_a_controller_that_does_not_answer_at_once_is_asked_again(run):
    done = run(job(), CODE=143, FAIL=2)
    assert (done.returncode, done.stderr) == (143, "")
    assert (run.folder / "scontrol").read_text() == "requeue 42\n" * 3
    (run.folder / "scontrol").unlink()
    done = run(job(), CODE=143, FAIL=99)
    assert done.returncode == 143 and not (run.folder / "scontrol").exists()
    assert done.stderr == "code 143: squeue does not say how the job stands; sbatch continues it\n"


@pytest.mark.parametrize("code", [0, 1, 2, 127])
def test_a_job_that_is_done_or_would_fail_again_ends(run, code):
    assert run(job(), CODE=code).returncode == code
    assert not (run.folder / "scontrol").exists()


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", ""])
def test_a_job_that_is_cancelled_or_queued_again_by_slurm_ends(run, state):
    assert run(job(), CODE=143, STATE=state).returncode == 143
    assert not (run.folder / "scontrol").exists()


def test_restarts_have_an_end(run):
    assert run(job(max_restarts=3), CODE=138, SLURM_RESTART_COUNT=2).returncode == 138
    assert (run.folder / "scontrol").exists()
    (run.folder / "scontrol").unlink()
    done = run(job(max_restarts=3), CODE=138, SLURM_RESTART_COUNT=3)
    assert done.returncode == 138
    assert not (run.folder / "scontrol").exists()
    assert done.stderr.startswith("code 138 after 3 restarts: gave up")


@pytest.mark.parametrize("signal", ["TERM", "USR1"])
def test_the_shell_outlives_what_is_sent_to_the_job(run, signal):
    assert run(job(), CODE=143, SIGNAL=signal).returncode == 143
    assert (run.folder / "scontrol").read_text() == "requeue 42\n"


@pytest.mark.parametrize("grace_secs, least", [(30, 2), (60, 3), (119, 3), (120, 4)])
def test_a_time_limit_leaves_time_to_train(grace_secs, least):
    settings = {"grace_secs": grace_secs}
    assert job(**settings, time_limit_minutes=least).render()
    match = f"--time_limit_minutes: found {least - 1}, expected {least} or more"
    with pytest.raises(InputError, match=match):
        job(**settings, time_limit_minutes=least - 1).render()


def test_an_image_is_refused():
    with pytest.raises(InputError, match="--image: found 'registry/it:1', expected nothing"):
        job(image="registry/it:1").render()
