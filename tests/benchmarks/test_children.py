"""Children: their line is read, and they end at their deadline with all that they started."""

import contextlib
import sys
from pathlib import Path

import pytest
from support import programs

from benchmarks.comparison import children
from benchmarks.comparison.parts import Options


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "PEERS", tmp_path)
    options = Options(data_dir=tmp_path, work_dir=tmp_path / "work", threads=1)

    def run(program, *arguments, deadline=60):
        (tmp_path / "program.py").write_text(program)
        return children.run(
            sys.executable, "program.py", arguments, deadline=deadline, options=options
        )

    return run


def test_the_last_line_is_the_result(run):
    program = "import sys; print('noise'); print('{\"x\": %s}' % sys.argv[1])"
    assert run(program, "2.5") == {"x": 2.5}


def test_a_child_gets_its_cores_and_its_folders(run, tmp_path):
    program = (
        "import json, os; print(json.dumps({'cores': len(os.sched_getaffinity(0)), "
        "'data': os.environ['BENCHMARK_DATA'], 'work': os.environ['BENCHMARK_WORK'], "
        "'here': os.listdir()}))"
    )
    assert run(program) == {
        "cores": 1,
        "data": str(tmp_path),
        "work": str(tmp_path / "work"),
        "here": [],
    }


def test_all_contenders_have_onednn_whatever_the_shell_says(run, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    program = "import json, os; print(json.dumps({'on': os.environ['TF_ENABLE_ONEDNN_OPTS']}))"
    assert run(program) == {"on": "1"}


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise MemoryError('too little')", "exit code 1: MemoryError: too little"),
        ("print(3)", "printed '3' last, expected a JSON object"),
        ("", "printed '' last, expected a JSON object"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9: nothing on stderr"),
    ],
)
def test_a_failure_says_why(run, program, message):
    with pytest.raises(children.ChildError) as error:
        run(program)
    assert str(error.value) == message


def test_at_the_deadline_the_child_and_its_children_end(run, tmp_path):
    program = "import os, signal; os.fork(); signal.pause()"
    with pytest.raises(children.ChildError, match=r"^took more than 1 s$"):
        run(program, deadline=1)
    # The kernel ends a killed process that is not ours to wait for when it finds the time.
    programs.wait_until(lambda: not _running(str(tmp_path / "program.py")))


def _running(program):
    """The processes that run a program."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if program in path.read_text(errors="replace").split("\0"):
                found.append(path)
    return found
