"""Nothing is deleted that is not ours, one writes at a time, and a kill harms nothing."""

from __future__ import annotations

import fcntl
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import tiny_dataset

from mnist_estimator import InputError, storage
from mnist_estimator.compat import tf
from mnist_estimator.data import records, workspace
from mnist_estimator.data.manifest import (
    MANIFEST,
    Manifest,
    find_manifest,
)
from mnist_estimator.runtime import files, locking


@pytest.mark.parametrize("dataset", ["none", "whole", "damaged"])
@pytest.mark.parametrize("name", ["train-00000-of-00001.tfrecord", "test-00001-of-00003.tfrecord"])
def test_a_file_that_no_manifest_lists_is_never_deleted(tmp_path: Path, dataset: str, name: str):
    if dataset != "none":
        tiny_dataset.write(tmp_path, shards=2)
    if dataset == "damaged":
        path = tmp_path / MANIFEST
        path.write_text(path.read_text()[:-3])
    (tmp_path / name).write_text("mine")
    before = tiny_dataset.files(tmp_path)
    for force in (True, False) if dataset == "none" else (True,):
        with pytest.raises(InputError, match=f"found {name} without a manifest.json.*move it"):
            tiny_dataset.write(tmp_path, salt=1, shards=1, force=force)
        assert tiny_dataset.files(tmp_path) == before


@pytest.mark.parametrize("text", ['{"name": "a web page"}', '{"format_version": 2, "header": {}}'])
def test_a_manifest_of_another_program_is_never_deleted(tmp_path: Path, text: str):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InputError, match="manifest.json: found a file of another program.*move"):
        tiny_dataset.write(tmp_path, force=True)
    assert tiny_dataset.files(tmp_path) == {MANIFEST: text.encode()}


def test_a_file_that_came_while_writing_is_not_replaced(tmp_path: Path):
    mine = tmp_path / "train-00000-of-00008.tfrecord"
    with pytest.raises(InputError, match="found train-00000-of-00008.tfrecord without"):
        tiny_dataset.write(tmp_path, report=lambda line: mine.write_text("mine"))
    assert tiny_dataset.files(tmp_path) == {mine.name: b"mine"}


def test_force_replaces_every_file(tmp_path: Path):
    tiny_dataset.write(tmp_path, shards=4)
    (tmp_path / "notes.txt").write_text("mine")
    tiny_dataset.write(tmp_path, shards=2, salt=1, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "notes.txt",
        *(f"{split}-0000{i}-of-00002.tfrecord" for split in ("test", "train") for i in (0, 1)),
        *(f"validation-0000{i}-of-00002.tfrecord" for i in (0, 1)),
    ]
    assert records.verify(str(tmp_path)) == []


def test_stray_shards_are_not_overwritten(tmp_path: Path):
    tiny_dataset.write(tmp_path)
    (tmp_path / MANIFEST).unlink()
    before = tiny_dataset.files(tmp_path)
    for force in (False, True):
        with pytest.raises(InputError, match="without a manifest.json.*move it away"):
            tiny_dataset.write(tmp_path, salt=1, force=force)
        assert tiny_dataset.files(tmp_path) == before


# Several at once.


def test_busy(tmp_path: Path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(workspace.BusyError, match="another process"):
            tiny_dataset.write(tmp_path)
    finally:
        os.close(handle)
    tiny_dataset.write(tmp_path)


def test_second_writer_is_refused_and_the_first_not_disturbed(tmp_path: Path):
    def other(line: str) -> None:
        with pytest.raises(workspace.BusyError):
            tiny_dataset.write(tmp_path, salt=1)

    tiny_dataset.write(tmp_path, report=other)
    assert records.verify(str(tmp_path)) == [] and len(tiny_dataset.files(tmp_path)) == 10


@pytest.mark.parametrize("data_dir", ["ram://busy/data", None])
def test_second_writer_is_refused_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: str | None
):
    data_dir = data_dir or str(tmp_path)
    monkeypatch.setattr(workspace, "_lock", lambda data_dir, stack: False)

    def other(line: str) -> None:
        with pytest.raises(workspace.BusyError, match="if it is not, remove .*/.prepare-"):
            tiny_dataset.write(data_dir, salt=1)

    tiny_dataset.write(data_dir, report=other)
    assert records.verify(data_dir) == []


def _leave(data_dir: Path, host: str, pid: int, age_secs: float) -> Path:
    folder = data_dir / f".prepare-{host}-{pid}-0123abcd"
    folder.mkdir()
    beat = folder / "alive"
    beat.write_text("")
    now = beat.stat().st_mtime
    os.utime(beat, (now - age_secs, now - age_secs))
    return folder


