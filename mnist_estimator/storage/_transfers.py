"""Tells whoever wants to know that some more of a large file has come, or is on its way.

Small files do not count: some are read or written again and again while nothing else happens.
"""

import contextlib
from collections.abc import Callable, Iterator

_listeners: list[Callable[[], None]] = []


@contextlib.contextmanager
def told_to(listener: Callable[[], None]) -> Iterator[None]:
    """Call `listener` in the block at each sign; any thread may be the one that calls it."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def note() -> None:
    """Tell the listeners."""
    for listener in list(_listeners):
        listener()
