"""One trainer a model_dir, on filesystems with locks and without."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import programs

from mnist_estimator import InputError
from mnist_estimator.runs import lock

HOLD = """
import sys
from mnist_estimator.runs import lock
with lock.held(sys.argv[1]):
    print(flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_trainer(model_dir: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(model_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_the_second_trainer_is_told_who_the_first_is(tmp_path):
    with another_trainer(tmp_path) as first:
        who = rf"the trainer on host {socket.gethostname()}, process {first.pid}, started 2"
        with pytest.raises(lock.LockedError, match=who), lock.held(str(tmp_path)):
            pytest.fail("both train")


def test_the_lock_of_a_killed_trainer_is_free(tmp_path):
    with another_trainer(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(30)
    with lock.held(str(tmp_path)):
        assert json.loads((tmp_path / lock.LOCK_FILE).read_text())["pid"] == str(os.getpid())


def test_one_after_the_other(tmp_path):
    for _ in range(2):
        with lock.held(str(tmp_path / "new")):
            pass


@pytest.fixture
def no_locks(monkeypatch):
    """A filesystem that has none."""
    monkeypatch.setattr(lock, "_lock", lambda path, stack: None)


def never(secs):
    pytest.fail("waited")


@pytest.mark.usefixtures("no_locks")
class TestWithoutLocks:
    def write(self, folder: Path, **owner: str) -> Path:
        owner = {"host": "elsewhere", "pid": "7", "started": "then", "beat": "1"} | owner
        (folder / lock.LOCK_FILE).write_text(json.dumps(owner))
        return folder / lock.LOCK_FILE

    def test_a_lock_is_held_and_then_gone(self, tmp_path):
        with lock.held(str(tmp_path), sleep=never):
            assert json.loads((tmp_path / lock.LOCK_FILE).read_text())["pid"] == str(os.getpid())
        assert not (tmp_path / lock.LOCK_FILE).exists()

    def test_a_lock_that_beats_is_somebody_s(self, tmp_path):
        path = self.write(tmp_path)
        again = lambda secs: self.write(path.parent, beat="2")  # noqa: E731
        who = "host elsewhere, process 7, started then"
        with pytest.raises(lock.LockedError, match=who), lock.held(str(tmp_path), sleep=again):
            pytest.fail("both train")

    def test_a_lock_that_does_not_is_dead_after_a_minute(self, tmp_path, capsys):
        self.write(tmp_path)
        slept = []
        with lock.held(str(tmp_path), sleep=slept.append):
            assert sum(slept) == 60
        assert "waiting up to 60 s for the lock of the trainer on host elsewhere" in (
            capsys.readouterr().err
        )

    def test_a_lock_given_back_meanwhile_is_free(self, tmp_path):
        path = self.write(tmp_path)
        with lock.held(str(tmp_path), sleep=lambda secs: path.unlink()):
            pass

    def test_the_dead_of_this_machine_are_known(self, tmp_path):
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait(60)
        self.write(tmp_path, host=socket.gethostname(), pid=str(ended.pid))
        with lock.held(str(tmp_path), sleep=never):
            pass

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", "[" * 100_000, "1" * 5000, '{"a": "' + "x" * 5000 + '"}']
    )
    def test_a_lock_file_that_is_none_is_nobody_s(self, tmp_path, text):
        (tmp_path / lock.LOCK_FILE).write_text(text)
        with lock.held(str(tmp_path), sleep=never):
            pass

    @pytest.mark.parametrize("pid", ["9" * 5000, "9" * 18, "\u0661", 7, None, ["7"]])
    def test_an_owner_of_no_process_that_could_be_is_waited_for(self, tmp_path, pid):
        self.write(tmp_path, host=socket.gethostname(), pid=pid)
        slept = []
        with lock.held(str(tmp_path), sleep=slept.append):
            pass
        assert sum(slept) == (0 if pid == "9" * 5000 else 60)  # That is longer than a lock file.

    def test_the_owner_beats(self, tmp_path, monkeypatch):
        monkeypatch.setattr(lock, "_BEAT_SECS", 0.001)
        path = tmp_path / lock.LOCK_FILE
        with lock.held(str(tmp_path), sleep=never):
            first = json.loads(path.read_text())

            def has_beaten() -> bool:
                with contextlib.suppress(ValueError):
                    return json.loads(path.read_text())["beat"] != first["beat"]
                return False

            programs.wait_until(has_beaten, timeout=60, every=0.001)


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="file/run: .*([Nn]ot a directory)"),
        lock.held(str(tmp_path / "file/run")),
    ):
        pytest.fail("trains")
