"""Signals that come while TensorFlow calls a filesystem wait until that call has ended.

A handler that raises there would raise in a function that C++ has called. The exception would
become an error of the file, and some callers of TensorFlow take an error for a missing file.
"""

from typing import Any

_shims: list[Any] = []  # One, once the filesystems are installed.


def use(shim: Any) -> None:
    """Ask this part in C which calls the thread is in."""
    _shims[:] = [shim]


def postpone(number: int) -> bool:
    """See `storage.postpone_signal`."""
    return bool(_shims and _shims[0].shim_postpone(number))


def is_waiting() -> bool:
    """Say whether a signal waits for the end of a call that this thread is in."""
    return bool(_shims and _shims[0].shim_is_postponed())
