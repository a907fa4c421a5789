"""Who is at an address: the tasks of a cluster tell each other which run they belong to.

Each task answers datagrams (UDP) at its own port number; TensorFlow has the port of this number for
streams (TCP). So a task notices, before it joins, that an address has gone to another run, and that
the process of another task stands still. Where datagrams do not get through, nobody is known, and
all goes on without.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from mnist_estimator.cluster import ports, roles
from mnist_estimator.runtime import background, json_files, progress

# All datagrams are of this size, so that an answer is no longer than what asks for it.
_BYTES = 1024
_SHOWN = 60  # Characters of a model_dir.
_WAIT_SECS, _LOOK_SECS = 0.5, 0.2
_MOST_SOCKETS = 64  # At once; a process may have 1,024 files open.


@dataclasses.dataclass(frozen=True)
class Hello:
    """What a task says of itself.

    Attributes:
      task: its name, as "worker 1".
      model_dir: the run's folder as this task was given it; a long one is cut.
      folder: sha256 of the model_dir's whole path.
      run: the run's own name, from status.json; "" as long as the chief has not written it.
      host, pid: where the process is.
    """

    task: str
    model_dir: str
    folder: str
    run: str
    host: str
    pid: str

    def __str__(self) -> str:
        return f"{self.task} of the run in {self.model_dir} (host {self.host}, process {self.pid})"


def of(task: roles.Task, model_dir: str, run: str) -> Hello:
    """What this process says of itself."""
    return Hello(
        task=task.name,
        model_dir=model_dir if len(model_dir) <= _SHOWN else f"...{model_dir[-_SHOWN:]}",
        folder=hashlib.sha256(os.fsencode(_absolute(model_dir))).hexdigest(),
        run=run,
        host=socket.gethostname(),
        pid=str(os.getpid()),
    )


def is_stranger(one: Hello, other: Hello) -> bool:
    """Whether two tasks belong to different runs, so far as they say.

    A folder may have several names, and two runs one: what counts is the name of the run. Only
    where that is not known yet the folder's does.
    """
    if one.run and other.run:
        return one.run != other.run
    return one.folder != other.folder


@contextlib.contextmanager
def answering(address: str, say: Callable[[], Hello]) -> Iterator[None]:
    """Answers with what `say` returns at a task's address, "host:port", while the block runs."""
    host, port = ports.split(address)
    bound = ports.bindable(host)
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            server.bind((bound, port))
            stack.enter_context(background.running(functools.partial(_serve, server, say), "hello"))
        except OSError as error:
            # Worth no failure: who hears nothing goes on without.
            progress.say(f"warning: port {port} (UDP): {error.strerror}", sys.stderr)
        yield


def _serve(server: socket.socket, say: Callable[[], Hello], done: threading.Event) -> None:
    refused: set[str] = set()
    server.settimeout(_LOOK_SECS)
    while not done.is_set():
        with contextlib.suppress(OSError):  # A TimeoutError is one.
            data, sender = server.recvfrom(_BYTES + 1)
            asking = _parsed(data)
            if asking is None:
                continue
            ours = say()
            server.sendto(_packed(ours), sender)
            if is_stranger(asking, ours) and str(asking) not in refused and len(refused) < 10:
                refused.add(str(asking))
                progress.say(f"warning: {asking} asked for this task: refused", sys.stderr)


def ask_all(
    addresses: Mapping[str, str], ours: Hello, wait_secs: float = _WAIT_SECS
) -> dict[str, Hello]:
    """Asks tasks, name -> "host:port", who is there; returns name -> answer of those that answer.

    Takes at most about `wait_secs` for each 64.
    """
    found: dict[str, Hello] = {}
    names = [*addresses]
    for first in range(0, len(names), _MOST_SOCKETS):
        some = {name: addresses[name] for name in names[first : first + _MOST_SOCKETS]}
        found |= _ask(some, ours, time.monotonic() + wait_secs)
    return found


def _ask(addresses: Mapping[str, str], ours: Hello, until: float) -> dict[str, Hello]:
    found: dict[str, Hello] = {}
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as asked:
        for name, address in addresses.items():
            with contextlib.suppress(OSError, UnicodeError):
                info = socket.getaddrinfo(*ports.split(address), type=socket.SOCK_DGRAM)[0]
                one = stack.enter_context(socket.socket(info[0], socket.SOCK_DGRAM))
                one.setblocking(False)
                one.connect(info[4])  # So that others' answers do not come through.
                one.send(_packed(ours))
                asked.register(one, selectors.EVENT_READ, (name, one))
        while asked.get_map() and time.monotonic() < until:
            for key, _ in asked.select(max(until - time.monotonic(), 0)):
                asked.unregister(key.fileobj)
                with contextlib.suppress(OSError):  # Refused: nobody is there.
                    name, one = key.data
                    answer = _parsed(one.recv(_BYTES + 1))
                    if answer:
                        found[name] = answer
    return found


def problems(addresses: Mapping[str, str], ours: Hello) -> dict[str, str]:
    """Asks as `ask_all`; name -> "", or a line that names both runs where a stranger answers."""
    return {
        name: f"{name} at {addresses[name]} is {answer}, and this is {ours}: not the same run"
        if is_stranger(ours, answer)
        else ""
        for name, answer in ask_all(addresses, ours).items()
    }


def _packed(one: Hello) -> bytes:
    return json.dumps(dataclasses.asdict(one)).encode().ljust(_BYTES)


def _parsed(data: bytes) -> Hello | None:
    """What a datagram says; None if it is none of ours."""
    if len(data) != _BYTES:
        return None
    with contextlib.suppress(ValueError, TypeError):
        found = json_files.expect(json_files.parse(data), dict, "the whole")
        if all(isinstance(text, str) for text in found.values()):
            return Hello(**found)
    return None


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)
