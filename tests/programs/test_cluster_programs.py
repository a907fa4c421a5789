"""The train command as the tasks of a cluster on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import programs
from support.short_runs import variables

from mnist_estimator.runs import checkpoints
from mnist_estimator.training.checkpoint_saver import SAVE_REQUEST

FLAGS = [
    "--dataset=sample",
    "--data_dir=data",
    "--max_steps=40",
    "--save_checkpoints_steps=20",
    "--batch_size=64",
    "--model=dnn",
    "--hidden_units=64",
    "--log_steps=20",
]
# Plain SGD, so that gradients clipped wrongly show.
CLIPPED = ["--optimizer=sgd", "--schedule=constant", "--learning_rate=0.5", "--clip_norm=0.2"]
TIMEOUT_SECS = 240


@contextlib.contextmanager
def tasks(
    work: Path, jobs: dict[str, int], evaluator: bool, *flags: str, start: Callable = programs.fork
):
    """Starts a process a task; gives them by (role, index) and ends those that still run."""
    with contextlib.ExitStack() as stack:
        jobs = jobs | {"evaluator": 1} if evaluator else jobs
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
        for role, index in roles:
            config = {"cluster": hosts, "task": {"type": role, "index": index}}
            log = stack.enter_context((work / f"{role}{index}.log").open("w"))
            started[role, index] = process = start(
                programs.command("train", *FLAGS, *flags),
                cwd=work,
                env=os.environ | {"TF_CONFIG": json.dumps(config)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
        yield started


def read_status(model_dir: Path) -> tuple[str, int]:
    status = json.loads((model_dir / "status.json").read_text())
    return status["state"], status["exit_code"]


def wait(process: subprocess.Popen, log: Path) -> None:
    assert process.wait(TIMEOUT_SECS) == 0, log.read_text()


def test_a_parameter_server_cluster_trains_and_is_evaluated_on_the_way(work):
    jobs = {"chief": 1, "worker": 1, "ps": 1}
    # The export computes in another precision: whoever makes it evaluates it as a process alone.
    flags = ["--precision=float32", "--serving_precision=bfloat16", "--model=cnn"]
    with tasks(work, jobs, True, "--strategy=ps", "--model_dir=ps", *flags) as started:
        # Estimator's parameter server would serve for ever.
        for role, index in started:
            wait(started[role, index], work / f"{role}{index}.log")
    metrics = json.loads((work / "ps/metrics.json").read_text())
    assert metrics["accuracy"] > 0.7
    assert metrics["global_step"] >= 40
    # The evaluator ends by itself, with the last checkpoint evaluated.
    *_, evaluated, exported, served = (work / "evaluator0.log").read_text().splitlines()
    assert read_status(work / "ps") == ("done", 0)
    last = checkpoints.step_of(metrics["checkpoint"])
    assert evaluated.startswith(f"step {last}: validation accuracy 0.")
    assert exported.startswith("exported to ps/export/best/")
    assert re.fullmatch(r"test accuracy of the export, in bfloat16: 0\.[7-9]\d{3}", served)


def test_a_chief_that_cannot_begin_ends_the_parameter_server_too(work):
    """A chief that has no data has no port either, for which others would wait long."""
    (work / "broken").mkdir()
    (work / "broken/manifest.json").write_text("no manifest")
    jobs = {"chief": 1, "worker": 1, "ps": 1}
    flags = ["--strategy=ps", "--model_dir=failed", "--data_dir=broken"]
    # Real starts: a forked chief ends before the parameter server has begun, which then takes the
    # chief's record for an earlier run's.
    with tasks(work, jobs, False, *flags, start=programs.start) as started:
        codes = {role: task.wait(TIMEOUT_SECS) for (role, _), task in started.items()}
    assert codes == {"chief": 2, "worker": 2, "ps": 2}
    assert read_status(work / "failed") == ("failed", 2)
    assert "the chief ended: failed (broken/manifest.json" in last_line(work / "ps0.log")


def wait_for(path: Path, process: subprocess.Popen) -> None:
    programs.wait_until(path.exists, process=process, timeout=TIMEOUT_SECS)


def last_line(log: Path) -> str:
    return log.read_text().splitlines()[-1]


def test_every_role_of_a_parameter_server_cluster_hears_a_signal(work):
    # So small a network saves faster than it is evaluated: checkpoints vanish meanwhile.
    flags = ("--strategy=ps", "--model_dir=ps_preempted", "--max_steps=100000")
    flags += ("--save_checkpoints_steps=200",)
    model_dir = work / "ps_preempted"
    # Without its parameter server the chief cannot save any more: each of the two in a job.
    for roles in (("evaluator", "worker", "ps"), ("chief",)):
        with tasks(work, {"chief": 1, "worker": 1, "ps": 1}, True, *flags) as started:
            wait_for(model_dir / "evaluations.json", started["evaluator", 0])
            wait_for_line(work / "chief0.log", "step ", started["chief", 0])
            for role in roles:
                before = checkpoints.newest(str(model_dir))
                started[role, 0].send_signal(signal.SIGTERM)
                assert started[role, 0].wait(TIMEOUT_SECS) == 143, (
                    work / f"{role}0.log"
                ).read_text()
                assert last_line(work / f"{role}0.log").startswith("train: SIGTERM: step ")
                if role in ("ps", "chief"):
                    # The weights that go with it have been saved.
                    assert checkpoints.newest(str(model_dir)) != before
    assert not (model_dir / SAVE_REQUEST).exists()


def wait_for_line(log: Path, start: str, process: subprocess.Popen) -> None:
    def is_there() -> bool:
        return any(line.startswith(start) for line in log.read_text().splitlines())

    programs.wait_until(is_there, process=process, timeout=TIMEOUT_SECS)


def test_a_signal_to_one_synchronous_worker_stops_all_and_loses_nothing(work):
    # So many steps that a worker that has begun has not ended when it gets the signal.
    flags = ("--strategy=multi_worker", *CLIPPED, "--max_steps=400", "--log_steps=1")
    flags += ("--save_checkpoints_steps=100", "--eval_split=none")
    for model_dir in ("undisturbed", "preempted"):
        with tasks(work, {"worker": 2}, False, *flags, f"--model_dir={model_dir}") as started:
            if model_dir == "preempted":
                wait_for_line(work / "worker1.log", "step ", started["worker", 1])
                started["worker", 1].send_signal(signal.SIGUSR1)
                codes = [started["worker", index].wait(TIMEOUT_SECS) for index in (0, 1)]
            else:
                for index in (0, 1):
                    wait(started["worker", index], work / f"worker{index}.log")
    assert codes == [143, 143], (work / "worker0.log").read_text()
    step = checkpoints.step_of(checkpoints.newest(str(work / "preempted")))
    assert 0 < step < 400
    kept = f"step {step} is saved in preempted; the same command continues from there"
    assert last_line(work / "worker0.log") == f"train: another worker was preempted: {kept}"
    assert last_line(work / "worker1.log").startswith("train: SIGUSR1: step ")
    with tasks(work, {"worker": 2}, False, *flags, "--model_dir=preempted") as started:
        for index in (0, 1):
            wait(started["worker", index], work / f"worker{index}.log")
    assert variables(work / "preempted") == variables(work / "undisturbed")


def test_synchronous_workers_train_as_one_process_would(work):
    alone = programs.command("train", *FLAGS, *CLIPPED, "--model_dir=alone")
    programs.run_forked(alone, cwd=work, check=True)
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
