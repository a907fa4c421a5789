"""The command: its flags, and that each part that there is can be planned and written."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.comparison import children, environments, rounds
from benchmarks.comparison.parts import Options
from benchmarks.comparison.results import Results

ROOT = Path(__file__).resolve().parents[2]


def test_help_teaches():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0
    assert "python -m benchmarks.run --data_dir=DIR --quick" in done.stdout
    assert "goes on where it was" in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data_dir=/no/such"], "found no folder '/no/such'"),
        (["--data_dir=.", "--parts=input,trainig"], "found 'trainig', expected any of training,"),
        (["--data_dir=.", "--rounds=0"], "found '0', expected a whole number from 1"),
        (
            ["--data_dir=.", "--parts=accuracy", "--only=Kers"],
            "found 'Kers', expected one of 'this package', 'Keras 3',",
        ),
    ],
)
def test_a_wrong_flag_is_named(flags, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        run.main([*flags, f"--work_dir={tmp_path}"])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", [name for name in run.PARTS if run.has(name)])
def test_each_task_of_a_part_has_its_program_and_its_environment(name, quick, tmp_path):
    options = Options(data_dir=tmp_path, work_dir=tmp_path, rounds=2, seeds=2, quick=quick)
    planned = rounds.plan(run.part(name), options)
    keys = [tuple(entry.key.values()) for entry in planned]
    assert len(set(keys)) == len(keys) > 0
    for entry in planned:
        assert (children.PEERS / entry.task.program).is_file()
        assert entry.task.deadline <= 3600
    names = {entry.task.contender for entry in planned}
    assert run.part(name).ours in names
    for environment in {entry.task.environment for entry in planned}:
        assert "==" in environments.pins(environment)


def test_only_the_named_contenders_are_measured(monkeypatch, tmp_path):
    measured = []
    monkeypatch.setattr(rounds, "make_environments", lambda planned, options: None)
    monkeypatch.setattr(rounds, "run", lambda planned, options, results: measured.extend(planned))
    options = Options(data_dir=tmp_path, work_dir=tmp_path, seeds=2)
    part = dataclasses.replace(run.part("accuracy"), prepare=lambda options: None)
    plan = {part: rounds.plan(part, options)}
    run._measure(plan, ["Flax", "PyTorch, bfloat16"], options, Results(tmp_path / "results"))
    found = [(entry.task.contender, entry.key["round"]) for entry in measured]
    once = ["PyTorch, bfloat16", "Flax", "Flax"]  # One of them has two settings.
    assert found == [(name, number) for number in range(2) for name in once]
