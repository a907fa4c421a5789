from __future__ import annotations

import io
import os
import sys

import pytest

from mnist_estimator import RunError
from mnist_estimator.runtime import progress
from mnist_estimator.runtime.progress import ProgressLine


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _term(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")


def _show(stream: io.StringIO, seconds: float) -> str:
    now = [0.0]
    with ProgressLine(stream, clock=lambda: now[0]) as report:
        for step in range(round(seconds * 4) + 1):
            now[0] = step / 4
            report(f"at {now[0]:g}")
    return stream.getvalue()


def test_terminal_keeps_one_line_and_clears_it():
    shown = _show(_Terminal(), 0.75)
    assert shown == "\r\x1b[Kat 0.25\r\x1b[Kat 0.5\r\x1b[Kat 0.75\r\x1b[K"


def test_log_gets_a_line_every_ten_seconds():
    assert _show(io.StringIO(), 25) == "at 10\nat 20\n"


def test_short_work_says_nothing():
    assert _show(io.StringIO(), 5) == ""


@pytest.mark.parametrize(
    ("stream", "shown"),
    [(_Terminal, "\r\x1b[Kat 1\r\x1b[Kdone\n"), (io.StringIO, "at 1\ndone\n")],
)
def test_a_line_is_shown_at_once_and_what_is_said_takes_its_place(stream, shown):
    stream = stream()
    line = ProgressLine(stream, clock=lambda: 0.0)
    line("not yet due")
    line.show("at 1")
    line.say("done")
    assert stream.getvalue() == shown


@pytest.mark.parametrize("announce", [ProgressLine.show, ProgressLine.say])
def test_the_next_line_is_due_ten_seconds_after_what_a_log_got_at_once(announce):
    now, log = [0.0], io.StringIO()
    line = ProgressLine(log, clock=lambda: now[0])
    now[0] = 9.0
    announce(line, "the next part")
    now[0] = 18.9
    line("too early")
    now[0] = 19.0
    line("at 19")
    assert log.getvalue() == "the next part\nat 19\n"


@pytest.mark.parametrize(
    ("stream", "shown"), [(_Terminal, "\r\x1b[Kall of it\n"), (io.StringIO, "all of it\n")]
)
def test_a_line_that_is_kept_stays_above_what_is_printed_next(stream, shown):
    stream = stream()
    line = ProgressLine(stream)
    line.show("all of it")
    line.keep()
    assert stream.getvalue() == shown


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_a_terminal_that_cannot_replace_a_line_is_a_log(term, monkeypatch):
    if term is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", term)
    terminal = _Terminal()
    progress.say("said", terminal)
    ProgressLine(terminal).show("shown")
    assert terminal.getvalue() == "said\nshown\n"
    assert _show(_Terminal(), 25) == "at 10\nat 20\n"


@pytest.mark.parametrize(
    ("line", "columns", "shown"),
    [
        ("x" * 79, 80, "x" * 79),
        ("x" * 80, 80, "x" * 76 + "..."),
        ("x" * 106, 40, "x" * 36 + "..."),
        ("数" * 20, 41, "数" * 20),
        ("数" * 20, 40, "数" * 18 + "..."),
        ("e\u0301" * 30, 31, "e\u0301" * 30),
        ("x" * 106, 0, "x" * 76 + "..."),  # Unknown, as on a serial line.
        ("x" * 106, 3, ".."),
        ("\x1b[5m" + "x" * 20, 20, r"\x1b[5m" + "x" * 9 + "..."),
    ],
)
def test_a_live_line_fits_the_width_that_the_terminal_has_now(line, columns, shown, monkeypatch):
    terminal = _Terminal()
    terminal.fileno = lambda: 7
    asked = []

    def size(number):
        asked.append(number)
        return os.terminal_size((columns, 24))

    monkeypatch.setattr(os, "get_terminal_size", size)
    monkeypatch.setenv("COLUMNS", "200")  # As it was when the shell started.
    report = ProgressLine(terminal)
    report.show(line)
    assert terminal.getvalue() == f"\r\x1b[K{shown}"
    report.show(line)
    assert asked == [7, 7]


def test_names_are_harmless_in_all_that_is_said(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(sys, "stdout", log)
    monkeypatch.setattr(sys, "argv", ["/x/predict.py"])
    name = "a\n\x1b[1m"
    progress.say(name, log)
    ProgressLine(log).show(name)
    progress.complain(OSError(2, "No such file", name))
    progress.complain(ValueError(f"{name}: no picture\n"))
    progress.tell(name, name)
    safe = r"a\n\x1b[1m"
    assert log.getvalue().splitlines() == [
        *[safe] * 2,
        f"predict: [Errno 2] No such file: '{safe}'",
        f"predict: {safe}: no picture",
        *[safe] * 2,
    ]


def test_a_result_takes_the_place_of_a_live_line(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    ProgressLine(terminal).show("half of it")
    progress.tell("7.png: 7")
    assert terminal.getvalue() == "\r\x1b[Khalf of it\r\x1b[K7.png: 7\n"


@pytest.mark.parametrize(
    ("error", "raised", "what"),
    [
        (OSError(28, "No space left on device"), RunError, "standard output: No space left"),
        (BrokenPipeError(32, "Broken pipe"), SystemExit, "^0$"),
    ],
)
def test_a_result_that_does_not_arrive_raises(error, raised, what, monkeypatch):
    monkeypatch.setattr(progress.streams, "error_of", lambda stream: error)
    with pytest.raises(raised, match=what):
        progress.tell("the result")
