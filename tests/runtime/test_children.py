"""The command lines of child processes."""

from __future__ import annotations

import subprocess
import sys

from mnist_estimator.runtime import children

# Starts `report --version` as a child of a child: not of the process that the line was made for.
HANDED_ON = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], timeout=60).returncode)"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def test_a_child_is_the_command_with_its_arguments():
    done = run(*children.command("report", "--version"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mnist_estimator ")
    wrong = run(*children.command("report", "it's wrong"))
    assert wrong.returncode == 2 and '"it\'s wrong"' in wrong.stderr


def test_a_child_whose_parent_has_died_does_not_begin():
    done = run(sys.executable, "-c", HANDED_ON, *children.command("report", "--version"))
    assert (done.returncode, done.stdout) == (143, "")
