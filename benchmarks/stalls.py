"""Tests whether a task that stands still is ended, and only such a task.

  python benchmarks/stalls.py                                # each fault once
  python benchmarks/stalls.py --only=filesystem --limit=30
  python benchmarks/stalls.py --part=ordinary --minutes=60   # is there a false alarm?

Each run is a process or a cluster on loopback that comes to stand still in the middle: a task is
stopped by SIGSTOP, its input sleeps, a lock is never given back, a filesystem (bindfs, where it is
installed) does not answer any more. The table says in which phase that was, what each task ended
with and how many seconds after the fault, and whether the same command then went on to the same
bytes as a run that nothing happened to. Tasks with parameter servers are never in step, so there it
says whether the run came to its end.

The ordinary runs are two clusters of six processes together, with a small limit, on whatever cores
there are. With --stop_secs now and then a task is stopped for so long and goes on. None may end.

The exit code is 1 if anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from clusters import free_hosts, prepare_sample
from stalls_child import HANG, SLOW

_CHILD = pathlib.Path(__file__).with_name("stalls_child.py")
_LOST = 138
_WAIT_SECS = 300.0  # A task that has not ended by then hangs.
FIRST_SAVE, _STEPS = 100, 600
FLAGS = {
    "dataset": "sample",
    "data_dir": "data",
    "model": "softmax",
    "batch_size": 60,
    "max_steps": _STEPS,
    "save_checkpoints_steps": FIRST_SAVE,
    "log_steps": 10,
}
_ALONE = {"chief": 1}
_SYNCHRONOUS = {"chief": 1, "worker": 1}
_ASYNCHRONOUS = {"chief": 1, "worker": 1, "ps": 1, "evaluator": 1}
_MANY_STEPS = {"max_steps": 3000}  # A worker goes on while the chief is stopped.
_HELD_SECS = 5.0


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is done to a run.

    Attributes:
      name: for the table.
      jobs: how many tasks of each role.
      task: to whom it is done.
      hang: the place in that task's program, see stalls_child.py; "" if it is done from outside.
      mounted: whether the model_dir is in a filesystem that stops answering.
      flags: more flags of the run.
    """

    name: str
    jobs: dict[str, int]
    task: str = "chief 0"
    hang: str = ""
    mounted: bool = False
    flags: dict[str, object] = dataclasses.field(default_factory=dict)

    @property
    def strategy(self) -> str:
        if len(self.jobs) == 1:
            return "none"
        return "ps" if "ps" in self.jobs else "multi_worker"

    @property
    def is_exact(self) -> bool:
        """Whether the final bytes follow from the flags."""
        return self.strategy != "ps"


def faults() -> list[Fault]:
    """All of them."""
    own_data = {"data_dir": "unprepared"}
    return [
        Fault("synchronous worker stopped", _SYNCHRONOUS, "worker 0"),
        Fault("synchronous chief stopped", _SYNCHRONOUS),
        Fault("parameter server stopped", _ASYNCHRONOUS, "ps 0", flags=_MANY_STEPS),
        Fault("chief stopped, with parameter servers", _ASYNCHRONOUS, flags=_MANY_STEPS),
        Fault("input sleeps", _ALONE, hang="input"),
        Fault("input waits in C++", _ALONE, hang="pipe"),
        Fault("input of a synchronous worker sleeps", _SYNCHRONOUS, "worker 0", "input"),
        Fault("lock never given back", _ALONE, hang="hook"),
        Fault("checkpoint hangs", _ALONE, hang="checkpoint"),
        Fault("evaluation hangs", _ALONE, hang="evaluation"),
        Fault("synchronous chief hangs in evaluation", _SYNCHRONOUS, hang="evaluation"),
        Fault("export hangs", _ALONE, hang="export"),
        Fault("preparing data hangs", _ALONE, hang="preparing", flags=own_data),
        Fault("filesystem does not answer", _ALONE, mounted=True),
        Fault("filesystem does not answer, synchronous", _SYNCHRONOUS, mounted=True),
    ]


