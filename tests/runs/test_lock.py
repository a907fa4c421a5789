"""One trainer a model_dir, on filesystems with locks and without."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import programs

from mnist_estimator import InputError, storage
from mnist_estimator.runs import lock, status
from mnist_estimator.runtime import files, leases, locking

HOLD = """
import sys
from mnist_estimator.runs import lock, status
from mnist_estimator.runtime import leases, locking
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


def test_locks_of_two_names_are_two(tmp_path):
    with lock.held(str(tmp_path), file=".other"), another_trainer(tmp_path):
        assert (tmp_path / ".other").exists()
    with another_trainer(tmp_path), lock.held(str(tmp_path), file=".other"):
        lock.check(str(tmp_path))


def test_the_lock_of_a_killed_trainer_is_free(tmp_path):
    with another_trainer(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(30)
    with lock.held(str(tmp_path)):
        assert json.loads((tmp_path / lock.LOCK_FILE).read_text())["pid"] == str(os.getpid())


def test_a_trainer_whose_folder_another_one_has_made_anew_writes_nothing_more(tmp_path):
    folder = tmp_path / "run"
    with lock.held(str(folder)):
        lock.check(str(folder))
        shutil.rmtree(folder)
        lock.check(str(folder))  # What is written next says that it is gone.
        with another_trainer(folder), pytest.raises(leases.LostError, match="another process has"):
            lock.check(str(folder))


def test_one_after_the_other(tmp_path):
    for _ in range(2):
        with lock.held(str(tmp_path / "new")):
            pass


def test_the_lock_of_a_machine_that_may_be_gone_is_waited_for(tmp_path, capsys):
    with another_trainer(tmp_path) as first:
        with pytest.raises(lock.LockedError), lock.held(str(tmp_path), patience=9, sleep=never):
            pytest.fail("both train")  # It runs on this machine.
        owner = json.loads((tmp_path / lock.LOCK_FILE).read_text()) | {"machine": "another"}
        (tmp_path / lock.LOCK_FILE).write_text(json.dumps(owner))
        slept = []
        who = f"process {first.pid}"
        with (
            pytest.raises(lock.LockedError, match=who),
            lock.held(str(tmp_path), patience=9, sleep=slept.append),
        ):
            pytest.fail("both train")
        assert sum(slept) == 9
        assert "waiting up to 9 s for the lock of the trainer on" in capsys.readouterr().err

        def end(secs):
            first.kill()
            first.wait(60)

        with lock.held(str(tmp_path), patience=9, sleep=end):
            assert json.loads((tmp_path / lock.LOCK_FILE).read_text())["pid"] == str(os.getpid())


@pytest.fixture
def no_locks(monkeypatch):
    """A filesystem that has none."""
    monkeypatch.setattr(lock, "acquire", lambda handle: False)


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

    def test_a_lock_that_does_not_is_dead_after_a_while(self, tmp_path, capsys):
        self.write(tmp_path)
        slept = []
        with lock.held(str(tmp_path), sleep=slept.append):
            assert sum(slept) == 150
        assert "waiting up to 150 s for the lock of the trainer on host elsewhere" in (
            capsys.readouterr().err
        )

    def test_a_lock_given_back_meanwhile_is_free(self, tmp_path):
        path = self.write(tmp_path)
        with lock.held(str(tmp_path), sleep=lambda secs: path.unlink()):
            pass

    def test_the_dead_of_this_machine_are_known(self, tmp_path):
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait(60)
        self.write(tmp_path, machine=locking.this_machine(), pid=str(ended.pid))
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
        self.write(tmp_path, machine=locking.this_machine(), pid=pid)
        slept = []
        with lock.held(str(tmp_path), sleep=slept.append):
            pass
        assert sum(slept) == (0 if pid == "9" * 5000 else 150)  # That is longer than a lock file.

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

    def test_one_that_was_taken_over_is_lost(self, tmp_path, monkeypatch):
        monkeypatch.setattr(lock, "_SURE_SECS", -1)
        with (
            pytest.raises(leases.LostError, match="another process has taken over this lock"),
            lock.held(str(tmp_path), sleep=never),
        ):
            for _ in range(2):
                lock.check(str(tmp_path))
            path = self.write(tmp_path)
            before = path.read_bytes()
            lock.check(str(tmp_path))
        assert path.read_bytes() == before

    def test_one_that_was_taken_over_and_given_back_is_lost(self, tmp_path, monkeypatch):
        monkeypatch.setattr(lock, "_SURE_SECS", -1)
        with pytest.raises(leases.LostError), lock.held(str(tmp_path), sleep=never):
            (tmp_path / lock.LOCK_FILE).unlink()
            lock.check(str(tmp_path))

    def test_a_file_that_cannot_be_read_is_not_free(self, tmp_path, monkeypatch):
        self.write(tmp_path)
        read, fails = lock.files.read_bytes, []

        def read_bytes(path, *most):
            fails.append(path)
            if len(fails) < 3:
                raise OSError(errno.ESTALE, "Stale file handle")
            return read(path, *most)

        monkeypatch.setattr(lock.files, "read_bytes", read_bytes)
        slept = []
        with lock.held(str(tmp_path), sleep=slept.append):
            assert sum(slept) == 150
        self.write(tmp_path)
        monkeypatch.setattr(lock, "_read", lambda path: None)
        line = "cannot be read, so it is not known who trains here"
        with (
            pytest.raises(files.OutageError, match=line),
            lock.held(str(tmp_path), sleep=slept.append),
        ):
            pytest.fail("both may train")


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="file/run: .*([Nn]ot a directory)"),
        lock.held(str(tmp_path / "file/run")),
    ):
        pytest.fail("trains")


