"""Jobs on a real Slurm of three nodes, which slurm_cluster.sh sets up on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import programs
from support.short_runs import variables

from mnist_estimator.runs import checkpoints

SCRIPT = Path(__file__).with_name("slurm_cluster.sh")
NOT_INSTALLED = 3  # The script's status.
TIMEOUT_SECS = 240
# Without a validation split there is nothing to evaluate while training.
FLAGS = ["--dataset=sample", "--data_dir=data", "--validation_split=0", "--export=none"]
FLAGS += ["--model=softmax", "--batch_size=64", "--log_steps=50"]


@dataclasses.dataclass
class Slurm:
    """A running cluster, and the folder that jobs are submitted from."""

    folder: Path
    environ: dict[str, str]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def submit(self, model_dir: str, *train_flags: str, **settings: object) -> Job:
        """Submits a job as users do; `settings` are flags of submit itself."""
        settings = {"engine": "slurm", "cpus": 1, "memory_gb": 1} | settings
        given = [f"--{name}={value}" for name, value in settings.items()]
        command = [sys.executable, "-m", "mnist_estimator.submit", *given, "--", *FLAGS]
        said = self.run(*command, *train_flags, f"--model_dir={model_dir}")
        found = re.search(r"Submitted batch job (\d+)", said)
        assert found, said
        return Job(self, found[1], self.folder / model_dir)


@dataclasses.dataclass
class Job:
    slurm: Slurm
    number: str
    model_dir: Path

    @property
    def log(self) -> str:
        (path,) = self.slurm.folder.glob(f"*-{self.number}.log")
        return path.read_text()

    @property
    def step(self) -> int:
        """The newest checkpoint's."""
        return checkpoints.step_of(checkpoints.newest(str(self.model_dir)))

    def facts(self) -> dict[str, str]:
        """What Slurm knows of the job: JobState, ExitCode, Restarts and more."""
        said = self.slurm.run("scontrol", "--oneliner", "show", "job", self.number)
        return dict(word.partition("=")[::2] for word in said.split())

    def wait_for_end(self) -> dict[str, str]:
        """Waits until all tasks have ended for good; gives the job's facts."""
        self.wait_until(lambda: self.is_over)
        return self.facts()

    @property
    def is_over(self) -> bool:
        return self.facts()["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + TIMEOUT_SECS
        while not condition():
            assert time.monotonic() < until, f"{self.facts()}\n{self.log}"
            threading.Event().wait(0.2)

    def wait_for_line(self, pattern: str, *, times: int = 1) -> None:
        def is_there() -> bool:
            with contextlib.suppress(ValueError):  # No log yet.
                return len(re.findall(pattern, self.log, re.MULTILINE)) >= times
            return False

        self.wait_until(lambda: is_there() or self.is_over)
        assert is_there(), self.log


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[Slurm]:
    # Not pytest's folder: the path of a Unix socket in it may have 108 bytes.
    with tempfile.TemporaryDirectory(prefix="slurm") as folder:
        done = subprocess.run(
            [SCRIPT, "start", folder], stderr=subprocess.PIPE, text=True, timeout=120
        )
        if done.returncode == NOT_INSTALLED:
            pytest.skip(f"no jobs were run on Slurm: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        try:
            environ = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf"}
            # As the machines of a cluster: a job's tasks are on different nodes.
            environ["SBATCH_SPREAD_JOB"] = "1"
            # Jobs run the python that is active where they are submitted.
            environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
            yield Slurm(tmp_path_factory.mktemp("jobs"), environ)
        finally:
            subprocess.run([SCRIPT, "stop", folder], check=True, timeout=120)


@pytest.fixture(scope="module")
def jobs(slurm) -> dict[str, Job]:
    """Those of several tasks, at once: most of their time goes into the start of their programs."""
    validated = ("--data_dir=validated", "--validation_split=400", "--save_checkpoints_steps=20")
    return {
        "told": slurm.submit("told", "--max_steps=500", workers=2),
        "undisturbed": slurm.submit("undisturbed", "--max_steps=500", workers=2),
        "ps": slurm.submit("ps", "--max_steps=40", *validated, workers=2, ps=1, evaluator=True),
    }


def test_a_synchronous_job_told_to_go_comes_back_and_ends_as_if_nothing_had_been(jobs, slurm):
    job = jobs["told"]
    job.wait_for_line(r"^0: step \d+")
    slurm.run("scancel", "--signal=USR1", job.number)
    job.wait_for_line("^code 143: back into the queue")
    saved = job.step
    assert 0 < saved < 500
    assert f": SIGUSR1: step {saved} is saved in told; " in job.log
    facts = job.wait_for_end()
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "1"), job.log
    assert (facts["NumNodes"], facts["NumTasks"]) == ("2", "2")
    assert f"from step {saved} to step 500" in job.log
    undisturbed = jobs["undisturbed"]
    assert undisturbed.wait_for_end()["JobState"] == "COMPLETED", undisturbed.log
    assert variables(job.model_dir) == variables(undisturbed.model_dir)


def test_a_parameter_server_job_trains_to_its_end(jobs):
    job = jobs["ps"]
    facts = job.wait_for_end()
    # Slurm calls a job completed when the last of its tasks has ended.
    assert (facts["JobState"], facts["ExitCode"]) == ("COMPLETED", "0:0"), job.log
    assert (facts["NumNodes"], facts["NumTasks"], facts["Restarts"]) == ("3", "4", "0")
    metrics = json.loads((job.model_dir / "metrics.json").read_text())
    assert metrics["global_step"] >= 40
    assert metrics["accuracy"] > 0.7
    # Which task does what is by its number, and the evaluator has the last word.
    evaluated = re.findall(r"^3: step (\d+): validation accuracy", job.log, re.MULTILINE)
    assert int(evaluated[-1]) == metrics["global_step"], job.log


def test_a_dataset_in_parts(slurm):
    command = [sys.executable, "-m", "mnist_estimator.submit", "--engine=slurm", "--parts=2"]
    command += ["--command=prepare", "--cpus=1", "--memory_gb=1"]
    said = slurm.run(*command, "--", "--dataset=sample", "--data_dir=parts")
    found = re.search(r"the parts as job (\d+), their merge as job (\d+)$", said, re.MULTILINE)
    assert found, said
    merge = Job(slurm, found[2], slurm.folder)
    assert merge.wait_for_end()["JobState"] == "COMPLETED", merge.log
    assert "train            3,600 examples" in merge.log
    for number in (1, 2):
        log = (slurm.folder / f"mnist-{found[1]}_{number}.log").read_text()
        assert f"parts: part {number} of 2: " in log
    content = (slurm.folder / "parts/manifest.json").read_bytes()
    # As one process writes it.
    assert hashlib.sha256(content).hexdigest().startswith("09060c977f7e33c6")


def test_a_step_unlike_its_allocation(slurm):
    """Its tasks find each other on two of the three nodes of the job: tensorflow#36094."""
    step = "srun --nodes=2 --ntasks=2 --relative=1 --label"
    explain = f"{step} python -m mnist_estimator.train --explain --model_dir=step"
    job = ("sbatch", "--wait", "--nodes=3", "--ntasks=3", "--output=step.log")
    slurm.run(*job, f"--wrap={explain}")
    log = (slurm.folder / "step.log").read_text()
    found = [json.loads(text) for text in re.findall(r"^[01]: TF_CONFIG +(.*)$", log, re.MULTILINE)]
    assert len(found) == 2, log
    clusters = [config["cluster"] for config in found]
    assert clusters[0] == clusters[1]
    hosts = [host.partition(":")[0] for hosts in clusters[0].values() for host in hosts]
    assert sorted(hosts) == ["127.0.0.3", "127.0.0.4"]
    assert {config["task"]["type"] for config in found} == {"chief", "worker"}


# In place of `sweep`: is told to go in one task of the array, and done when it comes back.
TOLD_TO_GO = """#!/bin/bash
printf '%s|' "$@"
[[ $SLURM_ARRAY_TASK_ID != 1 || ${SLURM_RESTART_COUNT:-0} != 0 ]] || exit 143
"""


def test_a_sweep_is_an_array_whose_tasks_come_back(slurm):
    (slurm.folder / "bin").mkdir()
    (slurm.folder / "bin/python").write_text(TOLD_TO_GO)
    (slurm.folder / "bin/python").chmod(0o755)
    (slurm.folder / "space.yaml").write_text("shift: {type: float, low: 0, high: 3}\n")
    environ = slurm.environ | {"PATH": f"{slurm.folder}/bin{os.pathsep}{slurm.environ['PATH']}"}
    given = ("--engine=slurm", "--sweep=space.yaml", "--tasks=2", "--storage=journal:study")
    command = [sys.executable, "-m", "mnist_estimator.submit", *given, "--cpus=1", "--memory_gb=1"]
    said = dataclasses.replace(slurm, environ=environ).run(*command, "--", "--model_dir=swept")
    number = re.search(r"Submitted batch job (\d+)", said)[1]
    logs = [slurm.folder / f"mnist-{number}_{task}.log" for task in (0, 1)]

    def are_done() -> bool:
        queue = slurm.run("squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T")
        return set(queue.split()) == {"COMPLETED"}

    programs.wait_until(are_done, timeout=TIMEOUT_SECS, every=0.2)
    words = "-m|mnist_estimator.sweep|--space=space.yaml|--storage=journal:study|--|--model_dir=swe"
    assert [log.read_text().count(words) for log in logs] == [1, 2]
    assert "code 143: back into the queue" in logs[1].read_text()
    assert "restart 1" in logs[1].read_text()


def test_a_job_gives_way_to_a_more_urgent_one_and_goes_on_after_it(slurm):
    job = slurm.submit("alone", "--max_steps=1000000", cpus=4)
    job.wait_for_line(r"^0: step \d+")
    urgent = ("sbatch", "--partition=urgent", "--exclusive", "--output=urgent.log")
    slurm.run(*urgent, f"--nodelist={job.facts()['NodeList']}", "--wrap=echo here")
    job.wait_for_line("^code 143: back into the queue")
    saved = job.step
    job.wait_for_line(f"from step {saved} to step")
    assert (slurm.folder / "urgent.log").read_text() == "here\n"
    # Cancelled, it saves what it has and stays away.
    job.wait_for_line(r"^0: step \d+", times=1 + len(re.findall("^0: step", job.log, re.MULTILINE)))
    slurm.run("scancel", job.number)
    facts = job.wait_for_end()
    assert (facts["JobState"], facts["Restarts"]) == ("CANCELLED", "1"), job.log
    assert job.step > saved
    assert job.log.count("back into the queue") == 1
