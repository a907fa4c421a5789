"""Kills runs whose model_dir and data are in S3, and compares them with runs on the local disk.

  python benchmarks/kill_remote.py                            # all of it, 25 minutes on two cores
  python benchmarks/kill_remote.py --kills=4 --only=kills     # a part of it

The store is a SeaweedFS on loopback, from the tests' extra. There are five parts:

  kills    SIGKILL at random moments of random phases
  server   the server is killed and started again while the run goes on
  faults   as kills, while 5% of all requests fail
  slow     nobody is killed, and each request takes 100 ms longer
  stopped  SIGSTOP, until another trainer has taken the run over; SIGCONT while that trains

What is compared, and the child that trains, are those of kill_resume.py. The exit code is 1 if
anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import kill_resume
from kill_resume import Plan

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import fault_proxy, object_stores  # noqa: E402

_KILLS_EACH = 10  # Of one run.
_SERVER_LIVES = (1.0, 4.0)  # Seconds between its start and the next kill, while a run goes on.
_TIMEOUT_SECS = 900.0
# A save takes longer than on a disk.
kill_resume.WINDOWS["saving"] = 0.6


@dataclasses.dataclass
class RemotePlan(Plan):
    """A run whose model_dir and data are in a bucket; `model_dir` is a copy of what is there."""

    bucket: str = ""

    @property
    def model_path(self) -> str:
        return f"{self.bucket}/{self.folder.name}"

    @functools.cached_property
    def model_dir(self) -> pathlib.Path:
        return downloaded(self.model_path, self.folder / "model")


def main() -> int:
    """Runs the parts and prints what they found."""
    flags = parsed()
    differing = 0
    with tempfile.TemporaryDirectory() as scratch, object_stores.server() as server:
        bench = Bench(pathlib.Path(scratch), server, flags.steps)
        parts = {
            "kills": lambda: bench.kills(flags.kills),
            "server": lambda: bench.server_kills(flags.server_kills),
            "faults": lambda: bench.faults(flags.fault_kills),
            "slow": bench.slow,
            "stopped": bench.stopped,
        }
        for name in flags.only or parts:
            differing += parts[name]()
    return 1 if differing else 0


def parsed() -> argparse.Namespace:
    """The command line's flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of trainers")
    parser.add_argument("--server_kills", type=int, default=10, help="of the server")
    parser.add_argument("--fault_kills", type=int, default=10, help="while 5%% of requests fail")
    parser.add_argument("--steps", type=int, default=80, help="steps of a run")
    parser.add_argument("--only", nargs="*", help="some of the parts")
    return parser.parse_args()


