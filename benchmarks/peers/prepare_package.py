"""This package's `prepare`, on MNIST or on a large IDX file, and training on the large one.

The peak of memory is reported beside that of a process that only imports TensorFlow.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import sys
from pathlib import Path

import commands
import common
import large_idx

_RATE = re.compile(r"^step .* ([\d,.]+) examples/s", re.MULTILINE)


def main() -> None:
    """Measures and prints a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=0, help="0: MNIST as it is")
    parser.add_argument("--train_steps", type=int, default=0, help="0: measure prepare")
    given = parser.parse_args()
    alone = commands.run([sys.executable, "-c", "import tensorflow"])
    measured = (
        _train(given.images, given.train_steps) if given.train_steps else _prepare(given.images)
    )
    common.report(**measured, above_tensorflow_mib=measured["peak_mib"] - alone.peak_mib)


def _prepare(images: int) -> dict[str, float]:
    """MNIST into the program's own folder, which is removed; the large set to where it is read."""
    source, target = [f"--source_dir={common.DATA}"], Path("data")
    if images:
        source, target = large_idx.flags(images), _prepared(images)
        shutil.rmtree(target, ignore_errors=True)
    ran = commands.run(commands.package("prepare", f"--data_dir={target}", *source))
    examples = images + large_idx.TESTED if images else 70_000
    return {
        "images_per_second": examples / ran.seconds,
        "cpu_seconds_per_million": ran.cpu / examples * 1e6,
        "peak_mib": ran.peak_mib,
    }


def _train(images: int, steps: int) -> dict[str, float]:
    data = _prepared(images)
    if not data.exists():
        sys.exit("found no prepared images: prepare failed before")
    flags = [f"--max_steps={steps}", f"--log_steps={max(1, steps // 10)}", "--export=none"]
    # However few images there are: this is about images that stream from the disk.
    flags += ["--cache_mb=0", f"--data_dir={data}", "--model_dir=run", "--eval_split=none"]
    ran = commands.run(commands.package("train", *flags))
    rates = [float(rate.replace(",", "")) for rate in _RATE.findall(ran.err)]
    # The first line counts the start, too.
    return {"images_per_second": statistics.median(rates[1:]), "peak_mib": ran.peak_mib}


def _prepared(images: int) -> Path:
    return large_idx.folder(images) / "data"


if __name__ == "__main__":
    main()
