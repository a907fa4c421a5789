"""What the programs of the contenders share: the data, the line that they print, the clocks."""

from __future__ import annotations

import ctypes
import gzip
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

THREADS = int(os.environ.get("BENCHMARK_THREADS", "2"))
DATA = Path(os.environ.get("BENCHMARK_DATA", "."))  # MNIST's IDX files.
WORK = Path(os.environ.get("BENCHMARK_WORK", "."))  # Where a part's `prepare` has put its data.
STARTED = float(os.environ.get("BENCHMARK_STARTED", time.time()))  # When this process was started.

QUICK = bool(os.environ.get("BENCHMARK_QUICK"))  # Only a look.

# The schedule of the race on the same network, which is the default of this package.
BATCH, RATE = 100, 1e-3
STEPS, EVERY, VALIDATION = (40, 20, 500) if QUICK else (5000, 200, 5000)
TARGETS = {"seconds_to_99_0": 0.990, "seconds_to_99_4": 0.994}


def mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N,28,28] and labels int64 [N] of a split, train or test."""
    name = {"train": "train", "test": "t10k"}[split]
    images = _idx(f"{name}-images-idx3-ubyte", 16).reshape(-1, 28, 28)
    return images, _idx(f"{name}-labels-idx1-ubyte", 8).astype(np.int64)


def of_race(data: Sequence[Any]) -> tuple[Any, ...]:
    """The arrays or tensors of a split; for a quick look only their first 2,000."""
    return tuple(array[:2000] if QUICK else array for array in data)


def die_with_parent() -> None:
    """For `preexec_fn`: ends a program that this one starts when this one is killed (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


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


def learning_rate(step: int) -> float:
    """The rate of the schedule at a step: a cosine from `RATE` to 0."""
    return RATE * 0.5 * (1 + math.cos(math.pi * min(step / STEPS, 1.0)))


def order(examples: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Numbers of the examples of each batch, shuffled anew each epoch; no epoch is cut short."""
    generator, rest = np.random.default_rng(seed), np.zeros(0, np.int64)
    while True:
        rest = np.concatenate([rest, generator.permutation(examples)])
        while len(rest) >= batch:
            yield rest[:batch]
            rest = rest[batch:]


def speed(step: Callable[[], object], batch: int, seconds: float) -> float:
    """Images a second of a training step on batches, after ten steps and a third of the time."""
    for _ in range(10):
        step()

    def work() -> int:
        step()
        return batch

    return per_second(work, seconds, warm_up=seconds / 3)


class Race:
    """Seconds from the start of the process to each target, by the accuracy on the test split.

    A checkpoint's time is that at which it is on disk. The clock stands still while it is scored;
    that of a run which is over already, with `at` given, does not.
    """

    def __init__(self, limit: float, started: float = STARTED) -> None:
        """Ends after `limit` seconds, even if a target is not reached."""
        self._limit, self._started, self._paused = limit, started, 0.0
        self.reached: dict[str, Any] = dict.fromkeys(TARGETS)
        self.scores: list[tuple[int, float, float]] = []

    def saved(self, step: int, accuracy: Callable[[], float], at: float | None = None) -> bool:
        """Scores the checkpoint of a step, on disk since `at` or now; returns if all is over."""
        now = time.time()
        seconds = (now - self._paused if at is None else at) - self._started
        score = accuracy()
        self._paused += time.time() - now
        self.scores.append((step, round(seconds, 1), round(score, 4)))
        for name, target in TARGETS.items():
            if score >= target - 1e-9 and self.reached[name] is None:
                self.reached[name] = seconds
        return None not in self.reached.values() or seconds > self._limit

    def report(self) -> None:
        """Prints what the benchmark reads."""
        report(**self.reached, scores=self.scores)


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
