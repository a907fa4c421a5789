"""The report of a process that stands still, and how that process ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from mnist_estimator.runtime import files, local_files, stall_report, watchdog

STALL = watchdog.State("step", 412, 61.2, 60.0, 0.5)


def end(folder, **options) -> list[int]:
    """Ends without an end; gives the exit codes."""
    codes = []
    options = {"name": "worker 1"} | options
    stall_report.end(STALL, folder=str(folder), leave=codes.append, **options)
    return codes


def test_the_line_names_what_stands_still_the_report_and_what_is_saved(tmp_path, capsys):
    recorded = []

    def record(line: str) -> str:
        recorded.append(line)
        return "step 400 is saved"

    assert end(tmp_path, record=record, missing=["chief at a:1 does not answer"]) == [138]
    (error,) = capsys.readouterr().err.splitlines()
    line = (
        "stands still: step after step 412, nothing has moved for 61 s (limit 60 s); "
        "chief at a:1 does not answer"
    )
    assert recorded == [line]
    path = tmp_path / "stalled-worker-1-1.txt"
    assert error.partition(": ")[2] == (
        f"{line}; the stacks of all threads are in {path}; step 400 is saved"
    )
    assert path.read_text().startswith(f"worker 1: {line}\nwritten 2")


def test_the_report_has_the_stack_of_each_thread_the_machine_and_the_others(tmp_path):
    waits, done = threading.Event(), threading.Event()

    def a_function_that_waits() -> None:
        waits.set()
        done.wait(60)

    thread = threading.Thread(target=a_function_that_waits, name="a thread of mine")
    thread.start()
    try:
        assert waits.wait(60)
        end(tmp_path, others=["chief at a:1: step, nothing has moved for 3 s"])
    finally:
        done.set()
        thread.join(60)
    text = (tmp_path / "stalled-worker-1-1.txt").read_text()
    assert "chief at a:1: step, nothing has moved for 3 s" in text
    assert f", {os.cpu_count()} processors\n" in text
    assert "processor time of this process: 0.5 s while nothing moved, " in text
    main, *others = text.partition("\nThread ")[2].split("\nThread ")
    assert main.startswith("MainThread:\n") and "test_the_report_has_the_stack" in main
    (mine,) = [stack for stack in others if stack.startswith("a thread of mine:\n")]
    assert "done.wait(60)" in mine and "in a_function_that_waits" in mine


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_report_says_where_threads_wait_in_the_kernel_and_how_much_memory_there_is(tmp_path):
    end(tmp_path)
    text = (tmp_path / "stalled-worker-1-1.txt").read_text()
    waits = text.partition("Threads, by where they wait:\n")[2].partition("\n\n")[0].splitlines()
    counts = [int(line.split()[0]) for line in waits]
    assert sum(counts) >= threading.active_count() and counts == sorted(counts, reverse=True)
    assert "\nMemAvailable: " in text


def test_reports_do_not_replace_one_another_but_for_the_last_of_many(tmp_path, monkeypatch):
    monkeypatch.setattr(stall_report, "_MOST_REPORTS", 3)
    for _ in range(5):
        end(tmp_path, name="chief")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"stalled-chief-{number}.txt" for number in (1, 2, 3)
    ]


def test_a_report_goes_to_a_store_as_well():
    with files.memory_folder() as store:
        for number in (1, 2):
            end(store)
            path = f"{store}/stalled-worker-1-{number}.txt"
            assert b"MainThread" in files.read_bytes(path)


def hang(*_: object) -> str:
    time.sleep(3600)  # In a daemon thread: the test does not wait for it.
    return "never"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(stall_report.tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("fails", [hang, lambda *_: 1 / 0])
def test_where_the_folder_does_not_answer_the_report_goes_to_another(
    tmp_path, temporary, monkeypatch, capsys, fails
):
    monkeypatch.setattr(stall_report, "_PART_SECS", 0.2)
    monkeypatch.setattr(local_files, "replacing", fails)
    assert end(tmp_path, record=fails) == [138]
    (path,) = temporary.iterdir()
    assert path.name.startswith("stalled-worker-1-") and "MainThread" in path.read_text()
    assert f"the stacks of all threads are in {path}\n" in capsys.readouterr().err


def test_without_any_place_for_the_report_the_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stall_report.tempfile, "tempdir", str(tmp_path / "gone"))
    assert end("") == [138]
    assert "(limit 60 s); no report can be written\n" in capsys.readouterr().err


def test_whatever_goes_wrong_the_process_ends(tmp_path, monkeypatch):
    def fail(error: object) -> None:
        raise RuntimeError("standard error is gone")

    monkeypatch.setattr(stall_report.progress, "complain", fail)
    assert end(tmp_path) == [138]


def test_a_standard_error_that_hangs_does_not_keep_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(stall_report, "_END_SECS", 0.2)
    ended = threading.Event()
    monkeypatch.setattr(stall_report.progress, "complain", lambda error: ended.wait(60))
    codes = []

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()

    stall_report.end(STALL, folder=str(tmp_path), name="chief", leave=leave)
    assert codes == [138, 138]


PROGRAM = """
import os, sys, threading
from absl import flags
from mnist_estimator import config
from mnist_estimator.runtime import program, watchdog
watchdog._LOOK_SECS = 0.01
config.define_stall_timeout()
flags.DEFINE_string("model_dir", "", "")
def main(argv):
    threading.Event().wait()
program.run(main, opens_paths=False, phase=watchdog.EXPORT)
"""


def test_a_command_that_stands_still_ends(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--stall_timeout_secs=1", f"--model_dir={tmp_path}"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 138, done.stderr
    (path,) = tmp_path.glob("stalled-*-1.txt")
    assert "stands still: export, nothing has moved for 1 s (limit 1 s); " in done.stderr
    assert done.stderr.endswith(f"the stacks of all threads are in {path}\n")
    assert ", in main\n" in path.read_text()


def test_what_takes_too_long_or_fails_gives_nothing():
    assert stall_report.within(60, lambda: 7) == 7
    assert stall_report.within(0.01, hang) is None
    assert stall_report.within(60, lambda: 1 / 0) is None


def test_a_step_is_named_once_there_is_one():
    state = watchdog.State("set-up", 0, 3.0, 60.0, 0.0)
    assert stall_report.described(state) == "set-up, nothing has moved for 3 s"
