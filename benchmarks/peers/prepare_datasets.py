"""TensorFlow Datasets writes MNIST's training images: `download_and_prepare`, no download."""

from __future__ import annotations

import sys
import tempfile

import commands
import common

_IMAGES = 60_000
_PROGRAM = "import pathlib, sys, input_datasets; input_datasets.prepared(pathlib.Path(sys.argv[1]))"


def main() -> None:
    """Measures and prints a line of JSON."""
    alone = commands.run([sys.executable, "-c", "import tensorflow"])
    with tempfile.TemporaryDirectory(dir=common.WORK, prefix="prepared_") as folder:
        here = str(commands.HERE)
        code = f"import sys; sys.path.insert(0, {here!r}); {_PROGRAM}"
        ran = commands.run([sys.executable, "-c", code, folder])
    common.report(
        images_per_second=_IMAGES / ran.seconds,
        cpu_seconds_per_million=ran.cpu / _IMAGES * 1e6,
        peak_mib=ran.peak_mib,
        above_tensorflow_mib=ran.peak_mib - alone.peak_mib,
    )


if __name__ == "__main__":
    main()