def main() -> int:
    """Runs a part; returns the exit code."""
    given = _parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the tasks are ended, too.
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(given.folder or folder).absolute()
        work.mkdir(parents=True, exist_ok=True)
        prepare_sample(work)
        if given.part == "ordinary":
            return run_ordinary(work, given)
        chosen = {f"run{n}": f for n, f in enumerate(faults()) if given.only in f.name}
        if not shutil.which("bindfs"):
            print("bindfs is not installed: no filesystem hangs")
            chosen = {name: fault for name, fault in chosen.items() if not fault.mounted}
        print("| fault | phase | each task: code, seconds | the same command then |")
        print("| --- | --- | --- | --- |", flush=True)
        good = [run_fault(work, name, fault, given) for name, fault in chosen.items()]
    print(f"{sum(good)} of {len(good)} as they have to be")
    return 0 if all(good) else 1


def run_fault(work: pathlib.Path, name: str, fault: Fault, given: argparse.Namespace) -> bool:
    """Runs a fault, then the same command again, prints a line; returns whether all was well."""
    with _filesystem(work, name, fault) as (model_dir, stop_answering):
        flags = FLAGS | fault.flags | {"model_dir": model_dir}
        flags |= {"stall_timeout_secs": given.limit, "strategy": fault.strategy}
        hosts = free_hosts(fault.jobs)
        with started(work, name, fault.jobs, hosts, flags, fault) as tasks:
            began = _disturb(work, model_dir, fault, tasks, stop_answering)
            if fault.mounted:
                ends = _wait_for_lines(work, name, tasks, began, stop_answering)
            else:
                ends = _wait_for_ends(tasks, fault, began)
        described = _described(work / model_dir, work)
        with started(work, f"{name}-again", fault.jobs, hosts, flags) as tasks:
            codes = {task: process.wait(_WAIT_SECS) for task, process in tasks.items()}
        after = _compared(work, model_dir, fault, codes, flags)
    wrong = [end for end in ends.values() if end is None or end[0] != _LOST]
    shown = ", ".join(
        f"{task}: hangs" if end is None else f"{task}: {end[0]}, {end[1]:.0f}"
        for task, end in ends.items()
    )
    print(f"| {fault.name} | {described} | {shown} | {after} |", flush=True)
    return not wrong and not after.startswith("NOT")


def _disturb(
    work: pathlib.Path,
    model_dir: str,
    fault: Fault,
    tasks: dict[str, subprocess.Popen],
    stop_answering: Callable[[bool], None],
) -> float:
    """Does what the fault is, once the run trains; returns when, by the monotonic clock."""
    if fault.hang:
        hung = work / f"{fault.hang}.hangs"
        _until(hung.exists, tasks)
        hung.unlink()
    else:
        _until((work / model_dir / f"model.ckpt-{FIRST_SAVE}.sha256").exists, tasks)
        if fault.mounted:
            stop_answering(True)
        else:
            tasks[fault.task].send_signal(signal.SIGSTOP)
    return time.monotonic()


def _wait_for_ends(
    tasks: dict[str, subprocess.Popen], fault: Fault, began: float
) -> dict[str, tuple[int, float] | None]:
    """The code and the seconds of each task but a stopped one; None for one that hangs."""
    waited_for = [task for task in tasks if fault.hang or fault.mounted or task != fault.task]
    ends: dict[str, tuple[int, float] | None] = {}
    while len(ends) < len(waited_for) and time.monotonic() < began + _WAIT_SECS:
        for task in set(waited_for) - set(ends):
            if tasks[task].poll() is not None:
                ends[task] = tasks[task].returncode, time.monotonic() - began
        time.sleep(0.05)
    return {task: ends.get(task) for task in waited_for}


