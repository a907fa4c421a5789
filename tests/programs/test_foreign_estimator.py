"""Somebody's own Estimator programs with the hooks: killed, asked to stop, and as a cluster."""

import contextlib
import difflib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from support import programs

from mnist_estimator.compat import tf
from mnist_estimator.runs import checkpoints

EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "examples"
CLUSTER_PROGRAM = pathlib.Path(__file__).with_name("foreign_program.py")


def variables(folder):
    reader = tf.train.load_checkpoint(str(folder))
    names = reader.get_variable_to_shape_map()
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


@pytest.fixture
def example(tmp_path):
    """The upgraded program, with fewer steps."""
    source = (EXAMPLES / "upgraded.py").read_text()
    assert source.count("max_steps=300") == 1
    path = tmp_path / "upgraded.py"
    path.write_text(source.replace("max_steps=300", "max_steps=90"))
    return path


def started(example, folder):
    words = [sys.executable, example, folder]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return programs.fork(words, **pipes)


def stopped(example, folder, step, number):
    """Ends the program by a signal once it has saved a step; returns its exit code."""
    with started(example, folder) as task:
        try:
            saved = folder / f"model.ckpt-{step}.sha256"
            programs.wait_until(saved.exists, process=task, every=0.001)
            task.send_signal(number)
            task.communicate(timeout=programs.TIMEOUT_SECS)
        finally:
            task.kill()
    return task.returncode


def test_the_example_is_upgraded_by_fewer_than_twenty_lines():
    before, after = ((EXAMPLES / name).read_text() for name in ("ordinary.py", "upgraded.py"))
    changed = [
        line
        for line in difflib.ndiff(before.splitlines(), after.splitlines())
        if line[:2] in ("+ ", "- ")
    ]
    assert 0 < len(changed) < 20


def test_the_upgraded_example_goes_on_exactly_after_a_kill_and_a_preemption(example, tmp_path):
    with started(example, tmp_path / "whole") as task:
        output, errors = task.communicate(timeout=programs.TIMEOUT_SECS)
    assert task.returncode == 0, errors
    assert stopped(example, tmp_path / "ended", 30, signal.SIGKILL) == -signal.SIGKILL
    assert stopped(example, tmp_path / "ended", 60, signal.SIGTERM) == 143
    with started(example, tmp_path / "ended") as task:
        assert task.communicate(timeout=programs.TIMEOUT_SECS)[0] == output
    assert variables(tmp_path / "ended") == variables(tmp_path / "whole")
    assert output.startswith("accuracy 0.")


@contextlib.contextmanager
def cluster(folder, max_steps):
    """Starts a chief, a worker, a parameter server and an evaluator; yields them by name."""
    addresses = dict(zip(("chief", "worker", "ps"), free_addresses(3), strict=True))
    tasks = {}
    try:
        for name in (*addresses, "evaluator"):
            place = {"type": name, "index": 0}
            jobs = {each: [address] for each, address in addresses.items()}
            environ = {"TF_CONFIG": json.dumps({"cluster": jobs, "task": place})}
            tasks[name] = programs.fork(
                [sys.executable, CLUSTER_PROGRAM, folder, max_steps],
                env={**os.environ, **environ},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        yield tasks
    finally:
        for task in tasks.values():
            task.kill()
            task.communicate(timeout=30)


def free_addresses(count):
    """Addresses that nothing listens on. All are held until the last is found, so they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def ends(tasks):
    """Exit code and last line of errors of each task, once it has ended by itself."""
    found = {}
    for name, task in tasks.items():
        try:
            _, errors = task.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            task.kill()
            pytest.fail(f"{name} still runs: {task.communicate(timeout=30)[1]}")
        found[name] = task.returncode, errors.strip().split("\n")[-1]
    return found


def at_work(folder):
    """Whether a cluster has saved step 100, and its evaluator has met the chief and evaluated."""
    is_saved = checkpoints.step_of(checkpoints.newest(str(folder))) >= 100
    return is_saved and any(folder.glob("eval*/events*"))


def test_a_cluster_ends_by_itself_parameter_server_too(tmp_path):
    with cluster(tmp_path, 300) as tasks:
        found = ends(tasks)
    assert [code for code, _ in found.values()] == [0, 0, 0, 0], found
    assert checkpoints.newest_step(str(tmp_path)) >= 300


def test_tasks_end_when_the_chief_is_gone_and_a_restart_goes_on(tmp_path):
    with cluster(tmp_path, 10**6) as tasks:
        programs.wait_until(lambda: at_work(tmp_path), process=tasks["chief"])
        tasks.pop("chief").kill()
        found = ends(tasks)
        for name, (code, line) in found.items():
            assert code == 138, (name, line)
            assert "chief at" in line or "another task is gone" in line
    step = checkpoints.newest_step(str(tmp_path))
    with cluster(tmp_path, step + 50) as tasks:
        assert [code for code, _ in ends(tasks).values()] == [0, 0, 0, 0]
    assert checkpoints.newest_step(str(tmp_path)) >= step + 50


def test_tasks_end_as_a_chief_that_is_preempted(tmp_path):
    with cluster(tmp_path, 10**6) as tasks:
        programs.wait_until(lambda: at_work(tmp_path), process=tasks["chief"])
        tasks["chief"].send_signal(signal.SIGTERM)
        found = ends(tasks)
    assert {name: code for name, (code, _) in found.items()} == dict.fromkeys(found, 143), found
