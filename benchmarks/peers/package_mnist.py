"""This package: the speed of `train`, and how soon its checkpoints reach the targets.

python package_mnist.py speed --batch=100 --seconds=10 --precision=auto
python package_mnist.py race --recipe=same --seed=0
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

_GUESS = 2500  # Images a second, to choose how many steps a measurement takes.
_SAME = (
    f"--batch_size={common.BATCH}",
    f"--max_steps={common.STEPS}",
    f"--save_checkpoints_steps={common.EVERY}",
    "--label_smoothing=0",
)


def main() -> None:
    """Reads the flags and does what they say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("speed", "race"))
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--recipe", default="same")
    parser.add_argument("--limit", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    # In the folder that the benchmark removes, even if this process is killed.
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as model_dir:
        if flags.what == "speed":
            measure_speed(model_dir, flags.batch, flags.seconds, flags.precision)
        else:
            race(
                model_dir,
                _SAME if flags.recipe == "same" or common.QUICK else (),
                flags.seed,
                flags.limit,
            )


def measure_speed(model_dir: str, batch: int, seconds: float, precision: str) -> None:
    """Trains by the command, and takes the times of its reports from TensorBoard's events.

    Between two reports lies all that a step costs: input, hooks, summaries, progress.
    """
    every = max(int(seconds * _GUESS / batch / 8), 5)
    steps = 11 * every
    train(
        *(f"--model_dir={model_dir}", f"--batch_size={batch}", f"--precision={precision}"),
        *(f"--max_steps={steps}", f"--log_steps={every}", f"--save_checkpoints_steps={steps}"),
        *("--eval_split=none", "--export=none", "--label_smoothing=0"),
    )
    times = dict(_reports(model_dir))
    first, last = 3 * every, steps - every  # At the last step the checkpoint is saved, too.
    rate = (last - first) * batch / (times[last] - times[first])
    common.report(images_per_second=rate)


def race(model_dir: str, options: tuple[str, ...], seed: int, limit: float) -> None:
    """Trains by the command, then scores its checkpoints one by one."""
    started = time.time()
    # When its time is over, those of its checkpoints count that it has saved by then.
    with contextlib.suppress(subprocess.TimeoutExpired):
        flags = (f"--model_dir={model_dir}", "--keep_checkpoint_max=0", f"--seed={seed}")
        # A quick look is short by its steps; it is to have checkpoints on slow machines, too.
        train(*flags, *options, limit=None if common.QUICK else limit)
    run = common.Race(limit, started)
    for step, path, written in _checkpoints(model_dir):
        if run.saved(step, lambda path=path: _accuracy(model_dir, path), at=written):
            break
    run.report()


def train(*options: str, limit: float | None = None) -> None:
    """Runs the command in a process of its own, for so many seconds at most."""
    command = [sys.executable, "-m", "mnist_estimator.train", *options]
    subprocess.run(
        [*command, f"--data_dir={common.WORK / 'mnist'}"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=limit,
        preexec_fn=common.die_with_parent,
    )


def _reports(model_dir: str) -> list[tuple[int, float]]:
    from mnist_estimator.compat import v1
    from mnist_estimator.training.hooks import EXAMPLES_PER_SECOND

    return [
        (event.step, event.wall_time)
        for path in glob.glob(f"{model_dir}/events.out.tfevents.*")
        for event in v1.train.summary_iterator(path)
        if any(value.tag == EXAMPLES_PER_SECOND for value in event.summary.value)
    ]


def _checkpoints(model_dir: str) -> list[tuple[int, str, float]]:
    seals = (Path(path) for path in glob.glob(f"{model_dir}/model.ckpt-*.sha256"))
    found = [(int(seal.stem.rpartition("-")[2]), seal) for seal in seals]
    return [
        (step, str(seal.with_suffix("")), os.stat(seal).st_mtime) for step, seal in sorted(found)
    ]


def _accuracy(model_dir: str, checkpoint: str) -> float:
    from mnist_estimator import estimators, model_fn
    from mnist_estimator.config import TrainConfig
    from mnist_estimator.data import inputs
    from mnist_estimator.data.manifest import Dataset, read_manifest

    folder = str(common.WORK / "mnist")
    dataset = Dataset(folder, read_manifest(folder))
    estimator = estimators.make_estimator(TrainConfig(model_dir=model_dir), dataset.manifest)
    result = estimator.evaluate(
        lambda: inputs.eval_batches(dataset, "test", batch_size=1000), checkpoint_path=checkpoint
    )
    return float(result[model_fn.ACCURACY])


if __name__ == "__main__":
    main()
