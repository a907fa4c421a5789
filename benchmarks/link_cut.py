"""Cuts the network between two synchronous workers during training, and checks what they do.

  sudo python benchmarks/link_cut.py --runs=3

Each host is a Linux network namespace with its own address. Both are connected to a bridge, the
switch, in a third namespace. To cut the link, one port is taken off the bridge: packets are lost
silently, no connection is refused, and the host's own interface stays up. Both workers have to
exit with the code that makes engines start them again. If they are started again while the link is
down, they wait. Once it is up they continue from the checkpoint, and have to end with the same
variables as an undisturbed run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from absl import app, flags
from clusters import prepare_sample, spread

from mnist_estimator.runtime import signals

_RUNS = flags.DEFINE_integer("runs", 1, "How many times to cut the link.", lower_bound=1)
_STEPS = flags.DEFINE_integer("max_steps", 1000, "Steps of a run.", lower_bound=200)
_LOGS = flags.DEFINE_string("logs", "", "Folder to keep the workers' output in. Default: none.")

_ADDRESSES = ("10.77.0.1", "10.77.0.2")
_PORT = 2222
_MOST_SECS = 60.0  # From the cut to the end of a worker.
_WAIT_SECS = 180.0  # A task that takes longer hangs.
_SAVE_STEPS = 100
_FLAGS = {
    "strategy": "multi_worker",
    "dataset": "sample",
    "data_dir": "data",
    "model": "softmax",
    "batch_size": 60,
    "save_checkpoints_steps": _SAVE_STEPS,
    "log_steps": _SAVE_STEPS,
}


class Failed(Exception):
    """A task did not do what it has to."""


@dataclasses.dataclass(frozen=True)
class Network:
    """Two hosts and the switch between them, each the name of a network namespace."""

    switch: str
    hosts: tuple[str, ...]

    def cut(self) -> None:
        """Drops all packets between the hosts from now on."""
        _ip("-n", self.switch, "link", "set", "port0", "nomaster")

    def mend(self) -> None:
        """Undoes `cut`."""
        _ip("-n", self.switch, "link", "set", "port0", "master", "bridge0")


@dataclasses.dataclass
class Worker:
    """One host's process, and where its output goes."""

    name: str
    process: subprocess.Popen
    log: pathlib.Path
    ended_at: float = 0.0

    def lines(self, start: int = 0) -> list[str]:
        """What it has printed from this byte on; empty lines left out."""
        text = self.log.read_bytes()[start:].decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()]

    def line_with(self, words: str) -> str:
        """The first line that has these words in it; "" if there is none."""
        return next((line for line in self.lines() if words in line), "")


def main(argv: list[str]) -> None:
    """Runs undisturbed once, then with the cut; prints what came of it."""
    _check_able()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    seconds: list[float] = []
    good = 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(_LOGS.value or folder).absolute()
        work.mkdir(parents=True, exist_ok=True)
        prepare_sample(work)
        with _network() as network:
            wanted = _reference(network, work)
            for number in range(1, _RUNS.value + 1):
                network.mend()
                try:
                    _disturbed(network, work, f"run{number}", wanted, seconds)
                    good += 1
                except Failed as error:
                    print(f"run{number}: FAILED: {error}", flush=True)
    print(f"{good} of {_RUNS.value} runs ended, waited and went on as they have to")
    print(f"seconds from the cut to a worker's end: {spread(seconds)}")
    if good < _RUNS.value:
        raise SystemExit(1)


def _reference(network: Network, work: pathlib.Path) -> dict[str, bytes]:
    with _workers(network, work, "reference", "reference") as workers:
        began = time.monotonic()
        _expect_codes(workers, 0, _WAIT_SECS)
        took = time.monotonic() - began
    print(f"reference: {_STEPS.value} steps in {took:.0f} s, start included", flush=True)
    return _variables(work / "reference")


def _disturbed(
    network: Network,
    work: pathlib.Path,
    name: str,
    wanted: dict[str, bytes],
    seconds: list[float],
) -> None:
    """Cuts the link in one run; `seconds` get those from the cut to each worker's end."""
    with _workers(network, work, name, f"{name}.cut") as workers:
        _cut_in_training(network, name, workers, seconds)
    with _workers(network, work, name, f"{name}.again") as workers:
        _wait_and_go_on(network, name, workers)
    found = _variables(work / name)
    different = [key for key in wanted if wanted[key] != found.get(key)]
    if different or set(found) != set(wanted):
        raise Failed(f"final variables differ from the reference: {different or sorted(found)}")
    print(f"{name}: all {len(found)} final variables are bit-identical to the reference's")


def _cut_in_training(
    network: Network, name: str, workers: list[Worker], seconds: list[float]
) -> None:
    step = _STEPS.value // 3 // _SAVE_STEPS * _SAVE_STEPS
    # During collective operations, not during the evaluation that follows a checkpoint.
    evaluated = f"step {step}: validation"
    _until(lambda: workers[0].line_with(evaluated), workers, f"an evaluation of step {step}")
    time.sleep(random.uniform(0.1, 0.5))
    sizes = [worker.log.stat().st_size for worker in workers]
    cut_at = time.monotonic()
    network.cut()
    print(f"{name}: link cut in training, after step {step}", flush=True)
    try:
        _expect_codes(workers, signals.EXIT_LOST, _MOST_SECS)
    finally:
        for worker, size in zip(workers, sizes, strict=True):
            took = worker.ended_at - cut_at
            shown = f"exit code {worker.process.returncode} after {took:.1f} s"
            print(f"  {worker.name}: {shown if worker.ended_at else 'STILL RUNS'}", flush=True)
            for line in worker.lines(size):
                print(f"    | {line}")
            seconds += [took] if worker.ended_at else []


