"""Trains ten runs, replays every stretch of each, and looks for faults that it plants in others.

  python benchmarks/replay.py
  python benchmarks/replay.py --costs

Prints a table: for each run its stretches, what `replay --every` said of them, and the processor
seconds of both. Then one for the faults: what was planted, and who found it. Ends with 1 if a run
is not identical, or a fault is not found in its stretch. With --costs it measures what
`train --replay_steps` costs instead: each check beside the steps that it does again.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

_HERE = pathlib.Path(__file__).parent
_STEPS, _EVERY, _FAULT = 24, 8, 12  # Checkpoints at 0, 8, 16 and 24; a fault between two of them.
_USUAL = [f"--max_steps={_STEPS}", f"--save_checkpoints_steps={_EVERY}", "--export=none"]
_USUAL += ["--keep_checkpoint_max=0", "--batch_size=32"]
STOP = f"--stop={_FAULT}"
RUNS = {
    "cnn, bfloat16": ["--precision=bfloat16"],
    "cnn, float32": ["--precision=float32"],
    "cnn, float32, one thread": ["--precision=float32", "--intra_op_threads=1"],
    "streaming": ["--cache_mb=0", "--shuffle_buffer=1000"],
    "batch norm, dnn, momentum": ["--model=dnn", "--batch_norm=all", "--optimizer=momentum"],
    "batch norm, cnn": ["--batch_norm=dense", "--precision=float32"],
    "augmented": ["--rotate=10", "--shift=2", "--elastic=1", "--erase=0.3", "--mixup=0.2"],
    "averages, decay, clipping": [
        *("--ema_decay=0.99", "--weight_decay=0.01", "--clip_norm=1", "--label_smoothing=0.1"),
    ],
    "two workers": ["--workers=2"],
    "stopped, went on with other flags": [STOP, "--learning_rate=0.01"],
}


@dataclasses.dataclass
class Done:
    """A program that has ended: its code, what it printed, and its processor seconds."""

    code: int
    out: str
    err: str
    seconds: float


def main() -> int:
    """Runs everything and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--again", type=int, default=10, help="Steps of a check, with --costs.")
    parser.add_argument("--checks", type=int, default=7)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(scratch)
        run("prepare", "--dataset=sample", f"--data_dir={work}/data")
        if flags.costs:
            return measure_costs(work, flags.again, flags.checks)
        wrong = [replay_each(work), find_faults(work)]
    return 1 if any(wrong) else 0


def replay_each(work: pathlib.Path) -> int:
    """Trains and replays each of `RUNS`; returns how many are not identical."""
    print("| run | stretches | identical | training, CPU s | replay, CPU s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    wrong = 0
    for name, given in RUNS.items():
        trained = train(work, *given)
        done = run("replay", "--every", f"--model_dir={work}/run")
        stretches = [line for line in done.out.splitlines() if line.startswith("steps ")]
        identical = sum(line.endswith(": identical") for line in stretches)
        print(
            f"| {name} | {len(stretches)} | {identical} | {trained:.0f} | {done.seconds:.0f} |",
            flush=True,
        )
        if done.code or identical != len(stretches) or len(stretches) < 3:
            wrong += 1
            print(done.out, done.err)
        shutil.rmtree(work / "run")
    return wrong


def train(work: pathlib.Path, *given: str) -> float:
    """Trains a run in `work`; returns its processor seconds."""
    usual = [f"--data_dir={work}/data", f"--model_dir={work}/run", *_USUAL]
    flags = [flag for flag in given if not flag.startswith(("--workers", "--stop"))]
    if "--workers=2" in given:
        return checked(run("launch", "--workers=2", "--", *usual, *flags)).seconds
    seconds = 0.0
    if STOP in given:
        seconds = checked(run("train", *usual, f"--max_steps={_FAULT}")).seconds
    return seconds + checked(run("train", *usual, *flags)).seconds


def find_faults(work: pathlib.Path) -> int:
    """Plants faults, and looks who finds them; returns how many are not found."""
    print(f"\n| fault after step {_FAULT} | replay --every | train --replay_steps={_EVERY} |")
    print("| --- | --- | --- |")
    wrong = 0
    for fault in ("weight", "slot", "image", "noise"):
        usual = [f"--data_dir={work}/data", f"--model_dir={work}/run", *_USUAL]
        child = [str(_HERE / "replay_child.py"), f"--fault={fault}", f"--after={_FAULT}", *usual]
        checked(execute(child))
        done = run("replay", "--every", f"--model_dir={work}/run")
        differing = [line for line in done.out.splitlines() if line.endswith(": differ")]
        shutil.rmtree(work / "run")
        trained = execute([*child, f"--replay_steps={_EVERY}"])
        shutil.rmtree(work / "run")
        line = trained.err.strip().splitlines()[-1] if trained.code else "no difference"
        print(f"| {fault} | {'; '.join(differing)} | {trained.code}: {line[:160]} |", flush=True)
        stretches = 3 if fault == "noise" else 1
        found_by_steps = trained.code == (0 if fault == "image" else 1)
        wrong += not (done.code == 1 and len(differing) == stretches and found_by_steps)
    return wrong


def measure_costs(work: pathlib.Path, again: int, checks: int) -> int:
    """Prints the processor seconds of checks, beside those of the same steps as they were trained.

    All is one process: the default network, and a checkpoint at the end of each check's steps.
    """
    from mnist_estimator.cluster import roles
    from mnist_estimator.config import TrainConfig
    from mnist_estimator.training import step_replay, training

    began, rows = {}, []
    hook = step_replay.StepReplay
    plan, check = hook._plan, hook._check

    def timed_plan(self: step_replay.StepReplay, session: object) -> None:
        plan(self, session)
        if self._before and not self._batches:
            began["at"] = time.process_time()

    def timed_check(self: step_replay.StepReplay, session: object) -> None:
        begin = time.process_time()
        check(self, session)
        rows.append((begin - began["at"], time.process_time() - begin))

    hook._plan, hook._check = timed_plan, timed_check
    steps = {"max_steps": again * checks, "save_checkpoints_steps": again, "replay_steps": again}
    options = {"export": "none", "eval_split": "none", "log_steps": 10**6, **steps}
    folders = {"model_dir": f"{work}/run", "data_dir": f"{work}/data"}
    training.train(TrainConfig(**folders, **options), roles.Task())
    (_, first), *rest = rows  # The first one builds what runs the steps again.
    ratios = [check / steps for steps, check in rest]
    print(
        f"{again} steps again take {statistics.median(ratios):.2f} times what they took "
        f"({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} checks); the first check "
        f"{first - statistics.median(check for _, check in rest):.2f} s more"
    )
    return 0


def run(command: str, *flags: str) -> Done:
    """Runs a command of the package."""
    return execute(["-m", f"mnist_estimator.{command}", *flags])


def execute(words: list[str]) -> Done:
    """Runs a Python program to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Done(done.returncode, done.stdout, done.stderr, seconds)


def checked(done: Done) -> Done:
    """Returns a program's result, if it has ended well."""
    if done.code:
        raise SystemExit(f"ended with {done.code}: {done.out}{done.err}")
    return done


if __name__ == "__main__":
    sys.exit(main())
