"""Measures one command of this package, or Python alone, from its start to its end.

What a command needs (the prepared sample, a run of one step) is made below WORK the first time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import commands
import common

_DATA = common.WORK / "start_up" / "data"
_RUN = common.WORK / "start_up" / "run"
_SPARE = ["--export=none", "--eval_split=none"]
_CLUSTER = ["--chief_hosts=localhost:1", "--worker_hosts=localhost:2"]
_TASK = ["--job_name=worker", "--task_index=0"]


def main() -> None:
    """Measures and prints a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--command", choices=sorted(COMMANDS), required=True)
    given = parser.parse_args()
    ran = COMMANDS[given.command]()
    common.report(seconds=ran.seconds, cpu_seconds=ran.cpu)


def _python(program: str) -> commands.Ran:
    return commands.run([sys.executable, "-c", program])


def _train(*flags: str, until: str = "") -> commands.Ran:
    """Trains in the program's own folder, which is removed after it."""
    command = commands.package("train", f"--data_dir={_prepared()}", "--model_dir=run", *flags)
    return commands.run(command, until=until)


def _resume() -> commands.Ran:
    shutil.copytree(_trained(), "run")
    return _train("--max_steps=2", *_SPARE)


def _evaluate() -> commands.Ran:
    flags = [f"--model_dir={_trained()}", f"--data_dir={_prepared()}", "--split=test"]
    return commands.run(commands.package("evaluate", *flags))


def _prepared() -> Path:
    if not _DATA.exists():
        commands.run(commands.package("prepare", "--dataset=sample", f"--data_dir={_DATA}"))
    return _DATA


def _trained() -> Path:
    if not _RUN.exists():
        unfinished = _RUN.with_name("run.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        flags = [f"--data_dir={_prepared()}", f"--model_dir={unfinished}", "--max_steps=1", *_SPARE]
        commands.run(commands.package("train", *flags))
        os.replace(unfinished, _RUN)
    return _RUN


def _package(name: str, *arguments: str, code: int = 0) -> commands.Ran:
    return commands.run(commands.package(name, *arguments), code=code)


COMMANDS = {
    "python": lambda: _python("pass"),
    "import": lambda: _python("import tensorflow"),
    "help": lambda: _package("train", "--help"),
    "flag_error": lambda: _package("train", "--max_steps=-1", code=2),
    "first_step": lambda: _train("--max_steps=1", "--log_steps=1", *_SPARE, until="\nstep 1/1 "),
    "resume": _resume,
    "one_step": lambda: _train("--max_steps=1"),
    "evaluate": _evaluate,
    "dry_run": lambda: _package(
        *("submit", "--engine=slurm", "--workers=4", "--dry_run"),
        *("--", "--model_dir=/shared/mod1", "--data_dir=/shared/mnist"),
    ),
    "launch_help": lambda: _package("launch", "--help"),
    "launch_error": lambda: _package("launch", "--workers=-1", code=2),
    "explain": lambda: _package("train", "--explain", *_CLUSTER, *_TASK),
}


if __name__ == "__main__":
    main()