def test_a_folder_before_its_first_beat_is_not_dead(tmp_path: Path):
    folder = _leave(tmp_path, "elsewhere", 1, age_secs=0)
    (folder / "alive").unlink()
    with pytest.raises(workspace.BusyError):
        tiny_dataset.write(tmp_path)
    assert os.listdir(tmp_path) == [folder.name]


_NO_PID = 2**22 + 1  # Above the largest that Linux gives.


@pytest.mark.parametrize(
    ("host", "pid", "age_secs", "locks", "dead"),
    [
        ("elsewhere", 1, 0, True, False),
        ("elsewhere", 1, 500, True, False),
        ("elsewhere", 1, 700, True, True),
        ("elsewhere", 1, 700, False, True),
        ("here", 1, 0, True, True),  # It would hold the lock if it lived.
        ("here", 1, 0, False, False),
        ("here", _NO_PID, 0, False, True),
    ],
)
def test_left_over_folders(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    pid: int,
    age_secs: float,
    locks: bool,
    dead: bool,
):
    monkeypatch.setattr(workspace.socket, "gethostname", lambda: "here")
    if not locks:
        monkeypatch.setattr(workspace, "_lock", lambda data_dir, stack: False)
    folder = _leave(tmp_path, host, pid, age_secs)
    if dead:
        tiny_dataset.write(tmp_path)
        assert len(tiny_dataset.files(tmp_path)) == 10
    else:
        with pytest.raises(workspace.BusyError):
            tiny_dataset.write(tmp_path)
        assert os.listdir(tmp_path) == [folder.name]


def _gone_process(machine: str) -> str:
    """What a process leaves of itself in a store's data_dir, that no longer runs."""
    return f".prepare-here{machine}-{_NO_PID}-0123abcd"


def test_in_a_store_a_machine_is_not_known_by_its_name_alone(monkeypatch: pytest.MonkeyPatch):
    storage.install()
    monkeypatch.setattr(workspace.socket, "gethostname", lambda: "here")
    data_dir = f"memory://prepared/{secrets.token_hex(8)}"
    files.write_text(f"{data_dir}/{_gone_process('')}/alive", "")
    with pytest.raises(workspace.BusyError):
        tiny_dataset.write(data_dir)
    tf.io.gfile.rmtree(data_dir)
    machine = workspace._host(data_dir).removeprefix("here")
    files.write_text(f"{data_dir}/{_gone_process(machine)}/alive", "")
    tiny_dataset.write(data_dir)
    assert records.verify(data_dir) == []


@pytest.mark.parametrize("moves", [0, 1, 4, 6])
def test_in_a_store_a_kill_while_a_dataset_is_published_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, moves: int
):
    storage.install()
    data_dir, done = f"memory://prepared/{secrets.token_hex(8)}", []
    rename = tf.io.gfile.rename
    tiny_dataset.write(data_dir)

    def killed(source: str, target: str) -> None:
        if len(done) == moves:
            tf.io.gfile.copy(source, target, overwrite=True)  # As a store renames: not at once.
            raise KeyboardInterrupt
        rename(source, target)
        done.append(target)

    with monkeypatch.context() as patch:
        patch.setattr(tf.io.gfile, "rename", killed)
        patch.setattr(workspace, "_remove_workspace", lambda folder: None)
        patch.setattr(workspace, "_host", lambda data_dir: "there")
        with pytest.raises(KeyboardInterrupt):
            tiny_dataset.write(data_dir, salt=1, force=True)
    assert find_manifest(data_dir) is None or records.verify(data_dir) == []
    monkeypatch.setattr(workspace, "_is_dead", lambda folder, own, locked: True)
    tiny_dataset.write(data_dir, salt=2, force=True)
    assert records.verify(data_dir) == []
    assert len(tf.io.gfile.listdir(data_dir)) == 10


