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


def test_it_ends_if_the_block_fails():
    ended = threading.Event()
    with (
        pytest.raises(KeyError),
        background.running(lambda done: done.wait(60) and ended.set(), "x"),
    ):
        raise KeyError
    assert ended.is_set()
