"""Kills a sweep again and again, and compares its trials with those of an undisturbed one.

  python benchmarks/sweep_kills.py                    # 30 trials on the sample, 5 kills
  python benchmarks/sweep_kills.py --workers=2 --storage=postgresql://me@127.0.0.1/test

A kill is SIGKILL at a random moment, in turn to the sweep with its trial and to the sweep alone.
Then the same command goes on. Compared are each trial's state, value, flags and evaluations,
best.flags, and the variables of the best trial. With several workers what a trial is given depends
on which others have ended: then it is checked that all trials are there, each once, and that each
was run with the flags that the study has. The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from mnist_estimator.config import TrainConfig
from mnist_estimator.sweeps import plans, space, studies

ROOT = pathlib.Path(__file__).resolve().parents[1]
SPACE = """
learning_rate: {type: float, low: 1e-3, high: 1.0, log: true}
batch_size: {type: int, low: 20, high: 100, step: 20}
optimizer: {type: categorical, choices: [adam, momentum]}
"""
_TIMEOUT_SECS = 7200.0


class Sweep:
    """A sweep in a folder of its own: its command, and what its study says."""

    def __init__(self, name: str, flags: argparse.Namespace) -> None:
        self.folder = f"{name}"
        self._flags = flags
        self._name = f"{name}-{os.getpid()}" if flags.storage else "sweep"

    def command(self) -> list[str]:
        storage = [f"--storage={self._flags.storage}"] if self._flags.storage else []
        command = [sys.executable, "-m", "mnist_estimator.sweep", "--space=space.yaml", *storage]
        command += [f"--trials={self._flags.trials}", f"--study={self._name}", "--"]
        command += [f"--model_dir={self.folder}", "--data_dir=data", "--model=softmax"]
        command += [f"--max_steps={self._flags.steps}", "--intra_op_threads=1"]
        return [*command, f"--save_checkpoints_steps={self._flags.steps // 4}", "--log_steps=1000"]

    def start(self, log: str) -> subprocess.Popen[bytes]:
        with open(log, "ab") as output:
            environ = os.environ | {"PYTHONPATH": str(ROOT)}
            return subprocess.Popen(self.command(), stdout=output, stderr=output, env=environ)

    def trials(self) -> list[dict[str, object]]:
        """What is recorded of each trial that counts."""
        parameters = space.parse(SPACE.encode())
        config = TrainConfig(model_dir=self.folder)
        plan = plans.Plan(
            parameters=parameters,
            train_flags=(),
            config=config,
            trials=self._flags.trials,
            storage=self._flags.storage,
            study=self._name,
        )
        found = studies.counted(studies._opened(plan))
        return [
            {
                "number": trial.number,
                "state": trial.state.name,
                "value": trial.value,
                "flags": trial.params,
                "evaluations": trial.intermediate_values,
            }
            for trial in found
        ]

    def best_flags(self) -> str:
        """The text of best.flags, without the name of the folder."""
        text = pathlib.Path(self.folder, "best.flags").read_text(encoding="utf-8")
        return text.replace(self.folder, "SWEEP")

    def best_variables(self) -> dict[str, str]:
        """The digests of the newest checkpoint of the best trial, by the names of its files."""
        folder = self.best_flags().rpartition("--model_dir=SWEEP/")[2].strip()
        run = pathlib.Path(self.folder, folder)
        return {path.name: path.read_text() for path in sorted(run.glob("model.ckpt-*.sha256"))}


def main() -> int:
    """Runs both sweeps and prints what differs."""
    flags = parsed()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(flags.folder or scratch)
        pathlib.Path("space.yaml").write_text(SPACE, encoding="utf-8")
        prepare = ["mnist_estimator.prepare", "--dataset=sample", "--data_dir=data"]
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-m", *prepare], check=True, env=environ)
        alone, killed = Sweep("undisturbed", flags), Sweep("killed", flags)
        if flags.workers == 1:
            finish(alone, "undisturbed.log", 1)
        kills = kill_again_and_again(killed, flags)
        finish(killed, "killed.log", flags.workers)
        print(f"kills: {json.dumps(kills)}")
        problems = compare(alone, killed) if flags.workers == 1 else check(killed, flags)
    print(*(problems or ["identical" if flags.workers == 1 else "all there, each once"]), sep="\n")
    return 1 if problems else 0


def parsed() -> argparse.Namespace:
    """The command line's flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40, help="steps of a trial")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--storage", default="", help="as of the command sweep")
    parser.add_argument("--folder", help="where to work, and leave everything")
    return parser.parse_args()


