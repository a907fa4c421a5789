"""Kills training with SIGKILL again and again, and compares its results with an undisturbed run.

  python benchmarks/kill_resume.py --kills=200              # half in memory, half streaming
  python benchmarks/kill_resume.py --kills=50 --ordinary    # the same with an ordinary input_fn

Each run trains a small network on subsampled digits, and saves and evaluates every 20 steps. It is
killed at random moments of random phases (starting, training, saving, evaluating, exporting) and
started again until it finishes. Then its variables and optimizer slots, its log of consumed
examples, its evaluations, its export and its TensorBoard curves are compared with those of an
undisturbed run. The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import gzip
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from mnist_estimator.data import idx, known_datasets

CHILD = pathlib.Path(__file__).with_name("kill_resume_child.py")
PHASES = ("starting", "training", "saving", "evaluating", "exporting")
# How long after a phase began a kill may come, in seconds; for training a number of steps, too.
WINDOWS = {"starting": 4.0, "training": 0.05, "saving": 0.1, "evaluating": 1.5, "exporting": 1.5}
_STEPS_AHEAD = 30
# A run that gets as far as its export is all but over.
_WEIGHTS = (4, 8, 6, 6, 1)
_TIMEOUT_SECS = 600.0
_CURVES = ("loss", "accuracy", "learning_rate")


@dataclasses.dataclass
class Plan:
    """One run: its folder, its flags, and when it is killed."""

    folder: pathlib.Path
    data_dir: pathlib.Path | str
    seed: int
    cache_mb: int
    kills: int = 0
    steps: int = 300
    ordinary: bool = False
    popen: Callable[..., subprocess.Popen] = subprocess.Popen
    killed: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    @property
    def log(self) -> pathlib.Path:
        return self.folder / "log"

    @property
    def model_dir(self) -> pathlib.Path:
        return self.folder / "model"

    @property
    def model_path(self) -> str:
        """What the child has for its model_dir."""
        return str(self.model_dir)

    def command(self) -> list[str]:
        return [
            sys.executable,
            str(CHILD),
            f"--log={self.log}",
            f"--model_dir={self.model_path}",
            f"--data_dir={self.data_dir}",
            f"--seed={self.seed}",
            f"--cache_mb={self.cache_mb}",
            f"--max_steps={self.steps}",
            "--shuffle_buffer=500",
            "--save_checkpoints_steps=20",
            "--log_steps=10",
            # A checkpoint at the end of an epoch would hide which examples are repeated.
            "--batch_size=64",
            "--intra_op_threads=1",
            f"--ordinary={self.ordinary}",
        ]


def main() -> int:
    """Runs the campaign and prints what it found."""
    flags = parsed()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(flags.folder or scratch)
        data_dir = small_dataset(folder / "data")
        differing, runs, total = 0, 0, collections.Counter()
        for seed in itertools.count(flags.seed):
            plans = pair_of_plans(folder, data_dir, seed, flags)
            with concurrent.futures.ThreadPoolExecutor(len(plans)) as pool:
                reports = list(pool.map(ordinary_report if flags.ordinary else report, plans))
            for plan, found in zip(plans, reports, strict=True):
                print(
                    f"{plan.folder.name}: {plan.killed.total()} kills: {found or 'identical'}",
                    flush=True,
                )
                total += plan.killed
            runs += len(plans)
            differing += sum(map(bool, reports))
            if total.total() >= flags.kills:
                break
    phases = ", ".join(f"{phase} {total[phase]}" for phase in PHASES)
    print(f"{total.total()} kills in {runs} runs ({phases})")
    return 0 if flags.ordinary or not differing else 1


def pair_of_plans(
    folder: pathlib.Path, data_dir: pathlib.Path, seed: int, flags: argparse.Namespace
) -> list[Plan]:
    """The runs of one seed: with the data in memory, and streaming; an ordinary one streams."""
    modes = {"stream": 0} if flags.ordinary else {"memory": 1024, "stream": 0}
    return [
        Plan(
            folder / f"{name}-{seed}",
            data_dir,
            seed,
            cache_mb,
            kills=flags.kills_each,
            steps=flags.steps,
            ordinary=flags.ordinary,
        )
        for name, cache_mb in modes.items()
    ]


def parsed() -> argparse.Namespace:
    """The command line's flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="kills in all")
    parser.add_argument("--kills_each", type=int, default=25, help="kills of one run")
    parser.add_argument("--steps", type=int, default=300, help="steps of a run")
    parser.add_argument("--seed", type=int, default=0, help="the first run's")
    parser.add_argument("--ordinary", action="store_true", help="measure an ordinary input_fn")
    parser.add_argument("--folder", help="where to work, and leave everything")
    return parser.parse_args()


