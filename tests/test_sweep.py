"""The command sweep: a whole sweep in little, and what it says to mistakes."""

from __future__ import annotations

import json
import sys

import pytest
from support import programs

SPACE = "learning_rate: {type: float, low: 1e-3, high: 1e-1, log: true}\n"
FLAGS = ("--model_dir=sweep", "--data_dir=data", "--model=softmax", "--max_steps=20")
FLAGS += ("--batch_size=50", "--save_checkpoints_steps=10")


@pytest.mark.smoke
def test_a_sweep_ends_with_a_table_a_flagfile_and_a_report(work):
    (work / "space.yaml").write_text(SPACE)
    sweep = programs.command("sweep", "--space=space.yaml", "--trials=1", "--", *FLAGS)
    done = programs.run_forked(sweep, cwd=work, check=True)
    heading, row, *said = done.stdout.splitlines()
    assert heading.split() == ["trial", "state", "accuracy", "learning_rate"]
    number, state, accuracy, rate = row.split()
    assert (number, state) == ("0", "complete") and float(accuracy) > 0.5
    assert said[0] == f"best: trial 0, accuracy {accuracy} on the validation split"
    assert done.stderr.splitlines()[0] == "trial 0 of 1: begins"
    page = (work / "sweep/report.html").read_text()
    assert "The best of 1 trials" in page and "trial-00000" in page
    assert not (work / "sweep/trial-00000/metrics.json").exists()
    # The command that it ends with trains no more, and shows the test split for the first time.
    command = said[2].removeprefix("test and export it: python -m mnist_estimator.train ")
    test = programs.command("train", *command.split())
    tested = programs.run_forked(test, cwd=work, check=True)
    assert "training softmax" not in tested.stderr and "test accuracy 0." in tested.stdout
    flags = json.loads((work / "sweep/trial-00000/run.json").read_text())["flags"]
    assert f"{flags['learning_rate']:.6g}" == rate
    assert (work / "sweep/trial-00000/export/best").is_dir()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "--space: found nothing, expected a file of YAML; see --help"),
        (["--space=none.yaml"], "none.yaml: No such file or directory, expected a file of YAML"),
        (["--space=space.yaml", "--trials=0"], "--trials: found 0, expected 1 to 100000"),
        (["--space=space.yaml", "--max_steps=3"], "Unknown command line flag 'max_steps'; flags"),
        (["--space=space.yaml", "--", "--export=none"], "train flags, after the --: found --expor"),
        (["--space=wrong.yaml"], "wrong.yaml: seed: found a flag of data, which is the same in"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, line):
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "wrong.yaml").write_text("seed: {type: int, low: 1, high: 2}\n")
    done = programs.run_forked(programs.command("sweep", *arguments), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"sweep: {line}") and done.stderr.count("\n") == 1


WITHOUT = """
import importlib.util, runpy, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "{name}" else find(name, *more)
sys.argv = ["sweep", *sys.argv[1:]]
runpy.run_module("mnist_estimator.sweep", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("name", ["optuna", "matplotlib"])
def test_a_missing_extra_is_one_line(tmp_path, name):
    (tmp_path / "space.yaml").write_text(SPACE)
    program = tmp_path / "without.py"
    program.write_text(WITHOUT.format(name=name))
    words = [sys.executable, str(program), "--space=space.yaml"]
    done = programs.run_forked(words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"sweep: {name} not found, which ")
    assert done.stderr.endswith("; pip install 'mnist_estimator[sweep]'\n")
