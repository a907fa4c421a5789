"""Measures the time and memory of `prepare` on growing input.

  python benchmarks/prepare_memory.py [EXAMPLES ...]
  python benchmarks/prepare_memory.py 8100000 --forms=idx --train --folder=/data

Makes 28x28 images of noise in a temporary folder, as IDX, IDX.gz and CSV, runs the real command
on each, and prints a table: the seconds, those of all processors together, and the peak memory of
the process. Most of it is TensorFlow, as the first row shows; the rest is some chunks of examples.
The peak must not grow with the examples.

With --train 200 steps of training on what was prepared follow: it is more than --cache_mb, so it
streams. 8,100,000 examples take 6.4 GB, and their records 6.8 GB more.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_REPOSITORY = Path(__file__).resolve().parents[1]
_CHUNK = 10_000
_FORMS = ("idx", "gz", "csv")
_TRAIN = ("-m", "mnist_estimator.train", "--max_steps=200", "--export=none", "--cache_mb=1")


def main(argv: Sequence[str]) -> None:
    """Prints a row for each form and number of examples."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("examples", type=int, nargs="*", default=[60_000, 600_000])
    parser.add_argument("--forms", nargs="+", choices=_FORMS, default=_FORMS)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--folder", help="where to put the temporary folder")
    given = parser.parse_args(argv)
    print("| what | examples | seconds | processors | examples/s | peak MiB |")
    print("| --- | --: | --: | --: | --: | --: |")
    _report("TensorFlow alone", 0, "-c", "import mnist_estimator.data.records")
    for size, form in itertools.product(given.examples, given.forms):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            options = _make(Path(folder), form, size)
            data = f"--data_dir={folder}/data"
            _report(form, size, "-m", "mnist_estimator.prepare", data, *options)
            if given.train:
                _report("training", 0, *_TRAIN, data, f"--model_dir={folder}/run")


def _make(folder: Path, form: str, size: int) -> list[str]:
    """Writes `size` examples; returns the flags to prepare them."""
    generator = np.random.default_rng(0)
    if form == "csv":
        rows = generator.integers(256, size=(min(_CHUNK, size), 785)) % [10, *[256] * 784]
        text = "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())
        with open(folder / "train.csv", "w") as file:
            for _ in range(0, size, _CHUNK):
                file.write(text)
        return [f"--train_csv={folder}/train.csv"]
    opener = gzip.open if form == "gz" else open
    with (
        opener(folder / "images", "wb") as images,
        opener(folder / "labels", "wb") as labels,
    ):
        images.write(np.array([2051, size, 28, 28], ">i4").tobytes())
        labels.write(np.array([2049, size], ">i4").tobytes())
        for _ in range(0, size, _CHUNK):
            # Few values, so that gzip has something to do.
            images.write(generator.integers(4, size=(min(_CHUNK, size), 784), dtype=np.uint8) * 60)
            labels.write(generator.integers(10, size=min(_CHUNK, size), dtype=np.uint8).tobytes())
    return [f"--train_images={folder}/images", f"--train_labels={folder}/labels"]


def _report(what: str, size: int, *arguments: str) -> None:
    started = time.monotonic()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    environment = os.environ | {"PYTHONPATH": str(_REPOSITORY)}
    command = [sys.executable, *arguments]
    pid = os.posix_spawn(sys.executable, command, environment, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    seconds = time.monotonic() - started
    used = usage.ru_utime + usage.ru_stime
    rate = f"{size / seconds:,.0f}" if size else ""
    peak = usage.ru_maxrss / 1024
    print(f"| {what} | {size:,} | {seconds:.1f} | {used:.1f} | {rate} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
