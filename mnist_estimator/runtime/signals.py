"""Stops a program on signals without losing its work; the exit codes of all commands.

Clusters announce preemption by SIGTERM, SIGUSR1 or SIGUSR2, and the end of the processor time by
SIGXCPU. SIGINT is Ctrl-C. SIGHUP means that the terminal or the connection to it is closed.

A signal raises an `Interruption` in the main thread. While signals are deferred, as in the training
loop, a signal is only noted: the loop ends its step, saves a checkpoint and stops. A thread ends
the process at once on a second signal, or 20 s after the first one if the main thread is stuck in
C++, for example in an all-reduce whose peer is gone.

SIGHUP stays ignored if it was ignored at the start, as under nohup. SIGQUIT and SIGTSTP keep their
default actions.
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
import types
from collections.abc import Iterator
from typing import Any, ClassVar

from mnist_estimator import InputError, RunError, storage
from mnist_estimator.runtime import progress

# By Kubeflow's ExitCode policy, which other engines can be given too, a task that exits with less
# than 128 has failed for good; with 128 or more it is started again.
EXIT_FAILED = 1
EXIT_INPUT = 2
FIRST_RETRYABLE = 128
EXIT_PREEMPTED = 143
EXIT_INTERRUPTED = 130
EXIT_HUNG_UP = 129
# A task or a store that this one needs is gone. Kubeflow leaves this number to users.
EXIT_LOST = 138

_CODES = {
    signal.SIGTERM: EXIT_PREEMPTED,
    signal.SIGUSR1: EXIT_PREEMPTED,
    signal.SIGUSR2: EXIT_PREEMPTED,
    signal.SIGXCPU: EXIT_PREEMPTED,
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGHUP: EXIT_HUNG_UP,
}
# `timeout` and some job managers signal a process and then its whole group: this is one signal.
_SAME_SECS = 0.3
# TensorFlow's C++ calls these functions, and an exception cannot pass through it: it makes the
# errors of this module, and takes a check of a type that raises for one that answers yes.
_MADE_BY_C = os.path.join("framework", "errors_impl.py")
_CHECKS_OF_TYPES = ("__instancecheck__", "__subclasscheck__")
_SOON_SECS = 0.001
# Less than the 30 s that Slurm and Kubernetes give by default, and more than a step takes.
_STUCK_SECS = 20.0
# A signal that comes just before the main thread waits, as for a lock or another process, does not
# end the wait: Python looks for signals before it, and again only when one interrupts it. This one
# interrupts it, and does nothing else.
_WAKING = signal.SIGURG
_WAKE_SECS = 1.0


class Interruption(BaseException):
    """A signal asked the program to stop.

    It is not an Exception, so that no handler of errors catches it.
    """

    def __init__(self, reason: str, exit_code: int, outcome: str = "") -> None:
        """`reason` says what asked the program to stop, `outcome` what is saved."""
        super().__init__(f"{reason}: {outcome or 'stopped'}")
        self.reason = reason
        self.exit_code = exit_code


def exit_code_of(error: BaseException) -> int:
    """The exit code of a program that ends with this error."""
    code = getattr(error, "exit_code", None)  # Of an `Interruption` or a `files.OutageError`.
    if code:
        return int(code)
    return EXIT_INPUT if isinstance(error, (InputError, OSError)) else EXIT_FAILED


class _State:
    """What the handler has seen. It is global, as signals belong to the whole process."""

    deferring = False
    noted: signal.Signals | None = None
    postponed = 0  # How often a signal is, or was, raised again.
    acknowledged = threading.Event()
    before: ClassVar[dict[int, Any]] = {}  # The handlers that `handled` has replaced.


@contextlib.contextmanager
def handled(*, restore: bool = False) -> Iterator[None]:
    """Installs the signal handlers for the duration of the block.

    Args:
      restore: whether the program goes on after the block, with the handlers that it had before.
        Else the signals are ignored from then on, because the exit code is decided.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    _State.acknowledged.clear()
    nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [number for number in _CODES if not (nohup and number == signal.SIGHUP)]
    before: dict[int, Any] = {number: signal.signal(number, _handle) for number in numbers}
    before[_WAKING] = signal.signal(_WAKING, lambda number, frame: None)
    outer, _State.before = _State.before, before
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watched = (reader, threading.get_ident())
    try:
        threading.Thread(target=_watch, args=watched, daemon=True, name="signals").start()
        yield
    finally:
        for number, handler in before.items():
            _install(number, handler if restore else signal.SIG_IGN)
        signal.set_wakeup_fd(wakeup if restore else -1)
        writer.close()
        _State.deferring, _State.noted, _State.postponed = False, None, 0
        _State.before = outer