def _wait_for_lines(
    work: pathlib.Path,
    name: str,
    tasks: dict[str, subprocess.Popen],
    began: float,
    stop_answering: Callable[[bool], None],
) -> dict[str, tuple[int, float] | None]:
    """As `_wait_for_ends`, with the seconds until a task's last line.

    The kernel keeps a process that has ended for as long as one of its threads waits for a
    filesystem of FUSE. So that answers again, some seconds after the last line.
    """
    logs = {task: work / f"{name}.{task.replace(' ', '')}.log" for task in tasks}
    seconds: dict[str, float] = {}
    while len(seconds) < len(tasks) and time.monotonic() < began + _WAIT_SECS:
        for task in set(tasks) - set(seconds):
            if tasks[task].poll() is not None or "train: " in logs[task].read_text():
                seconds[task] = time.monotonic() - began
        time.sleep(0.05)
    time.sleep(_HELD_SECS)
    held = [task for task, process in tasks.items() if process.poll() is None]
    print(f"(still there after {_HELD_SECS:.0f} s more, as the kernel waits: {held or 'none'})")
    stop_answering(False)
    return {
        task: (process.wait(_WAIT_SECS), seconds[task]) if task in seconds else None
        for task, process in tasks.items()
    }


def _described(model_dir: pathlib.Path, temporary: pathlib.Path) -> str:
    """The phase in the reports, where they are, and what the record says."""
    phases = set()
    for folder, place in ((model_dir, ""), (temporary, ", in TMPDIR")):
        for report in folder.glob("stalled-*.txt"):
            text = report.read_text()
            found = re.search("stands still: (.*?)(?: after step .*)?, nothing", text)
            phases.add(f"{found[1]}{place}")
            if place:
                report.unlink()
    with contextlib.suppress(OSError):
        state = json.loads((model_dir / "status.json").read_text())["state"]
        return f"{' and '.join(sorted(phases)) or 'no report'}; {state}"
    return "no record"


def _compared(
    work: pathlib.Path,
    model_dir: str,
    fault: Fault,
    codes: dict[str, int],
    flags: dict[str, object],
) -> str:
    if set(codes.values()) != {0}:
        return f"NOT done: {codes}"
    if not fault.is_exact:
        return "came to its end"
    name = f"undisturbed-{fault.strategy}"
    if not (work / name).exists():
        wanted = flags | {"model_dir": name, "data_dir": "data"}
        with started(work, name, fault.jobs, free_hosts(fault.jobs), wanted) as tasks:
            ended = {process.wait(_WAIT_SECS) for process in tasks.values()}
        if ended != {0}:
            raise SystemExit(f"{name}: ended with {ended}; see {work}")
    same = _variables(work / name) == _variables(work / model_dir)
    return "the same bytes" if same else "NOT the same bytes"


def run_ordinary(work: pathlib.Path, given: argparse.Namespace) -> int:
    """Runs two clusters for some minutes; returns 1 if a task has ended by itself."""
    chance = random.Random(given.seed)
    flags = FLAGS | {"max_steps": 100_000_000, "stall_timeout_secs": given.limit}
    flags |= {"model": given.model, "save_checkpoints_steps": 1000, "log_steps": 1000}
    with contextlib.ExitStack() as stack:
        tasks: dict[str, subprocess.Popen] = {}
        for jobs, strategy in ((_SYNCHRONOUS, "multi_worker"), (_ASYNCHRONOUS, "ps")):
            settings = flags | {"model_dir": strategy, "strategy": strategy}
            cluster = started(work, strategy, jobs, free_hosts(jobs), settings)
            found = stack.enter_context(cluster)
            tasks |= {f"{strategy} {task}": process for task, process in found.items()}
        until, stopped = time.monotonic() + 60 * given.minutes, []
        while time.monotonic() < until and not _ended(tasks):
            time.sleep(20)
            if given.stop_secs:
                stopped.append(chance.choice(list(tasks)))
                with _stopped(tasks[stopped[-1]]):
                    time.sleep(given.stop_secs)
        alarms = _ended(tasks)
        steps = {name: _newest_step(work / name) for name in ("multi_worker", "ps")}
        print(f"{given.minutes} minutes, limit {given.limit} s, {len(tasks)} processes on")
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: steps saved {steps},")
        reports = [path.name for path in work.rglob("stalled-*.txt")]
        print(
            f"{len(stopped)} stops of {given.stop_secs} s, the last of {stopped[-1:]}; reports of"
        )
        print(f"what stands still: {reports or 'none'}; ended by themselves: {alarms or 'none'}")
    return 1 if alarms else 0


