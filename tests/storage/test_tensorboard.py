"""TensorBoard reads a run in an object store, as a user starts it, and follows it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support import programs
from tensorboard.plugins import base_plugin

from mnist_estimator import InputError, storage
from mnist_estimator.compat import tf
from mnist_estimator.storage.tensorboard import Loader

SHOWN_SECS = 60
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def asked(monkeypatch):
    """The folders for which the stores are asked for."""
    folders = []
    monkeypatch.setattr(storage, "install_for", lambda *paths: folders.extend(paths))
    return folders


def fix(logdir="", logdir_spec="", replaced=None):
    flags = argparse.Namespace(
        logdir=logdir, logdir_spec=logdir_spec, detect_file_replacement=replaced
    )
    Loader().fix_flags(flags)
    return flags.detect_file_replacement


@pytest.mark.parametrize(
    ("flags", "folders"),
    [
        (("s3://bucket/run",), ["s3://bucket/run"]),
        (("", "one:az://c/a,two:/local,s3://b"), ["az://c/a", "s3://b"]),
        (("/tmp/s3:/run", None), []),
        (("notes3://bucket",), []),
        ((None, "one:runs/a"), []),
    ],
)
def test_only_folders_in_stores_are_asked_for(flags, folders, asked):
    fix(*flags)
    assert asked == folders


def test_files_that_grow_there_are_opened_again_unless_the_user_says_no(asked):
    assert fix("s3://bucket/run") is True
    assert fix("s3://bucket/run", replaced=False) is False
    assert fix("/tmp/run") is None


def test_without_tensorflow_it_is_left_to_tensorboard(asked, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    fix("s3://bucket/run")
    assert not asked


def test_where_a_store_cannot_be_read_tensorboard_ends_with_what_to_do(monkeypatch):
    def fails(*paths):
        raise InputError("obstore is needed")

    monkeypatch.setattr(storage, "install_for", fails)
    with pytest.raises(base_plugin.FlagsError, match="^s3://bucket/run: obstore is needed$"):
        fix("s3://bucket/run")
    fix("/tmp/run")


def test_it_adds_no_page():
    assert Loader().load(None) is None


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that has the entry points of setup.py, as an installed package has."""
    folder = tmp_path_factory.mktemp("installed")
    words = [sys.executable, "setup.py", "-q", "egg_info", f"--egg-base={folder}"]
    subprocess.run(words, cwd=ROOT, check=True, timeout=programs.TIMEOUT_SECS)
    return folder


def test_a_run_in_s3_is_shown_and_followed(bucket, installed, tmp_path):
    run = f"{bucket}/runs/one"
    first = tf.summary.create_file_writer(run, filename_suffix=".1")
    write(first, steps=[1, 2])
    with tensorboard(run.rpartition("/")[0], installed, tmp_path) as ask:
        programs.wait_until(lambda: steps(ask) == [1, 2], timeout=SHOWN_SECS)
        write(first, steps=[3])
        programs.wait_until(lambda: steps(ask) == [1, 2, 3], timeout=SHOWN_SECS)
        write(tf.summary.create_file_writer(run, filename_suffix=".2"), steps=[4])
        programs.wait_until(lambda: steps(ask) == [1, 2, 3, 4], timeout=SHOWN_SECS)
        assert "mnist_estimator" not in ask("plugins_listing")


def write(writer, steps):
    with writer.as_default():
        for step in steps:
            tf.summary.scalar("loss", 1 / step, step=step)
    writer.flush()


def steps(ask):
    runs = ask("plugin/scalars/tags")
    if "one" not in runs:
        return []
    return [step for _, step, _ in ask("plugin/scalars/scalars?run=one&tag=loss")]


class tensorboard:
    """TensorBoard as `tensorboard --logdir=FOLDER`; gives what asks it for data."""

    def __init__(self, folder, installed, tmp_path):
        words = [sys.executable, "-m", "tensorboard.main", f"--logdir={folder}", "--port=0"]
        self._log = tmp_path / "log"
        with self._log.open("wb") as log:
            self._process = programs.start(
                [*words, "--host=127.0.0.1", "--reload_interval=1"],
                env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{ROOT}"},
                stdout=log,
                stderr=log,
                cwd=tmp_path,
            )

    def __enter__(self):
        found = programs.wait_until(self._address, process=self._process)

        def ask(path):
            with urllib.request.urlopen(f"{found[0]}data/{path}", timeout=60) as answer:
                return json.load(answer)

        return ask

    def _address(self):
        return re.findall(r"at (http://\S+/) ", self._log.read_text())

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait(timeout=programs.TIMEOUT_SECS)
