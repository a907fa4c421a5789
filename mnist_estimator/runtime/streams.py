"""Standard input, output and error of a program, whatever it was started with.

They may be closed, as cron and daemons leave them, their reader may go (`2>&1 | head`), their disk
may be full. A log that is lost stops no work: `guard` sees to it for all that is printed, by
whomever. What cannot be lost says so: see `progress.tell`. What TensorFlow's C++ writes needs no
guard: it takes no notice of what becomes of it.
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


def guard() -> None:
    """From now on no print fails, and no file that is opened is taken for a standard stream.

    To be called first. What has replaced sys.stdout or sys.stderr, as in a test, is left as it is.
    What a traceback repeats of a foreign text does nothing to a terminal, either.
    """
    sys.excepthook = _print_traceback
    was_closed = [_fill(number) for number in range(3)]
    for number, name in ((1, "stdout"), (2, "stderr")):
        given = getattr(sys, name)
        if given is getattr(sys, f"__{name}__"):
            setattr(sys, name, _lasting(number, given, was_closed[number]))


def error_of(stream: TextIO) -> OSError | None:
    """Why some of what was printed to a guarded stream is lost; None if nothing is."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Lasting) else None


def printable(text: str) -> str:
    r"""A text as one harmless line: what would move a terminal's cursor is written as \n, \x1b.

    So is what turns the direction of writing, what cannot be seen, and what would pile up on one
    letter. So are the bytes of a file's name that are no UTF-8: `latin\xe9.png`.
    """
    if text.isascii() and text.isprintable():
        return text
    shown, accents = "", 0
    for character in text:
        accents = accents + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        shown += _escaped(character) if accents > _MOST_ACCENTS else _shown(character)
    return shown


def is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8: one made of bytes that are none cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Characters that Unicode counts as letters or accents and yet shows as nothing. Left out are the
# selectors between a sign and its emoji.
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
    """Opens a descriptor, if it is closed, to nowhere: the next file would get its number."""
    with contextlib.suppress(OSError):
        os.fstat(number)
        return False
    with contextlib.suppress(OSError):  # Some sandboxes have no /dev.
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    return True


def _lasting(number: int, given: io.TextIOWrapper | None, was_closed: bool) -> TextIO:
    if given:
        with contextlib.suppress(OSError):
            given.flush()
    raw = _Lasting(number)
    if was_closed:
        raw.error = OSError(errno.EBADF, os.strerror(errno.EBADF))
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=given.encoding if given else "utf-8",
        errors="backslashreplace",  # For the names that it has no letters for.
        # PYTHONUNBUFFERED is `write_through`; a line at a time is as good.
        line_buffering=given is not None and (given.line_buffering or given.write_through),
    )


class _Lasting(io.RawIOBase):
    """Writes to a descriptor; what cannot be written is lost, and why is kept in `error`."""

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
            except BlockingIOError:  # Another program has made the pipe that it shares so.
                select.select([], [self._number], [])
            except OSError as error:
                self.error = self.error or error
                return len(data)
