"""A trial: an ordinary run of `train` as a child process, watched by its evaluations.

It is killed and goes on as every run does. What it is worth follows from the record of its
evaluations alone, so it does not matter when this process looks, nor how often it was started.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO

from optuna.trial import Trial, TrialState

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf
from mnist_estimator.runs import lock, status
from mnist_estimator.runs.evaluations import STEP, Evaluations
from mnist_estimator.runs.record import RUN_FILE, read_run
from mnist_estimator.runtime import children, files, progress, signals
from mnist_estimator.sweeps import studies
from mnist_estimator.sweeps.plans import Plan

_STARTED = "started"  # The attribute of a trial that has begun to write to its folder.
_DATA = "manifest_sha256"  # The attribute of a study: the digest of the data of all its trials.
_POLL_SECS = 0.5
_POLL_STORE_SECS = 5.0
_END_SECS = 30.0  # How long a child has to save and end.
_STARTS = 3  # How often a child is started that ends as if it had been killed.
_LAST_BYTES = 2**16


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a trial has ended: its state, its value if it is complete, and why if it failed."""

    state: TrialState
    value: float | None = None
    reason: str = ""


def run(trial: Trial, plan: Plan, look: Callable[[Evaluations], None]) -> Outcome:
    """Runs a trial to its end, or goes on with it.

    Args:
      look: is called with the evaluations each time that they may have become more.

    Raises:
      InputError: if its folder holds a run of others, it has other data than the trials before it,
        or nothing was evaluated.
      OutageError: if a store that it needs does not answer; the trial then goes on next time.
      signals.Interruption: if a signal ended it; the trial then goes on next time.
    """
    values = studies.suggest(trial, plan.parameters)
    try:
        flags = plan.trial_flags(trial.number, values)
    except InputError as error:
        return Outcome(TrialState.FAIL, reason=str(error))
    folder = plan.trial_folder(trial.number)
    _check_folder(trial, folder)
    evaluations = Evaluations(folder, plan.metric)
    for _ in range(_STARTS):
        if is_pruned(trial, plan, evaluations):
            return Outcome(TrialState.PRUNED)
        _wait_for_trainer(folder)
        with _running("train", flags) as child:
            while child.is_running:
                time.sleep(_POLL_SECS if files.is_local(folder) else _POLL_STORE_SECS)
                if not _look_again(evaluations, look):
                    continue
                _check_data(trial, folder)
                if is_pruned(trial, plan, evaluations):
                    return Outcome(TrialState.PRUNED)
        evaluations.reload()
        if child.code == 0:
            return _finished(trial, plan, evaluations)
        if child.code < signals.FIRST_RETRYABLE:
            return Outcome(TrialState.FAIL, reason=child.last_line)
    if child.code == signals.EXIT_LOST and not _has_stalled(folder):
        # It would end all other trials as well.
        raise files.OutageError(
            f"trial {trial.number}: {child.last_line}; the same command goes on with it"
        )
    return Outcome(TrialState.FAIL, reason=f"ended with {child.code}, {_STARTS} times")


def _has_stalled(folder: str) -> bool:
    ended = status.read(folder)
    return ended is not None and ended.state == status.STALLED


def _look_again(evaluations: Evaluations, look: Callable[[Evaluations], None]) -> bool:
    """Reads the evaluations again; says whether there are others than before."""
    before = evaluations.history
    evaluations.reload()
    look(evaluations)
    return evaluations.history != before


def is_pruned(trial: Trial, plan: Plan, evaluations: Evaluations) -> bool:
    """Reports the evaluations that are new to the study; says whether the trial is to end.

    Each evaluation is judged before the next one is reported. So a trial that got further before
    somebody looked, or was killed in between, is pruned at the same step.
    """
    known = trial.storage.get_trial(trial._trial_id).intermediate_values
    for entry in evaluations.history:
        step = entry[STEP]
        if step in known and step < max(known):
            continue
        if step not in known:
            trial.report(entry[plan.metric], step)
        # The last one is the result, and costs nothing more.
        if step < trial_length(trial, plan) and trial.should_prune():
            return True
    return False


def trial_length(trial: Trial, plan: Plan) -> int:
    """The steps that a trial trains for, unless it stops early."""
    return int(trial.params.get("max_steps", plan.config.max_steps))


