"""The command `train`: its flags, what it says of wrong ones, and --explain."""

from __future__ import annotations

import datetime
import json
import os
import socket
import subprocess
import sys
import types

import pytest
from absl import flags
from support import programs

import mnist_estimator.training
from mnist_estimator import InputError, train
from mnist_estimator.cluster import roles
from mnist_estimator.compat import _versions
from mnist_estimator.config import TrainConfig


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
        result = explained("--explain", TF_CONFIG=config)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"localhost:{here}" in result.stdout
    answers = [line.split()[3] for line in result.stdout.splitlines() if line.startswith("peer ps")]
    assert answers == [f"localhost:{there}"]
    assert "answers" in result.stdout
    assert "refused" in result.stdout


def test_train_explains_nothing_that_is_malformed():
    result = explained("--explain", TF_CONFIG="{")
    assert result.returncode == 2
    assert result.stderr.startswith("train: TF_CONFIG: found '{', expected JSON")
    assert result.stderr.count("\n") == 1


# Says at its end what was imported that this training does not need, and whether the garbage
# collector is on and how much it need not look through.
AT_END = (
    "import atexit, gc, runpy, sys\n"
    "heavy = {'keras', 'tf_keras', 'pandas', 'matplotlib', 'pyarrow', 'obstore', 'scipy'}\n"
    "def end(): print(sorted(heavy & set(sys.modules)), gc.isenabled(), gc.get_freeze_count())\n"
    "atexit.register(end)\n"
    "sys.argv[0] = 'train'\n"
    "runpy.run_module('mnist_estimator.train', run_name='__main__', alter_sys=True)\n"
)


def test_training_imports_only_what_it_needs(tmp_path, make_dataset):
    flags = {"data_dir": make_dataset(), "model_dir": tmp_path / "run", "max_steps": 1}
    words = [f"--{name}={value}" for name, value in (flags | {"model": "softmax"}).items()]
    result = programs.run([sys.executable, "-c", AT_END, *words])
    assert result.returncode == 0, result.stderr
    heavy, is_on, frozen = result.stdout.splitlines()[-1].rsplit(maxsplit=2)
    # TensorFlow 2.15 has Estimator built in, which imports Keras with it.
    has_estimator = _versions.release(_versions.installed("tensorflow", "tensorflow")) < (2, 16)
    assert heavy == ("['keras']" if has_estimator else "[]")
    assert is_on == "True" and int(frozen) > 100_000


def explained(*flags, **environ):
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


@pytest.fixture
def parse(monkeypatch):
    """A function that defines the flags and parses these; they are removed after the test."""
    monkeypatch.setenv("TF_CONFIG", "")  # So that what a test sets is undone after it.
    monkeypatch.delenv("TF_CONFIG")
    before = set(flags.FLAGS)
    train.define_flags()
    yield lambda *words: flags.FLAGS(["train", *words])
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


@pytest.fixture
def calls(monkeypatch):
    """What `training.train`, which needs TensorFlow, is called with instead of training."""
    found = []
    stub = types.ModuleType("training")
    stub.train = lambda *arguments: found.append(arguments)
    monkeypatch.setattr(mnist_estimator.training, "training", stub, raising=False)
    return found


CLUSTER = ("--chief_hosts=a:1", "--worker_hosts=b:1,c:1", "--job_name=worker", "--task_index=1")


def test_the_task_and_its_strategy_follow_from_the_flags(parse, calls):
    parse(*CLUSTER, "--max_steps=7")
    before = datetime.datetime.now().astimezone()
    train.main(["train"])
    ((config, task, since),) = calls
    assert (config.max_steps, config.strategy) == (7, "multi_worker")
    assert (task.role, task.index) == ("worker", 1)
    assert before <= since <= datetime.datetime.now().astimezone()
    assert json.loads(os.environ["TF_CONFIG"])["task"] == {"type": "worker", "index": 1}


def test_alone_there_is_no_cluster(parse, calls):
    parse()
    train.main(["train"])
    ((config, task, _),) = calls
    assert task == roles.Task()
    assert config == TrainConfig(data_dir="data/mnist")
    assert os.environ["TF_CONFIG"] == "{}"


def test_explain_prints_and_trains_nothing(parse, calls, capsys, monkeypatch):
    monkeypatch.setattr(train.explain, "describe", lambda config, task: f"{task.name}\nlast")
    parse("--explain", *CLUSTER)
    train.main(["train"])
    assert capsys.readouterr().out == "worker 1\nlast\n"
    assert calls == []
    assert "TF_CONFIG" not in os.environ


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size=0"], "--batch_size: found 0"),
        (["--strategy=ps"], "--strategy: found ps without a cluster"),
        (["--explain", "--strategy=ps"], "--strategy: found ps without a cluster"),
        ([*CLUSTER, "--task_index=2"], "--task_index: found 2"),
        ([*CLUSTER, "--strategy=ps"], "--strategy: found ps"),
    ],
)
def test_flags_that_cannot_be_train_nothing(parse, calls, words, message):
    parse(*words)
    with pytest.raises(InputError, match=f"^{message}"):
        train.main(["train"])
    assert calls == []
    assert "TF_CONFIG" not in os.environ


def test_explain_is_shown_with_the_flags_of_the_cluster(parse):
    names = [flag.name for flag in flags.FLAGS.key_flags_by_module_dict()["group: The cluster"]]
    assert names[-1] == "explain"
    assert "worker_hosts" in names
