"""Runs a program of `benchmarks/peers/` in one of the environments, and reads its line of JSON."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison.parts import Options

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benchmarks" / "peers"
# The same for all programs. This package's commands switch oneDNN on by themselves, TensorFlow only
# on newer processors: it is on for all, so that this switch is not what is compared.
SETTINGS = {
    "PYTHONDONTWRITEBYTECODE": "",  # Empty: bytecode is written, so imports are not slow twice.
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "1",
}
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


class ChildError(Exception):
    """A program that ended badly, or too late, or without a result; the message says how."""


def run(
    python: str, program: str, arguments: Sequence[str], *, deadline: float, options: Options
) -> dict[str, Any]:
    """Returns what a program prints as its last line, a JSON object.

    The program gets so many cores as there are threads in the options, and as many OpenMP threads.
    It can import this package and the modules beside itself; `peers/common.py` has what it needs.

    Raises:
      ChildError: if it fails, prints no such line, or takes more than `deadline` seconds. Then it
        and the processes that it started are killed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = _wait(
            [python, str(PEERS / program), *arguments],
            deadline,
            stdout=out,
            stderr=err,
            env=_environment(options),
            preexec_fn=lambda: _confine(options.threads),
        )
        out.seek(0)
        err.seek(0)
        said, complained = (file.read().decode(errors="replace") for file in (out, err))
    return _parsed(code, said, complained)


def die_with_parent() -> None:
    """For `preexec_fn`: ends a process when the one that started it is killed (Linux)."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _wait(command: Sequence[str], deadline: float, **options: Any) -> int:
    with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
        # A session of its own, so that the processes that it starts end with it.
        child = subprocess.Popen(command, cwd=folder, start_new_session=True, **options)
        try:
            return child.wait(deadline)
        except subprocess.TimeoutExpired:
            raise ChildError(f"took more than {deadline:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(60)


def _environment(options: Options) -> dict[str, str]:
    own = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(options.threads),
        "BENCHMARK_STARTED": str(time.time()),
        "BENCHMARK_THREADS": str(options.threads),
        "BENCHMARK_QUICK": "1" if options.quick else "",
        "BENCHMARK_DATA": str(options.data_dir.resolve()),
        "BENCHMARK_WORK": str(options.work_dir.resolve()),
    }
    return os.environ | SETTINGS | own


def _confine(threads: int) -> None:
    """Runs in the child: gives it the cores, and its death with that of this process."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    die_with_parent()


def _parsed(code: int, out: str, err: str) -> dict[str, Any]:
    said = [line.strip() for line in err.splitlines() if line.strip()] or ["nothing on stderr"]
    if code:
        raise ChildError(f"exit code {code}: {said[-1][:200]}")
    lines = out.splitlines() or [""]
    try:
        found = json.loads(lines[-1])
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ChildError(f"printed {lines[-1][:80]!r} last, expected a JSON object")
    return found