def call(name: str, flags: list[str]) -> None:
    """Runs another command of this package to its end.

    Raises:
      RunError: if it fails, with its last line.
    """
    with _running(name, flags) as child:
        while child.is_running:
            time.sleep(_POLL_SECS)
    if child.code:
        raise RunError(f"{name} ended with {child.code}: {child.last_line}")


def _finished(trial: Trial, plan: Plan, evaluations: Evaluations) -> Outcome:
    _check_data(trial, plan.trial_folder(trial.number))
    if is_pruned(trial, plan, evaluations):
        return Outcome(TrialState.PRUNED)
    if evaluations.best is None:
        raise InputError(
            f"{plan.trial_folder(trial.number)}: nothing was evaluated, expected data with a "
            "validation split: by it trials are compared"
        )
    value = evaluations.best[plan.metric]
    if not math.isfinite(value):
        return Outcome(TrialState.FAIL, reason=f"the best {plan.metric} is {value}")
    return Outcome(TrialState.COMPLETE, value)


def _check_folder(trial: Trial, folder: str) -> None:
    """Raises InputError if a trial that has not begun has a run in its folder."""
    if trial.user_attrs.get(_STARTED):
        return
    if tf.io.gfile.exists(os.path.join(folder, RUN_FILE)):
        raise InputError(
            f"{folder}: holds a run that the study knows nothing of; move it away, or give another "
            "--model_dir"
        )
    trial.set_user_attr(_STARTED, True)


def _check_data(trial: Trial, folder: str) -> None:
    """Raises InputError if a trial has other data than those before it: they do not compare."""
    _, record = read_run(folder)
    found = record["dataset"]["manifest_sha256"]
    expected = trial.study.user_attrs.get(_DATA)
    if expected is None:
        trial.study.set_user_attr(_DATA, found)
    elif found != expected:
        raise InputError(
            f"{folder}: was trained on other data (manifest {found[:8]}) than the trials before it "
            f"({expected[:8]}), so they do not compare; give the data of those, or another "
            "--model_dir"
        )


def _wait_for_trainer(folder: str) -> None:
    """Waits for the end of a trainer that lost its sweep, and saves.

    Raises:
      lock.LockedError: if it goes on.
    """
    until = time.monotonic() + 2 * _END_SECS
    while True:
        try:
            with lock.held(folder):
                return
        except lock.LockedError:
            if time.monotonic() > until:
                raise
        time.sleep(_POLL_SECS)


class _Child:
    """A command of this package that runs as a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.lines: list[str] = []  # The last ones that it has printed, once it has ended.

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def code(self) -> int:
        """The exit code; of a process that a signal ended, as a shell gives it."""
        code = self._process.returncode
        return code if code >= 0 else signals.FIRST_RETRYABLE - code

    @property
    def last_line(self) -> str:
        return (self.lines or ["it printed nothing"])[-1]

    def end(self, number: int) -> None:
        """Has it save and end; kills it if it does not."""
        if self.is_running:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECS)
            self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def _running(name: str, flags: list[str]) -> Iterator[_Child]:
    """Runs a command while the block runs; ends it when the block is left."""
    number = signal.SIGTERM
    with tempfile.TemporaryFile() as output:
        child = _Child(_start(name, flags, output))
        try:
            yield child
        except signals.Interruption as interruption:
            signals.acknowledge()
            number = signal.Signals[interruption.reason]
            raise
        finally:
            child.end(number)
            child.lines = _last_lines(output)
            _repeat_warnings(child.lines)


def _last_lines(output: IO[bytes]) -> list[str]:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(size - _LAST_BYTES, 0))
    return output.read().decode(errors="backslashreplace").strip().splitlines()


def _start(name: str, flags: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        children.command(name, *flags),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # A terminal then sends Ctrl-C to this process alone, which forwards it once.
        start_new_session=True,
    )


_repeated: set[str] = set()


def _repeat_warnings(lines: list[str]) -> None:
    """Prints the warnings of a child, each once: those about the data come with every trial."""
    for line in lines:
        if line.startswith("warning: ") and line not in _repeated:
            _repeated.add(line)
            progress.say(line, sys.stderr)
