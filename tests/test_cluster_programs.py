"""The train command as the tasks of a cluster on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

FLAGS = [
    "--dataset=sample",
    "--data_dir=data",
    "--max_steps=40",
    "--save_checkpoints_steps=20",
    "--batch_size=64",
    "--log_steps=20",
]
# Plain SGD, so that gradients clipped wrongly show.
CLIPPED = ["--optimizer=sgd", "--schedule=constant", "--learning_rate=0.5", "--clip_norm=0.2"]
TIMEOUT_SECS = 240


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with the sample prepared; tasks that start together would prepare it at once."""
    folder = tmp_path_factory.mktemp("cluster")
    prepare = ["mnist_estimator.prepare", "--dataset=sample", "--data_dir=data"]
    subprocess.run([sys.executable, "-m", *prepare], cwd=folder, check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def tasks(work: Path, jobs: dict[str, int], evaluator: bool, *flags: str):
    """Starts a process a task; gives them by (role, index) and ends those that still run."""
    with contextlib.ExitStack() as stack:
        probes = {
            role: [stack.enter_context(socket.socket()) for _ in range(jobs[role])] for role in jobs
        }
        for probe in sum(probes.values(), []):
            probe.bind(("127.0.0.1", 0))
        hosts = {
            role: [f"127.0.0.1:{probe.getsockname()[1]}" for probe in found]
            for role, found in probes.items()
        }
    roles = [(role, index) for role, count in jobs.items() for index in range(count)]
    with contextlib.ExitStack() as stack:
        started = {}
        for role, index in roles + [("evaluator", 0)] * evaluator:
            config = {"cluster": hosts, "task": {"type": role, "index": index}}
            log = stack.enter_context((work / f"{role}{index}.log").open("w"))
            started[role, index] = process = subprocess.Popen(
                [sys.executable, "-m", "mnist_estimator.train", *FLAGS, *flags],
                cwd=work,
                env=os.environ | {"TF_CONFIG": json.dumps(config)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
        yield started


def wait(process: subprocess.Popen, log: Path) -> None:
    assert process.wait(TIMEOUT_SECS) == 0, log.read_text()


def test_a_parameter_server_cluster_trains_and_is_evaluated_on_the_way(work):
    jobs = {"chief": 1, "worker": 1, "ps": 1}
    with tasks(work, jobs, True, "--strategy=ps", "--model_dir=ps") as started:
        for role in ("chief", "worker", "evaluator"):
            wait(started[role, 0], work / f"{role}0.log")
        # Estimator's parameter server serves until it is told to end.
        assert started["ps", 0].poll() is None
    metrics = json.loads((work / "ps/metrics.json").read_text())
    assert metrics["accuracy"] > 0.7
    assert metrics["global_step"] >= 40
    # The evaluator ends by itself, with the last checkpoint evaluated.
    *_, last = (work / "evaluator0.log").read_text().splitlines()
    assert last.startswith(f"step {metrics['global_step']}: validation accuracy 0.")


def test_synchronous_workers_train_as_one_process_would(work):
    alone = ["mnist_estimator.train", *FLAGS, *CLIPPED, "--model_dir=alone"]
    subprocess.run([sys.executable, "-m", *alone], cwd=work, check=True, capture_output=True)
    flags = ("--strategy=multi_worker", "--model_dir=all_reduce")
    with tasks(work, {"worker": 2}, True, *flags, *CLIPPED) as started:
        for (role, index), process in started.items():
            wait(process, work / f"{role}{index}.log")
    assert "step 40: validation accuracy 0." in (work / "evaluator0.log").read_text()
    one, two = (
        json.loads((work / d / "metrics.json").read_text()) for d in ("alone", "all_reduce")
    )
    assert two["global_step"] == one["global_step"] == 40
    # The same examples and the same dropped units each step; sums are rounded in another order.
    assert two["loss"] == pytest.approx(one["loss"], rel=0.02)
