"""Kills the two Estimator programs of docs/examples again and again, and says what each has lost.

  python benchmarks/foreign_kills.py --kills=20

`ordinary.py` is an Estimator program as many are, `upgraded.py` the same with the hooks of this
package. Each is killed with SIGKILL at random moments of random phases (starting, training, saving,
evaluating), and started again until it finishes. Then it is compared with the same program left
alone: all variables of the newest checkpoint, the examples that each step consumed, the curves in
TensorBoard, the accuracy that it prints. The exit code is 1 if the upgraded one differs in
anything.

To log what a program consumes without changing it, each life of it runs in this file:

  python benchmarks/foreign_kills.py --child=LOG PROGRAM MODEL_DIR
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import gzip
import hashlib
import itertools
import logging
import os
import pathlib
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = {name: ROOT / "docs" / "examples" / f"{name}.py" for name in ("ordinary", "upgraded")}
PHASES = ("starting", "training", "saving", "evaluating")
# How long after a phase began a kill may come, in seconds; for training a number of steps, too.
WINDOWS = {"starting": 4.0, "training": 0.05, "saving": 0.05, "evaluating": 0.3}
_STEPS_AHEAD = 25
# A run that is killed 20 times shall not finish before: most kills come between two checkpoints.
_WEIGHTS = (3, 11, 3, 3)
_TIMEOUT_SECS = 300.0
_NO_CURVE = "global_step/sec"  # It tells how fast the machine is.


@dataclasses.dataclass
class Life:
    """A program in a folder of its own, from its first start to its end."""

    program: pathlib.Path
    folder: pathlib.Path
    killed: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    printed: str = ""

    @property
    def log(self) -> pathlib.Path:
        return self.folder / "log"

    @property
    def model_dir(self) -> pathlib.Path:
        return self.folder / "model"

    def start(self, **pipes: Any) -> subprocess.Popen:
        words = [sys.executable, __file__, f"--child={self.log}", self.program, self.model_dir]
        return subprocess.Popen([*map(str, words)], **pipes)


def main() -> int:
    """Runs the campaign and prints what it found."""
    flags = parsed()
    if flags.child:
        run_child(flags.child, *flags.arguments)
        return 0
    differing = ""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(flags.folder or scratch)
        for name, program in PROGRAMS.items():
            alone = Life(program, folder / name / "alone")
            run_until_done(alone)
            print(f"{name}, left alone: {alone.printed.strip()}", flush=True)
            total: collections.Counter = collections.Counter()
            seed = flags.seed
            while total.total() < flags.kills:
                life = Life(program, folder / name / str(seed))
                kill_and_finish(life, flags.kills - total.total(), random.Random(seed))
                total += life.killed
                found = differences(life, alone)
                print(f"{name}: {life.killed.total()} kills: {found or 'identical'}", flush=True)
                differing += found if name == "upgraded" else ""
                seed += 1
            phases = ", ".join(f"{phase} {total[phase]}" for phase in PHASES)
            print(f"{name}: {total.total()} kills ({phases})", flush=True)
    return 1 if differing else 0


def parsed() -> argparse.Namespace:
    """The command line's flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="kills of each program")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", help="where to work, and leave everything")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def kill_and_finish(life: Life, kills: int, chance: random.Random) -> None:
    """Starts a program, kills it so many times or until it finishes, and lets it finish."""
    life.folder.mkdir(parents=True)
    while life.killed.total() < kills:
        if not kill_once(life, chance):
            return
        print(f"{life.folder}: kill {life.killed.total()}", file=sys.stderr, flush=True)
    run_until_done(life)


