"""The real commands with model_dir and data in an S3 server, also one that fails or is gone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import fault_proxy, object_stores, programs
from support.short_runs import variables

from mnist_estimator import storage
from mnist_estimator.compat import tf
from mnist_estimator.runs import checkpoints, lock

FLAGS = ("--model=softmax", "--max_steps=30", "--save_checkpoints_steps=10", "--batch_size=32")
# A trainer that shows more often that it is alive, and gives a server up earlier.
IMPATIENT = """
import runpy
from mnist_estimator.runs import lock
from mnist_estimator.storage import _stores
lock._BEAT_SECS = _stores.RETRY_SECONDS = 1
runpy.run_module("mnist_estimator.train", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def place(object_store):
    """A bucket, in which the sample is prepared in `data`; this process can reach it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_stores.environment(object_store.endpoint).items():
            patch.setenv(name, value)
        storage.install()
        bucket = f"s3://{object_store.make_bucket()}"
        run("prepare", "--dataset=sample", f"--data_dir={bucket}/data")
        yield bucket


@pytest.fixture(scope="module")
def trained(object_store, place):
    """A model_dir whose trainer was killed twice, and could not rely on its store."""
    model_dir = f"{place}/killed"
    faults = fault_proxy.Faults(refused=0.05)
    with fault_proxy.proxy(object_store.endpoint, faults, seed=1) as proxy:
        words = train(model_dir, f"{place}/data")
        for upload in (r"/killed/model\.ckpt-10\.index", r"/killed/best/checkpoint"):
            with started(words, endpoint=proxy.endpoint) as trainer:
                wait_for_put(proxy, upload, trainer)
                trainer.kill()
        run("train", *words[3:], endpoint=proxy.endpoint)
        assert proxy.hit > 5
    return model_dir


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    program = tmp_path_factory.mktemp("impatient") / "train.py"
    program.write_text(IMPATIENT)
    return [sys.executable, str(program)]


def train(model_dir, data_dir, *flags):
    return programs.command(
        "train", f"--model_dir={model_dir}", f"--data_dir={data_dir}", *FLAGS, *flags
    )


def run(name, *flags, code=0, cwd=None, **given):
    """Runs a command, and returns what it printed on stdout and stderr."""
    result = programs.run_forked(programs.command(name, *flags), cwd=cwd, env=environment(**given))
    assert result.returncode == code, result.stderr
    return result.stdout, result.stderr


def environment(endpoint="", user=object_stores.WRITER):
    endpoint = endpoint or os.environ["AWS_ENDPOINT_URL"]
    return os.environ | object_stores.environment(endpoint, user)


@contextlib.contextmanager
def started(words, **given):
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with programs.fork(words, env=environment(**given), **pipes) as process:
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=60)


def wait_for_put(proxy, pattern, process):
    seen = len(proxy.requests)

    def is_put():
        return any(
            method == "PUT" and re.search(pattern, path)
            for method, path, _ in proxy.requests[seen:]
        )

    programs.wait_until(is_put, process=process, every=0.002)


def names_in(folder):
    return sorted(name.rstrip("/") for name in tf.io.gfile.listdir(folder))


def test_a_run_killed_twice_ends_as_on_the_disk(trained, place, tmp_path):
    run("train", *train(tmp_path / "local", tmp_path / "data", "--dataset=sample")[3:])
    assert variables(trained) == variables(tmp_path / "local")
    exports = [f"{folder}/export/best/30" for folder in (trained, tmp_path / "local")]
    remote, local = (
        {os.path.relpath(path, export): tf.io.gfile.GFile(path, "rb").read() for path in paths}
        for export, paths in ((export, walk(export)) for export in exports)
    )
    assert remote == local


def walk(folder):
    return [f"{place}/{name}" for place, _, names in tf.io.gfile.walk(folder) for name in names]


def test_a_killed_run_leaves_nothing_behind(trained):
    left = [name for name in names_in(trained) if re.search(r"_temp|\.tmp|\.part", name)]
    assert left == []
    assert names_in(f"{trained}/export/best") == ["30"]
    assert not checkpoints.damage(f"{trained}/model.ckpt-30")


def test_the_commands_find_the_run_and_the_data_that_it_names(trained):
    stdout, _ = run("evaluate", f"--model_dir={trained}", "--json")
    with tf.io.gfile.GFile(f"{trained}/metrics.json") as file:
        assert json.loads(stdout)["accuracy"] == json.load(file)["accuracy"]
    run("export", f"--model_dir={trained}", f"--output={trained}/more")
    picture = str(Path(__file__).parents[2] / "docs/images/tensorboard.png")
    stdout, _ = run("predict", f"--export_dir={trained}/more/30", picture)
    assert stdout.startswith(picture)


def test_of_two_trainers_that_start_together_one_trains(place, impatient):
    model_dir = f"{place}/contended"
    flags = train(model_dir, f"{place}/data", "--max_steps=1000000")[3:]
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(started([*impatient, *flags])) for _ in range(2)]
        programs.wait_until(lambda: ended(both))
        (loser,) = ended(both)
        (winner,) = set(both) - {loser}
        line = loser.communicate(timeout=60)[1].splitlines()[-1]
        assert loser.returncode == 2
        assert f"in use by the trainer on host {os.uname().nodename}, process {winner.pid}" in line
        programs.wait_for_checkpoint(model_dir, 10, winner)
        winner.send_signal(signal.SIGTERM)
        assert winner.wait(60) == 143
    content, _ = storage.read_version(f"{model_dir}/{lock.LOCK_FILE}")
    assert json.loads(content) == {}


def ended(processes):
    return [process for process in processes if process.poll() is not None]


@pytest.mark.parametrize(
    ("folder", "given", "code", "expected"),
    [
        ("s3://no-such-bucket/run", {}, 2, "no-such-bucket"),
        ("{place}/run", {"user": object_stores.READER}, 2, "403|[Pp]ermission|[Dd]enied"),
        # An engine is to start it again: later the store may answer.
        ("{place}/run", {"endpoint": "http://127.0.0.1:9"}, 138, "127.0.0.1:9"),
    ],
)
def test_a_store_that_cannot_be_written_to_is_one_line(
    place, impatient, folder, given, code, expected
):
    folder = folder.format(place=place)
    words = [*impatient, *train(folder, f"{place}/data")[3:]]
    result = programs.run_forked(words, env=environment(**given))
    assert result.returncode == code
    assert result.stderr.startswith(f"train: {folder}")
    assert re.search(expected, result.stderr)
    assert result.stderr.count("\n") == 1
    assert object_stores.environment("")["AWS_SECRET_ACCESS_KEY"] not in result.stderr
