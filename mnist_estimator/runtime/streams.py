"""Makes standard input, output and error safe to use, whatever the program was started with.

They may be closed, as under cron; their reader may go away (`2>&1 | head`); their disk may be full.
After `guard` no print fails for that: a lost message stops no work. `progress.tell` checks that
results arrive. TensorFlow's C++ ignores such errors itself.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import select
import sys
import traceback
import types
import unicodedata
from typing import Any, TextIO

from mnist_estimator import storage


def guard() -> None:
    """Keeps print from failing, and newly opened files from becoming standard streams.

    Call it before anything else. If sys.stdout or sys.stderr has been replaced, as in a test, it
    stays. Tracebacks are printed with foreign texts escaped.
    """
    sys.excepthook = _print_traceback
    was_closed = [_fill(number) for number in range(3)]
    for number, name in ((1, "stdout"), (2, "stderr")):
        given = getattr(sys, name)
        if given is getattr(sys, f"__{name}__"):
            setattr(sys, name, _unfailing(number, given, was_closed[number]))


def error_of(stream: TextIO) -> OSError | None:
    """The error that lost something printed to a guarded stream; None if nothing is lost."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Unfailing) else None


def printable(text: str) -> str:
    r"""Escapes a text to one line that cannot control a terminal: a line feed becomes \n.

    It also escapes characters that change the direction of writing, invisible ones, more than six
    accents on a letter, and bytes of a file name that are not UTF-8: `latin\xe9.png`. Of a URL it
    leaves out user, password and signature.
    """
    if "://" in text:
        text = storage.redacted_urls(text)
    if text.isascii() and text.isprintable():
        return text
    shown, accents = "", 0
    for character in text:
        accents = accents + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        shown += _escaped(character) if accents > _MOST_ACCENTS else _shown(character)
    return shown


def is_text(text: str) -> bool:
    """Whether a string can be encoded as UTF-8, unlike a file name with other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Invisible characters that Unicode counts as letters or accents, but for the variation selectors
# that choose between a sign and its emoji.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\U000e0100-\U000e01ef]"
)
_MOST_ACCENTS = 6  # On one letter; the Hebrew of the Bible has five.


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # How Python keeps such a byte.
        return f"\\x{code - 0xDC00:02x}"
    if _UNSEEN.match(character):
        return _escaped(character)
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return _escaped(character)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _print_traceback(
    kind: type[BaseException], error: BaseException, frames: types.TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, error, frames)).removesuffix("\n")
    print(*map(printable, text.split("\n")), sep="\n", file=sys.stderr, flush=True)


def _fill(number: int) -> bool:
    """Opens a closed descriptor to /dev/null, so that the next file does not get its number."""
    with contextlib.suppress(OSError):
        os.fstat(number)
        return False
    with contextlib.suppress(OSError):  # Some sandboxes have no /dev.
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    return True


def _unfailing(number: int, given: io.TextIOWrapper | None, was_closed: bool) -> TextIO:
    if given:
        with contextlib.suppress(OSError):
            given.flush()
    raw = _Unfailing(number)
    if was_closed:
        raw.error = OSError(errno.EBADF, os.strerror(errno.EBADF))
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=given.encoding if given else "utf-8",
        errors="backslashreplace",  # The encoding may lack letters of a file name.
        # PYTHONUNBUFFERED sets `write_through`; line buffering serves as well.
        line_buffering=given is not None and (given.line_buffering or given.write_through),
    )


class _Unfailing(io.RawIOBase):
    """Writes to a descriptor without raising; `error` is the first error that lost something."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = {1: "<stdout>", 2: "<stderr>"}.get(number, number)
        self.error: OSError | None = None
        self._number = number

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        while True:
            try:
                return os.write(self._number, data)
            except BlockingIOError:  # Another program that shares the pipe made it non-blocking.
                select.select([], [self._number], [])
            except OSError as error:
                self.error = self.error or error
                return len(data)
