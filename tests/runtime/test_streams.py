"""Standard streams that are closed, full, or read by nobody: what is lost, and what that stops."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import unicodedata

import pytest

from mnist_estimator.runtime import streams
from mnist_estimator.runtime.streams import printable

LOST = ["2>&-", "2>/dev/full", "2>&1 | head -1", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1"]


def shell(redirections: str, source: str, tmp_path) -> subprocess.CompletedProcess[str]:
    """Runs a program in a shell's pipeline; the exit code is the program's."""
    (tmp_path / "program.py").write_text(source)
    command = f'"{sys.executable}" "{tmp_path}/program.py" {redirections}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )


WORK = """
import logging, os, sys, warnings
from mnist_estimator.runtime import program, progress
def main(argv):
    with open("first", "w") as first:
        for number in range(4_000):
            progress.say("a line of the log", sys.stderr)
            print("a line of the results")
        print("to nowhere else", file=sys.stderr)
        warnings.warn("seen by nobody")
        logging.getLogger().error("neither")
        os.write(2, b"from C++") if len(argv) > 1 else None
        first.write("all of it")
program.run(main)
"""


@pytest.mark.parametrize("redirections", LOST)
def test_a_lost_log_stops_no_work(redirections, tmp_path):
    done = shell(redirections, WORK, tmp_path)
    assert (done.returncode, (tmp_path / "first").read_text()) == (0, "all of it")
    assert "Error" not in done.stdout + done.stderr


@pytest.mark.parametrize("redirections", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_number_of_a_stream_that_is_closed(redirections, tmp_path):
    source = (
        "import os, subprocess, sys\n"
        "from mnist_estimator.runtime import streams\n"
        "streams.guard()\n"
        "with open('file', 'w') as file:\n"
        "    file.write(str(file.fileno()))\n"
        "    file.flush()\n"
        "    os.write(1, b'x'), os.write(2, b'x')\n"
        "    subprocess.run(['sh', '-c', 'echo x; echo x >&2'], check=True)\n"
    )
    done = shell(redirections, source, tmp_path)
    assert done.returncode == 0
    assert int((tmp_path / "file").read_text()) > 2


TELL = """
from mnist_estimator.runtime import program, progress
program.run(lambda argv: progress.tell("the result"))
"""


@pytest.mark.parametrize(
    ("redirections", "code", "line"),
    [
        ("", 0, ""),
        ("| true", 0, ""),
        ("| head -c1", 0, ""),
        ("2>&-", 0, ""),
        (">/dev/full", 1, "No space left on device, what was to be printed is lost\n"),
        (">&-", 1, "Bad file descriptor, what was to be printed is lost\n"),
        (">/dev/full 2>&1", 1, ""),
    ],
)
def test_a_result_arrives_or_is_missed(redirections, code, line, tmp_path):
    # A reader that has gone is as good as one that has read enough.
    slow = TELL.replace("program.run", "import time; time.sleep(0.3); program.run")
    done = shell(redirections, slow, tmp_path)
    assert done.returncode == code
    assert done.stderr == (f"program: standard output: {line}" if line else "")


@pytest.mark.parametrize(
    ("module", "redirections", "code"),
    [
        ("mnist_estimator", "| true", 0),
        ("mnist_estimator", ">/dev/full", 1),
        ("mnist_estimator", ">&-", 1),
        ("mnist_estimator.prepare", ">/dev/full", 1),
    ],
)
def test_help_arrives_or_is_missed(module, redirections, code, tmp_path):
    source = (
        "import runpy, sys\n"
        f"sys.argv[1:] = ['--help']\nrunpy.run_module('{module}', run_name='__main__')\n"
    )
    done = shell(redirections, source, tmp_path)
    assert done.returncode == code
    assert done.stderr.count("\n") == code, done.stderr


def lasting(number: int, encoding: str = "utf-8") -> io.TextIOWrapper:
    given = io.TextIOWrapper(io.BytesIO(), encoding=encoding, line_buffering=True)
    return streams._unfailing(number, given, False)


def test_the_first_error_is_kept_and_the_rest_goes_on():
    reader, writer = os.pipe()
    stream = lasting(writer)
    print("read", file=stream)
    assert streams.error_of(stream) is None
    assert os.read(reader, 99) == b"read\n"
    os.close(reader)
    print("lost", file=stream)
    print("lost too", file=stream, flush=True)
    os.close(writer)
    assert isinstance(streams.error_of(stream), BrokenPipeError)


def test_a_full_disk_is_an_error_of_the_stream_alone():
    number = os.open("/dev/full", os.O_WRONLY)
    stream = lasting(number)
    print("lost", file=stream)
    os.close(number)
    assert streams.error_of(stream).errno == errno.ENOSPC


def test_a_pipe_that_another_program_made_non_blocking_loses_nothing():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen(["wc", "-c"], stdin=reader, stdout=subprocess.PIPE) as counter:
        os.close(reader)
        stream = lasting(writer)
        for _ in range(1000):
            stream.write("x" * 999 + "\n")
        stream.flush()
        assert streams.error_of(stream) is None
        os.close(writer)
        assert int(counter.stdout.read()) == 1_000_000


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "ü"), ("ascii", r"\xfc")])
def test_a_letter_that_the_output_has_not_is_written_in_numbers(encoding, shown):
    reader, writer = os.pipe()
    print("ü", file=lasting(writer, encoding), flush=True)
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read().decode(encoding) == f"{shown}\n"


def test_a_stream_of_somebody_else_is_left_alone(monkeypatch):
    ours = io.StringIO()
    monkeypatch.setattr(sys, "stderr", ours)
    monkeypatch.setattr(sys, "stdout", ours)
    streams.guard()
    assert sys.stderr is sys.stdout is ours
    assert streams.error_of(ours) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.png", "plain name.png"),
        ("ü 数字\u3000.png", "ü 数字\u3000.png"),
        ("new\nline\r.png", r"new\nline\r.png"),
        ("tab\t.png", r"tab\t.png"),
        ("\x1b[31mred\x9b.png", r"\x1b[31mred\x9b.png"),
        ("rtl\u202egnp", r"rtl\u202egnp"),
        (os.fsdecode(b"latin\xe9.png"), r"latin\xe9.png"),
        ("\ud800", r"\ud800"),
        ("a\x85b\u2028c\u2029d", r"a\x85b\u2028c\u2029d"),
        ("a\u2066b\u200bc\u200fd\ufeff", r"a\u2066b\u200bc\u200fd\ufeff"),
        ("hangul\u3164filler\u2800", r"hangul\u3164filler\u2800"),
        ("z" + "\u0301" * 7, "z" + "\u0301" * 6 + r"\u0301"),
        ("بسم שָׁלוֹם नमस्ते ไม้ที่ Việt 数字 ❤️ 👍🏽 é", "بسم שָׁלוֹם नमस्ते ไม้ที่ Việt 数字 ❤️ 👍🏽 é"),
    ],
)
def test_a_name_does_nothing_to_a_terminal(name, shown):
    assert printable(name) == shown
    assert printable(shown) == shown


def test_no_character_that_acts_or_hides_gets_through():
    kept = set(printable("".join(map(chr, range(0x110000)))))
    assert kept >= set(map(chr, range(0x20, 0x7F)))
    for character in kept:
        category = unicodedata.category(character)
        assert category in ("Zs", "Mn", "Me", "Mc") or category[0] in "LNPS", ascii(character)


def test_a_url_is_shown_without_password_and_signature():
    shown = printable("https://me:hunter2@host/a.csv?sig=hunter2 line 3")
    assert shown == "https://host/a.csv line 3"
    assert printable("s3://b/is it?.csv") == "s3://b/is it?.csv"


def test_a_traceback_does_nothing_to_a_terminal(tmp_path):
    source = (
        "from mnist_estimator.runtime import program\n"
        "def main(argv):\n"
        "    raise ValueError('red\\x1b[31m\\x9b\\nnext line')\n"
        "program.run(main)\n"
    )
    done = shell("", source, tmp_path)
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert done.stderr.endswith("ValueError: red\\x1b[31m\\x9b\nnext line\n")
