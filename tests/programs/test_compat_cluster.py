"""Real clusters on loopback, each task a process that runs cluster_program.py."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest
from support import programs

PROGRAM = pathlib.Path(__file__).with_name("cluster_program.py")
TIMEOUT_SECS = 240


def test_parameter_server_cluster_trains_evaluates_and_ends(tmp_path):
    chief, worker, ps = free_addresses(3)
    cluster = {"chief": [chief], "worker": [worker], "ps": [ps]}
    with running("ps", cluster, tmp_path, max_steps=20) as start:
        start("ps")  # Serves until it is ended: Estimator has no other end for it.
        tasks = {name: start(name) for name in ("chief", "worker", "evaluator")}
        results = {name: result(task) for name, task in tasks.items()}

    assert results["chief"]["device"] == results["worker"]["device"] == "/job:ps/task:0"
    assert results["worker"]["steps"] >= 5
    assert results["chief"]["steps"] >= 1
    assert results["evaluator"]["steps"] >= 1
    assert results["evaluator"]["global_step"] >= 20
    assert 1 <= results["chief"]["w"] <= 3  # Between the two targets.


def test_mirrored_workers_take_the_same_steps_and_end(tmp_path):
    cluster = {"worker": free_addresses(2)}
    with running("mirrored", cluster, tmp_path, max_steps=6) as start:
        tasks = [start("worker", 0), start("worker", 1), start("evaluator")]
        first, second, evaluator = [result(task) for task in tasks]

    # Each step halves the distance to the mean of the targets, 1 and 2: exactly, in binary.
    assert first["w"] == second["w"] == 1.5 * (1 - 0.5**6)
    assert first["steps"] == second["steps"] == first["global_step"] == 6
    assert "/task:0" in first["device"]
    assert "/task:1" in second["device"]
    assert first["place"] == [0, 2, True]  # Its number, of how many, and whether it is the chief.
    assert second["place"] == [1, 2, False]
    assert evaluator["place"] == [None, 0, True]  # By itself, and so a chief of its own.
    assert evaluator["steps"] >= 1


def free_addresses(count):
    """Addresses that nothing listens on. All are held until the last is found, so they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


@contextlib.contextmanager
def running(kind, cluster, model_dir, *, max_steps):
    """Gives a function that starts a task of the cluster, and ends those that are left over."""
    tasks = []

    def start(name, index=0):
        tf_config = {"cluster": cluster, "task": {"type": name, "index": index}}
        tasks.append(
            programs.fork(
                [sys.executable, PROGRAM, kind, model_dir, str(max_steps)],
                env={**os.environ, "TF_CONFIG": json.dumps(tf_config)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return tasks[-1]

    try:
        yield start
    finally:
        for task in tasks:
            task.kill()
            task.communicate(timeout=30)


def result(task):
    """What a task printed, once it has ended by itself."""
    try:
        output, errors = task.communicate(timeout=TIMEOUT_SECS)
    except subprocess.TimeoutExpired:
        task.kill()
        pytest.fail(f"still running after {TIMEOUT_SECS} s:\n{task.communicate(timeout=30)[1]}")
    assert task.returncode == 0, errors
    return json.loads(output)
