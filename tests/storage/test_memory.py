"""How much memory open files hold together."""

import pytest

from mnist_estimator import InputError
from mnist_estimator.storage import _memory


class Held:
    """A file that lets go of what it is told to hold."""

    def __init__(self):
        self.size = 0

    def take(self, size, at_most=100):
        taken = _memory.take(self, size, at_most)
        self.size += size if taken else 0
        return taken

    def release(self):
        size, self.size = self.size, 0
        return size


@pytest.fixture(autouse=True)
def nothing_held():
    _memory.forget_all()
    yield
    _memory.forget_all()


def test_what_is_taken_is_counted():
    assert Held().take(60) and _memory.used() == 60
    _memory.give(60)
    assert _memory.used() == 0


def test_the_file_read_longest_ago_lets_go_first():
    files = [Held() for _ in range(3)]
    assert all(file.take(30) for file in files)
    files[0].take(0)
    assert Held().take(30)
    assert [file.size for file in files] == [30, 0, 30] and _memory.used() == 90


def test_no_more_than_the_limit_is_given():
    assert not Held().take(101)
    assert _memory.used() == 0


def test_a_file_that_is_closed_is_asked_for_nothing():
    closed = Held()
    assert closed.take(60)
    _memory.forget(closed)
    assert not Held().take(60) and closed.size == 60


def test_many_files_share_what_is_there():
    assert _memory.share(100) == 50
    for _ in range(10):
        Held().take(1)
    assert _memory.share(100) == 5


def test_the_limit_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv(_memory.VARIABLE, "3")
    assert _memory.limit() == 3 << 20
    monkeypatch.setenv(_memory.VARIABLE, "many")
    with pytest.raises(InputError, match=f"{_memory.VARIABLE}=many"):
        _memory.limit()
    monkeypatch.delenv(_memory.VARIABLE)
    assert _memory.limit() == 96 << 20
