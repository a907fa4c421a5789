"""What the programs of the contenders share: the data, the line that they print, the clock."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THREADS = int(os.environ.get("BENCHMARK_THREADS", "2"))
DATA = Path(os.environ.get("BENCHMARK_DATA", "."))  # MNIST's IDX files.
WORK = Path(os.environ.get("BENCHMARK_WORK", "."))  # Where a part's `prepare` has put its data.


def mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N,28,28] and labels int64 [N] of a split, train or test."""
    name = {"train": "train", "test": "t10k"}[split]
    images = _idx(f"{name}-images-idx3-ubyte", 16).reshape(-1, 28, 28)
    return images, _idx(f"{name}-labels-idx1-ubyte", 8).astype(np.int64)


def report(**values: Any) -> None:
    """Prints the line of JSON that the benchmark reads."""
    print(json.dumps(values), flush=True)


def per_second(work: Callable[[], int], seconds: float, *, warm_up: float = 0.0) -> float:
    """Repeats work, which returns how much it has done, and returns how much it does a second.

    Args:
      seconds: how long to measure, at least one call.
      warm_up: how long to work before, at least one call.
    """
    _repeat(work, warm_up)
    done, passed = _repeat(work, seconds)
    return done / passed


def _repeat(work: Callable[[], int], seconds: float) -> tuple[int, float]:
    started, done, passed = time.perf_counter(), 0, 0.0
    while not done or passed < seconds:
        done += work()
        passed = time.perf_counter() - started
    return done, passed


def _idx(name: str, header: int) -> np.ndarray:
    path = DATA / name
    data = (
        path.read_bytes() if path.exists() else gzip.decompress((DATA / f"{name}.gz").read_bytes())
    )
    return np.frombuffer(data, np.uint8, offset=header)
