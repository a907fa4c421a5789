"""Starts programs, each with a deadline: as a new process, or forked from one that has TensorFlow.

To start Python and import TensorFlow takes longer than most of what tests do with it. Where the
start is not what is tested, `fork` and `run_forked` spare it: the program runs in a child of a
process that has imported TensorFlow already (program_server.py). It has its own process, arguments,
environment, working folder, standard streams and exit code. What it does not have is its own hash
seed, nor TensorFlow imported under another environment: then use `start` or `run`.
"""

from __future__ import annotations

import array
import ctypes
import functools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# A guard against hanging: how fast a machine is, is not the question.
TIMEOUT_SECS = 300

# Read when Python starts or TensorFlow is imported: a forked program could not heed a change.
_READ_AT_START = ("PYTHON", "TF_", "LD_", "OMP_", "XLA_", "CUDA_")
_PR_SET_CHILD_SUBREAPER = 36


def command(name: str, *flags: str | Path) -> list[str]:
    """The command line of one of the package's commands."""
    return [sys.executable, "-m", f"mnist_estimator.{name}", *map(str, flags)]


def run(words: list[str] | str, **options: Any) -> subprocess.CompletedProcess:
    """As `subprocess.run`; captures text unless told otherwise, and ends it after TIMEOUT_SECS."""
    return _finish(subprocess.Popen, words, **options)


def run_forked(words: list[str], **options: Any) -> subprocess.CompletedProcess:
    """As `run`, for a Python program that may be forked."""
    return _finish(fork, words, **options)


def start(words: list[str] | str, **options: Any) -> subprocess.Popen:
    """As `subprocess.Popen`."""
    return subprocess.Popen(words, **options)


def fork(words: list[str], **options: Any) -> subprocess.Popen:
    """As `subprocess.Popen`, for a Python program that may be forked.

    Args:
      words: [sys.executable, "-m", MODULE, ARGUMENTS...] or [sys.executable, FILE, ARGUMENTS...].
      options: standard streams, text, cwd and env, as of Popen.

    Raises:
      ValueError: if `env` has another value of a variable that is read as Python or TensorFlow
        starts.
    """
    if sys.platform != "linux":
        return subprocess.Popen(words, **options)
    return _Forked(words, **options)


def wait_until(
    condition: Callable[[], Any],
    *,
    process: subprocess.Popen | None = None,
    timeout: float = TIMEOUT_SECS,
    every: float = 0.02,
) -> Any:
    """Looks again and again until the condition holds, and returns what it gave.

    Fails when the time is over, or when `process` has ended before the condition holds.
    """
    until = time.monotonic() + timeout
    while not (found := condition()):
        if process is not None and process.poll() is not None and not condition():
            raise AssertionError(f"ended early, with {process.returncode}{_said(process)}")
        assert time.monotonic() < until, f"not within {timeout} s"
        threading.Event().wait(every)
    return found


def wait_for_checkpoint(model_dir: str | os.PathLike, step: int, process: subprocess.Popen) -> None:
    """Waits until a run has saved this step or a later one, as the first are soon deleted."""
    from mnist_estimator.runs import checkpoints

    def is_saved() -> bool:
        newest = checkpoints.newest(os.fspath(model_dir))
        return bool(newest) and checkpoints.step_of(newest) >= step

    wait_until(is_saved, process=process)


def _said(process: subprocess.Popen) -> str:
    streams = [stream for stream in (process.stdout, process.stderr) if stream]
    return f": {process.communicate(timeout=30)}" if streams else ""


def _finish(
    popen: Callable[..., subprocess.Popen],
    words: list[str] | str,
    *,
    check: bool = False,
    input: str | bytes | None = None,
    timeout: float = TIMEOUT_SECS,
    **options: Any,
) -> subprocess.CompletedProcess:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with popen(words, **options) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    if check and process.returncode:
        raise AssertionError(f"{words} ended with {process.returncode}: {out}{err}")
    return subprocess.CompletedProcess(words, process.returncode, out, err)


class _Forked(subprocess.Popen):
    """A program that the server forks instead of a new process; all else is Popen's."""

    def _execute_child(self, words: list[str], *rest: Any) -> None:
        cwd, env = rest[4], rest[5]
        pipes = rest[9:15]  # Stdin, stdout and stderr: (to read, to write) each; -1 is inherited.
        environ = dict(os.environ if env is None else env)
        _check_environment(environ)
        preexec_fn, pass_fds = rest[1], rest[3]
        if words[0] != sys.executable or preexec_fn or pass_fds:
            raise ValueError(f"{words} cannot be forked, or not with these options")
        request = {"words": list(map(str, words[1:])), "cwd": os.path.abspath(cwd or os.curdir)}
        request["environ"] = {os.fsdecode(k): os.fsdecode(v) for k, v in environ.items()}
        streams = [
            end if end != -1 else number
            for number, end in enumerate((pipes[0], pipes[3], pipes[5]))
        ]
        try:
            self.pid = _server().fork(request, streams)
        finally:
            self._close_pipe_fds(*pipes)
        self._child_created = True


def _check_environment(environ: dict[str, str]) -> None:
    own, given = (
        {
            name: value
            for name, value in variables.items()
            if name.startswith(_READ_AT_START) and name != "TF_CONFIG"
        }
        for variables in (os.environ, environ)
    )
    if own != given:
        differing = sorted(name for name in own | given if own.get(name) != given.get(name))
        raise ValueError(f"{differing} would not be heeded by a forked program; start a real one")


class _Server:
    """The process that has TensorFlow imported, and forks programs."""

    def __init__(self) -> None:
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._here.settimeout(TIMEOUT_SECS)
        environ = dict(os.environ)
        environ["PYTHONPATH"] = os.pathsep.join([*sys.path, environ.get("PYTHONPATH", "")])
        program = Path(__file__).with_name("program_server.py")
        with there:
            # It ends when this process does, which closes the socket.
            self._process = subprocess.Popen(
                [sys.executable, str(program), str(there.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
            )

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        """Starts a program with these standard streams; returns the process id of it.

        The program becomes a child of this process, which can wait for it as for any other.
        """
        message = json.dumps(request, ensure_ascii=False).encode(errors="surrogateescape")
        descriptors = socket.SCM_RIGHTS, array.array("i", streams)
        with _adopting():
            self._here.sendmsg([message], [(socket.SOL_SOCKET, *descriptors)])
            pid = int(self._here.recv(99) or b"0")
        assert pid, "the server of forked programs has ended"
        return pid


@functools.cache
def _server() -> _Server:
    return _Server()


@contextmanager
def _adopting() -> Iterator[None]:
    """Becomes the parent of descendants whose parents end during the block."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
