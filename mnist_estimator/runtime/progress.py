"""What a program says: results, lines of a log, and how far long work is.

How far it is, a terminal shows in one line kept up to date, a log in a line now and then. Names and
other foreign texts are printed so that they do nothing to the terminal.
"""

from __future__ import annotations

import os
import pathlib
import sys
import time
import unicodedata
from collections.abc import Callable
from typing import TextIO

from mnist_estimator import RunError
from mnist_estimator.runtime import streams
from mnist_estimator.runtime.streams import printable

_CLEAR = "\r\x1b[K"  # Back to the start of a terminal's line, and empty it.
_LIVE_SECS = 0.2
_LOG_SECS = 10.0
_CUT = "..."
_USUAL_COLUMNS = 80


def is_live(stream: TextIO) -> bool:
    """Whether what was printed can be replaced: on a terminal that understands how."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def show(line: str, stream: TextIO) -> None:
    """Says how far work is: in place of what was said before on a terminal, else as a line."""
    if not is_live(stream):
        print(printable(line), file=stream, flush=True)
        return
    # One that is too long would go on in the next row, and stay there. The last column is left
    # free, where some terminals begin that row.
    line = _cut(printable(line), _columns(stream) - 1)
    print(f"{_CLEAR}{line}", end="", file=stream, flush=True)


def say(line: str, stream: TextIO) -> None:
    """Prints a line that stays; on a terminal in place of a live one."""
    clear = _CLEAR if is_live(stream) else ""
    print(f"{clear}{printable(line)}", file=stream, flush=True)


def tell(*lines: str) -> None:
    """Prints lines that the user asked for to standard output; unlike a log they must arrive.

    Raises: as `check_told`.
    """
    if sys.stdout.isatty() and is_live(sys.stderr):
        print(_CLEAR, end="", file=sys.stderr, flush=True)
    print(*map(printable, lines), sep="\n", flush=True)
    check_told()


def check_told() -> None:
    """Raises unless all that was printed to standard output has arrived.

    Raises:
      SystemExit: with 0, if its reader has gone: it has what it wanted, as in `| head`.
      RunError: if it is closed or its disk full.
    """
    sys.stdout.flush()
    error = streams.error_of(sys.stdout)
    if isinstance(error, BrokenPipeError):
        raise SystemExit(0)
    if error:
        raise RunError(f"standard output: {error.strerror}, what was to be printed is lost")


def complain(error: object) -> None:
    """Prints the one line by which a command ends that could not do its work."""
    command = pathlib.Path(sys.argv[0]).stem
    say(f"{command}: {str(error).strip()}", sys.stderr)


def warn(line: str) -> None:
    """Says what is wrong but stops nobody."""
    say(f"warning: {line}", sys.stderr)


class ProgressLine:
    """How far long work is: a line kept up to date on a terminal, a line now and then in a log.

    `line(text)` may be called as often as you like: a terminal shows it at most every 0.2 s, a log
    every 10 s. `line.show(text)` shows it whenever it is called, and `line.say(text)` prints a line
    that stays. At the end of a `with` block a terminal's line is cleared.
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
        now = self._clock()
        if now < self._next:
            return
        self._next = now + self._secs
        self.show(line)

    def show(self, line: str) -> None:
        """Shows a line at once."""
        show(line, self._stream)

    def say(self, line: str) -> None:
        """Prints a line that stays, in place of what a terminal shows."""
        say(line, self._stream)

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self.show("")


def _columns(stream: TextIO) -> int:
    """The width of a terminal as it is now; it may have been resized."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def _cut(line: str, columns: int) -> str:
    """A line that takes at most so many columns of a terminal."""
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
    """Columns that a character takes: Chinese and its neighbours two, an accent none."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
