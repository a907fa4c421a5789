from __future__ import annotations

import io

from mnist_estimator.progress import ProgressLine


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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
