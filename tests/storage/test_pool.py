"""Threads that talk to stores."""

import concurrent.futures
import os
import threading

import pytest

from mnist_estimator.storage import _pool

SECONDS = 30


def test_a_call_runs_in_another_thread():
    assert _pool.submit(threading.get_ident).result(SECONDS) != threading.get_ident()


def test_an_error_comes_back():
    with pytest.raises(ZeroDivisionError):
        _pool.submit(lambda: 1 / 0).result(SECONDS)


def test_several_calls_run_at_once_and_answer_in_order():
    gate = threading.Barrier(4, timeout=SECONDS)
    assert _pool.each(lambda item: (gate.wait(SECONDS), item)[1], range(4)) == [0, 1, 2, 3]


def test_all_calls_end_before_an_error_is_raised():
    done = []

    def call(item):
        if item == 0:
            raise ValueError("first")
        done.append(item)

    with pytest.raises(ValueError, match="first"):
        _pool.each(call, range(10))
    assert len(done) == 9


def test_what_is_cancelled_is_not_called():
    started, go_on = threading.Semaphore(0), threading.Event()
    busy = [_pool.submit(lambda: (started.release(), go_on.wait(SECONDS))) for _ in range(16)]
    for _ in busy:
        assert started.acquire(timeout=SECONDS)
    future = _pool.submit(os.abort)
    assert future.cancel()
    go_on.set()
    assert _pool.submit(lambda: 1).result(SECONDS) == 1
    concurrent.futures.wait(busy, timeout=SECONDS)


def test_threads_are_started_once_and_do_not_hold_up_the_end():
    _pool.submit(int).result(SECONDS)
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("storage-")]
    assert len(ours) == 16 and all(thread.daemon for thread in ours)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_starts_its_own():
    _pool.submit(int).result(SECONDS)
    child = os.fork()
    if child == 0:
        os._exit(_pool.submit(lambda: 7).result(SECONDS))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
