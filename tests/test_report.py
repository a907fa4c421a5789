"""The report command: what it says, and what it answers."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import programs
from support.reports import make_page, make_runs, require

from mnist_estimator import InputError, report
from mnist_estimator.reporting import page
from mnist_estimator.runs import layout
from mnist_estimator.runtime import progress


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of softmax regression, and a copy of it that has lost its events."""
    require(importlib.util.find_spec("matplotlib"), "matplotlib, of the extra 'report'")
    folder = tmp_path_factory.mktemp("work")
    make_runs(folder)
    return folder


def command(name, *flags, cwd, code=0):
    done = programs.run(programs.command(name, *flags), cwd=cwd)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_the_command_says_what_it_does_and_makes_the_same_page_each_time(work):
    flags = ["--model_dir=runs/first", "--output=one.html", "--grid_class=1"]
    done = programs.run(programs.command("report", *flags), cwd=work, check=True)
    assert re.fullmatch(r"one\.html: 0\.\d\d MB, runs/first\n", done.stdout)
    assert done.stderr == "evaluating runs/first on the 23 test examples of squares\n"
    assert not (work / "one.html.tmp").exists()
    html = (work / "one.html").read_text(encoding="utf-8")
    assert make_page(work, model_dir="runs/first", grid_class=1) == html


def test_a_page_of_another_program_is_replaced_only_where_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report._check_output("report.html", is_named=False)
    Path("report.html").write_text("<html>Made by somebody else</html>")
    with pytest.raises(InputError, match="report.html: a file of another program is there"):
        report._check_output("report.html", is_named=False)
    report._check_output("report.html", is_named=True)
    Path("report.html").write_text(page.document("title", f"{layout.REPORT_MARK}1.", []))
    report._check_output("report.html", is_named=False)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"model_dir": "none"}, "none/run.json: not found, expected the record of a run"),
        ({"model_dir": "runs/first,"}, "--model_dir: found 'runs/first,', expected folders"),
        ({"model_dir": "runs/first,runs/first"}, "--model_dir: found runs/first twice"),
        ({"model_dir": "./runs/first,runs/first"}, "--model_dir: found ./runs/first twice"),
        ({"model_dir": "a,b", "checkpoint": "c-7"}, "--checkpoint: found c-7, expected best or"),
        ({"checkpoint": "c-7"}, "--checkpoint: c-7 not found, expected one of runs/first"),
        ({"model_dir": "runs/empty"}, "runs/empty: found no checkpoint, expected one"),
        ({"data_dir": "none"}, "none: no manifest.json, expected the prepared dataset of the run"),
        ({"grid_class": 4}, "--grid_class: found 4, expected 0 to 3"),
        ({"grid_class": -1}, "--grid_class: found -1, expected 0 to 3"),
        ({"output": "runs"}, "--output: found runs, expected the name of a file"),
        ({"output": "none/page.html"}, "none/page.html"),
        ({"output": "runs/first/run.json/page.html"}, "runs/first/run.json/page.html"),
    ],
)
def test_a_mistake_is_one_line_and_no_page(work, given, line, capsys):
    (work / "runs/empty").mkdir(exist_ok=True)
    shutil.copy(work / "runs/first/run.json", work / "runs/empty/run.json")
    with pytest.raises(InputError) as error:
        make_page(work, **{"model_dir": "runs/first", "output": "never.html"} | given)
    assert line in str(error.value)
    progress.complain(error.value)
    assert capsys.readouterr().err.splitlines()[-1].count(line) == 1
    assert not (work / "never.html").exists()


def test_without_matplotlib_it_says_how_to_get_it(work):
    """And before TensorFlow is there, as --help and wrong flags are answered."""
    hidden = "import runpy, sys; sys.modules['matplotlib'] = None; sys.argv[0] = 'report'; "
    start = "runpy.run_module('mnist_estimator.report', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", hidden + start, "--model_dir=runs/first"],
        cwd=work,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("report: matplotlib not found")
    assert done.stderr.endswith("pip install 'mnist_estimator[report]'\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "code", "said"),
    [("--help", 0, "--grid_class"), ("--split=all", 2, "--split"), ("--foo", 2, "foo")],
)
def test_flags_are_answered_without_tensorflow(tmp_path, flag, code, said):
    started = time.monotonic()
    stdout, stderr = command("report", flag, cwd=tmp_path, code=code)
    assert said in (stderr if code else stdout)
    assert code == 0 or stderr.count("\n") == 1
    assert time.monotonic() - started < 30
