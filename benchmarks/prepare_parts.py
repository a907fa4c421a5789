"""Compares one process that prepares a dataset with two that prepare parts, and a merge.

  python benchmarks/prepare_parts.py /data/mnist
  python benchmarks/prepare_parts.py /data/mnist --csv_files=40

The folder holds the four IDX files of MNIST. With --csv_files the training images are first written
as so many CSV files, which take longer to read. Both sides take turns, so that a machine that slows
down does so for both. The parts run at the same time, on two processors. It prints the seconds of
each turn, those of all processors together, the medians, and the ratio of both sides turn by turn.
It ends with an error if the bytes of the two datasets are not the same.

The last line says how long a part takes to know its place: the digests of the sources, and the
labels before the part. All parts do that for themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

_REPOSITORY = Path(__file__).resolve().parents[1]
_PREPARE = (sys.executable, "-m", "mnist_estimator.prepare")


@dataclasses.dataclass(frozen=True)
class Taken:
    """The seconds that one side took, and those of all processors together."""

    wall: float
    processors: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.processors:.1f} s of processors)"


def main(argv: Sequence[str]) -> None:
    """Runs the turns and prints their times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source_dir", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--csv_files", type=int, default=0)
    given = parser.parse_args(argv)
    alone, parted = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = [f"--source_dir={given.source_dir}"]
        if given.csv_files:
            options = [f"--train_csv={_write_csv(given.source_dir, folder, given.csv_files)}"]
        for turn in range(given.turns):
            one, two = folder / f"one{turn}", folder / f"two{turn}"
            alone.append(_time(_run_alone, one, options))
            parted.append(_time(_run_parts, two, options))
            if _digest(one) != _digest(two):
                sys.exit("the two datasets differ")
            print(f"one {alone[-1]}, parts {parted[-1]}", flush=True)
        _print_place(options, folder)
    for name in ("wall", "processors"):
        sides = [[getattr(taken, name) for taken in side] for side in (alone, parted)]
        ratios = [two / one for one, two in zip(*sides, strict=True)]
        one, two = map(statistics.median, sides)
        print(
            f"{name}: one {one:.1f} s, parts {two:.1f} s, ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _run_alone(data_dir: Path, options: Sequence[str]) -> None:
    _check(_start(data_dir, *options))


def _run_parts(data_dir: Path, options: Sequence[str]) -> None:
    processes = [_start(data_dir, *options, f"--part={number}/2") for number in (1, 2)]
    for process in processes:
        _check(process)
    _check(_start(data_dir, "--merge"))


def _start(data_dir: Path, *options: str) -> subprocess.Popen:
    environ = os.environ | {"PYTHONPATH": str(_REPOSITORY)}
    command = [*_PREPARE, f"--data_dir={data_dir}", *options]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)


def _check(process: subprocess.Popen) -> None:
    if process.wait():
        sys.exit(f"{process.args} failed")


def _time(run: Callable[..., None], *arguments: object) -> Taken:
    started, before = time.monotonic(), os.times()
    run(*arguments)
    after = os.times()
    used = sum(after[2:4]) - sum(before[2:4])  # Of ended children.
    return Taken(time.monotonic() - started, used)


def _digest(data_dir: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(data_dir.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _write_csv(source_dir: Path, folder: Path, count: int) -> str:
    from mnist_estimator.data import sources

    source = sources.from_folder(str(source_dir)).train
    images, labels = (np.concatenate(part) for part in zip(*source.chunks(1024), strict=True))
    rows = np.column_stack([labels, images.reshape(len(images), -1)])
    for number, piece in enumerate(np.array_split(rows, count)):
        np.savetxt(folder / f"part-{number:05d}.csv", piece, fmt="%d", delimiter=",")
    return str(folder / "part-*.csv")


def _print_place(options: Sequence[str], folder: Path) -> None:
    """Measures in this process what part 2 of 2 does before it converts anything."""
    from mnist_estimator.data import file_lists, parts, sources

    value = options[0].partition("=")[2]
    is_csv = options[0].startswith("--train_csv")
    started = time.monotonic()
    if is_csv:
        opened = sources.from_csv(file_lists.expand("train_csv", value))
    else:
        opened = sources.from_folder(value)
    plan = opened.plan(validation_split="auto", shards=8, seed=0)
    plan.outline()
    outlined = time.monotonic()
    parts._split_at(plan, plan.train.num_examples // 2)
    print(
        f"the sources and their digests: {outlined - started:.2f} s; "
        f"the labels before part 2 of 2: {time.monotonic() - outlined:.2f} s"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
