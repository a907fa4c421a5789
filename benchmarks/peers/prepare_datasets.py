"""TensorFlow Datasets writes MNIST, both splits: `download_and_prepare`, no download."""

from __future__ import annotations

import sys

import commands
import common

_IMAGES = 70_000
# Into the folder in which it runs, which is removed.
_PROGRAM = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import input_datasets
input_datasets.prepared(pathlib.Path("data"))
"""


def main() -> None:
    """Measures and prints a line of JSON."""
    alone = commands.run([sys.executable, "-c", "import tensorflow"])
    ran = commands.run([sys.executable, "-c", _PROGRAM, str(commands.HERE)])
    common.report(
        images_per_second=_IMAGES / ran.seconds,
        cpu_seconds_per_million=ran.cpu / _IMAGES * 1e6,
        peak_mib=ran.peak_mib,
        above_tensorflow_mib=ran.peak_mib - alone.peak_mib,
    )


if __name__ == "__main__":
    main()
