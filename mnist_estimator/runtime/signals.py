"""Signals that ask a program to stop, and how it does so without losing anything.

SIGTERM, SIGUSR1 and SIGUSR2 are how clusters announce that they take the machine, SIGXCPU that the
processor time is up, SIGINT is Ctrl-C, SIGHUP the end of the terminal or of the connection to it.
They raise an `Interruption` in the main thread, wherever it is. While they are deferred, as by the
training loop, they are only noted: the loop ends its step and saves. A second signal
ends the process at once, and so does time, if the first one finds the main thread stuck in C++
(a collective operation whose other side is gone): a thread of its own sees to both.

SIGHUP that was ignored from the start, as under nohup, stays ignored. SIGQUIT is left to end the
process at once, SIGTSTP to stop it until SIGCONT.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

from mnist_estimator import InputError
from mnist_estimator.runtime import progress

# Kubeflow's ExitCode policy, which others can be given too: what ends with less than 128 would fail
# again, the rest is started again.
EXIT_FAILED = 1
EXIT_INPUT = 2
FIRST_RETRYABLE = 128
EXIT_PREEMPTED = 143
EXIT_INTERRUPTED = 130
EXIT_HUNG_UP = 129
EXIT_LOST = 138  # Another task is gone that this one needs; Kubeflow leaves the number to users.

_CODES = {
    signal.SIGTERM: EXIT_PREEMPTED,
    signal.SIGUSR1: EXIT_PREEMPTED,
    signal.SIGUSR2: EXIT_PREEMPTED,
    signal.SIGXCPU: EXIT_PREEMPTED,
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGHUP: EXIT_HUNG_UP,
}
# `timeout`, and some job managers, signal a process and then its whole group: that is one signal.
_SAME_SECS = 0.3
# Less than the 30 s that Slurm and Kubernetes give by default; more than any step should take.
_STUCK_SECS = 20.0


class Interruption(BaseException):
    """A signal asked the program to stop; no Exception, so nothing takes it for a failure."""

    def __init__(self, reason: str, exit_code: int, outcome: str = "") -> None:
        """`reason` is what asked for the end, `outcome` what has been kept."""
        super().__init__(f"{reason}: {outcome or 'stopped'}")
        self.reason = reason
        self.exit_code = exit_code


def exit_code_of(error: BaseException) -> int:
    """The exit code of a program that this error ends."""
    if isinstance(error, Interruption):
        return error.exit_code
    return EXIT_INPUT if isinstance(error, (InputError, OSError)) else EXIT_FAILED


class _State:
    """What the handler has seen; signals belong to the whole process, and so does this."""

    deferring = False
    noted: signal.Signals | None = None
    answered = threading.Event()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Has the signals answered as above while the block, the program's whole work, runs.

    After it they are ignored: what the exit code is to be has been decided.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    _State.answered.clear()
    nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [number for number in _CODES if not (nohup and number == signal.SIGHUP)]
    for number in numbers:
        signal.signal(number, _handle)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="signals").start()
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        writer.close()
        _State.deferring, _State.noted = False, None


@contextlib.contextmanager
def deferrable() -> Iterator[None]:
    """From a call of `defer` in the block on, a signal raises its `Interruption` at the end."""
    try:
        yield
    finally:
        _State.deferring = False
    check()


def defer() -> None:
    """From now on signals are only noted; what goes on has to look."""
    _State.deferring = True


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """In the block nothing is deferred: what goes on is done again if it does not end."""
    before, _State.deferring = _State.deferring, False
    try:
        check()
        yield
        check()
    finally:
        _State.deferring = before


def noted() -> bool:
    """Whether a signal has been noted."""
    return _State.noted is not None


def answer() -> None:
    """Says that what was noted is being acted upon, which may take the time it takes."""
    _State.answered.set()


def check() -> None:
    """Raises the `Interruption` of a signal that has been noted."""
    if _State.noted is not None:
        answer()
        raise _interruption(_State.noted)


def _handle(number: int, frame: object) -> None:
    # Noted in any case: code that catches everything may swallow what is raised in it.
    _State.noted = _State.noted or signal.Signals(number)
    if not _State.deferring:
        check()


def _interruption(number: signal.Signals) -> Interruption:
    return Interruption(number.name, _CODES[number])


def _watch(reader: socket.socket) -> None:
    """Ends the process at a second signal, or if the main thread does not act on the first."""
    first: tuple[float, signal.Signals] | None = None
    while True:
        left = None
        if first is not None and not _State.answered.is_set():
            left = max(first[0] + _STUCK_SECS - time.monotonic(), 0)
        if not select.select([reader], [], [], left)[0]:
            if first is not None and not _State.answered.is_set():
                _end(first[1], f"nothing answered for {_STUCK_SECS:.0f} s, ended without saving")
            continue
        received = reader.recv(1)
        if not received:
            return  # `handled` is over.
        if received[0] not in _CODES:
            continue
        number, now = signal.Signals(received[0]), time.monotonic()
        if first is None:
            first = now, number
        elif now - first[0] > _SAME_SECS and number != signal.SIGXCPU:  # It comes every second.
            _end(number, "a second signal, ended at once")


def _end(number: signal.Signals, line: str) -> None:
    with contextlib.suppress(OSError):
        progress.complain(f"{number.name}: {line}")
    # sys.exit would end this thread only, and a clean exit would wait for the one that is stuck.
    sys.stderr.flush()
    os._exit(_CODES[number])