def finish(sweep: Sweep, log: str, workers: int) -> None:
    """Runs a sweep to its end."""
    running = [sweep.start(log) for _ in range(workers)]
    codes = [each.wait(_TIMEOUT_SECS) for each in running]
    if any(codes):
        raise RuntimeError(f"{codes}: {pathlib.Path(log).read_text(encoding='utf-8')[-2000:]}")


def kill_again_and_again(sweep: Sweep, flags: argparse.Namespace) -> list[str]:
    """Starts a sweep and kills it at a random moment, as often as asked; says what was killed."""
    chance = random.Random(flags.seed)
    kills = []
    while len(kills) < flags.kills:
        before = ended(sweep)
        running = [sweep.start("killed.log") for _ in range(flags.workers)]
        try:
            # After some more trials, and then anywhere in one.
            wait_for(sweep, before + chance.randrange(1, 2 + flags.trials // (flags.kills + 2)))
            time.sleep(chance.uniform(0, 8))
        finally:
            for worker in running:
                if worker.poll() is not None:
                    raise RuntimeError("the sweep ended before it was killed: more --trials")
                kills.append(kill(worker, whole=len(kills) % 2 == 0))
    return kills


def wait_for(sweep: Sweep, count: int) -> None:
    """Waits until so many trials have ended."""
    until = time.monotonic() + _TIMEOUT_SECS
    while ended(sweep) < count:
        if time.monotonic() > until:
            raise RuntimeError(f"{count} trials did not end: see killed.log")
        time.sleep(0.5)


def ended(sweep: Sweep) -> int:
    """How many trials have ended."""
    if not sweep._flags.storage and not pathlib.Path(sweep.folder, plans.STUDY_FILE).exists():
        return 0
    return sum(trial["state"] != "RUNNING" for trial in sweep.trials())


def kill(worker: subprocess.Popen[bytes], whole: bool) -> str:
    """Kills a worker, its trial first if the whole is to go; says what was killed."""
    children = pathlib.Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    victims = [*map(int, children)] if whole else []
    for pid in (worker.pid, *victims):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    worker.wait()
    return f"the sweep and {len(victims)} trial" if whole else "the sweep"


def compare(alone: Sweep, killed: Sweep) -> list[str]:
    """What differs between two sweeps that were to be the same."""
    problems = []
    first, second = alone.trials(), killed.trials()
    if len(first) != len(second):
        problems.append(f"{len(first)} and {len(second)} trials")
    for one, other in zip(first, second, strict=False):
        if one != other:
            problems.append(f"undisturbed: {one}\nkilled:      {other}")
    if alone.best_flags() != killed.best_flags():
        problems.append("best.flags differ")
    if alone.best_variables() != killed.best_variables() or not alone.best_variables():
        problems.append("the variables of the best trial differ")
    states = [trial["state"] for trial in first]
    print({state: states.count(state) for state in sorted(set(states))})
    print(alone.best_flags())
    return problems


def check(killed: Sweep, flags: argparse.Namespace) -> list[str]:
    """What is wrong with the trials of a sweep of several workers."""
    found = killed.trials()
    states = [trial["state"] for trial in found]
    print({state: states.count(state) for state in sorted(set(states))})
    problems = [f"trial {t['number']} is {t['state']}" for t in found if t["state"] == "RUNNING"]
    if len(found) != flags.trials:
        problems.append(f"{len(found)} trials, expected {flags.trials}")
    for trial in found:
        run = pathlib.Path(killed.folder, f"trial-{trial['number']:05}", "run.json")
        recorded = json.loads(run.read_text(encoding="utf-8"))["flags"]
        if {name: recorded[name] for name in trial["flags"]} != trial["flags"]:
            problems.append(f"trial {trial['number']} was run with other flags")
    return problems


if __name__ == "__main__":
    sys.exit(main())