class TestInAStore:
    @pytest.fixture
    def model_dir(self):
        storage.install()
        return f"memory://locks/{secrets.token_hex(8)}"

    def write(self, model_dir, **owner):
        owner = {"host": "elsewhere", "pid": "7", "started": "then", "beat": "1"} | owner
        path = f"{model_dir}/{lock.LOCK_FILE}"
        found = storage.read_version(path)
        storage.write_if(path, json.dumps(owner).encode(), found and found[1])

    def owner(self, model_dir):
        return json.loads(storage.read_version(f"{model_dir}/{lock.LOCK_FILE}")[0])

    def test_it_is_held_and_then_free(self, model_dir):
        for _ in range(2):
            with lock.held(model_dir, sleep=never):
                assert self.owner(model_dir)["pid"] == str(os.getpid())
                lock.check(model_dir)
            assert self.owner(model_dir) == {}

    def test_the_second_trainer_is_told_who_the_first_is(self, model_dir):
        with lock.held(model_dir):
            self.write(model_dir)
            beat = lambda secs: self.write(model_dir, beat="2")  # noqa: E731
            who = "host elsewhere, process 7, started then"
            with pytest.raises(lock.LockedError, match=who), lock.held(model_dir, sleep=beat):
                pytest.fail("both train")

    def test_of_two_that_find_it_stale_one_is_told_who_was_faster(self, model_dir, monkeypatch):
        self.write(model_dir)
        lease = leases.Lease

        def be_slow(*arguments):
            self.write(model_dir, host="faster")
            return lease(*arguments)

        monkeypatch.setattr(leases, "Lease", be_slow)
        slept = []
        with (
            pytest.raises(lock.LockedError, match="on host faster"),
            lock.held(model_dir, sleep=slept.append),
        ):
            pytest.fail("both train")
        assert sum(slept) == 60

    def test_the_dead_of_this_machine_are_known(self, model_dir):
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait(60)
        self.write(model_dir, machine=locking.this_machine(), pid=str(ended.pid))
        with lock.held(model_dir, sleep=never):
            pass

    @pytest.mark.parametrize("owner", [{}, {"machine": ""}, {"machine": "another start"}])
    def test_a_process_of_another_machine_with_this_one_s_name_is_waited_for(
        self, model_dir, owner
    ):
        self.write(model_dir, host=socket.gethostname(), pid="999999999", **owner)
        slept = []
        with lock.held(model_dir, sleep=slept.append):
            pass
        assert sum(slept) == 60

    def test_a_store_without_conditions_is_said_and_has_a_heartbeat(
        self, model_dir, monkeypatch, capsys
    ):
        def write_if(path, content, version):
            raise storage.UnconditionalError(f"{path}: no conditions")

        monkeypatch.setattr(storage, "write_if", write_if)
        with lock.held(model_dir, sleep=never):
            assert self.owner(model_dir)["pid"] == str(os.getpid())
        assert f"{lock.LOCK_FILE}: no conditions; two trainers that" in capsys.readouterr().err
        assert not storage.read_version(f"{model_dir}/{lock.LOCK_FILE}")

    def test_a_model_dir_that_another_has_taken_over_is_left_as_it_is(self, model_dir, monkeypatch):
        monkeypatch.setattr(lock, "_SURE_SECS", 0)
        with (
            pytest.raises(leases.LostError),
            lock.held(model_dir),
            status.record_outcome(model_dir) as recorder,
        ):
            self.write(model_dir)
            before = storage.read_version(f"{model_dir}/{status.STATUS_FILE}")
            recorder.write(status.TRAINED)
        assert storage.read_version(f"{model_dir}/{status.STATUS_FILE}") == before
        assert self.owner(model_dir)["host"] == "elsewhere"