def _install(number: int, handler: Any) -> None:
    # None: whatever C code had installed, which Python cannot install again.
    signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _forget_parent() -> None:
    """Gives a forked process the handlers from before, and cuts it off from the parent's thread."""
    if _State.before:
        signal.set_wakeup_fd(-1)
        for number, handler in _State.before.items():
            _install(number, handler)
        _State.deferring, _State.noted, _State.before = False, None, {}


os.register_at_fork(after_in_child=_forget_parent)


@contextlib.contextmanager
def deferrable() -> Iterator[None]:
    """Lets the block call `defer`; raises at its end for a signal that was noted.

    Raises:
      Interruption: if a signal was noted.
    """
    try:
        yield
    finally:
        _State.deferring = False
    check()


def defer() -> None:
    """From now on signals are only noted; the caller has to look with `noted`."""
    _State.deferring = True


def interrupt() -> None:
    """From now on signals interrupt at once; raises an `Interruption` if one was noted."""
    _State.deferring = False
    check()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Lets signals interrupt the block at once, for work that is repeated if it does not finish."""
    before, _State.deferring = _State.deferring, False
    try:
        check()
        yield
        check()
    finally:
        _State.deferring = before


@contextlib.contextmanager
def replacing_errors() -> Iterator[None]:
    """Raises an `Interruption` for an unexpected error in the block that comes after a signal.

    Code that an interruption passes through, as in C++, may have replaced it with that error.
    """
    try:
        yield
    except (InputError, RunError, OSError):
        raise
    except Exception as error:
        if _State.noted is None:
            raise
        line = next(iter(str(error).splitlines()), "")
        reason = f"{_State.noted.name}, then {type(error).__name__}: {line}"
        raise Interruption(reason, _CODES[_State.noted]) from error


def noted() -> bool:
    """Whether a signal has been noted."""
    return _State.noted is not None


def acknowledge() -> None:
    """Says that the program acts on the noted signal, so that it is not ended for being stuck."""
    _State.acknowledged.set()


def check() -> None:
    """Raises an `Interruption` if a signal has been noted."""
    if _State.noted is not None:
        acknowledge()
        raise _interruption(_State.noted)


def _handle(number: int, frame: types.FrameType | None) -> None:
    # Noted in any case, because code that catches everything may swallow the exception.
    _State.noted = _State.noted or signal.Signals(number)
    if _State.deferring or _State.acknowledged.is_set():
        return  # The second of two that are one is not to interrupt the clean-up; see `_watch`.
    if storage.postpone_signal(number):
        _State.postponed += 1
    elif _may_be_called_by_c(frame):
        _State.postponed += 1
        threading.Timer(_SOON_SECS, signal.raise_signal, [number]).start()
    else:
        check()


def _may_be_called_by_c(frame: types.FrameType | None) -> bool:
    if frame and frame.f_code.co_filename.endswith(_MADE_BY_C):
        return True
    while frame and frame.f_code.co_name not in _CHECKS_OF_TYPES:
        frame = frame.f_back  # A check can call other functions, such as `__subclasshook__`.
    return frame is not None


def _interruption(number: signal.Signals) -> Interruption:
    return Interruption(number.name, _CODES[number])


def _watch(reader: socket.socket, main_thread: int) -> None:
    """Ends the process at a second signal, or if the main thread does not act on the first.

    Wakes the main thread until it has acted on the first, or noted it for later.
    """
    first: tuple[float, signal.Signals] | None = None
    repeated = 0
    while True:
        left: float | None = None
        if first is not None and not _State.acknowledged.is_set():
            left = max(first[0] + _STUCK_SECS - time.monotonic(), 0)
            if left == 0:
                _end(first[1], f"nothing answered for {_STUCK_SECS:.0f} s, ended without saving")
            if _is_to_be_woken():
                left = min(left, _WAKE_SECS)
        if not select.select([reader], [], [], left)[0]:
            if _is_to_be_woken():
                signal.pthread_kill(main_thread, _WAKING)
            continue
        received = reader.recv(1)
        if not received:
            return  # `handled` is over.
        if received[0] not in _CODES:
            continue
        number, now = signal.Signals(received[0]), time.monotonic()
        if first is None:
            first = now, number
        elif repeated < _State.postponed:
            repeated += 1  # The same signal, raised again.
        elif now - first[0] > _SAME_SECS and number != signal.SIGXCPU:  # It comes every second.
            _end(number, "a second signal, ended at once")


def _is_to_be_woken() -> bool:
    """Whether the main thread has not noted the signal, or is to act on it at once."""
    return _State.noted is None or not _State.deferring


def _end(number: signal.Signals, line: str) -> None:
    with contextlib.suppress(OSError):
        progress.complain(f"{number.name}: {line}")
    # sys.exit would end only this thread, and a clean exit would wait for the stuck one.
    sys.stderr.flush()
    os._exit(_CODES[number])
