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

import numpy as np
import pytest

from mnist_estimator import config
from mnist_estimator.data import known_datasets

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# MNIST's files are not here; a short run on the bundled digits stands in for the long one.
EXTRA_FLAGS = {"mnist_estimator.train": ["--max_steps=20", "--log_steps=10"]}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.smoke
def test_the_tour(tmp_path):
    shutil.copytree(known_datasets.sample_dir(), tmp_path / "data/mnist")
    commands = [shlex.split(line) for line in "".join(blocks("sh")).splitlines()]
    assert [command[2] for command in commands] == [
        "mnist_estimator.prepare",
        "mnist_estimator.prepare",
        "mnist_estimator.train",
        "mnist_estimator.evaluate",
        "mnist_estimator.predict",
        "mnist_estimator.export",
        "mnist_estimator.export",
        "mnist_estimator.report",
    ]
    pictures = [tmp_path / name for name in ("photo.png", "scans/a.png", "more/b.png")]
    for path in pictures:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(a_picture())
    printed = {}
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
        printed[arguments[1]] = result.stdout
    assert json.loads(printed["mnist_estimator.evaluate"])["examples"] == 1000
    answers = printed["mnist_estimator.predict"].splitlines()
    assert [line.partition(":")[0] for line in answers] == [
        "photo.png",
        "scans/a.png",
        "more/b.png",
    ]


def a_picture() -> bytes:
    """A bar in black on white: a digit to look at, if not much of one."""
    from mnist_estimator.compat import tf, v1

    picture = np.full([90, 70, 1], 255, np.uint8)
    picture[20:70, 30:38] = 0
    with tf.Graph().as_default(), v1.Session() as session:
        return session.run(tf.io.encode_png(picture))


def test_the_network_of_ones_own_trains(tmp_path):
    (code,) = [code for code in blocks("python") if "def my_network" in code]
    (tmp_path / "my_module.py").write_text(code)
    flags = ["--model=my_module:my_network", "--dataset=sample", "--max_steps=60"]
    done = subprocess.run(
        [sys.executable, "-m", "mnist_estimator.train", *flags, "--export=none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"test accuracy (0\.\d+)", done.stdout)
    assert float(found[1]) > 0.7


def test_every_recipe_is_in_the_table_and_says_its_command_and_results():
    for path in (ROOT / "recipes").glob("*.flags"):
        head = path.read_text()
        assert f"--flagfile=recipes/{path.name}" in head
        assert "# Published: " in head and "# Measured: " in head
        assert f"| `{path.stem}` |" in README


def test_every_recipe_is_made_of_flags():
    script = (
        "import sys\n"
        "from mnist_estimator import config\n"
        "config.define_train_flags()\n"
        "for path in sys.argv[1:]:\n"
        "    config.flags.FLAGS(['train', f'--flagfile={path}'])\n"
        "    assert config.train_config().model_dir != 'tboard/mod1', path\n"
        "    config.flags.FLAGS.unparse_flags()\n"
    )
    recipes = sorted(map(str, (ROOT / "recipes").glob("*.flags")))
    assert len(recipes) >= 6
    done = subprocess.run(
        [sys.executable, "-c", script, *recipes], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_csv_of_the_recipes_is_a_seeded_sample(tmp_path):
    texts = []
    for seed in ("0", "0", "1"):
        flags = [f"--source_dir={known_datasets.sample_dir()}", f"--output={tmp_path}/s.csv"]
        subprocess.run(
            [sys.executable, ROOT / "scripts/sample_csv.py", *flags, "--rows=50", f"--seed={seed}"],
            check=True,
            timeout=120,
        )
        texts.append((tmp_path / "s.csv").read_text())
    assert texts[0] == texts[1] != texts[2]
    rows = [line.split(",") for line in texts[0].splitlines()]
    assert {len(row) for row in rows} == {785} and len(rows) == 50
    assert {row[0] for row in rows} <= set("0123456789")


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
    (code,) = [code for code in blocks("python") if "Estimator(" in code]
    names = {"model_fn": model_fn, "input_fn": input_fn}
    exec(code, names)  # README's lines are those of the user's own program.
    assert names["classifier"].get_variable_value("global_step") == 1000


def test_every_flag_in_the_table_is_one():
    (table,) = re.findall(r"^\| flag \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`--(\w+)`", table))
    assert {"model_dir", "strategy"} < named <= set(config.TrainConfig.__dataclass_fields__)
