"""Runs a command as a child and measures its time, the processor's time and its peak of memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import common

HERE = Path(__file__).resolve().parent
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
# Between two looks at the memory, and at what a command has said.
_PEAK_SECS, _LOOK_SECS = 0.1, 0.01


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command took.

    Attributes:
      cpu: of the command and of the children that it has waited for.
      peak_mib: of all its processes together, the most that they held at once.
      err: what it said on stderr.
    """

    seconds: float
    cpu: float
    peak_mib: float
    err: str


def package(name: str, *arguments: str) -> list[str]:
    """The command line of one of this package's commands."""
    return [sys.executable, "-m", f"mnist_estimator.{name}", *arguments]


def run(command: Sequence[str], *, code: int = 0, until: str = "") -> Ran:
    """Runs a command to its end, or until it has said something on stderr.

    Args:
      code: the exit code that is expected.
      until: a text; when it is there the command is killed, and what it took until then counts.
    """
    with tempfile.NamedTemporaryFile() as err:
        started = time.perf_counter()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,
            preexec_fn=common.die_with_parent,
        )
        try:
            ran = _watch(child, started, Path(err.name), until)
        finally:
            _end(child)
    if ran is None:
        sys.exit(f"{' '.join(command)} ended without {until!r}")
    if not until and child.returncode != code:
        last = (ran.err.strip().splitlines() or ["nothing on stderr"])[-1]
        sys.exit(f"{' '.join(command[1:])}: exit code {child.returncode}: {last}")
    return ran


def _watch(child: subprocess.Popen, started: float, err: Path, until: str) -> Ran | None:
    peak = 0.0
    with _open(os.pidfd_open(child.pid)) as end:
        while not select.select([end], [], [], _LOOK_SECS if until else _PEAK_SECS)[0]:
            if until and until in err.read_text(errors="replace"):
                return Ran(time.perf_counter() - started, _cpu(child.pid), peak, "")
            peak = max(peak, sum(map(_resident_mib, _tree(child.pid))))
    seconds = time.perf_counter() - started
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if until:
        return None
    peak = max(peak, usage.ru_maxrss / 1024)
    return Ran(seconds, usage.ru_utime + usage.ru_stime, peak, err.read_text(errors="replace"))


@contextlib.contextmanager
def _open(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _end(child: subprocess.Popen) -> None:
    if child.returncode is None:
        for pid in reversed(_tree(child.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.wait(60)


def _tree(pid: int) -> list[int]:
    """A process and those below it, as far as they are there."""
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, path.read_text().split())
    return found


def _resident_mib(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 2**20
    return 0.0


def _cpu(pid: int) -> float:
    """User and system time of a process that still runs, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICK
