"""When work counts as standing still, by a clock that the test moves."""

from __future__ import annotations

import threading

import pytest

from mnist_estimator.runtime import locking, progress, watchdog
from mnist_estimator.storage import _transfers

FLOOR = 60


class Told:
    """A watchdog whose time passes when the test says so."""

    def __init__(self):
        self.now = self.processor = 0.0
        self.dog = watchdog.Watchdog(
            FLOOR, clock=lambda: self.now, processor=lambda: self.processor
        )
        self.dog.enter(watchdog.SERVING)
        self.dog.look()

    def pass_secs(self, seconds: float, *, every: float = 1) -> watchdog.State:
        """Time passes, with a look every second; gives what the last one saw."""
        for _ in range(round(seconds / every)):
            self.now += every
            found = self.dog.look()
        return found

    def steps(self, count: int, seconds: float) -> None:
        for _ in range(count):
            self.pass_secs(seconds)
            self.dog.end_step(self.dog.state().step + 1)


@pytest.fixture
def told():
    return Told()


def test_work_in_which_nothing_moves_stands_still_after_the_floor(told):
    assert not told.pass_secs(FLOOR).is_stalled
    found = told.pass_secs(1)
    assert found.is_stalled
    expected = ("serving parameters", FLOOR + 1, FLOOR)
    assert (found.phase, found.still_secs, found.limit_secs) == expected


@pytest.mark.parametrize(("floor", "expected"), [(60, 600), (900, 900)])
def test_a_set_up_has_time_to_compile_whatever_the_floor_is(floor, expected):
    found = watchdog.Watchdog(floor).state()
    assert (found.phase, found.limit_secs) == ("set-up", expected)


@pytest.mark.parametrize(
    "move",
    [
        lambda dog: dog.alive(),
        lambda dog: dog.enter(watchdog.WAITING),
        lambda dog: dog.end_step(1),
        lambda dog: dog.phase(watchdog.EXPORT).__enter__(),
    ],
)
def test_every_sign_begins_the_time_anew(told, move):
    told.pass_secs(FLOOR)
    move(told.dog)
    assert not told.pass_secs(FLOOR).is_stalled
    assert told.pass_secs(2).is_stalled


def test_the_state_names_phase_and_step_and_the_processor_time_since(told):
    told.dog.end_step(7)
    told.pass_secs(1)
    told.processor = 2.5
    found = told.pass_secs(4)
    assert found == watchdog.State("step", 7, 4, FLOOR, 2.5)


def test_a_phase_is_within_another_one_that_goes_on_afterwards(told):
    told.dog.end_step(1)
    with told.dog.phase(watchdog.CHECKPOINT):
        told.pass_secs(FLOOR)
        assert told.dog.state().phase == "checkpoint"
        with told.dog.phase(watchdog.EVALUATION):
            assert told.dog.state().phase == "evaluation"
        assert told.dog.state().phase == "checkpoint"
    assert told.dog.state().phase == "step"
    assert not told.pass_secs(FLOOR).is_stalled


def test_slow_steps_have_a_limit_of_their_own(told):
    told.steps(20, 30)
    assert not told.pass_secs(600).is_stalled
    assert told.pass_secs(2).is_stalled


def test_what_is_learned_is_the_median_so_that_one_long_step_changes_nothing(told):
    told.steps(20, 2)
    told.pass_secs(50)
    told.dog.end_step(21)
    assert told.dog.state().limit_secs == FLOOR
    told.steps(watchdog._KEPT, 4)
    assert told.dog.state().limit_secs == 80


def test_nothing_is_learned_of_the_first_step_which_is_compiled(told):
    told.pass_secs(50)
    told.dog.end_step(1)
    told.steps(1, 2)
    assert told.dog.state().limit_secs == FLOOR


def test_a_step_does_not_count_the_evaluation_in_it(told):
    told.steps(2, 5)
    with told.dog.phase(watchdog.EVALUATION):
        told.pass_secs(50)
    told.steps(1, 5)
    assert told.dog.state().limit_secs == 100


def test_each_phase_learns_of_itself(told):
    told.dog.end_step(1)
    for _ in range(3):
        with told.dog.phase(watchdog.CHECKPOINT):
            told.pass_secs(10)
    assert told.dog.state().limit_secs == FLOOR
    with told.dog.phase(watchdog.CHECKPOINT):
        assert told.dog.state().limit_secs == 200
    with told.dog.phase(watchdog.EVALUATION):
        assert told.dog.state().limit_secs == FLOOR


def test_a_phase_that_fails_teaches_nothing(told):
    with pytest.raises(OSError), told.dog.phase(watchdog.CHECKPOINT):
        told.pass_secs(50)
        raise OSError
    with told.dog.phase(watchdog.CHECKPOINT):
        assert told.dog.state().limit_secs == FLOOR


def test_time_in_which_the_process_was_stopped_does_not_count(told):
    told.pass_secs(FLOOR - 20)
    assert not told.pass_secs(7200, every=7200).is_stalled  # SIGSTOP, or the lid of a laptop.
    assert not told.pass_secs(10).is_stalled
    assert told.pass_secs(10).is_stalled


def test_a_watch_that_seldom_gets_a_processor_still_notices(told):
    assert not told.pass_secs(FLOOR, every=4).is_stalled
    assert told.pass_secs(4, every=4).is_stalled


def test_a_wait_that_something_else_limits_is_excused(told):
    missing = ["worker 1"]
    with told.dog.excused_while(lambda: missing):
        assert not told.pass_secs(10 * FLOOR).is_stalled
        missing.clear()
        assert told.pass_secs(FLOOR + 1).is_stalled
    told.dog.alive()
    missing.append("worker 1")
    assert told.pass_secs(FLOOR + 2).is_stalled


def test_after_a_stall_that_does_not_end_the_process_time_counts_anew(told):
    class Looks:
        """Stands for the event that ends the watch: after 200 looks, a second apart."""

        left = 200

        def wait(self, seconds: float) -> bool:
            told.now += seconds
            self.left -= 1
            return self.left < 0

    found = []
    told.dog.run(found.append, Looks())
    assert [stall.still_secs for stall in found] == [FLOOR + 1] * 3


def test_nothing_is_watched_with_a_limit_of_0():
    with watchdog.watching(0, pytest.fail):
        assert watchdog.state() is None
        watchdog.alive()
        watchdog.enter(watchdog.STEP)
        watchdog.end_step(1)
        with watchdog.phase(watchdog.EXPORT), watchdog.excused_while(list):
            pass


def test_a_stall_is_told_again_and_again_from_a_thread_until_the_block_ends(monkeypatch):
    monkeypatch.setattr(watchdog, "_LOOK_SECS", 0.001)
    found, twice = [], threading.Event()

    def note(stall: watchdog.State) -> None:
        found.append((stall.phase, threading.current_thread().name))
        if len(found) == 2:
            twice.set()

    with watchdog.watching(1e-6, note), watchdog.phase(watchdog.EXPORT):
        assert twice.wait(60)
    assert set(found) == {("export", "watchdog")}
    assert watchdog.state() is None
    assert "watchdog" not in [thread.name for thread in threading.enumerate()]


def test_progress_of_long_work_is_a_sign():
    with watchdog.watching(FLOOR, pytest.fail):
        dog, before = watchdog._Current.watchdog, watchdog._Current.watchdog._moves
        _transfers.note()
        progress.ProgressLine()("half of it")
        locking.Heartbeat(lambda: None, 60)
        assert dog._moves == before + 3
