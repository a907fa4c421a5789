"""Runs commands of this package as child processes, which end when their parent dies."""

from __future__ import annotations

import os
import sys

# Linux sends the child SIGTERM when its parent dies, whatever ends that. A parent that died before
# the child could ask for it has left the child to another process by then.
_RUN = """
import contextlib, ctypes, os, runpy, signal, sys
with contextlib.suppress(AttributeError, OSError):
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != {parent}:
        sys.exit(128 + signal.SIGTERM)
runpy.run_module("mnist_estimator.{name}", run_name="__main__", alter_sys=True)
"""


def command(name: str, *arguments: str) -> list[str]:
    """The command line by which this process, and no other, starts a command of this package."""
    program = _RUN.format(name=name, parent=os.getpid())
    return [sys.executable, "-c", program, *arguments]


def cores() -> int:
    """The cores that this process may use: over so many TensorFlow shares out the work."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # As on macOS.
