"""Tests whether synchronous workers train exactly as one process does, also if some are killed.

  python benchmarks/synchronous.py                     # all of it
  python benchmarks/synchronous.py --part=kills --kills=30 --seed=1

Clusters are on loopback; each task is a process with its TF_CONFIG. With 1, 2 and 4 workers each
task logs the loss of every step and the examples that it consumed. The slices of all workers, one
after the other, must be the batch that one process consumed in that step, and every epoch must hold
every example once. The losses may differ by rounding, since the sums are in another order. To
measure how much that is, one process trains once more on pixels changed in their last bit: in a
deep network such differences grow, too. Then a run of 2 workers is killed again and again: each
time one task, at random, gets SIGKILL at a random moment of training, the other task has to end by
itself, and the same command is started again. The result must equal that of an undisturbed run, bit
for bit. The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from clusters import free_hosts

_LOG = "SYNCHRONOUS_LOG"  # In a task's environment: the file for what it consumes.
_BATCH, _EXAMPLES = 60, 3600  # Of the sample's 4,000, validation takes 400.
_FLAGS = {
    "dataset": "sample",
    "data_dir": "data",
    "validation_split": 400,
    "batch_size": _BATCH,
    "precision": "float32",
    "export": "none",
}
_TRAININGS = {
    "softmax, sgd": {"model": "softmax", "optimizer": "sgd", "learning_rate": 0.1},
    "softmax, adam, streaming": {"model": "softmax", "optimizer": "adam", "cache_mb": 0},
    # Dropout and batch normalization, too, are to be those of the whole batch. The learning rate is
    # low, as rounding grows with it: at 0.05 losses are a tenth apart after 10 steps.
    "cnn, sgd, batch norm": {
        "model": "cnn",
        "optimizer": "sgd",
        "learning_rate": 0.001,
        "batch_norm": "all",
    },
}
_WORKERS = (2, 4)  # Each is compared with 1.
# A step's loss may be so far, relatively, from the one process's, or so many times as far as that
# of the one whose pixels are changed.
_TOLERANCE, _TOLERANCE_TIMES = 1e-5, 10
_LAST_BIT = {"pixel_max": 1.0000001}
_KILLED = {"model": "softmax", "optimizer": "adam", "save_checkpoints_steps": 40}
_STEPS_AHEAD = 80  # A kill comes within so many steps of a start, and so many seconds after them.
_SECS_AHEAD = 0.5
_LOST = 138  # The exit code of a task that has lost another task.
_QUIET_SECS = 180.0  # A run that prints nothing for so long hangs.


@dataclasses.dataclass(frozen=True)
class Run:
    """A run: where, how many workers train, and with which flags; `hosts` stay the same."""

    work: pathlib.Path
    name: str
    workers: int
    flags: dict[str, object]
    hosts: tuple[str, ...]

    @property
    def tasks(self) -> list[str]:
        """The tasks' names in the order of their slices."""
        return ["chief 0", *(f"worker {index}" for index in range(self.workers - 1))]

    @property
    def model_dir(self) -> pathlib.Path:
        return self.work / self.name

    def path(self, task: str, what: str) -> pathlib.Path:
        """A file of a task: what it consumed, or its output."""
        return self.work / f"{self.name}.{task.replace(' ', '')}.{what}"

    def command(self) -> list[str]:
        settings = _FLAGS | self.flags | {"model_dir": self.name}
        settings["strategy"] = "multi_worker" if self.workers > 1 else "none"
        return [sys.executable, __file__, *(f"--{flag}={v}" for flag, v in settings.items())]

    def environment(self, task: str) -> dict[str, str]:
        # Where there are GPUs: the sums of one that others use too are none of this.
        found = os.environ | {_LOG: str(self.path(task, "log")), "CUDA_VISIBLE_DEVICES": "-1"}
        if self.workers > 1:
            role, index = task.split()
            jobs = {"chief": self.hosts[:1], "worker": self.hosts[1:]}
            this = {"type": role, "index": int(index)}
            found["TF_CONFIG"] = json.dumps({"cluster": jobs, "task": this})
        return found


