"""The port at which a task listens: waits until it is free, and limits who can connect to it.

TensorFlow's servers listen on all addresses of a machine and ask for no password. If the whole
cluster is on one machine, a filter on the listening socket drops packets from other machines (on
Linux). Unlike a network namespace it does not affect downloads and object stores.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.cluster import roles
from mnist_estimator.runtime import background, progress

_TRIES = 10  # One a second. A process of an earlier start may take that long to end.
_LOOK_SECS = 0.05
_SO_ATTACH_FILTER = 26  # Linux, asm-generic/socket.h.
_LOOPBACK = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def split(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[IPv6]:port"."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def bindable(host: str) -> str:
    """The address at which a task on `host` listens; "" stands for all addresses of the machine.

    It is "" if the name has no address of this machine or only a loopback one: Debian's /etc/hosts
    maps a machine's own name to 127.0.1.1, which other machines cannot reach.
    """
    with contextlib.suppress(OSError, UnicodeError):
        for family, _, _, _, place in socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM):
            address = str(place[0])
            is_given = host in (address, "localhost")
            if _is_own(family, place) and (is_given or not _parsed(address).is_loopback):
                return address
    return ""


def wait_until_free(task: roles.Task, sleep: Callable[[float], None] = time.sleep) -> None:
    """Waits until no process listens at the task's port; TensorFlow would fail with a traceback.

    Raises:
      InputError: if one still does after 10 s.
    """
    _, port = split(task.address)
    for _ in range(_TRIES):
        if _is_free(port):
            return
        sleep(1)
    raise InputError(
        f"{task.source or 'the cluster'}: port {port} of {task.name} at {task.address} is in use "
        "by another process; end that one, or give this task another port"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As in TensorFlow's server, so that a port that was closed a moment ago counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def own_addresses(addresses: Iterable[str]) -> set[_Address]:
    """The IP addresses of tasks, "host:port", if all are of this machine; else an empty set."""
    found: set[_Address] = set()
    for address in addresses:
        with contextlib.suppress(OSError, UnicodeError):
            infos = socket.getaddrinfo(*split(address), type=socket.SOCK_DGRAM)
            if infos and all(_is_own(family, place) for family, _, _, _, place in infos):
                found |= {_parsed(str(place[0])) for *_, place in infos}
                continue
        return set()
    return found


def _parsed(address: str) -> _Address:
    return ipaddress.ip_address(address.partition("%")[0])  # An IPv6 one may name an interface.


def _is_own(family: int, place: tuple[Any, ...]) -> bool:
    """Whether an address is of this machine: a packet to it has it as source, too."""
    address = _parsed(place[0])
    if address.is_loopback or address.is_unspecified:
        return address.is_loopback
    # Not by binding to it: with net.ipv4.ip_nonlocal_bind that works for any address.
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((place[0], 9, *place[2:]))  # Which sends nothing.
        return _parsed(probe.getsockname()[0]) == address
    return False


@contextlib.contextmanager
def shielded(task: roles.Task) -> Iterator[None]:
    """Lets only this machine connect to the task's port, if the whole cluster is on it.

    TensorFlow opens the port in C++ at some time in the block. A thread waits for that, attaches
    the filter, and closes connections that other machines made before.
    """
    allowed = own_addresses(address for hosts in task.jobs.values() for address in hosts)
    if not allowed or task.role == roles.EVALUATOR:
        yield
        return
    _, port = split(task.address)

    def watch(done: threading.Event) -> None:
        while not done.wait(_LOOK_SECS):
            try:
                if shield(port, allowed):
                    return
            except OSError as error:
                line = f"warning: port {port} of {task.name} is open to the network"
                progress.say(f"{line}: cannot filter it ({error.strerror})", sys.stderr)
                return

    with background.running(watch, "shield"):
        yield


def shield(port: int, allowed: Iterable[_Address]) -> bool:
    """Has this process's listening sockets of a port drop packets from other addresses.

    Returns:
      Whether there is such a socket.

    Raises:
      OSError: if the system has no socket filters.
    """
    allowed = {*allowed, *_LOOPBACK}
    found = _sockets(port)
    try:
        listening = [one for one in found if _listens(one)]
        for one in listening:
            _attach(one, _program(allowed))
        if listening:
            for one in found:
                _close_if_foreign(one, allowed)
    finally:
        for one in found:
            one.close()
    return bool(listening)


def _sockets(port: int) -> list[socket.socket]:
    """Copies of this process's TCP sockets that have this local port."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            one = socket.socket(fileno=os.dup(int(name)))
            is_tcp = one.family in (socket.AF_INET, socket.AF_INET6)
            if is_tcp and one.type == socket.SOCK_STREAM and one.getsockname()[1] == port:
                found.append(one)
            else:
                one.close()
    return found


def _listens(one: socket.socket) -> bool:
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _close_if_foreign(one: socket.socket, allowed: set[_Address]) -> None:
    with contextlib.suppress(OSError):  # It is not connected, or no longer.
        peer = _parsed(one.getpeername()[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        if peer not in allowed and not peer.is_loopback:
            one.shutdown(socket.SHUT_RDWR)


def _attach(one: socket.socket, program: bytes) -> None:
    """Attaches a program of the classic Berkeley packet filter, of 8 bytes an instruction."""
    buffer = ctypes.create_string_buffer(program, len(program))
    given = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)


# Instructions of linux/bpf_common.h. The addresses are in the header of the network layer.
_LOAD_BYTE, _LOAD_WORD, _AND, _SHIFT, _EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x74, 0x15, 0x06
_NETWORK = 0xFFF00000
_SOURCE = {4: _NETWORK + 12, 6: _NETWORK + 8}
_ALL, _NOTHING = 0xFFFFFFFF, 0


def _program(allowed: Iterable[_Address]) -> bytes:
    """A filter that passes packets from 127.0.0.0/8 and from these addresses."""
    loopback = [(_LOAD_WORD, 0, 0, _SOURCE[4]), (_AND, 0, 0, 0xFF000000)]
    loopback += [(_EQUAL, 0, 1, 0x7F000000), (_RETURN, 0, 0, _ALL)]
    tests = {4: loopback, 6: []}
    for address in sorted(allowed, key=str):
        words = struct.unpack(f">{len(address.packed) // 4}I", address.packed)
        for place, word in enumerate(words):
            rest = 2 * (len(words) - 1 - place) + 1  # To the next address, past the return.
            tests[address.version] += [
                (_LOAD_WORD, 0, 0, _SOURCE[address.version] + 4 * place),
                (_EQUAL, 0, rest, word),
            ]
        tests[address.version].append((_RETURN, 0, 0, _ALL))
    drop = (_RETURN, 0, 0, _NOTHING)
    instructions = [(_LOAD_BYTE, 0, 0, _NETWORK), (_SHIFT, 0, 0, 4)]
    for version, steps in tests.items():
        # Packets of the other version skip the block; a jump reaches 255 instructions.
        block = [*steps, drop]
        instructions += [(_EQUAL, 1, 0, version), (0x05, 0, 0, len(block)), *block]
    instructions.append(drop)
    return b"".join(struct.pack("=HBBI", *one) for one in instructions)
