r"""Runs a whole cluster as processes on this machine, or all parts of `prepare`.

  python -m mnist_estimator.launch --workers=2 --ps=1 --evaluator -- \
      --model_dir=tboard/cluster --max_steps=500

So a distributed run is tried before it is submitted. What follows `--` are flags of `train`, which
every task gets. The first worker is the chief. Each line of a task comes with its name before it.
On Ctrl-C every task saves and ends. The exit code is the chief's, or the evaluator's if the chief
succeeded, or that of the first task that failed for good; a task whose exit code asks for it (128
or more, as after a kill) is started again up to --max_restarts times. When the chief has ended for
good, all end.

  python -m mnist_estimator.launch --command=prepare --parts=8 -- \
      --data_dir=data/letters --train_csv='letters/part-*.csv.gz'

prepares a dataset in so many parts, as many at once as there are processors, and merges them. What
follows `--` are flags of `prepare`. Run again after a failure, it goes on with the parts that are
missing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.cluster import environments, roles
from mnist_estimator.engines import passed_flags, prepare_flags
from mnist_estimator.runtime import children, help_text, program, progress, signals

_HOST = "127.0.0.1"
_POLL_SECS = 0.1
_END_SECS = 30.0  # How long tasks have to save and end.
_COLORS = (36, 33, 35, 32, 34, 31)  # ANSI: cyan, yellow, magenta, green, blue, red.


def main(argv: list[str]) -> int:
    """Reads the flags, runs the cluster or the parts, and returns the exit code."""
    values = flags.FLAGS
    check(values.workers, values.ps, values.max_restarts)
    if prepare_flags.is_wanted(values, ("workers", "ps", "evaluator")):
        return run_parts(values.parts, argv[1:], max_restarts=values.max_restarts)
    strategy = roles.strategy_for(values.workers, values.ps)
    train_flags = passed_flags.with_strategy(argv[1:], strategy)
    config, _ = passed_flags.parse(train_flags)
    passed_flags.check_workers(config, values.workers)
    if config.strategy == "multi_worker":
        passed_flags.check_batch(config, values.workers)
    counts = environments.counts(values.workers, values.ps, values.evaluator)
    tasks = [(role, index) for role, count in counts.items() for index in range(count)]
    return run(tasks, train_flags, max_restarts=values.max_restarts)


def define_flags() -> None:
    """Defines the flags of this command."""
    flags.DEFINE_integer("workers", 1, "Tasks that train; the first one is the chief.")
    flags.DEFINE_integer("ps", 0, "Parameter servers; with any, training is asynchronous.")
    flags.DEFINE_bool("evaluator", False, "A task of its own that evaluates the checkpoints.")
    flags.DEFINE_integer(
        "max_restarts", 0, "How often a task is started again after an exit code of 128 or more."
    )
    help_text.group("The tasks", ["workers", "ps", "evaluator", "max_restarts"])
    prepare_flags.define()
    flags.adopt_module_key_flags(prepare_flags)


def check(workers: int, ps: int, max_restarts: int) -> None:
    """Raises InputError for numbers that make no cluster."""
    if workers < 1:
        raise InputError(f"--workers: found {workers}, expected at least 1: the chief")
    for name, value in (("ps", ps), ("max_restarts", max_restarts)):
        if value < 0:
            raise InputError(f"--{name}: found {value}, expected at least 0")


def run(tasks: Sequence[tuple[str, int]], train_flags: Sequence[str], *, max_restarts: int) -> int:
    """Runs a process for each (role, index) to the end; returns the exit code of the whole."""
    hosts: dict[str, list[str]] = {}
    for (role, _), port in zip(tasks, _free_ports(len(tasks)), strict=True):
        hosts.setdefault(role, []).append(f"{_HOST}:{port}")
    width = max(len(f"{role} {index}") for role, index in tasks)
    started: list[_Task] = []
    with _end_tasks_on_exit(started):
        for (role, index), color in zip(tasks, itertools.cycle(_COLORS), strict=False):
            task = {"cluster": hosts, "task": {"type": role, "index": index}}
            environ = {"TF_CONFIG": json.dumps(task)}
            name, command = f"{role} {index}", ["train", *train_flags]
            started.append(_Task(name, command, environ, color=color, width=width))
        return _wait_for_all(started, max_restarts)


def run_parts(parts: int, flags_of_prepare: Sequence[str], *, max_restarts: int) -> int:
    """Prepares all parts, as many at once as there are processors, and merges them.

    Returns:
      The exit code of the merge, or that of the first part that failed for good.

    Raises:
      InputError: if the flags of prepare are not for this.
    """
    merge_flags = prepare_flags.merge_flags(flags_of_prepare)
    colors = itertools.cycle(_COLORS)
    width = len(f"part {parts}")
    waiting = [
        (f"part {number}", ["prepare", *flags_of_prepare, f"--part={number}/{parts}"])
        for number in range(1, parts + 1)
    ]
    at_once = children.cores()
    started: list[_Task] = []
    with _end_tasks_on_exit(started):
        for queue in (waiting, [("merge", ["prepare", *merge_flags])]):
            while queue or any(task.is_running for task in started):
                while queue and sum(task.is_running for task in started) < at_once:
                    name, command = queue.pop(0)
                    started.append(_Task(name, command, {}, color=next(colors), width=width))
                time.sleep(_POLL_SECS)
                failed = _poll_parts(started, max_restarts)
                if failed:
                    return failed
    return 0


def _poll_parts(tasks: Sequence[_Task], max_restarts: int) -> int:
    """The exit code of the first task that failed for good; 0 if none has."""
    for task in tasks:
        failed = task.poll(max_restarts) or (0 if task.is_running else task.exit_code)
        if failed:
            progress.say(f"{task.name} failed with {failed}: ending the others", sys.stderr)
            return failed
    return 0


def _wait_for_all(tasks: Sequence[_Task], max_restarts: int) -> int:
    """Waits for all tasks, the first of which is the chief; returns the exit code of the whole."""
    chief = tasks[0]
    until = math.inf
    while any(task.is_running for task in tasks) and time.monotonic() < until:
        time.sleep(_POLL_SECS)
        for task in tasks:
            failed = task.poll(max_restarts)
            if failed:
                progress.say(f"{task.name} failed with {failed}: ending the others", sys.stderr)
                return failed
        if chief.exit_code and not chief.is_running:
            # A task that starts again now would wait for a chief that does not come.
            max_restarts = 0
            until = min(until, time.monotonic() + _END_SECS)
    # The best model is the evaluator's to find and to export.
    evaluators = [task.exit_code for task in tasks if task.name.startswith("evaluator")]
    return chief.exit_code or next(filter(None, evaluators), 0)


class _Task:
    """A process of a command, and the threads that print its lines."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environ: dict[str, str],
        *,
        color: int,
        width: int,
    ) -> None:
        """Starts it. `command` is the module of this package that is run, and its flags."""
        self.name = name
        self.exit_code = 0
        self._restarts = 0
        module, *given = command
        self._command = children.command(module, *given)
        # Without the latter, what a task prints comes only when the task ends.
        self._environment = os.environ | environ | {"PYTHONUNBUFFERED": "1"}
        self._color, self._width = color, width
        self._start()

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def poll(self, max_restarts: int) -> int:
        """Restarts a process that has ended, if it may; returns its code if it failed for good."""
        if not self.is_running or self._process.poll() is None:
            return 0
        code = self._process.returncode
        self.exit_code = code if code >= 0 else signals.FIRST_RETRYABLE - code
        self._join()
        if 0 < self.exit_code < signals.FIRST_RETRYABLE:
            return self.exit_code
        if self.exit_code and self._restarts < max_restarts:
            self._restarts += 1
            progress.say(f"{self.name} ended with {self.exit_code}: starting it again", sys.stderr)
            self._start()
        elif self.exit_code:
            progress.say(f"{self.name} ended with {self.exit_code}", sys.stderr)
        return 0

    def signal(self, number: int) -> None:
        if self.is_running:
            self._process.send_signal(number)

    def wait(self, until: float) -> None:
        """Waits until a time of the monotonic clock, then kills it."""
        if self.is_running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(until - time.monotonic(), 0))
            self._process.kill()
            self._process.wait()
            self._join()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            # A terminal then sends Ctrl-C to this process alone, which forwards it once.
            start_new_session=True,
        )
        pipes = ((self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr))
        self._threads = [
            threading.Thread(target=self._print_lines, args=pair, daemon=True) for pair in pipes
        ]
        for thread in self._threads:
            thread.start()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._process = None

    def _print_lines(self, source: IO[str], target: IO[str]) -> None:
        prefix = f"{self.name:{self._width}} | "
        if progress.is_live(target) and not os.environ.get("NO_COLOR"):
            prefix = f"\x1b[{self._color}m{prefix}\x1b[0m"
        for line in source:
            # One call a line, so that those of two tasks do not mix.
            target.write(f"{prefix}{progress.printable(line.removesuffix(chr(10)))}\n")
            target.flush()


@contextlib.contextmanager
def _end_tasks_on_exit(tasks: Sequence[_Task]) -> Iterator[None]:
    """Ends all tasks when the block is left, for whatever reason."""
    number = signal.SIGTERM
    try:
        yield
    except signals.Interruption as interruption:
        signals.acknowledge()
        number = signal.Signals[interruption.reason]
        raise
    finally:
        for task in tasks:
            task.signal(number)
        until = time.monotonic() + _END_SECS
        for task in tasks:
            task.wait(until)


def _free_ports(count: int) -> list[int]:
    # Every port is held until the last is found, so that no two are the same.
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


if __name__ == "__main__":
    define_flags()
    program.run(main, takes_arguments=True, hint=passed_flags.HINT)