class Bench:
    """The local runs, the store, and the parts; each returns how many runs differ."""

    def __init__(self, folder: pathlib.Path, server: object_stores.SeaweedFS, steps: int) -> None:
        self._folder, self._server, self._steps = folder, server, steps
        self._data = kill_resume.small_dataset(folder / "data")
        os.environ.update(object_stores.environment(server.endpoint))
        self._bucket = f"s3://{server.make_bucket()}"
        uploaded(self._data, f"{self._bucket}/data")
        self._alone: dict[tuple[int, int], Plan] = {}

    def kills(self, count: int) -> int:
        """Kills trainers."""
        differing = killed = seed = 0
        while killed < count:
            # In turns with the data in memory, and streaming.
            kills = min(count - killed, _KILLS_EACH)
            plan = self._plan(f"kills-{seed}", seed, kills=kills, stream=seed % 2)
            differing += self._report(plan, "trainers killed")
            killed, seed = killed + plan.killed.total(), seed + 1
        return differing

    def faults(self, count: int) -> int:
        """Kills trainers while requests fail."""
        with fault_proxy.proxy(self._server.endpoint, fault_proxy.Faults(refused=0.05)) as proxy:
            differing = killed = seed = 0
            while killed < count:
                options = {"kills": count - killed, "stream": 1 - seed % 2}
                plan = self._plan(f"faults-{seed}", seed, **options, endpoint=proxy.endpoint)
                differing += self._report(plan, "trainers killed, with faults")
                killed, seed = killed + plan.killed.total(), seed + 1
            print(f"faults: {proxy.hit} of {len(proxy.requests)} requests failed", flush=True)
            return differing

    def slow(self) -> int:
        """Adds 100 ms to each request."""
        with fault_proxy.proxy(self._server.endpoint, fault_proxy.Faults(latency=0.1)) as proxy:
            plan = self._plan("slow", 0, endpoint=proxy.endpoint)
            found = self._report(plan, "kills, 100 ms a request")
            print(f"slow: {len(proxy.requests)} requests", flush=True)
            return found

    def server_kills(self, count: int) -> int:
        """Kills the server and starts it again while runs go on, until it was killed so often."""
        differing, done, seed = 0, 0, 0
        while done < count:
            plan = self._plan(f"server-{seed}", seed, stream=seed % 2)
            kills, failed = self._run_without_peace(plan, random.Random(seed), count - done)
            line = f"trainers killed, the server {kills} times, {failed} of the starts failed"
            differing += self._report(plan, line)
            done, seed = done + kills, seed + 1
        return differing

    def _run_without_peace(
        self, plan: RemotePlan, chance: random.Random, most: int
    ) -> tuple[int, int]:
        """Runs a plan to its end; returns how often the server was killed and the run failed."""
        plan.folder.mkdir(parents=True)
        kills = failed = 0
        while True:
            with (plan.folder / "stderr").open("a") as errors:
                child = plan.popen(plan.command(), stdout=subprocess.DEVNULL, stderr=errors)
                with ended_at_last(child):
                    while child.poll() is None and kills < most:
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            child.wait(chance.uniform(*_SERVER_LIVES))
                            break
                        self._server.kill()
                        threading.Event().wait(chance.uniform(0, 2))
                        self._server.start()
                        kills += 1
                    child.wait(_TIMEOUT_SECS)
            if child.returncode == 0:
                return kills, failed
            failed += 1
            if failed > 2 * most:
                raise RuntimeError((plan.folder / "stderr").read_text())

    def stopped(self) -> int:
        """Has a second trainer take a run over from one that stands still, and wakes that."""
        plan = self._plan("stopped", 0)
        second = dataclasses.replace(plan)
        plan.folder.mkdir(parents=True)
        with (plan.folder / "stderr").open("w+") as errors:
            first = plan.popen(plan.command(), stdout=subprocess.DEVNULL, stderr=errors)
            with ended_at_last(first):
                wait_for(plan.log, lambda lines: lines.count("saving") >= 2, first)
                first.send_signal(signal.SIGSTOP)
                start = plan.log.stat().st_size
                other = second.popen(second.command(), stdout=subprocess.DEVNULL)
                with ended_at_last(other):
                    wait_for(plan.log, lambda lines: "training" in lines, other, start)
                    first.send_signal(signal.SIGCONT)
                    first.wait(_TIMEOUT_SECS)
                    other.wait(_TIMEOUT_SECS)
            errors.seek(0)
            last = errors.read().splitlines()[-1]
        print(f"stopped: the first ended with {first.returncode}: {last}", flush=True)
        lost = first.returncode == 1 and "taken over" in last and other.returncode == 0
        return self._report(plan, "kills, taken over") + (not lost)

    def _plan(
        self, name: str, seed: int, *, kills: int = 0, stream: int = 0, endpoint: str = ""
    ) -> RemotePlan:
        given = object_stores.environment(endpoint or self._server.endpoint)
        return RemotePlan(
            self._folder / name,
            f"{self._bucket}/data",
            seed,
            cache_mb=0 if stream else 1024,
            kills=kills,
            steps=self._steps,
            popen=functools.partial(subprocess.Popen, env=os.environ | given),
            bucket=self._bucket,
        )

    def _report(self, plan: RemotePlan, what: str) -> int:
        """Runs what is left of a plan, and prints what differs; returns 1 if something does."""
        start = time.monotonic()
        found = kill_resume.compare(plan, self._local(plan.seed, plan.cache_mb))
        print(
            f"{plan.folder.name}: {plan.killed.total()} {what}: {found or 'identical'} "
            f"({dict(plan.killed)}, {time.monotonic() - start:.0f} s)",
            flush=True,
        )
        return bool(found)

    def _local(self, seed: int, cache_mb: int) -> Plan:
        """The same run on the local disk, which nobody disturbs."""
        key = seed, cache_mb
        if key not in self._alone:
            folder = self._folder / f"alone-{seed}-{cache_mb}"
            self._alone[key] = Plan(folder, self._data, seed, cache_mb, steps=self._steps)
            kill_resume.run_until_done(self._alone[key])
        return self._alone[key]


@contextlib.contextmanager
def ended_at_last(child: subprocess.Popen) -> object:
    """Kills a process when the block is left, whatever it does."""
    try:
        yield
    finally:
        child.kill()
        child.wait()


def wait_for(log: pathlib.Path, there: object, child: subprocess.Popen, start: int = 0) -> None:
    """Waits until what the log has from byte `start` on satisfies a condition."""
    until = time.monotonic() + _TIMEOUT_SECS
    while not there(kill_resume.new_lines(log, start)):
        if child.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"not in {log}; exit code {child.poll()}")
        time.sleep(0.01)


def uploaded(folder: pathlib.Path, url: str) -> None:
    """Copies the files of a folder to a store."""
    files = _files()
    for path in files.walk(str(folder)):
        files.copy(path, f"{url}/{os.path.relpath(path, folder)}")


def downloaded(url: str, folder: pathlib.Path) -> pathlib.Path:
    """Copies what is below a URL to a folder."""
    files = _files()
    for path in files.walk(url):
        target = folder / os.path.relpath(path, url)
        target.parent.mkdir(parents=True, exist_ok=True)
        files.copy(path, str(target))
    return folder


def _files() -> object:
    from mnist_estimator import compat, storage

    compat.quiet()
    storage.install_for("s3://")
    from mnist_estimator.runtime import files

    return files


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    sys.exit(main())
