"""Whole programs that are killed, signalled, run out of space, or meet one another."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from support import programs
from support.disks import tmpfs

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import kill_resume  # noqa: E402

from mnist_estimator.runs import checkpoints  # noqa: E402

STEPS = 60
TIMEOUT_SECS = 240  # A guard against hanging; how fast a machine is, is not the question.
PHASES = kill_resume.PHASES


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return kill_resume.small_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_dir):
    """Gives the run of a --cache_mb that nothing happened to, in a process of its own."""
    folder = tmp_path_factory.mktemp("undisturbed")

    @functools.cache
    def run(cache_mb):
        # Not forked as the others: whatever depends on the hash seed would show.
        wanted = plan(folder / str(cache_mb), data_dir, cache_mb=cache_mb, popen=subprocess.Popen)
        return kill_resume.undisturbed(wanted)

    return run


def plan(folder: pathlib.Path, data_dir: pathlib.Path, **options) -> kill_resume.Plan:
    options = {"cache_mb": 1024, "steps": STEPS, "popen": programs.fork} | options
    return kill_resume.Plan(folder, data_dir, seed=0, **options)


@pytest.mark.parametrize("cache_mb", [1024, 0], ids=["memory", "stream"])
def test_a_run_killed_again_and_again_ends_as_if_nothing_had_happened(
    tmp_path, data_dir, undisturbed, cache_mb, monkeypatch
):
    # Forked, it starts sooner; and 60 steps are soon over, with all that follows them.
    for phase, secs in (("starting", 1.0), ("evaluating", 0.2), ("exporting", 0.2)):
        monkeypatch.setitem(kill_resume.WINDOWS, phase, secs)
    killed = plan(tmp_path / "run", data_dir, cache_mb=cache_mb, kills=5)
    assert kill_resume.compare(killed, undisturbed(cache_mb)) == ""
    assert killed.killed.total() > 1


def test_the_comparison_sees_a_difference(undisturbed):
    """Else it would prove nothing: in memory and streaming, examples come in another order."""
    one, two = undisturbed(1024), undisturbed(0)
    assert kill_resume.variables(one) != kill_resume.variables(two)
    assert kill_resume.consumed(one)[0] != kill_resume.consumed(two)[0]
    assert kill_resume.curves(one) != kill_resume.curves(two)
    assert kill_resume.exported(one) != kill_resume.exported(two)


def start(run: kill_resume.Plan) -> subprocess.Popen:
    return run.popen(run.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def started(run: kill_resume.Plan, phase: str, steps: int = 0):
    """Starts a run and gives its process once it is in a phase."""
    run.folder.mkdir(exist_ok=True)
    before = run.log.stat().st_size if run.log.exists() else 0
    process = start(run)
    try:
        programs.wait_until(
            lambda: (
                process.poll() is not None or kill_resume.reached(run.log, before, phase, steps)
            ),
            timeout=TIMEOUT_SECS,
            every=0.002,
        )
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


@pytest.mark.smoke
def test_signals_in_every_phase_lose_nothing(tmp_path, data_dir, undisturbed):
    run = plan(tmp_path / "run", data_dir)
    numbers = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
    for phase, number in zip(PHASES, numbers, strict=True):
        # A signal can come while TensorFlow is imported.
        run.popen = subprocess.Popen if phase == "starting" else programs.fork
        with started(run, phase, steps=7 if phase == "training" else 0) as process:
            process.send_signal(number)
            error = process.communicate(timeout=TIMEOUT_SECS)[1]
        assert process.returncode == (130 if number == signal.SIGINT else 143), error
        *_, last = error.splitlines()
        assert number.name in last
        assert "Traceback" not in error
        if phase == "training":
            saved = max(map(int, kill_resume.consumed(run)[0]))
            assert f"step {saved} is saved in {run.model_dir}; the same command continues" in last
    assert kill_resume.compare(run, undisturbed(1024)) == ""


def test_the_second_trainer_of_a_model_dir_is_refused(tmp_path, data_dir):
    run = plan(tmp_path / "run", data_dir, steps=100_000)
    # At a step there is a checkpoint.
    with started(run, "training", steps=1) as first:
        second = start(run)
        try:
            error = second.communicate(timeout=TIMEOUT_SECS)[1]
        finally:
            second.kill()
        assert second.returncode == 2
        assert f"in use by the trainer on host {os.uname().nodename}, process {first.pid}" in error
        assert error.count("\n") == 1
    assert checkpoints.damage(checkpoints.newest_whole(str(run.model_dir))) == ""


@pytest.fixture
def small_filesystem(tmp_path):
    """A folder that holds little; skipped where the machine does not let us make one."""
    with tmpfs(tmp_path / "small", "26m"):
        yield tmp_path / "small"


def remount(folder: pathlib.Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True, timeout=60)


def test_a_full_disk_stops_the_run_and_leaves_it_whole(small_filesystem, data_dir, undisturbed):
    run = plan(small_filesystem / "run", data_dir)
    run.folder.mkdir()
    ended = start(run)
    try:
        error = ended.communicate(timeout=TIMEOUT_SECS)[1]
    finally:
        ended.kill()
    assert ended.returncode == 1
    *_, last = error.splitlines()
    assert "No space left on device; step 20 is saved in" in last
    assert "Traceback" not in error
    remount(small_filesystem, "size=200m")
    assert kill_resume.compare(run, undisturbed(1024)) == ""


def test_a_disk_that_cannot_be_written_is_one_line(small_filesystem, data_dir):
    remount(small_filesystem, "ro")
    run = plan(small_filesystem / "run", data_dir)
    command = [word for word in run.command() if not word.startswith(("--log=", "--ordinary"))]
    command[1:2] = ["-m", "mnist_estimator.train"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECS)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"train: {run.model_dir}: ")
    assert ended.stderr.endswith("Read-only file system\n")
    assert ended.stderr.count("\n") == 1