def _wait_and_go_on(network: Network, name: str, workers: list[Worker]) -> None:
    """Starts the same command again while the link is down, and lets it finish when it is up."""
    began = time.monotonic()
    _until(
        lambda: all(worker.line_with("waiting for") for worker in workers),
        workers,
        "a line of who is waited for",
    )
    print(f"{name}: started again, link down, waits after {time.monotonic() - began:.1f} s:")
    network.mend()
    up_at = time.monotonic()
    for worker in workers:
        print(f"    | {worker.name}: {worker.line_with('waiting for')}", flush=True)
    _until(lambda: workers[0].line_with("loss"), workers, "a step", may_end=True)
    first = time.monotonic() - up_at
    _expect_codes(workers, 0, _WAIT_SECS)
    ended = time.monotonic() - up_at
    begun = workers[0].line_with("training softmax")
    print(f"{name}: link up, a step is told after {first:.1f} s, the end with 0 {ended:.1f} s:")
    print(f"    | {begun}", flush=True)
    if "from step" not in begun:
        raise Failed("it began anew instead of going on")


def _until(
    happened: Callable[[], object], workers: list[Worker], what: str, *, may_end: bool = False
) -> None:
    until = time.monotonic() + _WAIT_SECS
    while not happened():
        ended = [worker for worker in workers if worker.process.poll() is not None]
        if ended and not may_end:
            last = (ended[0].lines() or ["nothing"])[-1]
            code = ended[0].process.returncode
            raise Failed(f"{ended[0].name} ended with {code} before {what}: {last}")
        if time.monotonic() > until or len(ended) == len(workers):
            raise Failed(f"found no sign of {what}")
        time.sleep(0.05)


def _expect_codes(workers: list[Worker], code: int, secs: float) -> None:
    """Waits for all to end, and notes when; raises Failed if one hangs or ends otherwise."""
    until = time.monotonic() + secs
    while time.monotonic() < until and not all(worker.ended_at for worker in workers):
        for worker in workers:
            if not worker.ended_at and worker.process.poll() is not None:
                worker.ended_at = time.monotonic()
        time.sleep(0.02)
    for worker in workers:
        found = worker.process.returncode
        if found is None:
            raise Failed(f"{worker.name} still runs after {secs:.0f} s, expected exit code {code}")
        if found != code:
            last = (worker.lines() or ["nothing"])[-1]
            raise Failed(f"{worker.name} ended with {found}, expected {code}: {last}")


@contextlib.contextmanager
def _workers(
    network: Network, work: pathlib.Path, model_dir: str, log: str
) -> Iterator[list[Worker]]:
    """One worker a host, killed at the end if it has not ended."""
    hosts = [f"{address}:{_PORT}" for address in _ADDRESSES]
    settings = _FLAGS | {"max_steps": _STEPS.value, "model_dir": model_dir}
    train = [sys.executable, "-m", "mnist_estimator.train"]
    train += [f"--{flag}={value}" for flag, value in settings.items()]
    workers = []
    with contextlib.ExitStack() as stack:
        for index, host in enumerate(network.hosts):
            task = {"type": "worker", "index": index}
            config = json.dumps({"cluster": {"worker": hosts}, "task": task})
            path = work / f"{log}.worker{index}.log"
            output = stack.enter_context(path.open("wb"))
            process = subprocess.Popen(
                ["ip", "netns", "exec", host, *train],
                cwd=work,
                env=os.environ | {"TF_CONFIG": config},
                stdout=output,
                stderr=output,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)  # `ip` has become the worker: the process is the same.
            workers.append(Worker(f"worker {index}", process, path))
        yield workers


@contextlib.contextmanager
def _network() -> Iterator[Network]:
    """Makes the namespaces; ends all that is left in them and removes them, whatever happens."""
    prefix = f"link_cut{os.getpid()}"
    network = Network(f"{prefix}switch", (f"{prefix}host0", f"{prefix}host1"))
    try:
        for namespace in (network.switch, *network.hosts):
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", network.switch, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", network.switch, "link", "set", "bridge0", "up")
        for index, (host, address) in enumerate(zip(network.hosts, _ADDRESSES, strict=True)):
            port, peer = f"port{index}", ("peer", "name", "eth0", "netns", host)
            _ip("-n", network.switch, "link", "add", port, "type", "veth", *peer)
            _ip("-n", network.switch, "link", "set", port, "master", "bridge0", "up")
            _ip("-n", host, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")
        yield network
    finally:
        _ignore_signals()
        for namespace in (*network.hosts, network.switch):
            _remove(namespace)


def _remove(namespace: str) -> None:
    until = time.monotonic() + _WAIT_SECS
    while time.monotonic() < until:
        command = ["ip", "netns", "pids", namespace]
        found = subprocess.run(command, capture_output=True, text=True).stdout.split()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if not found:
            break
        time.sleep(0.1)
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True)  # Which may not be.


def _ip(*arguments: str) -> None:
    found = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"ip {' '.join(arguments)}: {found.stderr.strip()}")


def _check_able() -> None:
    if os.geteuid():
        raise SystemExit(
            f"link_cut: found user {os.geteuid()}, expected root, who may make network "
            "namespaces; run it with sudo"
        )
    if not shutil.which("ip"):
        raise SystemExit("link_cut: found no command `ip`; install iproute2")


def _stop(number: int, frame: object) -> None:
    _ignore_signals()  # A second one would leave the namespaces.
    sys.exit(128 + number)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _variables(model_dir: pathlib.Path) -> dict[str, bytes]:
    """Every variable of the newest checkpoint: weights, optimizer slots, global step."""
    from mnist_estimator.compat import tf

    reader = tf.train.load_checkpoint(str(model_dir))
    names = reader.get_variable_to_shape_map()
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


if __name__ == "__main__":
    app.run(main)
