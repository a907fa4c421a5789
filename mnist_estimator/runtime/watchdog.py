"""Notices that this process stands still: for too long nothing moves in the work that it does.

The work says in which phase it is, and when something has moved: a step, a batch, some lines of a
file. A thread looks once a second. The limit of a phase is a large multiple of the median that the
phase has taken in this process, and never less than a floor, which is higher for the set-up.

Time in which that thread did not run either is not counted. The process was stopped then, or the
machine slept, and the work may go on. Where nothing is watched, the functions do nothing.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from mnist_estimator import storage
from mnist_estimator.runtime import background

# The phases.
SET_UP = "set-up"
PREPARING = "preparing data"
STEP = "step"
CHECKPOINT = "checkpoint"
EVALUATION = "evaluation"
EXPORT = "export"
SERVING = "serving parameters"
WAITING = "waiting for checkpoints"

_FACTOR = 20  # A limit, in medians.
# The least limit of the set-up: graphs are built and compiled, and on a busy machine nobody knows
# for how long.
_SET_UP_SECS = 600.0
_KEPT = 101  # Durations of a phase of which the median is taken.
_LOOK_SECS = 1.0
_MOST_SECS_A_LOOK = 5.0  # What counts of a longer time between two looks.
_END_SECS = 5.0  # How long the end of a block waits for a look.


@dataclasses.dataclass(frozen=True)
class State:
    """What the process does, and for how long nothing has moved.

    Attributes:
      phase: one of the constants of this module.
      step: the step that ended last, as this process counts; 0 before the first one.
      still_secs: how long nothing has moved.
      limit_secs: how long that may be.
      processor_secs: processor time of the process while nothing moved.
    """

    phase: str
    step: int
    still_secs: float
    limit_secs: float
    processor_secs: float

    @property
    def is_stalled(self) -> bool:
        return self.still_secs > self.limit_secs


class Watchdog:
    """Keeps the phases of one process, and how long nothing has moved."""

    def __init__(
        self,
        floor_secs: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        processor: Callable[[], float] = time.process_time,
    ) -> None:
        """Begins in the phase SET_UP.

        Args:
          floor_secs: the least limit of a phase.
          clock, processor: give seconds.
        """
        self._floor_secs, self._clock, self._processor = floor_secs, clock, processor
        self._phases = [SET_UP]
        self._began = clock()
        self._durations: dict[str, collections.deque[float]] = {}
        self._step = self._moves = self._seen_moves = 0
        self._looked_at, self._still_secs, self._processor_secs = clock(), 0.0, processor()
        self._excuse: Callable[[], object] = lambda: False

    def alive(self) -> None:
        """Says that something has moved. Any thread may say it."""
        self._moves += 1

    def enter(self, phase: str) -> None:
        """Says that something has moved, and which phase it is now, outside of other ones."""
        self._phases[0] = phase
        self._moves += 1

    def end_step(self, step: int) -> None:
        """Says that a step has ended. The first one is not learned from: it belongs to the set-up.

        Such a step is compiled, or waits until all tasks are there.
        """
        if self._phases[0] == STEP:
            self._learn(STEP)
        self._phases[0], self._began = STEP, self._clock()
        self._step = step
        self._moves += 1

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase within the one that goes on afterwards."""
        self._phases.append(name)
        self._began = self._clock()
        self._moves += 1
        try:
            yield
            self._learn(name)
        finally:
            self._phases.pop()
            self._began = self._clock()
            self._moves += 1

    @contextlib.contextmanager
    def excused_while(self, waits: Callable[[], object]) -> Iterator[None]:
        """Counts no time in the block while `waits` says so: something else limits that wait."""
        self._excuse = waits
        try:
            yield
        finally:
            self._excuse = lambda: False

    def look(self) -> State:
        """Counts the time since the last look; to be called again and again, by one thread."""
        now = self._clock()
        passed, self._looked_at = now - self._looked_at, now
        if self._moves != self._seen_moves or self._excuse():
            self._seen_moves = self._moves
            self._still_secs, self._processor_secs = 0.0, self._processor()
        else:
            self._still_secs += min(passed, _MOST_SECS_A_LOOK)
        return self.state()

    def state(self) -> State:
        """As of the last look."""
        phase = self._phases[-1]
        used = self._processor() - self._processor_secs
        return State(phase, self._step, self._still_secs, self._limit_secs(phase), used)

    def run(self, on_stall: Callable[[State], None], done: threading.Event) -> None:
        """Looks until `done`. Calls `on_stall`, and counts anew if that returns."""
        while not done.wait(_LOOK_SECS):
            found = self.look()
            if found.is_stalled:
                on_stall(found)
                self.alive()

    def _learn(self, phase: str) -> None:
        known = self._durations.setdefault(phase, collections.deque(maxlen=_KEPT))
        known.append(self._clock() - self._began)

    def _limit_secs(self, phase: str) -> float:
        known = self._durations.get(phase)
        # A copy, as the work goes on meanwhile.
        learned = _FACTOR * statistics.median(list(known)) if known else 0
        return max(self._floor_secs, learned, _SET_UP_SECS if phase == SET_UP else 0)


class _Current:
    """The watchdog of this process. It is global, as the work is that of the whole process."""

    watchdog: Watchdog | None = None


@contextlib.contextmanager
def watching(floor_secs: float, on_stall: Callable[[State], None]) -> Iterator[None]:
    """Watches the work of this process in the block.

    Args:
      floor_secs: the least limit of a phase; with 0 nothing is watched.
      on_stall: is called in a thread when a phase has passed its limit. It ends the process, or
        returns if the work may well go on.
    """
    if not floor_secs:
        yield
        return
    watchdog = Watchdog(floor_secs)
    _Current.watchdog = watchdog
    work = functools.partial(watchdog.run, on_stall)
    try:
        with (
            storage.transfers_told_to(watchdog.alive),
            background.running(work, "watchdog", patience=_END_SECS),
        ):
            yield
    finally:
        _Current.watchdog = None


def alive() -> None:
    """As `Watchdog.alive`."""
    if _Current.watchdog:
        _Current.watchdog.alive()


def enter(phase: str) -> None:
    """As `Watchdog.enter`."""
    if _Current.watchdog:
        _Current.watchdog.enter(phase)


def end_step(step: int) -> None:
    """As `Watchdog.end_step`."""
    if _Current.watchdog:
        _Current.watchdog.end_step(step)


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """As `Watchdog.phase`; may also decorate a function."""
    with _Current.watchdog.phase(name) if _Current.watchdog else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def excused_while(waits: Callable[[], object]) -> Iterator[None]:
    """As `Watchdog.excused_while`."""
    watchdog = _Current.watchdog
    with watchdog.excused_while(waits) if watchdog else contextlib.nullcontext():
        yield


def state() -> State | None:
    """What this process does; None where nothing is watched."""
    return _Current.watchdog.state() if _Current.watchdog else None