@pytest.mark.parametrize("moves", range(6))
def test_an_interruption_while_a_dataset_is_published_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
):
    tiny_dataset.write(tmp_path)
    rename, left = tf.io.gfile.rename, [moves]

    def interrupted(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(tf.io.gfile, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_dataset.write(tmp_path, salt=1, force=True)
    if moves == 0:
        assert records.verify(str(tmp_path)) == []
    assert workspace.unfinished(str(tmp_path)) == ("" if moves == 0 else "tiny")
    tiny_dataset.write(tmp_path, salt=2, force=True)
    assert records.verify(str(tmp_path)) == []
    assert len(os.listdir(tmp_path)) == 10


def test_an_error_before_anything_is_removed_leaves_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tiny_dataset.write(tmp_path)
    before = tiny_dataset.files(tmp_path)
    monkeypatch.setattr(workspace, "sync", lambda path: (_ for _ in ()).throw(OSError("I/O error")))
    with pytest.raises(InputError, match="I/O error"):
        tiny_dataset.write(tmp_path, salt=1, force=True)
    assert tiny_dataset.files(tmp_path) == before


def test_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(locking.time, "monotonic", lambda: now[0])
    beat = workspace._heartbeat(str(tmp_path))
    (tmp_path / "alive").unlink()
    now[0] = 29.0
    beat()
    assert not (tmp_path / "alive").exists()
    now[0] = 31.0
    beat()
    assert (tmp_path / "alive").exists()


# Killed.

# A process that dies at the k-th operation on the filesystem, or after some time, in a child forked
# from one that has TensorFlow loaded already.
_KILLED = """
import os, signal, sys
import numpy as np
from support import tiny_dataset
from mnist_estimator.compat import tf
from mnist_estimator.runtime import local_files

def dying(function, count):
    def call(*args, **kwargs):
        count[0] -= 1
        if count[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

def child(data_dir, k, seconds, train, salt):
    count = [k]
    for name in ("makedirs", "remove", "rename", "rmtree", "GFile"):
        setattr(tf.io.gfile, name, dying(getattr(tf.io.gfile, name), count))
    local_files.created = dying(local_files.created, count)
    for name in ("fsync", "mkdir", "makedirs", "open", "replace", "unlink", "rmdir"):
        setattr(os, name, dying(getattr(os, name), count))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    tiny_dataset.write(data_dir, train=train, salt=salt, shards=1 + salt, force=bool(salt))
    os._exit(0)

for line in sys.stdin:
    data_dir, *numbers = line.split()
    k, seconds, train, salt = map(float, numbers)
    pid = os.fork()
    if not pid:
        try:
            child(data_dir, int(k), seconds, int(train), int(salt))
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def killer() -> Iterator[subprocess.Popen]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", _KILLED]
    with subprocess.Popen(command, **pipes, text=True, env=environment) as process:
        yield process


def _run_killed(process: subprocess.Popen, data_dir: Path, *numbers: float) -> int:
    """Returns the exit code: negative if it was killed."""
    print(data_dir, *numbers, file=process.stdin, flush=True)
    return int(process.stdout.readline())


def _check_whole_or_none(data_dir: Path, datasets: list[Manifest]) -> Manifest | None:
    manifest = find_manifest(str(data_dir))
    if manifest is not None:
        assert manifest in datasets and records.verify(str(data_dir)) == []
    return manifest


def test_killed_at_every_operation_on_an_empty_folder(tmp_path: Path, killer: subprocess.Popen):
    expected = tiny_dataset.write(tmp_path / "expected", shards=1)
    codes, seen = [], []
    for k in range(200):
        data_dir = tmp_path / str(k)
        codes.append(_run_killed(killer, data_dir, k, 60, 50, 0))
        seen.append(_check_whole_or_none(data_dir, [expected]))
        # The next run tidies up and needs no --force.
        assert tiny_dataset.write(data_dir, shards=1) == expected
        assert tiny_dataset.files(data_dir) == tiny_dataset.files(tmp_path / "expected")
        if codes[-1] == 0:
            break
    assert codes[-1] == 0 and set(codes[:-1]) == {-9} and len(codes) > 20
    assert seen[0] is None and seen[-2] == expected


def test_killed_at_every_operation_over_another_dataset(tmp_path: Path, killer: subprocess.Popen):
    new = tiny_dataset.write(tmp_path / "expected", shards=2, salt=1)
    codes, seen = [], []
    for k in range(200):
        data_dir = tmp_path / str(k)
        old = tiny_dataset.write(data_dir, shards=1)
        codes.append(_run_killed(killer, data_dir, k, 60, 50, 1))
        seen.append(_check_whole_or_none(data_dir, [old, new]))
        if seen[-1] is None:
            assert tiny_dataset.write(data_dir, shards=2, salt=1) == new
        else:
            assert tiny_dataset.write(data_dir, shards=2, salt=1, force=True) == new
        assert tiny_dataset.files(data_dir) == tiny_dataset.files(tmp_path / "expected")
        if codes[-1] == 0:
            break
    assert codes[-1] == 0 and set(codes[:-1]) == {-9} and len(codes) > 30
    assert seen[0] == old and None in seen and seen[-2] == new


def test_killed_at_any_time(tmp_path: Path, killer: subprocess.Popen):
    train, codes = 20_000, []
    expected = tiny_dataset.write(tmp_path / "expected", train=train, shards=1)
    for millis in (1, 3, 10, 20, 30, 60, 100, 150, 200, 250, 300, 400):
        data_dir = tmp_path / str(millis)
        codes.append(_run_killed(killer, data_dir, 1e6, millis / 1000, train, 0))
        _check_whole_or_none(data_dir, [expected])
        assert tiny_dataset.write(data_dir, train=train, shards=1) == expected
        assert len(tiny_dataset.files(data_dir)) == 4
    assert codes.count(-14) >= 3 and set(codes) <= {-14, 0}