@contextlib.contextmanager
def _stopped(process: subprocess.Popen) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _ended(tasks: dict[str, subprocess.Popen]) -> dict[str, int]:
    return {task: p.returncode for task, p in tasks.items() if p.poll() is not None}


def _newest_step(model_dir: pathlib.Path) -> int:
    names = [path.name for path in model_dir.glob("model.ckpt-*.sha256")]
    return max([int(name.split("-")[1].split(".")[0]) for name in names], default=0)


@contextlib.contextmanager
def started(
    work: pathlib.Path,
    name: str,
    jobs: dict[str, int],
    hosts: dict[str, list[str]],
    flags: dict[str, object],
    fault: Fault | None = None,
    popen: Callable[..., subprocess.Popen] = subprocess.Popen,
) -> Iterator[dict[str, subprocess.Popen]]:
    """Starts a process a task; kills in the end those that are left."""
    command = [sys.executable, str(_CHILD), *(f"--{flag}={value}" for flag, value in flags.items())]
    with contextlib.ExitStack() as stack:
        tasks = {}
        for task in (f"{role} {index}" for role, count in jobs.items() for index in range(count)):
            role, index = task.split()
            # As `train` sets it, before a place imports TensorFlow: it changes the last bits.
            environment = os.environ | {"TMPDIR": str(work), "TF_ENABLE_ONEDNN_OPTS": "1"}
            if len(jobs) > 1:
                this = {"type": role, "index": int(index)}
                environment["TF_CONFIG"] = json.dumps({"cluster": hosts, "task": this})
            if fault and fault.hang and task == fault.task:
                environment[HANG] = fault.hang
            elif fault and not fault.is_exact:
                environment[HANG] = SLOW
            log = stack.enter_context((work / f"{name}.{role}{index}.log").open("w"))
            tasks[task] = process = popen(
                command, cwd=work, env=environment, stdout=log, stderr=log
            )
            stack.callback(process.wait, 60)
            stack.callback(process.kill)
        yield tasks


@contextlib.contextmanager
def _filesystem(
    work: pathlib.Path, name: str, fault: Fault
) -> Iterator[tuple[str, Callable[[bool], None]]]:
    """A model_dir, and a function that has its filesystem stop answering, or answer again."""
    if not fault.mounted:
        yield name, lambda stop: None
        return
    behind, place = work / f"{name}-behind", work / f"{name}-mounted"
    behind.mkdir()
    place.mkdir()
    server = subprocess.Popen(["bindfs", "-f", str(behind), str(place)])
    try:
        _until(lambda: os.path.ismount(place), {"bindfs": server})

        def stop_answering(stop: bool) -> None:
            server.send_signal(signal.SIGSTOP if stop else signal.SIGCONT)

        yield f"{place.name}/run", stop_answering
    finally:
        server.send_signal(signal.SIGCONT)
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        server.wait(60)


def _until(condition: Callable[[], bool], tasks: dict[str, subprocess.Popen]) -> None:
    until = time.monotonic() + _WAIT_SECS
    while not condition():
        if _ended(tasks) or time.monotonic() > until:
            raise SystemExit(f"did not come so far: {_ended(tasks) or 'too slow'}")
        time.sleep(0.02)


def _variables(model_dir: pathlib.Path) -> dict[str, bytes]:
    """Every variable of the newest checkpoint: weights, optimizer slots, global step."""
    from mnist_estimator.compat import tf

    reader = tf.train.load_checkpoint(str(model_dir))
    names = reader.get_variable_to_shape_map()
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("faults", "ordinary"), default="faults")
    parser.add_argument("--only", default="", help="only the faults whose name has this in it")
    parser.add_argument("--limit", type=int, default=20, help="the runs' --stall_timeout_secs")
    parser.add_argument("--minutes", type=float, default=10, help="of the ordinary runs")
    parser.add_argument("--model", default="softmax", help="of the ordinary runs")
    parser.add_argument("--stop_secs", type=float, default=0, help="how long tasks are stopped")
    parser.add_argument("--seed", type=int, default=0, help="of who is stopped for some seconds")
    parser.add_argument("--folder", help="where to work, and leave everything")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
