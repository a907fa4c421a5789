"""What every command does with its arguments, with errors, and with its exit code."""

from __future__ import annotations

import os
import sys

from support import programs

from mnist_estimator import __version__


def test_help_has_a_short_name_and_the_version_can_be_asked_for():
    result = programs.run(programs.command("train", "--max_steps=many", "-h"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "--model_dir:" in result.stdout
    for module in ("mnist_estimator", "mnist_estimator.train"):
        result = programs.run([sys.executable, "-m", module, "--version"])
        assert (result.returncode, result.stdout) == (0, f"mnist_estimator {__version__}\n")


def test_a_folder_that_tensorflow_cannot_name_is_one_line():
    result = programs.run(programs.command("train", os.fsdecode(b"--model_dir=latin\xe9")))
    assert result.returncode == 2
    assert result.stderr.startswith(r"train: --model_dir: found latin\xe9, expected UTF-8")
    assert result.stderr.count("\n") == 1


def test_help_may_be_cut_short():
    command = f"{sys.executable} -m mnist_estimator.train --help | true"
    result = programs.run(command, shell=True)
    assert result.stderr == ""