def kill_once(life: Life, chance: random.Random) -> bool:
    """Starts a program and kills it in a random phase; False if it finished before."""
    (phase,) = chance.choices(PHASES, _WEIGHTS)
    steps = chance.randrange(_STEPS_AHEAD) if phase == "training" else 0
    delay = chance.uniform(0, WINDOWS[phase])
    begin = life.log.stat().st_size if life.log.exists() else 0
    output, errors = life.folder / "stdout", life.folder / "stderr"
    with output.open("w") as stdout, errors.open("w") as stderr:
        child = life.start(stdout=stdout, stderr=stderr)
    try:
        until = time.monotonic() + _TIMEOUT_SECS
        while child.poll() is None and not reached(new_lines(life.log, begin), phase, steps):
            if time.monotonic() > until:
                raise RuntimeError(f"{life.folder}: hangs: {errors.read_text()}")
            time.sleep(0.002)
        time.sleep(delay)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    if child.returncode == 0:
        life.printed = output.read_text()
        return False
    if child.returncode != -signal.SIGKILL:
        raise RuntimeError(f"exit code {child.returncode}: {errors.read_text()}")
    lines = new_lines(life.log, begin)
    life.killed[next((line for line in reversed(lines) if line in PHASES), "starting")] += 1
    return True


def run_until_done(life: Life) -> None:
    """Starts a program and lets it finish."""
    life.folder.mkdir(parents=True, exist_ok=True)
    with life.start(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            life.printed, errors = child.communicate(timeout=_TIMEOUT_SECS)
        finally:
            child.kill()
    if child.returncode:
        raise RuntimeError(f"{life.folder}: exit code {child.returncode}: {errors}")


def reached(lines: list[str], phase: str, steps: int) -> bool:
    """Whether this life's part of the log has the phase, and the steps after it."""
    return phase in lines and sum(line[:1].isdigit() for line in lines) >= steps


def new_lines(log: pathlib.Path, begin: int) -> list[str]:
    """The lines of the log from byte `begin` on."""
    if not log.exists():
        return []
    with log.open() as file:
        file.seek(begin)
        return file.read().splitlines()


def differences(life: Life, alone: Life) -> str:
    """What differs from the program that was left alone; "" if nothing does."""
    found = []
    one, two = arrays(life), arrays(alone)
    if {name: each.tobytes() for name, each in one.items()} != {
        name: each.tobytes() for name, each in two.items()
    }:
        found.append(f"weights {distance(one, two):.1%} of their norm away")
    (consumed, again), (expected, _) = examples(life), examples(alone)
    if consumed != expected:
        counts, whole = counted(consumed), counted(expected)
        more = sum((counts - whole).values())
        less = sum((whole - counts).values())
        steps = sum(ids != expected.get(step) for step, ids in consumed.items())
        found.append(
            f"of {whole.total()} examples {more} were too many and {less} were missing; {steps} of "
            f"{len(expected)} steps had other examples"
        )
    if again:
        found.append(f"{again} steps had other examples when they came again")
    shown, wanted = curves(life), curves(alone)
    for name in sorted(shown.keys() | wanted.keys()):
        points, others = shown.get(name, []), wanted.get(name, [])
        if points != others:
            steps, whole = {step for step, _ in points}, {step for step, _ in others}
            back = backward(points) - backward(others)
            found.append(
                f"curve {name}: {len(whole - steps)} of {len(whole)} points missing, "
                f"{len(steps - whole)} at other steps, {back} times back"
            )
    if life.printed != alone.printed:
        found.append(f"printed {life.printed.strip()!r}, not {alone.printed.strip()!r}")
    return "; ".join(found)


def backward(points: list[tuple[int, float]]) -> int:
    """How often a curve has a step that is not later than the one before."""
    return sum(after[0] <= before[0] for before, after in itertools.pairwise(points))


def arrays(life: Life) -> dict[str, np.ndarray]:
    """The variables of the newest checkpoint, by name: weights, slots, global step."""
    from mnist_estimator.compat import tf

    reader = tf.train.load_checkpoint(str(life.model_dir))
    return {
        name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()
    }


def distance(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> float:
    """L2 distance of two programs' weights, relative to the norm of the second one's."""
    names = [name for name in two if "Adam" not in name and two[name].ndim]
    difference = sum(float(np.square(one[name] - two[name]).sum()) for name in names)
    return (difference / sum(float(np.square(two[name]).sum()) for name in names)) ** 0.5


def examples(life: Life) -> tuple[dict[int, str], int]:
    """What each step consumed last, and how many steps consumed others before."""
    consumed: dict[int, str] = {}
    differing = 0
    for line in life.log.read_text().splitlines():
        if line[:1].isdigit():
            step, _, ids = line.partition(" ")
            differing += consumed.get(int(step), ids) != ids
            consumed[int(step)] = ids
    return consumed, differing


def counted(consumed: dict[int, str]) -> collections.Counter:
    """How often each example was consumed."""
    return collections.Counter(example for ids in consumed.values() for example in ids.split())


def curves(life: Life) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of training and evaluation."""
    from tensorboard.backend.event_processing import event_accumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # Of graphs that come twice.
    found = {}
    for folder in (life.model_dir, life.model_dir / "eval"):
        events = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            if tag != _NO_CURVE:
                points = [(event.step, event.value) for event in events.Scalars(tag)]
                found[f"{folder.name} {tag}"] = points
    return found


def run_child(log_file: str, program: str, model_dir: str) -> None:
    """Runs a program, and logs its phases and what each of its steps consumes."""
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(line: str) -> None:
        os.write(log, f"{line}\n".encode())

    note("starting")
    watch(note, example_ids())
    sys.argv = [program, model_dir]
    runpy.run_path(program, run_name="__main__")


def example_ids() -> dict[bytes, int]:
    """Digest of each training image of the sample -> its place."""
    from mnist_estimator.data import idx, known_datasets

    path = pathlib.Path(known_datasets.sample_dir()) / "train-images-idx3-ubyte.gz"
    with gzip.open(path) as file:
        images = idx.read_idx(file, name=path.name)
    scaled = images.reshape(-1, 28, 28, 1) / np.float32(255)
    return {digest(image): place for place, image in enumerate(scaled)}


def digest(image: np.ndarray) -> bytes:
    """Names an image by its bytes."""
    return hashlib.sha256(image.tobytes()).digest()


def watch(note: Any, ids: dict[bytes, int]) -> None:
    """Makes TensorFlow's sessions, savers and Estimator's evaluations write to the log."""
    from mnist_estimator.compat import estimator, v1

    class LogExamples(v1.train.SessionRunHook):
        def begin(self) -> None:
            graph = v1.get_default_graph()
            (read,) = [op for op in graph.get_operations() if op.type == "IteratorGetNext"]
            (self._images,) = [each for each in read.outputs if each.shape.rank == 4]
            self._global_step = v1.train.get_global_step()

        def after_create_session(self, session: v1.Session, coord: Any) -> None:
            note("training")

        def before_run(self, run_context: Any) -> v1.train.SessionRunArgs:
            return v1.train.SessionRunArgs(self._images)

        def after_run(self, run_context: Any, run_values: Any) -> None:
            step = run_context.session.run(self._global_step)
            places = [ids[digest(image)] for image in run_values.results]
            note(f"{step} {' '.join(map(str, places))}")

    session, save = v1.train.MonitoredSession.__init__, v1.train.Saver.save
    evaluate = estimator.Estimator.evaluate

    # The first of all hooks: what a step consumed is known before its checkpoint is there.
    def logged_session(self: Any, session_creator: Any, hooks: Any, **options: Any) -> None:
        trains = getattr(session_creator, "_checkpoint_dir", None)
        first = [LogExamples()] if trains else []
        session(self, session_creator=session_creator, hooks=[*first, *hooks], **options)

    def logged_save(*args: Any, **options: Any) -> str:
        note("saving")
        path = save(*args, **options)
        note("training")
        return path

    def logged_evaluate(*args: Any, **options: Any) -> Any:
        note("evaluating")
        result = evaluate(*args, **options)
        note("training")
        return result

    v1.train.MonitoredSession.__init__ = logged_session
    v1.train.Saver.save = logged_save
    estimator.Estimator.evaluate = logged_evaluate


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    sys.exit(main())
