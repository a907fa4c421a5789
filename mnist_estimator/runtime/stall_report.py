"""Ends a process that stands still, and leaves a report that says where.

The filesystem, or standard error, may be what hangs. So all that is done here has a deadline, after
which the process ends without it.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import functools
import os
import pathlib
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mnist_estimator.runtime import local_files, progress, signals, watchdog

PREFIX = "stalled-"  # Of a report's name.
_MOST_REPORTS = 20  # Of one task in one folder. The last one is replaced.
_PART_SECS, _END_SECS = 5.0, 30.0  # Deadlines of a part of the work, and of all of it.
_TASKS = "/proc/self/task"

_Result = TypeVar("_Result")


@contextlib.contextmanager
def watching(floor_secs: float, phase: str, folder: str, name: str) -> Iterator[None]:
    """Watches the work of a command in the block, all of which is one phase.

    Args:
      floor_secs: as of `watchdog.watching`.
      folder: where the report goes; "" for the folder for temporary files.
      name: of the command.
    """
    end_here = functools.partial(end, folder=folder, name=name)
    with watchdog.watching(floor_secs, end_here), watchdog.phase(phase):
        yield


def end(
    stall: watchdog.State,
    *,
    folder: str,
    name: str,
    others: Sequence[str] = (),
    missing: Sequence[str] = (),
    record: Callable[[str], str] = lambda line: "",
    code: int = signals.EXIT_LOST,
    leave: Callable[[int], None] = os._exit,
) -> None:
    """Leaves a report, says so in one line, and ends the process.

    Args:
      stall: what stands still.
      folder, name: where the report goes, and the task that it is about. If the folder does not
        answer, it goes to the folder for temporary files.
      others: what the other tasks answered, a line each.
      missing: a few words about each of the other tasks that did not answer.
      record: records the line that it is given; returns what is saved.
      code: the exit code.
      leave: ends the process at once.
    """
    # An exit by an exception would wait for the thread that hangs.
    deadline = threading.Timer(_END_SECS, leave, [code])
    deadline.daemon = True
    deadline.start()
    with contextlib.suppress(Exception):
        line = "; ".join([_described(stall), *missing])
        heading = [f"{name}: {line}", f"written {datetime.datetime.now().astimezone()}"]
        compose = functools.partial(_report, [*heading, "", *_machine(stall), *others])
        # Recorded first: other tasks end by what is recorded.
        saved = within(_PART_SECS, lambda: record(line))
        path = within(_PART_SECS, lambda: _write(folder, name, compose())) if folder else None
        path = path or within(_PART_SECS, lambda: _write_temporary(name, compose()))
        where = f"the stacks of all threads are in {path}" if path else "no report can be written"
        progress.complain("; ".join(filter(None, [line, where, saved])))
    deadline.cancel()
    leave(code)


def within(seconds: float, work: Callable[[], _Result]) -> _Result | None:
    """What `work` returns; None if it fails, or takes longer."""
    found: list[_Result] = []

    def run() -> None:
        with contextlib.suppress(Exception):
            found.append(work())

    thread = threading.Thread(target=run, daemon=True, name="stall")
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


def described(state: watchdog.State) -> str:
    """What a process does, in words."""
    step = f" after step {state.step}" if state.step else ""
    return f"{state.phase}{step}, nothing has moved for {state.still_secs:.0f} s"


def _described(stall: watchdog.State) -> str:
    return f"stands still: {described(stall)} (limit {stall.limit_secs:.0f} s)"


def _write(folder: str, name: str, text: str) -> str:
    """Writes a report under a name that is free; returns its path."""
    base = os.path.join(folder, f"{PREFIX}{name.replace(' ', '-')}")
    paths = [f"{base}-{number}.txt" for number in range(1, _MOST_REPORTS + 1)]
    if "://" not in folder:
        path = next((path for path in paths if not os.path.lexists(path)), paths[-1])
        with local_files.replacing(path) as file:
            file.write(text.encode())
        return path
    # Imported here, as this imports TensorFlow, for which there may be no time.
    from mnist_estimator.compat import tf
    from mnist_estimator.runtime import files

    path = next((path for path in paths if not tf.io.gfile.exists(path)), paths[-1])
    files.write_text(path, text)
    return path


def _write_temporary(name: str, text: str) -> str:
    handle, path = tempfile.mkstemp(prefix=f"{PREFIX}{name.replace(' ', '-')}-", suffix=".txt")
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _report(lines: Sequence[str]) -> str:
    waits = _kernel_waits()
    return "\n".join([*lines, *(["", "Threads, by where they wait:", *waits] if waits else [])]) + (
        "\n\n" + _stacks()
    )


def _machine(stall: watchdog.State) -> list[str]:
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    used, now = stall.processor_secs, time.process_time()
    lines = [
        f"load of the machine: {load} (1, 5 and 15 minutes), {os.cpu_count()} processors",
        f"processor time of this process: {used:.1f} s while nothing moved, {now:.1f} s in all",
    ]
    with contextlib.suppress(OSError):
        memory = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        lines += [line for line in memory if line.startswith(("MemTotal", "MemAvailable"))]
    return lines


def _kernel_waits() -> list[str]:
    """How many threads, those of TensorFlow too, are in which state and place of Linux.

    D stands for a wait that nothing can end, often for a disk.
    """
    found: collections.Counter[str] = collections.Counter()
    with contextlib.suppress(OSError):
        for task in map(pathlib.Path(_TASKS).joinpath, os.listdir(_TASKS)):
            with contextlib.suppress(OSError):  # It has ended.
                state = task.joinpath("stat").read_text().rpartition(") ")[2][:1]
                found[f"{state} {task.joinpath('wchan').read_text()}"] += 1
    return [f"{count:4} {where}" for where, count in found.most_common()]


def _stacks() -> str:
    """The Python stack of each thread, the main thread's first; the innermost call comes last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sorted(
        sys._current_frames().items(), key=lambda item: item[0] != threading.main_thread().ident
    )
    return "\n".join(
        f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in frames
    )
