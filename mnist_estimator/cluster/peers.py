"""Whether the other tasks of a cluster are there: seen by connecting to each one's port.

TensorFlow waits in C++, for ever, for a task that never came or does not answer any more. A `Watch`
ends the process instead, with an exit code that has its engine start it again.
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

# What a connection tells of a task.
ANSWERS = "answers"
REFUSED = "refused"  # Its machine is there, it is not.
SILENT = "silent"

_CONNECT_SECS = 5.0
_LOOK_SECS = 1.0
_SAY_SECS = 15.0
_MOST_CONNECTIONS = 128
# Looks, of a second or more each. A busy machine, or a long call that keeps Python from running, is
# no process that stands still; and a whole job may have been stopped, this process too, which a
# clock would count. What a shared folder says of a run may be late.
_FROZEN_LOOKS, _STRANGE_LOOKS = 60, 30


def probe(address: str) -> str:
    """Connects to "host:port" and closes again; returns ANSWERS, REFUSED or SILENT."""
    host, port = ports.split(address)
    try:
        with socket.create_connection((host, port), _CONNECT_SECS):
            return ANSWERS
    except ConnectionRefusedError:
        return REFUSED
    except (OSError, UnicodeError):  # No route, no (such) name yet, or no answer in time.
        return SILENT


def probe_all(addresses: Mapping[str, str]) -> dict[str, str]:
    """Probes many at once: name -> address gives name -> answer."""
    with concurrent.futures.ThreadPoolExecutor(_MOST_CONNECTIONS) as pool:
        return dict(zip(addresses, pool.map(probe, addresses.values()), strict=True))


@contextlib.contextmanager
def listening(address: str) -> Iterator[None]:
    """Answers at this task's own address, where TensorFlow does not: the evaluator watches it."""
    host, port = ports.split(address)
    bound = ports.bindable(host)
    try:
        server = _server(bound)((bound, port), socketserver.BaseRequestHandler)
    except OSError as error:
        # Worth no failure: an evaluator that sees nobody ends, and is started again.
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
        # A port that was closed a moment ago, as by a chief that is started again, is in use else.
        allow_reuse_address = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return Server


def needed(task: roles.Task) -> dict[str, str]:
    """The tasks that this one cannot do without: name -> address.

    Synchronous workers need one another. With parameter servers a trainer needs those and the
    chief; the other workers may come and go. Who does not train needs the chief.
    """
    if task.role in (roles.PS, roles.EVALUATOR):
        return {roles.CHIEF: task.chief_address} if task.chief_address else {}
    peers = dict(task.peers)
    if roles.PS in task.jobs:
        return {name: peers[name] for name in peers if not name.startswith(roles.WORKER)}
    return peers


class Watch:
    """Watches the tasks that this one needs, in a thread of its own.

    `with Watch(...)` watches until the block ends or `stop` is called. A task that has answered
    once may be away for a while: it is started again and goes on, or everybody is to end.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watches `addresses`, name -> "host:port".

        Args:
          on_lost: is called, once, with a line that says who is lost.
          is_over: whether the run has ended, so that who has not answered yet never will.
          gone_secs: how long a task whose port is closed may stay away.
          silent_secs: how long one may stay away whose machine does not answer.
          start_secs: how long one may take to answer for the first time.
          greet: asks the processes; name -> what is wrong with who answers, "" if nothing is, of
            those that answer.
        """
        self._addresses = dict(addresses)
        self._on_lost, self._is_over = on_lost, is_over
        self._gone_secs, self._silent_secs, self._start_secs = gone_secs, silent_secs, start_secs
        self._probe_all, self._greet, self._clock = probe_all, greet, clock
        self._started = self._looked_at = clock()
        self._next_line = self._started + _SAY_SECS
        self._answered_at: dict[str, float] = {}
        self._misses: dict[str, int] = {}  # Looks since one that has answered was fine.
        self._done = threading.Event()

    def __enter__(self) -> Watch:
        threading.Thread(target=self._run, daemon=True, name="peers").start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on, everybody may go."""
        self._done.set()

    def missing(self) -> list[str]:
        """Names of those that have never answered."""
        return [name for name in self._addresses if name not in self._answered_at]

    def wait(self) -> None:
        """Returns when everybody has answered once."""
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
        except Exception as error:  # It would end this thread, and nobody would notice.
            failing = self._clock() - self._looked_at > self._silent_secs
            return f"cannot look for the other tasks ({error})" if failing else ""
        self._looked_at = self._clock()
        return lost

    def look(self) -> str:
        """Connects to everybody once; returns who is lost, "" if nobody is."""
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
                    return f"{here} has not answered for {self._start_secs:.0f} s"
            elif now - seen > (self._gone_secs if answer == REFUSED else self._silent_secs):
                what = "is gone" if answer == REFUSED else "does not answer"
                return f"{here} {what}"
        lost = self._greet_all()
        if lost:
            return lost
        if self.missing() and now > self._next_line:
            self._next_line = now + 2 * _SAY_SECS
            names = ", ".join(f"{name} at {self._addresses[name]}" for name in self.missing())
            progress.say(f"waiting for {names}", sys.stderr)
        return ""

    def _greet_all(self) -> str:
        """Who is of another run, or has not answered for long though it had; "" if nobody."""
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
