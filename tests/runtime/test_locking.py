"""The kernel's lock, and a heartbeat where there is none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time

import pytest
from support import programs

from mnist_estimator import InputError
from mnist_estimator.runtime import locking


def test_a_file_is_locked_once(tmp_path):
    handles = [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    assert locking.acquire(handles[0])
    with pytest.raises(BlockingIOError):
        locking.acquire(handles[1])
    os.close(handles[0])
    assert locking.acquire(handles[1])
    os.close(handles[1])


def test_a_filesystem_without_locks_locks_nothing(tmp_path, monkeypatch):
    def none(handle, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locking.fcntl, "flock", none)
    handle = os.open(tmp_path, os.O_RDONLY)
    assert not locking.acquire(handle)
    os.close(handle)


@pytest.mark.parametrize(
    ("mount", "is_seen"),
    [
        ("ext4 /dev/sda1 rw", True),
        ("nfs4 server:/ rw,vers=4.2,local_lock=none", True),
        ("nfs server:/ rw,vers=3,nolock,local_lock=all", False),
        ("fuse.gcsfuse bucket rw,user_id=0", False),
        ("fuse.sshfs a@b:/ rw", False),
        ("fuseblk /dev/sdb1 rw", True),
        ("", True),
    ],
)
def test_locks_that_other_machines_do_not_see_are_none(tmp_path, monkeypatch, mount, is_seen):
    device = os.stat(tmp_path).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    lines = ["20 1 0:5 / /proc rw shared:2 - proc proc rw"]
    lines += [f"36 1 {name} / / rw,noatime master:1 - {mount}"] if mount else []
    (tmp_path / "mounts").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(locking, "_MOUNTS", str(tmp_path / "mounts"))
    handle = os.open(tmp_path, os.O_RDONLY)
    assert locking.acquire(handle) == is_seen
    monkeypatch.setattr(locking, "_MOUNTS", str(tmp_path / "none"))
    assert locking.acquire(handle)
    os.close(handle)


def test_a_heartbeat_is_written_when_it_is_due(monkeypatch):
    now, beats = [100.0], []
    monkeypatch.setattr(locking.time, "monotonic", lambda: now[0])
    heartbeat = locking.Heartbeat(lambda: beats.append(now[0]), 30)
    for now[0] in (100.0, 129.0, 130.0, 131.0, 200.0):
        heartbeat()
    assert beats == [100.0, 130.0, 200.0]


def test_a_thread_goes_on_after_an_error():
    beats, third = [], threading.Event()

    def write():
        beats.append(time.monotonic())
        if len(beats) == 2:
            raise InputError("disk full")
        if len(beats) == 3:
            third.set()

    with locking.Heartbeat(write, 0.01).in_background():
        assert third.wait(60)
    count = len(beats)
    time.sleep(0.05)
    assert len(beats) == count


def test_processes_are_told_from_numbers_that_are_none():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(60)
    assert locking.is_running(os.getpid()) and locking.is_running(1)
    assert not locking.is_running(ended.pid)


def test_processes_of_a_machine_name_it_alike():
    program = "from mnist_estimator.runtime import locking; print(locking.this_machine())"
    result = programs.run([sys.executable, "-c", program], check=True)
    assert result.stdout == f"{locking.this_machine()}\n"
    assert re.fullmatch(r"[0-9a-f-]{36} pid:\[\d+\]\n", result.stdout)
