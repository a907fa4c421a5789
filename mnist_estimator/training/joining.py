"""How a task joins its cluster: says which run it belongs to, and checks that its peers do too."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator

from mnist_estimator.cluster import hello, peers, ports, roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import status
from mnist_estimator.runtime import background, signals, stall_report, watchdog

_LOOK_SECS = 0.2
_TRIES = 100  # Looks, for 20 s: a shared folder may show the record of a new run late.
_NAME_SECS = 1.0
# In these phases a task does what the others wait for, with a limit of its own.
_AWAITED = (
    *(watchdog.SET_UP, watchdog.PREPARING, watchdog.CHECKPOINT, watchdog.EVALUATION),
    watchdog.EXPORT,
)


class OwnHello:
    """What this task answers to its peers. The name of the run comes from its status.json."""

    def __init__(self, config: TrainConfig, task: roles.Task) -> None:
        self._config, self._task = config, task
        self._hello = hello.of(task, config.model_dir, "")

    def current(self) -> hello.Hello:
        """The answer without a look at the record, as the peer waits for it."""
        state = watchdog.state()
        if not state:
            return self._hello
        # Half of the limit: of two tasks that wait for each other, none is busy.
        busy = state.phase in _AWAITED and state.still_secs < state.limit_secs / 2
        return dataclasses.replace(
            self._hello, doing=stall_report.described(state), busy=state.phase if busy else ""
        )

    def look_up(self) -> hello.Hello:
        """The answer after a look at the record, unless the run's name is known already."""
        if not self._hello.run:
            found = status.read(self._config.model_dir)
            run_name = found.run_name if found else ""
            self._hello = hello.of(self._task, self._config.model_dir, run_name)
        return self._hello

    def look_up_until_known(self, done: threading.Event) -> None:
        """Looks at the record again and again, as the chief may have yet to write it."""
        while not self.look_up().run and not done.wait(_NAME_SECS):
            pass


@contextlib.contextmanager
def join_cluster(config: TrainConfig, task: roles.Task) -> Iterator[None]:
    """For the duration of the block answers the peers, and shields the task's port from others.

    Raises:
      InputError: if the task's port is in use.
      signals.Interruption: if a task of another run is where a peer is expected.
    """
    if not task.address and not peers.needed(task):
        yield  # It trains alone.
        return
    with contextlib.ExitStack() as stack:
        if task.jobs and task.address:
            ports.wait_until_free(task)
            stack.enter_context(ports.shielded(task))
        own_hello = OwnHello(config, task)
        if task.address:
            stack.enter_context(background.running(own_hello.look_up_until_known, "name"))
            stack.enter_context(hello.answering(task.address, own_hello.current))
        _check_peers(task, own_hello)
        yield


def _check_peers(task: roles.Task, own_hello: OwnHello) -> None:
    """Raises Interruption if a peer's address still answers for another run after all tries."""
    for left in reversed(range(_TRIES)):
        answers = hello.problems(peers.needed(task), own_hello.look_up())
        found = [problem for problem in answers.values() if problem]
        if not found:
            return
        if not left:
            # The address may have gone to another run for a while: after a restart it may be right.
            raise signals.Interruption(found[0], signals.EXIT_LOST)
        watchdog.alive()
        time.sleep(_LOOK_SECS)
