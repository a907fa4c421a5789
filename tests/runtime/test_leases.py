"""A lock in an object store: who gets it, and what becomes of an owner that was stopped."""

from __future__ import annotations

import itertools
import secrets

import pytest
from support import programs

from mnist_estimator import RunError, storage
from mnist_estimator.compat import tf
from mnist_estimator.runtime import files, leases


@pytest.fixture
def path():
    storage.install()
    return f"memory://leases/{secrets.token_hex(8)}"


def take(path, version=None, *, name="a", sure_secs=60.0):
    beats = itertools.count()
    return leases.Lease(path, lambda: f"{name} {next(beats)}".encode(), version, sure_secs)


def content(path):
    return storage.read_version(path)[0]


def test_of_two_that_find_the_same_only_one_gets_it(path):
    take(path)
    with pytest.raises(storage.ChangedError):
        take(path, name="b")
    _, version = storage.read_version(path)
    take(path, version, name="b")
    with pytest.raises(storage.ChangedError):
        take(path, version, name="c")
    assert content(path) == b"b 0"


def test_each_beat_is_another_version(path):
    lease = take(path)
    _, first = storage.read_version(path)
    lease.beat()
    found, second = storage.read_version(path)
    assert (found, second != first) == (b"a 1", True)


def test_an_owner_that_was_stopped_has_lost_it_and_changes_nothing(path):
    stopped = take(path, sure_secs=0)
    take(path, storage.read_version(path)[1], name="b")
    for call in (stopped.check, stopped.beat, stopped.check):
        with pytest.raises(leases.LostError, match="another process has taken over"):
            call()
    stopped.release()
    assert content(path) == b"b 0"


def test_an_owner_whose_object_is_gone_has_lost_it(path):
    lease = take(path, sure_secs=0)
    tf.io.gfile.remove(path)
    with pytest.raises(leases.LostError):
        lease.check()


def test_a_check_asks_the_store_only_after_a_while(path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(leases, "now", lambda: now[0])
    lease = take(path, sure_secs=40)
    for moment, expected in ((40, b"a 0"), (41, b"a 1"), (80, b"a 1"), (82, b"a 2")):
        now[0] = moment
        lease.check()
        assert content(path) == expected


def test_a_lease_that_was_given_back_is_anybody_s(path):
    take(path).release()
    found, version = storage.read_version(path)
    assert found == leases.FREE
    take(path, version, name="b")


def test_a_write_whose_answer_was_lost_is_the_owner_s_own(path, monkeypatch):
    write_if = storage.write_if

    def lose_answer(*arguments):
        write_if(*arguments)
        raise RunError("no answer")

    lease = take(path)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_if", lose_answer)
        with pytest.raises(RunError, match="no answer"):
            lease.beat()
    assert content(path) == b"a 1"
    lease.beat()
    assert content(path) == b"a 3"  # The write before it found its own object changed.
    lease.beat()


def test_an_owner_that_cannot_ask_stops_for_an_outage(path, monkeypatch):
    def no_answer(*_):
        raise RunError("no answer")

    lease = take(path)
    monkeypatch.setattr(storage, "write_if", no_answer)
    lease.check()  # It is still sure.
    monkeypatch.setattr(lease, "_sure_secs", -1)
    with pytest.raises(files.OutageError, match="no answer"):
        lease.check()


def test_a_store_that_does_not_answer_is_asked_again(path, monkeypatch):
    write_if, failures = storage.write_if, []

    def fail_twice(*arguments):
        if len(failures) < 2:
            failures.append(arguments)
            raise RunError("no answer")
        return write_if(*arguments)

    lease = take(path)
    monkeypatch.setattr(storage, "write_if", fail_twice)
    with lease.beating(0.001):
        # It may have gone on meanwhile: "a 3" after the second failure, then "a 4" and so on.
        programs.wait_until(lambda: int(content(path).split()[1]) >= 3, timeout=60, every=0.001)
    assert len(failures) == 2
    assert content(path) == leases.FREE


def test_beats_end_when_another_process_is_the_owner(path):
    lease = take(path)
    with lease.beating(0.001):
        while True:
            try:
                other = take(path, storage.read_version(path)[1], name="b")
                break
            except storage.ChangedError:
                pass
        with pytest.raises(leases.LostError):
            programs.wait_until(lambda: lease.check(), timeout=60, every=0.001)
    other.beat()
    assert content(path) == b"b 1"