def small_dataset(data_dir: pathlib.Path) -> pathlib.Path:
    """The bundled digits, every third pixel of every third row: a network of them saves fast."""
    data_dir.mkdir(parents=True, exist_ok=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        with gzip.open(pathlib.Path(known_datasets.sample_dir()) / f"{name}-ubyte.gz") as file:
            array = idx.read_idx(file, name=name)
        with (data_dir / f"{name}-ubyte").open("wb") as file:
            idx.write_idx(
                file,
                np.ascontiguousarray(array[:1300, ::3, ::3]) if array.ndim > 1 else array[:1300],
            )
    prepare = ["mnist_estimator.prepare", f"--data_dir={data_dir}", "--validation_split=300"]
    subprocess.run([sys.executable, "-m", *prepare], check=True, capture_output=True)
    return data_dir


def report(plan: Plan) -> str:
    """What differs between a plan and the same without kills."""
    return compare(plan, undisturbed(plan))


def undisturbed(plan: Plan) -> Plan:
    """Runs the same without kills."""
    alone = dataclasses.replace(plan, folder=plan.folder / "alone", kills=0)
    run_until_done(alone)
    return alone


def compare(plan: Plan, alone: Plan) -> str:
    """Runs a plan; returns what differs from the undisturbed run, "" if nothing does."""
    run_until_done(plan)
    differing = [
        name
        for name, found in {
            "variables": variables,
            "consumed examples": lambda of: consumed(of)[0],
            "evaluations": lambda of: (of.model_dir / "evaluations.json").read_text(),
            "test result": lambda of: (
                json.loads((of.model_dir / "metrics.json").read_text()) | {"checkpoint": ""}
            ),
            "export": exported,
            "curves": curves,
        }.items()
        if found(plan) != found(alone)
    ]
    again = consumed(plan)[1]
    if again:
        differing.append(f"steps {again} consumed other examples when they came again")
    return ", ".join(differing)


def run_until_done(plan: Plan) -> None:
    """Starts the child, kills it as often as planned, and lets it finish."""
    chance = random.Random(f"{plan.seed} {plan.cache_mb}")
    plan.folder.mkdir(parents=True, exist_ok=True)
    plan.killed.clear()
    while plan.killed.total() < plan.kills:
        if live_and_die(plan, chance):
            return
        print(f"{plan.folder.name}: kill {plan.killed.total()}", file=sys.stderr, flush=True)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with plan.popen(plan.command(), **pipes, text=True) as child:
        try:
            _, errors = child.communicate(timeout=_TIMEOUT_SECS)
        finally:
            child.kill()
    if child.returncode:
        raise RuntimeError(f"{plan.folder.name}: exit code {child.returncode}: {errors}")


def live_and_die(plan: Plan, chance: random.Random) -> bool:
    """Starts the child and kills it in a random phase; True if it finished before."""
    (phase,) = chance.choices(PHASES, _WEIGHTS)
    steps = chance.randrange(_STEPS_AHEAD) if phase == "training" else 0
    delay = chance.uniform(0, WINDOWS[phase])
    start = plan.log.stat().st_size if plan.log.exists() else 0
    errors = plan.folder / "stderr"
    with errors.open("w") as stderr:
        child = plan.popen(plan.command(), stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        until = time.monotonic() + _TIMEOUT_SECS
        while child.poll() is None and not reached(plan.log, start, phase, steps):
            if time.monotonic() > until:
                raise RuntimeError(f"{plan.folder.name}: hangs: {errors.read_text()}")
            time.sleep(0.002)
        time.sleep(delay)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    if child.returncode == 0:
        return True
    if child.returncode != -signal.SIGKILL:
        raise RuntimeError(f"exit code {child.returncode}: {errors.read_text()}")
    plan.killed[last_phase(plan.log, start)] += 1
    return False


def reached(log: pathlib.Path, start: int, phase: str, steps: int) -> bool:
    """Whether this life's part of the log has the phase, and the steps after it."""
    lines = new_lines(log, start)
    if phase not in lines:
        return False
    return not steps or sum(line[:1].isdigit() for line in lines) >= steps


def last_phase(log: pathlib.Path, start: int) -> str:
    """The phase that this life's part of the log ends in."""
    return next((line for line in reversed(new_lines(log, start)) if line in PHASES), "starting")


def new_lines(log: pathlib.Path, start: int) -> list[str]:
    """The lines of the log from byte `start` on."""
    if not log.exists():
        return []
    with log.open() as file:
        file.seek(start)
        return file.read().splitlines()


def consumed(plan: Plan) -> tuple[dict[int, str], list[int]]:
    """The examples that each step consumed last, and the steps that consumed others before."""
    examples, differing = {}, []
    for line in plan.log.read_text().splitlines():
        if line[:1].isdigit():
            step, _, ids = line.partition(" ")
            if examples.get(int(step), ids) != ids:
                differing.append(int(step))
            examples[int(step)] = ids
    return examples, differing


def variables(plan: Plan) -> dict[str, bytes]:
    """Every variable of the newest checkpoint: weights, slots, moving averages, global step."""
    return {name: value.tobytes() for name, value in arrays(plan).items()}


def arrays(plan: Plan) -> dict[str, np.ndarray]:
    """The variables of the newest checkpoint, by name."""
    from mnist_estimator.compat import tf

    reader = tf.train.load_checkpoint(str(plan.model_dir))
    return {
        name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()
    }


def exported(plan: Plan) -> dict[str, bytes]:
    """The exported graph and variables, by file.

    The hidden folder of an export that was killed is none: a later export removes it after a day.
    """
    from mnist_estimator.serving import saved_model

    folder = plan.model_dir / "export"
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        str(name): path.read_bytes()
        for name, path in files.items()
        if not any(map(saved_model._SCRATCH.fullmatch, name.parts))
    }


def curves(plan: Plan) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of training, evaluation and test."""
    from tensorboard.backend.event_processing import event_accumulator

    found = {}
    for folder in (".", "eval", "eval_test"):
        events = event_accumulator.EventAccumulator(str(plan.model_dir / folder))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            if tag in _CURVES:
                found[f"{folder} {tag}"] = [(e.step, e.value) for e in events.Scalars(tag)]
    return found


def ordinary_report(plan: Plan) -> str:
    """How many examples an ordinary run repeats and skips, and where its weights end."""
    alone = undisturbed(plan)
    twin = dataclasses.replace(plan, folder=plan.folder / "twin", kills=0)
    for each in (twin, plan):
        run_until_done(each)
    counts = collections.Counter(
        example for ids in consumed(plan)[0].values() for example in ids.split()
    )
    whole = collections.Counter(
        example for ids in consumed(alone)[0].values() for example in ids.split()
    )
    more = sum((counts - whole).values())
    return (
        f"{more} of {whole.total()} examples repeated, as many skipped; weights end "
        f"{distance(plan, alone):.3f} from the undisturbed run's (two undisturbed ones: "
        f"{distance(twin, alone):.3f})"
    )


def distance(plan: Plan, other: Plan) -> float:
    """L2 distance of two runs' weights, relative to how far the other's moved in training."""
    one, two = arrays(plan), arrays(other)
    names = [name for name in one if "Adam" not in name and one[name].ndim]
    difference = sum(float(np.square(one[name] - two[name]).sum()) for name in names)
    size = sum(float(np.square(two[name]).sum()) for name in names)
    return (difference / size) ** 0.5


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(CHILD.parents[1]))
    sys.exit(main())
