"""Functions that the benchmarks of clusters share."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import statistics
import subprocess
import sys


def prepare_sample(work: pathlib.Path) -> None:
    """Prepares the sample in `work/data`, or all tasks of a cluster would do it."""
    command = [sys.executable, "-m", "mnist_estimator.prepare", "--dataset=sample"]
    subprocess.run([*command, "--data_dir=data"], cwd=work, check=True, capture_output=True)


def free_hosts(jobs: dict[str, int]) -> dict[str, list[str]]:
    """An address with a free port for each task."""
    with contextlib.ExitStack() as stack:

        def address() -> str:
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{probe.getsockname()[1]}"

        return {role: [address() for _ in range(count)] for role, count in jobs.items()}


def spread(values: list[float]) -> str:
    """The median and the largest of some seconds, in words."""
    if not values:
        return "none"
    return f"median {statistics.median(values):.1f}, largest {max(values):.1f}"
