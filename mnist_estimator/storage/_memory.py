"""How much memory open files may hold together."""

import collections
import os
import threading
from typing import Protocol

from mnist_estimator import InputError

VARIABLE = "MNIST_ESTIMATOR_STORAGE_CACHE_MB"
_DEFAULT_MB = 96


class Holder(Protocol):
    """An open file that holds memory."""

    def release(self) -> int:
        """Let go of what is not in use at the moment, and return how many bytes that was."""


_lock = threading.Lock()
_used = 0
# The one that was read last stands last.
_holders: "collections.OrderedDict[Holder, None]" = collections.OrderedDict()


def limit() -> int:
    """Return how many bytes all open files may hold together.

    Raises:
      InputError: the variable of the environment is not a number.
    """
    text = os.environ.get(VARIABLE) or str(_DEFAULT_MB)
    if not text.isdigit():
        raise InputError(f"{VARIABLE}={text} is not a number of megabytes")
    return int(text) << 20


def used() -> int:
    """Return how many bytes open files hold."""
    return _used


def share(at_most: int) -> int:
    """Return how many bytes a file may hold ahead of its reader, so that there is some for all."""
    return at_most // (2 * max(1, len(_holders)))


def take(holder: Holder, size: int, at_most: int) -> bool:
    """Count memory that a file wants; the files read longest ago let go of theirs for it.

    Args:
      at_most: `limit()`, which the caller looks up once.
    """
    global _used
    with _lock:
        _holders.pop(holder, None)
        others = list(_holders)
        _holders[holder] = None
    for other in others:
        if _used + size <= at_most:
            break
        # Outside the lock: it takes the other file's own.
        give(other.release())
    with _lock:
        if _used + size > at_most:
            return False
        _used += size
        return True


def give(size: int) -> None:
    """Count memory that was let go of."""
    global _used
    with _lock:
        _used -= size


def forget(holder: Holder) -> None:
    """Ask a file for nothing any more."""
    with _lock:
        _holders.pop(holder, None)


def forget_all() -> None:
    """Begin anew in a forked process, where a lock may be held by a thread that is not there."""
    global _lock, _used
    _lock, _used = threading.Lock(), 0
    _holders.clear()