def main() -> int:
    """Runs both parts; returns the exit code."""
    settings = _parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the tasks are ended, too.
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(settings.folder or folder).absolute()
        work.mkdir(parents=True, exist_ok=True)
        _prepare(work)
        if settings.part in ("all", "exact"):
            for name, flags in _TRAININGS.items():
                if settings.only in name:
                    wrong += compare_workers(work, name, flags, settings.steps)
        if settings.part in ("all", "kills"):
            wrong += compare_killed(work, settings.kills, settings.kill_steps, settings.seed)
    print("nothing differs" if not wrong else f"{wrong} differences")
    return 1 if wrong else 0


def compare_workers(work: pathlib.Path, name: str, flags: dict[str, object], steps: int) -> int:
    """Trains with 1, 2 and 4 workers and prints how they compare; returns how much is wrong."""
    print(f"{name}: {steps} steps of {_BATCH} of {_EXAMPLES:,} examples", flush=True)

    def trained(workers: int, which: str, flags: dict[str, object]) -> Run:
        run = _run(work, f"{name}-{which}".replace(", ", "-"), workers, flags, steps)
        _run_to_end(run)
        return run

    run = trained(1, "1", flags)
    losses, batches = _trained(run)
    epochs = _whole_epochs(batches)
    print(f"  1 worker:  test accuracy {_accuracy(run)}; {epochs} epochs of each example once")
    changed, _ = _trained(trained(1, "last bit", flags | _LAST_BIT))
    limit = max(_TOLERANCE, _TOLERANCE_TIMES * _apart(changed, losses))
    print(f"  1 worker, pixels changed in the last bit: {_shown(changed, losses)}", flush=True)
    wrong = int(epochs != steps * _BATCH // _EXAMPLES)
    for workers in _WORKERS:
        run = trained(workers, str(workers), flags)
        theirs, slices = _trained(run)
        same = sum(slices.get(step) == batch for step, batch in batches.items())
        wrong += slices != batches or not _apart(theirs, losses) <= limit
        print(
            f"  {workers} workers: test accuracy {_accuracy(run)}; {same} of {steps} steps had the "
            f"one process's batch in slices; {_shown(theirs, losses)}",
            flush=True,
        )
    return wrong


def _apart(losses: dict[int, float], expected: dict[int, float]) -> float:
    """The largest relative difference of a step's loss."""
    return max(abs(losses[step] / loss - 1) for step, loss in expected.items())


def _shown(losses: dict[int, float], expected: dict[int, float]) -> str:
    first = _apart(losses, {1: expected[1]})
    return f"loss {first:.1e} apart at step 1, at most {_apart(losses, expected):.1e}"


def compare_killed(work: pathlib.Path, kills: int, steps: int, seed: int) -> int:
    """Kills tasks of a run of 2 workers and prints what differs; returns how much is wrong."""
    alone = _run(work, "undisturbed", 2, _KILLED, steps)
    _run_to_end(alone)
    killed = dataclasses.replace(alone, name="killed", hosts=_hosts(2))
    chance, wrong, done = random.Random(seed), 0, 0
    while done < kills:
        line = _live_and_die(killed, chance)
        if not line:
            print(f"  the run was over after {done} kills; give more --kill_steps")
            wrong += 1
            break
        done += 1
        as_expected = line.endswith(f" {_LOST}")
        wrong += not as_expected
        print(f"  kill {done:2}: {line}{'' if as_expected else '  WRONG'}", flush=True)
    _run_to_end(killed)
    found = _differences(killed, alone)
    print(f"{done} kills, {steps} steps, 2 workers: {'; '.join(found) or 'the same bits'}")
    return wrong + len(found)


def _differences(killed: Run, alone: Run) -> list[str]:
    """What a killed run ended with that the undisturbed one did not."""
    found = []
    one, two = _variables(killed), _variables(alone)
    if one != two:
        names = [name for name in one.keys() | two.keys() if one.get(name) != two.get(name)]
        found.append(f"variables differ: {', '.join(sorted(names))}")
    if _trained(killed) != _trained(alone):
        found.append("losses or consumed examples differ")
    if _accuracy(killed) != _accuracy(alone):
        found.append(f"test accuracy {_accuracy(killed)}, not {_accuracy(alone)}")
    for task in killed.tasks:
        again = _read(killed, task)[1]
        if again:
            found.append(f"{task}: steps {again} were others when they came again")
    return found


def _live_and_die(run: Run, chance: random.Random) -> str:
    """Starts the tasks and kills one; returns how all ended, "" if the run came to its end."""
    victim, steps = chance.choice(run.tasks), chance.randrange(1, _STEPS_AHEAD)
    delay = chance.uniform(0, _SECS_AHEAD)
    logged = run.path(victim, "log")
    start = logged.stat().st_size if logged.exists() else 0
    with _started(run) as tasks:
        while _steps_since(logged, start) < steps and tasks[victim].poll() is None:
            _check_heard(run)
            time.sleep(0.005)
        time.sleep(delay)
        tasks[victim].kill()
        killed_at = time.monotonic()
        codes = _wait(run, tasks)
    if codes["chief 0"] == 0:
        return ""
    if codes[victim] != -signal.SIGKILL:
        raise SystemExit(f"{run.work}: {victim} was not to end by itself: {codes}")
    step = logged.read_text().splitlines()[-1].partition(" ")[0]
    (other,) = (f"{task} ended with {code}" for task, code in codes.items() if task != victim)
    return f"{victim} at step {step}; {time.monotonic() - killed_at:.1f} s later {other}"


def _run_to_end(run: Run) -> None:
    with _started(run) as tasks:
        codes = _wait(run, tasks)
    if any(codes.values()):
        raise SystemExit(f"{run.work}: {run.name} ended with {codes}")


@contextlib.contextmanager
def _started(run: Run) -> Iterator[dict[str, subprocess.Popen]]:
    with contextlib.ExitStack() as stack:
        tasks = {}
        for task in run.tasks:
            run.path(task, "output").touch()  # A silent start counts from now.
            output = stack.enter_context(run.path(task, "output").open("a"))
            tasks[task] = process = subprocess.Popen(
                run.command(),
                cwd=run.work,
                env=run.environment(task),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield tasks


def _wait(run: Run, tasks: dict[str, subprocess.Popen]) -> dict[str, int]:
    """Waits until all have ended by themselves; returns their exit codes."""
    while any(process.poll() is None for process in tasks.values()):
        _check_heard(run)
        time.sleep(0.05)
    return {task: process.returncode for task, process in tasks.items()}


def _check_heard(run: Run) -> None:
    files = (run.path(task, what) for task in run.tasks for what in ("log", "output"))
    heard_at = max(file.stat().st_mtime for file in files if file.exists())
    if time.time() - heard_at > _QUIET_SECS:
        raise SystemExit(f"{run.work}: {run.name} HANGS; see its output with --folder")


def _trained(run: Run) -> tuple[dict[int, float], dict[int, list[str]]]:
    """The loss and the batch of each step: the slices of the tasks, one after the other."""
    steps = [_read(run, task)[0] for task in run.tasks]
    if any(each.keys() != steps[0].keys() for each in steps):
        raise SystemExit(f"{run.work}: tasks of {run.name} have made other steps than the chief")
    losses, batches = {}, {}
    for step in steps[0]:
        found = [each[step].split() for each in steps]
        if len({loss for loss, *_ in found}) > 1:
            raise SystemExit(f"{run.work}: tasks of {run.name} have other losses at step {step}")
        losses[step] = float(found[0][0])
        batches[step] = [example for _, *examples in found for example in examples]
    return losses, batches


def _read(run: Run, task: str) -> tuple[dict[int, str], list[int]]:
    """What a task logged last of each step, and the steps of which it logged something else."""
    found, differing = {}, []
    for line in run.path(task, "log").read_text().splitlines():
        step, _, rest = line.partition(" ")
        if found.get(int(step), rest) != rest:
            differing.append(int(step))
        found[int(step)] = rest
    return found, differing


def _steps_since(log: pathlib.Path, start: int) -> int:
    if not log.exists():
        return 0
    with log.open("rb") as file:
        file.seek(start)
        return file.read().count(b"\n")


def _whole_epochs(batches: dict[int, list[str]]) -> int:
    """How many epochs in a row, from the first one on, hold every example once."""
    examples = [int(example) for step in sorted(batches) for example in batches[step]]
    everything = list(range(_EXAMPLES))
    epochs = 0
    while sorted(examples[epochs * _EXAMPLES :][:_EXAMPLES]) == everything:
        epochs += 1
    return epochs


def _accuracy(run: Run) -> float:
    return json.loads((run.model_dir / "metrics.json").read_text())["accuracy"]


def _variables(run: Run) -> dict[str, bytes]:
    """Every variable of the newest checkpoint: weights, optimizer slots, global step."""
    from mnist_estimator.compat import tf

    reader = tf.train.load_checkpoint(str(run.model_dir))
    names = reader.get_variable_to_shape_map()
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


def _run(work: pathlib.Path, name: str, workers: int, flags: dict[str, object], steps: int) -> Run:
    # A run in the folder would be continued, not trained from the start.
    if (work / name).exists():
        raise SystemExit(f"{work / name}: is there already; give another --folder")
    settings = {"save_checkpoints_steps": steps} | flags | {"max_steps": steps}
    return Run(work, name, workers, settings, _hosts(workers))


def _hosts(count: int) -> tuple[str, ...]:
    return tuple(free_hosts({"worker": count})["worker"])


def _prepare(work: pathlib.Path) -> None:
    flags = [f"--{name}={_FLAGS[name]}" for name in ("dataset", "data_dir", "validation_split")]
    command = [sys.executable, "-m", "mnist_estimator.prepare", *flags]
    subprocess.run(command, cwd=work, check=True, capture_output=True)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("all", "exact", "kills"), default="all")
    parser.add_argument("--only", default="", help="only the trainings whose name has this in it")
    parser.add_argument("--steps", type=int, default=150, help="steps of 1, 2 and 4 workers")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument(
        "--kill_steps", type=int, default=960, help="steps of the run that is killed"
    )
    parser.add_argument("--seed", type=int, default=0, help="of who is killed, and when")
    parser.add_argument("--folder", help="where to work, and leave everything")
    return parser.parse_args()


def train_and_log(log: str) -> None:
    """A task: the real training program, which logs what each step consumed."""
    with contextlib.suppress(AttributeError, OSError):
        # Linux then ends a task whose parent dies, however it dies: 1 is PR_SET_PDEATHSIG.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    watch(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))
    runpy.run_module("mnist_estimator.train", run_name="__main__", alter_sys=True)


def watch(log: int) -> None:
    """Makes the model_fn and the first hook that sees a step's loss write to the log."""
    from mnist_estimator import estimators, model_fn
    from mnist_estimator.compat import estimator, v1
    from mnist_estimator.data import inputs
    from mnist_estimator.training import hooks

    build, guard, collection = model_fn.model_fn, hooks.FiniteGuard, "consumed"

    # Estimator reads the names of a model_fn's arguments.
    def logged_model_fn(
        features: dict, labels: object, mode: str, params: dict
    ) -> estimator.EstimatorSpec:
        if mode == estimator.ModeKeys.TRAIN:
            v1.add_to_collection(collection, features[inputs.INDEX])
        return build(features, labels, mode, params)

    class LogExamples(guard):
        """Before a checkpoint of the step can be there, what it consumed is in the file."""

        def after_create_session(self, session: v1.Session, coord: object) -> None:
            super().after_create_session(session, coord)
            self._step = int(session.run(self._global_step))

        def before_run(self, run_context: object) -> v1.train.SessionRunArgs:
            (examples,) = v1.get_collection(collection)
            return v1.train.SessionRunArgs([super().before_run(run_context).fetches, examples])

        def after_run(self, run_context: object, run_values: object) -> None:
            results, examples = run_values.results
            self._step += 1
            ids = " ".join(map(str, examples))
            os.write(log, f"{self._step} {float(results[0])!r} {ids}\n".encode())
            super().after_run(run_context, run_values._replace(results=results))

    estimators.model_fn, hooks.FiniteGuard = logged_model_fn, LogExamples


if __name__ == "__main__":
    if _LOG in os.environ:
        train_and_log(os.environ[_LOG])
    else:
        sys.exit(main())
