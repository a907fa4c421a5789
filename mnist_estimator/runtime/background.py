"""Work that goes on in a thread of its own while a block of code runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def running(work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Runs `work` in a daemon thread of this name until the block ends, and waits for its end.

    Args:
      work: gets an event that is set when the block ends; it is to return soon after.
    """
    done = threading.Event()
    thread = threading.Thread(target=work, args=(done,), daemon=True, name=name)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
