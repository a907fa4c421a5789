"""Watches whether the other tasks of a cluster are running, by connecting to their ports.

TensorFlow waits in C++ for ever for a task that has not started or no longer answers. A `Watch`
reports it, so that the process can exit with a code on which the engine restarts it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from mnist_estimator.cluster import ports, roles
from mnist_estimator.runtime import progress

# The results of connecting to a task.
ANSWERS = "answers"
REFUSED = "refused"  # Its machine answers, but no process listens.
SILENT = "silent"

_CONNECT_SECS = 5.0
_LOOK_SECS = 1.0
_SAY_SECS = 15.0
_MOST_CONNECTIONS = 128
# Counted in looks of a second or more, not by a clock: a whole job may be stopped for a while, this
# process too. On a busy machine, or in a long call into C++, a task can miss many looks without
# being frozen. A shared folder may show the name of a run late.
_FROZEN_LOOKS, _STRANGE_LOOKS = 60, 30


def probe(address: str) -> str:
    """Connects to "host:port" and closes again; returns ANSWERS, REFUSED or SILENT."""
    host, port = ports.split(address)
    try:
        with socket.create_connection((host, port), _CONNECT_SECS):
            return ANSWERS
    except ConnectionRefusedError:
        return REFUSED
    except (OSError, UnicodeError):  # No route, no such name (yet), or no answer in time.
        return SILENT


def probe_all(addresses: Mapping[str, str]) -> dict[str, str]:
    """Probes many tasks at once; takes name -> address, returns name -> answer."""
    with concurrent.futures.ThreadPoolExecutor(_MOST_CONNECTIONS) as pool:
        return dict(zip(addresses, pool.map(probe, addresses.values()), strict=True))


@contextlib.contextmanager
def listening(address: str) -> Iterator[None]:
    """Listens at a task's address in the block, so that the evaluator can watch it."""
    host, port = ports.split(address)
    bound = ports.bindable(host)
    try:
        server = _server(bound)((bound, port), socketserver.BaseRequestHandler)
    except OSError as error:
        # No error: an evaluator that finds no chief ends, and is started again.
        progress.say(f"warning: port {port}: {error.strerror}", sys.stderr)
        yield
        return
    with server:
        threading.Thread(target=server.serve_forever, daemon=True, name="port").start()
        try:
            yield
        finally:
            server.shutdown()


def _server(host: str) -> type[socketserver.TCPServer]:
    class Server(socketserver.TCPServer):
        # Else a port that a restarted chief closed a moment ago is still in use.
        allow_reuse_address = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return Server


def needed(task: roles.Task) -> dict[str, str]:
    """The tasks that this one cannot run without: name -> address.

    Synchronous workers need one another. With parameter servers a trainer needs those and the
    chief, but not the other workers. A parameter server or an evaluator needs the chief.
    """
    if task.role in (roles.PS, roles.EVALUATOR):
        return {roles.CHIEF: task.chief_address} if task.chief_address else {}
    peers = dict(task.peers)
    if roles.PS in task.jobs:
        return {name: peers[name] for name in peers if not name.startswith(roles.WORKER)}
    return peers


class Watch:
    """Watches in a thread the tasks that this one needs.

    `with Watch(...)` watches until the block ends or `stop` is called. A task that has answered
    before may be away for a while, because its engine may be restarting it.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        on_lost: Callable[[str], None],
        is_over: Callable[[], bool] = lambda: False,
        gone_secs: float,
        silent_secs: float,
        start_secs: float,
        probe_all: Callable[[Mapping[str, str]], Mapping[str, str]] = probe_all,
        greet: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda addresses: {},
        known: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watches `addresses`, name -> "host:port".

        Args:
          on_lost: is called once, with a line that names the lost task.
          is_over: whether the run has ended, so that a task that has not answered never will.
          gone_secs: how long a task may be away whose port is closed.
          silent_secs: how long a task may be away whose machine does not answer.
          start_secs: how long a task may take to answer for the first time.
          greet: asks the tasks for their run; returns name -> problem, "" if there is none, of
            those that answer.
          known: what else is known while a task has not answered yet, in a line; "" if nothing.
          clock: gives seconds.
        """
        self._addresses = dict(addresses)
        self._on_lost, self._is_over = on_lost, is_over
        self._gone_secs, self._silent_secs, self._start_secs = gone_secs, silent_secs, start_secs
        self._probe_all, self._greet, self._clock = probe_all, greet, clock
        self._known = known
        self._started = self._looked_at = clock()
        self._next_line = self._started + _SAY_SECS
        self._answered_at: dict[str, float] = {}
        self._misses: dict[str, int] = {}  # Looks since a task that has answered was fine.
        self._done = threading.Event()

    def __enter__(self) -> Watch:
        threading.Thread(target=self._run, daemon=True, name="peers").start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the watch: from now on any task may end."""
        self._done.set()

    def missing(self) -> list[str]:
        """Names of the tasks that have never answered."""
        return [name for name in self._addresses if name not in self._answered_at]

    def wait(self) -> None:
        """Returns when every task has answered once."""
        while self.missing() and not self._done.is_set():
            time.sleep(_LOOK_SECS / 5)

    def _run(self) -> None:
        while not self._done.wait(_LOOK_SECS):
            lost = self._look_or_fail()
            if lost and not self._done.is_set():
                self._done.set()
                self._on_lost(lost)

    def _look_or_fail(self) -> str:
        try:
            lost = self.look()
        except Exception as error:  # Else it would end this thread unnoticed.
            failing = self._clock() - self._looked_at > self._silent_secs
            return f"cannot look for the other tasks ({error})" if failing else ""
        self._looked_at = self._clock()
        return lost

    def look(self) -> str:
        """Connects to every task once; returns a line about a lost one, "" if none is lost."""
        now = self._clock()
        for name, answer in self._probe_all(self._addresses).items():
            if answer == ANSWERS:
                self._answered_at[name] = self._clock()
                continue
            here = f"{name} at {self._addresses[name]}"
            seen = self._answered_at.get(name)
            if seen is None:
                if self._is_over():
                    return f"{here} has ended"
                if now - self._started > self._start_secs:
                    return self._with_known(f"{here} has not answered for {self._start_secs:.0f} s")
            elif now - seen > (self._gone_secs if answer == REFUSED else self._silent_secs):
                what = "is gone" if answer == REFUSED else "does not answer"
                return f"{here} {what}"
        lost = self._greet_all()
        if lost:
            return lost
        if self.missing() and now > self._next_line:
            self._next_line = now + 2 * _SAY_SECS
            names = ", ".join(f"{name} at {self._addresses[name]}" for name in self.missing())
            progress.say(self._with_known(f"waiting for {names}"), sys.stderr)
        return ""

    def _with_known(self, line: str) -> str:
        return "; ".join(filter(None, [line, self._known()]))

    def _greet_all(self) -> str:
        """A line about a task of another run, or that stopped answering; "" if there is none."""
        answers = self._greet(self._addresses)
        for name in self._misses.keys() | answers:
            is_fine = answers.get(name) == ""
            self._misses[name] = 0 if is_fine else self._misses.get(name, 0) + 1
            if answers.get(name) and self._misses[name] >= _STRANGE_LOOKS:
                return answers[name]
            if self._misses[name] >= _FROZEN_LOOKS:
                here = f"{name} at {self._addresses[name]}"
                return f"{here} does not answer, its process stands still"
        return ""
