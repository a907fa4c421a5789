"""This package's `prepare`, on MNIST or on a large IDX file, and training on the large one.

The peak of memory is reported beside that of a process that only imports TensorFlow.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import sys
import tempfile

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
    with tempfile.TemporaryDirectory(dir=common.WORK, prefix="prepared_") as folder:
        source = large_idx.flags(images) if images else [f"--source_dir={common.DATA}"]
        ran = commands.run(commands.package("prepare", f"--data_dir={folder}/data", *source))
        if images:  # Training reads it.
            shutil.rmtree(large_idx.folder(images) / "data", ignore_errors=True)
            shutil.move(f"{folder}/data", large_idx.folder(images) / "data")
    examples = images + large_idx.TESTED if images else 70_000
    return {
        "images_per_second": examples / ran.seconds,
        "cpu_seconds_per_million": ran.cpu / examples * 1e6,
        "peak_mib": ran.peak_mib,
    }


def _train(images: int, steps: int) -> dict[str, float]:
    data = large_idx.folder(images) / "data"
    if not data.exists():
        sys.exit("found no prepared images: prepare failed before")
    with tempfile.TemporaryDirectory(dir=common.WORK, prefix="trained_") as folder:
        flags = [f"--max_steps={steps}", f"--log_steps={max(1, steps // 10)}", "--export=none"]
        # However few images there are: this is about images that stream from the disk.
        flags += ["--cache_mb=0", f"--data_dir={data}", f"--model_dir={folder}/run"]
        ran = commands.run(commands.package("train", *flags, "--eval_split=none"))
    rates = [float(rate.replace(",", "")) for rate in _RATE.findall(ran.err)]
    # The first line counts the start, too.
    return {"images_per_second": statistics.median(rates[1:]), "peak_mib": ran.peak_mib}


if __name__ == "__main__":
    main()
