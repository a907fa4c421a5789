"""Clients who ask again and again, one or as many at once as there are cores."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures

import common
import input_meter

_LEAST_TIMES = 3


def times(ask: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each request of one client, at least three."""
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < _LEAST_TIMES or time.perf_counter() < until:
        started = time.perf_counter()
        ask()
        found.append(time.perf_counter() - started)
    return found


def together(ask: Callable[[], object], seconds: float) -> tuple[int, float, float]:
    """Requests that clients at work together got answered, the seconds, and the processor's."""
    stop = threading.Event()

    def work() -> int:
        done = 0
        while not done or not stop.is_set():
            ask()
            done += 1
        return done

    with futures.ThreadPoolExecutor(common.THREADS) as pool:
        started, cpu = time.perf_counter(), input_meter.cpu_seconds()
        clients = [pool.submit(work) for _ in range(common.THREADS)]
        stop.wait(seconds)  # Nobody else sets it.
        stop.set()
        answered = sum(client.result() for client in clients)
        return answered, time.perf_counter() - started, input_meter.cpu_seconds() - cpu
