"""Prints what a command has to say: results, messages, and the progress of long work.

A terminal shows progress in one line that is kept up to date, a log gets a line every 10 s. File
names and other foreign texts are escaped, so that they cannot control the terminal.
"""

from __future__ import annotations

import os
import pathlib
import sys
import time
import unicodedata
from collections.abc import Callable
from typing import IO, TextIO

from mnist_estimator import RunError
from mnist_estimator.runtime import streams, watchdog
from mnist_estimator.runtime.streams import printable

_CLEAR = "\r\x1b[K"  # Moves to the start of a terminal's line and clears it.
_LIVE_SECS = 0.2
_LOG_SECS = 10.0
_CUT = "..."
_USUAL_COLUMNS = 80


def is_live(stream: IO[str]) -> bool:
    """Whether a stream is a terminal on which a line can be replaced."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def say(line: str, stream: TextIO) -> None:
    """Prints a line that stays; on a terminal it replaces the progress."""
    clear = _CLEAR if is_live(stream) else ""
    print(f"{clear}{printable(line)}", file=stream, flush=True)


def tell(*lines: str) -> None:
    """Prints results to standard output, and fails if they do not arrive, unlike a message.

    Raises:
      SystemExit, RunError: as `check_told`.
    """
    if sys.stdout.isatty() and is_live(sys.stderr):
        print(_CLEAR, end="", file=sys.stderr, flush=True)
    print(*map(printable, lines), sep="\n", flush=True)
    check_told()


def check_told() -> None:
    """Checks that all that was printed to standard output has arrived.

    Raises:
      SystemExit: with 0, if the reader has closed the pipe, as `head` does when it has enough.
      RunError: if standard output is closed or its disk is full.
    """
    sys.stdout.flush()
    error = streams.error_of(sys.stdout)
    if isinstance(error, BrokenPipeError):
        raise SystemExit(0)
    if error:
        raise RunError(f"standard output: {error.strerror}, what was to be printed is lost")


def complain(error: object) -> None:
    """Prints the one line with which a command fails."""
    command = pathlib.Path(sys.argv[0]).stem
    say(f"{command}: {str(error).strip()}", sys.stderr)


def warn(line: str) -> None:
    """Prints a warning."""
    say(f"warning: {line}", sys.stderr)


class ProgressLine:
    """How far long work is: a line kept up to date on a terminal, a line now and then in a log.

    `line(text)` may be called as often as you like: a terminal shows it if 0.2 s have passed since
    the last text, a log if 10 s have. `line.show(text)` shows a text at once, and `line.say(text)`
    prints a line that stays. At the end of a `with` block a terminal's line is cleared.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._live = is_live(self._stream)
        self._secs = _LIVE_SECS if self._live else _LOG_SECS
        self._next = clock() + self._secs

    def __call__(self, line: str) -> None:
        watchdog.alive()
        if self._clock() >= self._next:
            self.show(line)

    def show(self, line: str) -> None:
        """Shows progress at once: a terminal in place of the last one, a log as a new line."""
        self._next = self._clock() + self._secs
        if not self._live:
            print(printable(line), file=self._stream, flush=True)
            return
        # A longer line would wrap into a row that is never cleared. Some terminals wrap in the
        # last column already.
        line = _cut(printable(line), _columns(self._stream) - 1)
        print(f"{_CLEAR}{line}", end="", file=self._stream, flush=True)

    def say(self, line: str) -> None:
        """Prints a line that stays, in place of what a terminal shows."""
        self._next = self._clock() + self._secs
        say(line, self._stream)

    def keep(self) -> None:
        """Lets a terminal's line stay: what is printed next goes below it."""
        if self._live:
            print(file=self._stream, flush=True)

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self.show("")


def _columns(stream: TextIO) -> int:
    """The present width of a terminal, which may have been resized."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def _cut(line: str, columns: int) -> str:
    """Cuts a line so that it takes at most so many columns of a terminal."""
    if sum(map(_width, line)) <= columns:
        return line
    kept, left = "", columns - len(_CUT)
    for character in line:
        left -= _width(character)
        if left < 0:
            break
        kept += character
    return (kept + _CUT)[: max(columns, 0)]


def _width(character: str) -> int:
    """Columns that a character takes: 2 for East Asian wide ones, 0 for a combining accent."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
