"""Says how far long work is: a line kept up to date on a terminal, now and then one in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

_LIVE_SECS = 0.2
_LOG_SECS = 10.0


class ProgressLine:
    """Call it as often as you like, it shows only some; leaving it clears a terminal's line."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._live = self._stream.isatty()
        self._secs = _LIVE_SECS if self._live else _LOG_SECS
        self._next = clock() + self._secs

    def __call__(self, line: str) -> None:
        now = self._clock()
        if now < self._next:
            return
        self._next = now + self._secs
        print(
            f"\r\x1b[K{line}" if self._live else line,
            end="" if self._live else "\n",
            file=self._stream,
            flush=True,
        )

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
