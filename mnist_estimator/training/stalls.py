"""Ends a task of a run that stands still: asks the other tasks, records it, leaves a report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from mnist_estimator.cluster import hello, peers, roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import status
from mnist_estimator.runtime import progress, signals, stall_report, watchdog
from mnist_estimator.training.joining import OwnHello
from mnist_estimator.training.run import describe_saved

_ASK_SECS, _HELLO_SECS = 10.0, 2.0
# In these phases a synchronous worker may wait for another one.
_TOGETHER = (watchdog.SET_UP, watchdog.STEP)
# A process that is stopped has a port that answers.
_MISSING = {peers.REFUSED: "is gone"}


@contextlib.contextmanager
def watching(config: TrainConfig, task: roles.Task) -> Iterator[StallEnd]:
    """Watches this task in the block, and ends the process if it stands still."""
    stall_end = StallEnd(config, task)
    with watchdog.watching(config.stall_timeout_secs, stall_end):
        yield stall_end


class StallEnd:
    """What is done when this task stands still.

    Attributes:
      follower: tells whether the chief has ended; None in the chief.
    """

    follower: status.Follower | None = None

    def __init__(self, config: TrainConfig, task: roles.Task) -> None:
        self._model_dir, self._name = config.model_dir, task.name
        self._needed = peers.needed(task)
        self._own_hello = OwnHello(config, task)
        self._recorder: status.Recorder | None = None

    @contextlib.contextmanager
    def recording(self, recorder: status.Recorder) -> Iterator[None]:
        """Has the chief record in the block that it stood still."""
        self._recorder = recorder
        try:
            yield
        finally:
            self._recorder = None

    def __call__(self, stall: watchdog.State, end: Callable[..., None] = stall_report.end) -> None:
        """Ends the process, unless another task is at work that this one has to wait for."""
        answers = stall_report.within(_ASK_SECS, self._ask) or {}
        if stall.phase in _TOGETHER and any(answer.busy for answer in answers.values()):
            return
        probed = stall_report.within(_ASK_SECS, lambda: peers.probe_all(self._needed)) or {}
        end(
            stall,
            folder=self._model_dir,
            name=self._name,
            others=[
                f"{name} at {address}: its port {probed.get(name, 'was not asked')}; "
                + _said(answers.get(name))
                for name, address in self._needed.items()
            ],
            missing=[
                f"{name} at {address} {_MISSING.get(probed.get(name, ''), 'does not answer')}"
                for name, address in self._needed.items()
                if name not in answers
            ],
            record=self._record,
            code=self._exit_code(),
        )

    def _exit_code(self) -> int:
        """The chief's where that has ended: a worker may hang when it closes its session."""
        ended = stall_report.within(_HELLO_SECS, self.follower.ended) if self.follower else None
        return ended.exit_code or 0 if ended else signals.EXIT_LOST

    def _ask(self) -> dict[str, hello.Hello]:
        # The name of the run comes from a file, and the filesystem may hang.
        ours = stall_report.within(_HELLO_SECS, self._own_hello.look_up)
        return hello.ask_all(self._needed, ours or self._own_hello.current(), _HELLO_SECS)

    def _record(self, line: str) -> str:
        if self._recorder:
            self._recorder.write(status.STALLED, signals.EXIT_LOST, line)
        return describe_saved(self._model_dir)


def _said(answer: hello.Hello | None) -> str:
    return progress.printable(answer.doing) if answer else "its process does not answer"
