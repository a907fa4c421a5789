"""Tests whether every task of a cluster ends by itself, and how soon after the chief.

  python benchmarks/endings.py --runs=50

Each run is a cluster on loopback with one of the strategies, undisturbed or with one fault in the
middle of training. The fault is the only thing that ends a task from outside. For each run a line
says what was done, each task's exit code, and the seconds from the chief's end to the last task's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from absl import app, flags
from clusters import free_hosts, prepare_sample, spread

_RUNS = flags.DEFINE_integer("runs", 50, "Cluster runs; the scenarios take turns.")
_ONLY = flags.DEFINE_string("only", "", "Run only the scenarios whose name contains this.")
_LOGS = flags.DEFINE_string("logs", "", "Folder to keep the tasks' output in. Default: none.")

_WAIT_SECS = 180.0  # A task that has not ended by then hangs.
_SHAPES = {
    "ps": {"chief": 1, "worker": 1, "ps": 1, "evaluator": 1},
    "ps, chief evaluates": {"chief": 1, "worker": 2, "ps": 2},
    "multi_worker": {"chief": 1, "worker": 1, "evaluator": 1},
    "multi_worker, chief evaluates": {"worker": 3},
    "none": {"chief": 1, "evaluator": 1},
}
_FLAGS = {
    "dataset": "sample",
    "data_dir": "data",
    "model": "softmax",
    "batch_size": 60,
    "max_steps": 400,
    "save_checkpoints_steps": 100,
    "log_steps": 100,
}
_LONG = {"max_steps": 1_000_000}
_DIVERGING = {"model": "dnn", "optimizer": "sgd", "learning_rate": 1e9, "pixel_max": 1e9}


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A cluster, the flags it runs with, and what is done to which task."""

    shape: str
    what: str
    flags: dict[str, object] = dataclasses.field(default_factory=dict)
    task: str = ""
    signal: int = 0

    @property
    def name(self) -> str:
        return f"{self.shape}: {self.what}"


def scenarios() -> list[Scenario]:
    """Every way that a run can end, for every strategy."""
    found = []
    for shape, jobs in _SHAPES.items():
        found.append(Scenario(shape, "done"))
        found.append(Scenario(shape, "stops early", _LONG | {"early_stop_patience": 1}))
        found.append(Scenario(shape, "diverges", _LONG | _DIVERGING))
        for task in (f"{role} 0" for role in jobs):
            for number in (signal.SIGTERM, signal.SIGKILL):
                what = f"{number.name} to {task}"
                found.append(Scenario(shape, what, _LONG, task, number))
    return found


def main(argv: list[str]) -> None:
    """Runs them and prints the sums."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the tasks are ended, too.
    chosen = [scenario for scenario in scenarios() if _ONLY.value in scenario.name]
    seconds, hung = [], 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(_LOGS.value or folder)
        prepare_sample(work)
        for number, scenario in zip(range(_RUNS.value), itertools.cycle(chosen), strict=False):
            took, codes = run(scenario, work, f"run{number}")
            hung += took is None
            seconds += [] if took is None else [took]
            shown = "HUNG" if took is None else f"{took:.1f} s"
            print(f"{number + 1:3} {scenario.name:50} {shown:>7}  {codes}", flush=True)
    print(f"{len(seconds)} of {len(seconds) + hung} runs ended by themselves; seconds from the")
    print("chief's end to the last task's: " + spread(seconds))


def run(scenario: Scenario, work: pathlib.Path, name: str) -> tuple[float | None, str]:
    """Runs a scenario; returns the seconds, None if a task hung, and the exit codes in words."""
    with _cluster(scenario, work, name) as tasks:
        if scenario.signal:
            _wait_for_steps(work / name, next(iter(tasks.values())))
            tasks[scenario.task].send_signal(scenario.signal)
        ends: dict[str, float] = {}
        until = time.monotonic() + _WAIT_SECS
        while len(ends) < len(tasks) and time.monotonic() < until:
            for task, process in tasks.items():
                if task not in ends and process.poll() is not None:
                    ends[task] = time.monotonic()
            if set(tasks) - set(ends) and scenario.task and _may_go_on_without(scenario):
                _end_chief(tasks, ends)
            time.sleep(0.05)
        codes = ", ".join(f"{task} {process.poll()}" for task, process in tasks.items())
    if len(ends) < len(tasks):
        return None, codes
    return max(ends.values()) - ends[next(iter(tasks))], codes


def _may_go_on_without(scenario: Scenario) -> bool:
    """Whether the run should go on training when this task has ended."""
    role = scenario.task.partition(" ")[0]
    return role == "evaluator" or (role == "worker" and scenario.shape.startswith("ps"))


def _end_chief(tasks: dict[str, subprocess.Popen], ends: dict[str, float]) -> None:
    """Ends the chief once the disturbed task has ended, as an engine does that stops the job."""
    chief = next(iter(tasks))
    if ends and chief not in ends and not getattr(tasks[chief], "told", False):
        tasks[chief].told = True
        tasks[chief].send_signal(signal.SIGTERM)


@contextlib.contextmanager
def _cluster(scenario: Scenario, work: pathlib.Path, name: str):
    jobs = _SHAPES[scenario.shape]
    hosts = free_hosts(jobs)
    settings = _FLAGS | scenario.flags | {"model_dir": name}
    settings["strategy"] = scenario.shape.partition(",")[0]
    command = [sys.executable, "-m", "mnist_estimator.train"]
    command += [f"--{flag}={value}" for flag, value in settings.items()]
    with contextlib.ExitStack() as stack:
        tasks = {}
        for role, index in ((role, i) for role, count in jobs.items() for i in range(count)):
            config = {"cluster": hosts, "task": {"type": role, "index": index}}
            log = stack.enter_context((work / f"{name}.{role}{index}.log").open("w"))
            environment = os.environ | {"TF_CONFIG": json.dumps(config)}
            tasks[f"{role} {index}"] = process = subprocess.Popen(
                command, cwd=work, env=environment, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield tasks


def _wait_for_steps(model_dir: pathlib.Path, chief: subprocess.Popen) -> None:
    while not any(model_dir.glob("model.ckpt-[1-9]*.sha256")):
        if chief.poll() is not None:
            raise SystemExit(f"{model_dir}: the chief ended with {chief.returncode} too early")
        time.sleep(0.05)


if __name__ == "__main__":
    app.run(main)
