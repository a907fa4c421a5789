"""The port at which a task of a cluster listens: whether it is free, and who can connect to it.

TensorFlow's servers listen on all of a machine's addresses, whichever they were given, and ask for
no password. A cluster that is wholly on one machine is shielded here: on Linux a filter on the
listening socket drops what comes from other machines. Downloads and object stores, which a network
namespace would cut off, work as before.
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

_TRIES = 10  # One a second: a process of an earlier start may take that long to end.
_LOOK_SECS = 0.05
_SO_ATTACH_FILTER = 26  # Linux, asm-generic/socket.h.
_LOOPBACK = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def split(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[IPv6]:port"."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def bindable(host: str) -> str:
    """The address to listen at as a task called `host`; "" for all of this machine's.

    It is "" where a name has no address here, or one of loopback: Debian's /etc/hosts gives a
    machine's own name 127.0.1.1, at which no other machine finds it.
    """
    with contextlib.suppress(OSError, UnicodeError):
        for family, _, _, _, place in socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM):
            address = str(place[0])
            is_given = host in (address, "localhost")
            if _is_own(family, place) and (is_given or not _parsed(address).is_loopback):
                return address
    return ""


def wait_until_free(task: roles.Task, sleep: Callable[[float], None] = time.sleep) -> None:
    """Returns once nobody listens at the task's own port; TensorFlow would end with a traceback.

    Raises:
      InputError: if somebody still does after 10 s.
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
        # As TensorFlow's server does: a port that was closed a moment ago counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def own_addresses(addresses: Iterable[str]) -> set[_Address]:
    """The IP addresses of tasks, "host:port", if all are this machine's; else nothing."""
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
    """Whether an address is this machine's: what goes there comes from there."""
    address = _parsed(place[0])
    if address.is_loopback or address.is_unspecified:
        return address.is_loopback
    # Not by binding: net.ipv4.ip_nonlocal_bind lets a socket have any address.
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((place[0], 9, *place[2:]))  # Which sends nothing.
        return _parsed(probe.getsockname()[0]) == address
    return False


@contextlib.contextmanager
def shielded(task: roles.Task) -> Iterator[None]:
    """Lets only this machine connect to the task's port, if the cluster is wholly on it.

    TensorFlow opens the port somewhere in the block, in C++. A thread waits for it, puts the filter
    on, and ends connections that came from elsewhere in the milliseconds before.
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
    """Drops what comes to this process's listening sockets of a port from other addresses.

    Returns:
      Whether there is such a socket.

    Raises:
      OSError: if the system has no such filters.
    """
    allowed = {*allowed, *_LOOPBACK}
    found = _sockets(port)
    try:
        listening = [one for one in found if _listens(one)]
        for one in listening:
            _attach(one, _program(allowed))
        if listening:
            for one in found:
                _end_if_strange(one, allowed)
    finally:
        for one in found:
            one.close()
    return bool(listening)


def _sockets(port: int) -> list[socket.socket]:
    """Copies of this process's TCP sockets whose own port this is."""
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


def _end_if_strange(one: socket.socket, allowed: set[_Address]) -> None:
    with contextlib.suppress(OSError):  # Not connected, or not any more.
        peer = _parsed(one.getpeername()[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        if peer not in allowed and not peer.is_loopback:
            one.shutdown(socket.SHUT_RDWR)


def _attach(one: socket.socket, program: bytes) -> None:
    """Sets a program of the classic Berkeley packet filter, 8 bytes an instruction."""
    buffer = ctypes.create_string_buffer(program, len(program))
    given = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)


# Instructions, as in linux/bpf_common.h; the addresses stand in the header of the network layer.
_LOAD_BYTE, _LOAD_WORD, _AND, _SHIFT, _EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x74, 0x15, 0x06
_NETWORK = 0xFFF00000
_SOURCE = {4: _NETWORK + 12, 6: _NETWORK + 8}
_ALL, _NOTHING = 0xFFFFFFFF, 0


def _program(allowed: Iterable[_Address]) -> bytes:
    """A filter that passes packets whose source is 127.0.0.0/8, or one of these addresses."""
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
        # Each test of a version is skipped as a whole; a jump reaches 255 instructions.
        block = [*steps, drop]
        instructions += [(_EQUAL, 1, 0, version), (0x05, 0, 0, len(block)), *block]
    instructions.append(drop)
    return b"".join(struct.pack("=HBBI", *one) for one in instructions)
