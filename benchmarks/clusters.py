"""Functions that the benchmarks of clusters share."""

from __future__ import annotations

import pathlib
import statistics
import subprocess
import sys


def prepare_sample(work: pathlib.Path) -> None:
    """Prepares the sample in `work/data`, or all tasks of a cluster would do it."""
    command = [sys.executable, "-m", "mnist_estimator.prepare", "--dataset=sample"]
    subprocess.run([*command, "--data_dir=data"], cwd=work, check=True, capture_output=True)


def spread(values: list[float]) -> str:
    """The median and the largest of some seconds, in words."""
    if not values:
        return "none"
    return f"median {statistics.median(values):.1f}, largest {max(values):.1f}"
