"""Threads that talk to stores while others go on."""

import concurrent.futures
import os
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

_THREADS = 16
_lock = threading.Lock()
_work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
_started: list[int] = []


def submit(
    function: Callable[..., Any],
    *arguments: Any,
    future: concurrent.futures.Future[Any] | None = None,
) -> concurrent.futures.Future[Any]:
    """Call a function in a thread, and return a future of what it returns."""
    promise = concurrent.futures.Future() if future is None else future

    def work() -> None:
        if promise.set_running_or_notify_cancel():
            settle(promise, function, *arguments)

    _work.put(work)
    _start()
    return promise


def settle(
    future: concurrent.futures.Future[Any], function: Callable[..., Any], *arguments: Any
) -> None:
    """Call a function here, and let a running future have what it returns or raises."""
    try:
        result = function(*arguments)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def each(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Call a function with each item, several at a time; raise the first error after all ended."""
    futures = [submit(function, item) for item in items]
    concurrent.futures.wait(futures)
    return [future.result() for future in futures]


def _start() -> None:
    """Start the threads at the first use, and again in a forked process, which has none.

    They are daemons, so that a server that is silent does not hold up the end of the program.
    """
    with _lock:
        if _started == [os.getpid()]:
            return
        _started[:] = [os.getpid()]
        for number in range(_THREADS):
            name = f"storage-{number}"
            threading.Thread(target=_serve, name=name, daemon=True).start()


def _serve() -> None:
    while True:
        _work.get()()
