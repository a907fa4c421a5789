"""The command `train`: its flags, what it says of wrong ones, and --explain."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
from support import programs


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--batch_sise=3", "Unknown command line flag 'batch_sise'. Did you mean: batch_size ?"),
        ("--batch_size=many", "flag --batch_size=many: "),
        ("--batch_size=0", "--batch_size: found 0, expected at least 1"),
        ("--optimizer=lamb", "flag --optimizer=lamb: value should be one of <sgd|momentum"),
        ("extra", "found 'extra', expected only --flags; see --help"),
        ("--strategy=ps", "--strategy: found ps without a cluster"),
    ],
)
def test_a_wrong_flag_is_one_line_before_tensorflow_starts(flag, line):
    result = programs.run(programs.command("train", flag))
    assert result.returncode == 2
    assert result.stderr.startswith(f"train: {line}")
    assert result.stderr.count("\n") == 1


def test_train_explains_and_exits_before_tensorflow_starts():
    with socket.create_server(("localhost", 0)) as server, socket.socket() as closed:
        closed.bind(("localhost", 0))
        here, there = server.getsockname()[1], closed.getsockname()[1]
        jobs = {"chief": [f"localhost:{here}"], "worker": ["localhost:1"]}
        jobs["ps"] = [f"localhost:{there}"]
        config = json.dumps({"cluster": jobs, "task": {"type": "worker", "index": 0}})
        result = train("--explain", TF_CONFIG=config)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"localhost:{here}" in result.stdout
    answers = [line.split()[3] for line in result.stdout.splitlines() if line.startswith("peer ps")]
    assert answers == [f"localhost:{there}"]
    assert "answers" in result.stdout
    assert "refused" in result.stdout


def test_train_explains_nothing_that_is_malformed():
    result = train("--explain", TF_CONFIG="{")
    assert result.returncode == 2
    assert result.stderr.startswith("train: TF_CONFIG: found '{', expected JSON")
    assert result.stderr.count("\n") == 1


def train(*flags, **environ):
    # A TensorFlow that cannot be imported: nobody may want it.
    command = (
        "import runpy, sys; sys.modules['tensorflow'] = None; "
        "sys.argv[0] = 'train'; runpy.run_module('mnist_estimator.train', run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", command, *flags],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
