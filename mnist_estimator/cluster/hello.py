"""Tells the tasks of a cluster which run each of them belongs to.

Each task answers datagrams (UDP) at its port; TensorFlow uses the TCP port of the same number. So a
task notices before it joins that an address now belongs to another run, and later that another
task's process is frozen. If a firewall drops datagrams, no task answers, and training goes on
without these checks.
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

# The size of every datagram. An answer is no longer than its question, so as not to amplify.
_BYTES = 1024
_SHOWN = 60  # Characters of a model_dir.
_WAIT_SECS, _LOOK_SECS = 0.5, 0.2
_MOST_SOCKETS = 64  # At once; a process may have 1,024 files open.


@dataclasses.dataclass(frozen=True)
class Hello:
    """How a task introduces itself.

    Attributes:
      task: its name, as "worker 1".
      model_dir: the run's folder as this task was given it; a long one is cut.
      folder: SHA-256 of the model_dir's absolute path.
      run: the run's name from status.json; "" until the chief has written it.
      host, pid: where the process runs.
      doing: what it does, in words, and for how long nothing has moved there.
      busy: not "" while others may have to wait for this task, which will come to their step: it
        evaluates, for example, and that goes on.
    """

    task: str
    model_dir: str
    folder: str
    run: str
    host: str
    pid: str
    doing: str = ""
    busy: str = ""

    def __str__(self) -> str:
        return f"{self.task} of the run in {self.model_dir} (host {self.host}, process {self.pid})"


def of(task: roles.Task, model_dir: str, run: str) -> Hello:
    """The `Hello` of this process."""
    return Hello(
        task=task.name,
        model_dir=model_dir if len(model_dir) <= _SHOWN else f"...{model_dir[-_SHOWN:]}",
        folder=hashlib.sha256(os.fsencode(_absolute(model_dir))).hexdigest(),
        run=run,
        host=socket.gethostname(),
        pid=str(os.getpid()),
    )


def is_stranger(one: Hello, other: Hello) -> bool:
    """Whether two tasks belong to different runs.

    The names of the runs decide if both are known, else the folders do: a folder can have several
    paths, and two runs can use the same path on different machines.
    """
    if one.run and other.run:
        return one.run != other.run
    return one.folder != other.folder


@contextlib.contextmanager
def answering(address: str, say: Callable[[], Hello]) -> Iterator[None]:
    """Answers datagrams at a task's address, "host:port", with what `say` returns, in the block."""
    host, port = ports.split(address)
    bound = ports.bindable(host)
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            server.bind((bound, port))
            stack.enter_context(background.running(functools.partial(_serve, server, say), "hello"))
        except OSError as error:
            # No error: a task that gets no answer goes on without.
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
    """Asks tasks for their `Hello`; returns name -> answer of those that answer.

    Args:
      addresses: name -> "host:port".
      ours: the `Hello` of this process.
      wait_secs: how long to wait for 64 tasks.
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
                one.connect(info[4])  # So that only its answers are received.
                one.send(_packed(ours))
                asked.register(one, selectors.EVENT_READ, (name, one))
        while asked.get_map() and time.monotonic() < until:
            for key, _ in asked.select(max(until - time.monotonic(), 0)):
                asked.unregister(key.fileobj)
                with contextlib.suppress(OSError):  # Refused: no task is there.
                    name, one = key.data
                    answer = _parsed(one.recv(_BYTES + 1))
                    if answer:
                        found[name] = answer
    return found


def problems(addresses: Mapping[str, str], ours: Hello) -> dict[str, str]:
    """Asks as `ask_all`; returns name -> "", or a line that names both runs if they differ."""
    return {
        name: f"{name} at {addresses[name]} is {answer}, and this is {ours}: not the same run"
        if is_stranger(ours, answer)
        else ""
        for name, answer in ask_all(addresses, ours).items()
    }


def _packed(one: Hello) -> bytes:
    content = json.dumps(dataclasses.asdict(one)).encode()
    if len(content) > _BYTES:  # A model_dir may have characters that take 12 bytes.
        content = json.dumps(dataclasses.asdict(dataclasses.replace(one, doing=""))).encode()
    return content.ljust(_BYTES)


def _parsed(data: bytes) -> Hello | None:
    """The `Hello` in a datagram; None if it holds none."""
    if len(data) != _BYTES:
        return None
    with contextlib.suppress(ValueError, TypeError):
        found = json_files.expect(json_files.parse(data), dict, "the whole")
        if all(isinstance(text, str) for text in found.values()):
            return Hello(**found)
    return None


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)
