"""A function that runs in a thread while a block does."""

import threading

import pytest

from mnist_estimator.runtime import background


def test_it_runs_beside_the_block_and_has_ended_after_it():
    began, ended = threading.Event(), threading.Event()

    def work(done: threading.Event) -> None:
        began.set()
        done.wait(60)
        ended.set()

    with background.running(work, "worker"):
        assert began.wait(60)
        assert "worker" in [thread.name for thread in threading.enumerate()]
        assert not ended.is_set()
    assert ended.is_set()


def test_the_end_of_the_block_waits_no_longer_than_it_has_patience():
    release, ended = threading.Event(), threading.Event()

    def work(_: threading.Event) -> None:
        release.wait(20)
        ended.set()

    with background.running(work, "slow", 0.01):
        pass
    assert not ended.is_set()
    release.set()
    assert ended.wait(60)


def test_it_ends_if_the_block_fails():
    ended = threading.Event()
    with (
        pytest.raises(KeyError),
        background.running(lambda done: done.wait(60) and ended.set(), "x"),
    ):
        raise KeyError
    assert ended.is_set()
