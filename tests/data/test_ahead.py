"""Items are made before they are asked for, in order, and the thread that makes them ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from mnist_estimator.data.ahead import ahead, in_turn
from mnist_estimator.runtime import signals


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.mark.parametrize("items", [[], [1], range(100), iter("abc")])
def test_items_come_in_order(items):
    expected = list(items) if not isinstance(items, Iterator) else ["a", "b", "c"]
    assert list(ahead(items)) == expected and not _threads()


def test_an_item_is_made_while_another_is_used_and_not_all_of_them():
    made, third, most = [], threading.Event(), 0

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    found = ahead(items())
    assert next(found) == 0
    assert third.wait(60)
    for number in found:
        most = max(most, len(made) - number)
    assert len(made) == 50 and most <= 5


def test_an_error_comes_in_its_turn_and_as_it_is():
    error = KeyError("third")

    def items() -> Iterator[int]:
        yield from (0, 1)
        raise error

    found = ahead(items())
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(KeyError) as raised:
        next(found)
    assert raised.value is error and not _threads()


@pytest.mark.parametrize("step", [ahead, in_turn])
@pytest.mark.parametrize("asked", [1, 5])
def test_closing_ends_the_thread_and_closes_what_it_reads(step, asked: int):
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    found = step(step(items()))
    assert [next(found) for _ in range(asked)] == list(range(asked))
    assert len(_threads()) == (2 if step is ahead else 0)
    closing = threading.Thread(target=found.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
    assert not _threads() and len(closed) == 1


@pytest.mark.parametrize("nested", [False, True])
def test_a_signal_does_not_wait_for_an_item_that_takes_long(monkeypatch, nested: bool):
    monkeypatch.setattr("mnist_estimator.data.ahead._PATIENCE_SECS", 0.01)
    asked, release, ended = threading.Event(), threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        try:
            yield 0
            asked.wait(60)
            os.kill(os.getpid(), signal.SIGTERM)
            release.wait(20)
            yield 1
        finally:
            ended.set()

    found = ahead(ahead(items())) if nested else ahead(items())
    stopped = pytest.raises(signals.Interruption, match="SIGTERM")
    with signals.handled(restore=True), stopped, contextlib.closing(found):
        assert next(found) == 0
        asked.set()
        next(found)
    assert not ended.is_set()
    threads = [thread for thread in threading.enumerate() if thread.name == "ahead"]
    release.set()
    for thread in threads:
        thread.join(60)
    assert ended.is_set() and not _threads()
