"""Runs a function in a thread while a block of code runs, once or again and again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from mnist_estimator import InputError, RunError


@contextlib.contextmanager
def running(
    work: Callable[[threading.Event], None], name: str, patience: float | None = None
) -> Iterator[None]:
    """Runs `work` in a daemon thread while the block runs; waits for it at the end of the block.

    Args:
      work: is called with an event. It returns soon after the event is set, which is when the
        block ends.
      name: the name of the thread.
      patience: the most seconds that the end of the block waits; None: until `work` returns.
    """
    done = threading.Event()
    thread = threading.Thread(target=work, args=(done,), daemon=True, name=name)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(patience)


def repeating(
    work: Callable[[], None], name: str, every_secs: float
) -> contextlib.AbstractContextManager[None]:
    """Calls `work` from a thread every so many seconds while the block runs; ignores its errors."""

    def repeat(done: threading.Event) -> None:
        while not done.wait(every_secs):
            with contextlib.suppress(InputError, RunError):
                work()

    return running(repeat, name)
