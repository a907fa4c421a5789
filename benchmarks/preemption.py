"""Measures how long training takes to end after a signal, at random moments.

  python benchmarks/preemption.py --signals=20

The default network trains on the bundled digits, and saves and evaluates every 20 steps. It gets
SIGTERM, SIGUSR1 or SIGINT in a random phase, and is started again, for as many signals as asked.
Each signal must end it with the documented exit code and one line, and without losing a step.
Prints the seconds by phase, their median and their maximum.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import kill_resume

_CODES = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGINT: 130}


def main() -> int:
    """Sends the signals and prints what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--signals", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    chance = random.Random(flags.seed)
    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        data_dir = pathlib.Path(scratch) / "data"
        prepare = ["mnist_estimator.prepare", "--dataset=sample", f"--data_dir={data_dir}"]
        subprocess.run([sys.executable, "-m", *prepare], check=True, capture_output=True)
        run = 0
        while len(seconds) < flags.signals:
            # A run that is done has no step left to interrupt.
            folder = pathlib.Path(scratch) / str(run)
            folder.mkdir(exist_ok=True)
            plan = kill_resume.Plan(folder, data_dir, seed=run, cache_mb=1024, steps=200)
            taken = signal_once(plan, chance)
            if taken is None:
                run += 1
            else:
                seconds.append(taken)
    print(
        f"{len(seconds)} signals: median {statistics.median(seconds):.2f} s, "
        f"maximum {max(seconds):.2f} s"
    )
    return 0


def signal_once(plan: kill_resume.Plan, chance: random.Random) -> float | None:
    """Starts training and signals it in a random phase; seconds to its end, None if it was done."""
    phase = chance.choice(kill_resume.PHASES)
    steps = chance.randrange(40) if phase == "training" else 0
    number = chance.choice(list(_CODES))
    start = plan.log.stat().st_size if plan.log.exists() else 0
    child = subprocess.Popen(
        plan.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while child.poll() is None and not kill_resume.reached(plan.log, start, phase, steps):
        time.sleep(0.002)
    time.sleep(chance.uniform(0, kill_resume.WINDOWS[phase]))
    reached = kill_resume.last_phase(plan.log, start)
    sent = time.monotonic()
    child.send_signal(number)
    *_, line = child.communicate()[1].splitlines() or [""]
    taken = time.monotonic() - sent
    if child.returncode == 0:
        return None
    print(f"{number.name} while {reached}: {taken:.2f} s, exit code {child.returncode}: {line}")
    if child.returncode != _CODES[number] or number.name not in line:
        raise SystemExit("expected the exit code of the contract and a line that names the signal")
    return taken


if __name__ == "__main__":
    sys.exit(main())
