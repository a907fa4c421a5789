"""Measures what the programs `input_*.py` share: images/s of an input, and the processor's time."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import common


def arguments() -> argparse.ArgumentParser:
    """The flags that each of the programs has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--images", type=int, default=60_000, help="at most so many an epoch")
    return parser


def measure(epoch: Callable[[], int], seconds: float) -> None:
    """Runs an epoch to fill caches, then whole epochs for some seconds; prints the result.

    Whole ones, because what starts anew with an epoch (buffers, processes) is part of the price.

    Args:
      epoch: takes every batch of an epoch; returns how many images those were.
    """
    epoch()
    images, started, processor = 0, time.perf_counter(), cpu_seconds()
    while not images or time.perf_counter() - started < seconds:
        images += epoch()
    passed, processor = time.perf_counter() - started, cpu_seconds() - processor
    common.report(
        images_per_second=images / passed, cpu_seconds_per_million=processor / images * 1e6
    )


def cpu_seconds() -> float:
    """Of this process, its threads, and the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
