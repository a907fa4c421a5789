"""Calls that are made again where the client does not: an answer that was cut in the middle.

obstore asks again after a bad status, a lost connection or silence (see `_stores`), and where the
content of an object is cut. Where the answer to a listing, a copy, a deletion or the start of an
upload is cut, it does not (0.12.1).
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from mnist_estimator.storage import _errors, _postponing, _stores

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0
_Result = TypeVar("_Result")


class Tries:
    """How long it is worth to try again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._wait = clock, _FIRST_WAIT
        self._end = clock() + _stores.RETRY_SECONDS

    def wait_or_raise(self, error: Exception) -> None:
        """Wait before the next try; raise the error if it will not pass, or if time is up.

        Time is up, too, when a signal waits for the end of the call.
        """
        is_late = self._clock() + self._wait > self._end or _postponing.is_waiting()
        if _errors.code_of(error) != _errors.UNAVAILABLE or is_late:
            raise error
        # Not all at once, where many were cut off together.
        time.sleep(self._wait * random.uniform(0.5, 1))
        self._wait = min(2 * self._wait, _LONGEST_WAIT)


def call(function: Callable[[], _Result]) -> _Result:
    """Call a function that may be called twice, until it answers or time is up."""
    tries = Tries()
    while True:
        try:
            return function()
        except Exception as error:
            tries.wait_or_raise(error)
