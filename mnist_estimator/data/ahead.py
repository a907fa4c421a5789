"""Lets the steps of a conversion run side by side, each in a thread of its own, in order.

numpy, zlib, hashlib and files work without Python's lock, so threads share the processors.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

from mnist_estimator.runtime import background

_Item = TypeVar("_Item")
_Made = queue.SimpleQueue[tuple[list[_Item], BaseException | None]]
_MOST = 2  # Items that are made and not yet asked for.
# A slow store may take long for an item, and a program that is stopped has 30 s to tidy up.
_PATIENCE_SECS = 1.0


def ahead(items: Iterable[_Item]) -> Generator[_Item]:
    """Yields what `items` yields, which a thread makes before it is asked for.

    An error comes where the item would have come. Close the generator: that ends the thread when
    the item that it is at is made. Closing waits for this only a moment, so `items` must not write
    anything that is gone afterwards.
    """
    made: _Made[_Item] = queue.SimpleQueue()
    room, over = threading.Semaphore(_MOST), threading.Event()

    def work(_: threading.Event) -> None:
        failure = None
        try:
            with contextlib.closing(in_turn(items)) as each:
                for item in each:
                    made.put(([item], None))
                    room.acquire()
                    if over.is_set():
                        return
        except BaseException as error:  # Whatever it is, the thread that asks raises it.
            failure = error
        made.put(([], failure))

    with background.running(work, "ahead", _PATIENCE_SECS):
        try:
            yield from _taken(made, room)
        finally:
            over.set()
            room.release()


def in_turn(items: Iterable[_Item]) -> Generator[_Item]:
    """Yields the same without a thread; closing it closes `items`, if that is a generator."""
    yield from items


def _taken(made: _Made[_Item], room: threading.Semaphore) -> Generator[_Item]:
    while True:
        found, failure = made.get()
        if failure is not None:
            raise failure
        if not found:
            return
        room.release()
        yield found[0]
