"""Says how far long work is: a line kept up to date on a terminal, now and then one in a log."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Callable
from typing import TextIO

_CLEAR = "\r\x1b[K"  # Back to the start of a terminal's line, and empty it.
_LIVE_SECS = 0.2
_LOG_SECS = 10.0


def show(line: str, stream: TextIO) -> None:
    """Says how far work is: in place of what was said before on a terminal, else as a line."""
    live = stream.isatty()
    print(f"{_CLEAR}{line}" if live else line, end="" if live else "\n", file=stream, flush=True)


def say(line: str, stream: TextIO) -> None:
    """Prints a line that stays; on a terminal in place of a live one."""
    print(f"{_CLEAR if stream.isatty() else ''}{line}", file=stream, flush=True)


def warn(line: str) -> None:
    """Says what is wrong but stops nobody."""
    say(f"warning: {line}", sys.stderr)


def complain(error: object) -> None:
    """Prints the one line by which a command ends that could not do its work."""
    command = pathlib.Path(sys.argv[0]).stem
    say(f"{command}: {' '.join(str(error).split())}", sys.stderr)


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
        show(line, self._stream)

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            show("", self._stream)
