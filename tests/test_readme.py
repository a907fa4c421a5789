"""README's commands and code do what README says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_estimator import config, datasets

README = (Path(__file__).parents[1] / "README.md").read_text()
# MNIST's files are not here; a short run on the bundled digits stands in for the long one.
EXTRA_FLAGS = {"mnist_estimator.train": ["--max_steps=20", "--log_steps=10"]}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.smoke
def test_the_tour(tmp_path):
    shutil.copytree(datasets.sample_dir(), tmp_path / "data/mnist")
    commands = [shlex.split(line) for line in "".join(blocks("sh")).splitlines()]
    assert [command[2] for command in commands] == [
        "mnist_estimator.prepare",
        "mnist_estimator.prepare",
        "mnist_estimator.train",
        "mnist_estimator.evaluate",
    ]
    for python, *arguments in commands:
        assert python == "python"
        flags = EXTRA_FLAGS.get(arguments[1], [])
        result = subprocess.run(
            [sys.executable, *arguments, *flags],
            cwd=tmp_path,
            env=os.environ
            | {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["examples"] == 1000


def test_the_estimator_code_trains(tmp_path, monkeypatch):
    from mnist_estimator.compat import estimator, tf, v1

    def model_fn(features, labels, mode):
        loss = v1.get_variable("x", [], initializer=v1.ones_initializer()) ** 2
        step = v1.train.get_global_step()
        train_op = v1.train.GradientDescentOptimizer(0.1).minimize(loss, step)
        return estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

    def input_fn():
        return tf.data.Dataset.from_tensors({"one": tf.ones([1])}).repeat()

    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    names = {"model_fn": model_fn, "input_fn": input_fn}
    exec(code, names)  # README's lines are those of the user's own program.
    assert names["classifier"].get_variable_value("global_step") == 1000


def test_every_flag_in_the_table_is_one():
    (table,) = re.findall(r"^\| flag \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`--(\w+)`", table))
    assert {"model_dir", "strategy"} < named <= set(config.TrainConfig.__dataclass_fields__)
