"""Measures the time and memory of `prepare` on growing input.

  python benchmarks/prepare_memory.py [EXAMPLES ...]

Makes 28x28 images of noise in a temporary folder, as IDX, IDX.gz and CSV, runs the real command
on each, and prints a table. The peak is that of the process. Most of it is TensorFlow, as the first
row shows; the rest is a chunk of examples, and a buffer of up to 16 MiB with which TensorFlow reads
a shard back. Once shards fill the buffer, the peak must not grow with the examples.
"""

from __future__ import annotations

import gzip
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


def main(argv: Sequence[str]) -> None:
    """Prints a row for each form and number of examples."""
    sizes = [int(argument) for argument in argv] or [60_000, 600_000]
    print("| input | examples | seconds | examples/s | peak MiB |\n| --- | --: | --: | --: | --: |")
    _report("TensorFlow alone", 0, "-c", "import mnist_estimator.data.records")
    for size in sizes:
        for form in _FORMS:
            with tempfile.TemporaryDirectory() as folder:
                options = _make(Path(folder), form, size)
                command = ("-m", "mnist_estimator.prepare", f"--data_dir={folder}/data", *options)
                _report(form, size, *command)


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


def _report(form: str, size: int, *arguments: str) -> None:
    started = time.monotonic()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    environment = os.environ | {"PYTHONPATH": str(_REPOSITORY)}
    command = [sys.executable, *arguments]
    pid = os.posix_spawn(sys.executable, command, environment, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    seconds = time.monotonic() - started
    rate = f"{size / seconds:,.0f}" if size else ""
    print(
        f"| {form} | {size:,} | {seconds:.1f} | {rate} | {usage.ru_maxrss / 1024:.0f} |", flush=True
    )


if __name__ == "__main__":
    main(sys.argv[1:])
