"""A task's port: who holds it, and who can connect to it. Real sockets; the filter needs Linux."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys
import time

import pytest

from mnist_estimator import InputError
from mnist_estimator.cluster import ports, roles

LOOPBACK, OTHER = "127.0.0.1", "192.0.2.7"


def task(*addresses, role="chief", index=0):
    jobs = {"chief": addresses[:1]} | ({"worker": addresses[1:]} if addresses[1:] else {})
    return roles.Task(jobs, role, index, source="TF_CONFIG")


def test_a_port_in_use_is_named_with_its_task_and_source():
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        waits = []
        line = f"TF_CONFIG: port {port} of chief at {LOOPBACK}:{port} is in use by another process"
        with pytest.raises(InputError, match=line):
            ports.wait_until_free(task(f"{LOOPBACK}:{port}"), waits.append)
    assert waits == [1] * 10
    ports.wait_until_free(task(f"{LOOPBACK}:{port}"), waits.append)
    assert waits == [1] * 10


def test_a_process_that_is_about_to_end_is_waited_for():
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((LOOPBACK, 0)))
        ports.wait_until_free(task(f"a:{server.getsockname()[1]}"), lambda secs: stack.close())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.77"])
def test_loopback_is_this_machine(host):
    found = ports.own_addresses([f"{host}:2222", "127.0.0.1:2223"])
    assert found and all(address.is_loopback for address in found)


@pytest.mark.parametrize(
    "host", [OTHER, "0.0.0.0", "no-such-host.invalid", f"{'a' * 64}.b", "[::]"]
)
def test_one_address_elsewhere_makes_the_cluster_no_local_one(host):
    assert ports.own_addresses(["127.0.0.1:1", f"{host}:2"]) == set()


def test_no_address_is_no_local_cluster():
    assert ports.own_addresses([]) == set()


def test_a_task_listens_at_the_address_that_it_was_given():
    assert ports.bindable(LOOPBACK) == LOOPBACK
    assert ports.bindable("localhost") in (LOOPBACK, "::1")
    for host in (OTHER, "no-such-host.invalid", f"{'a' * 64}.b"):
        assert ports.bindable(host) == ""


def test_a_machines_name_that_is_loopback_only_here_is_not_bound(monkeypatch):
    place = (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.1.1", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [place])
    assert ports.bindable("node7") == ""


def passes(program, packet):
    """Runs a filter as the kernel does; whether it passes the packet."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        code, jump, other, number = instructions[at]
        at += 1
        if code == 0x30:
            value = packet[number - 0xFFF00000]
        elif code == 0x20:
            (value,) = struct.unpack_from(">I", packet, number - 0xFFF00000)
        elif code == 0x54:
            value &= number
        elif code == 0x74:
            value >>= number
        elif code == 0x15:
            at += jump if value == number else other
        elif code == 0x05:
            at += number
        else:
            assert code == 0x06
            return number > 0


def packet(source):
    address = ipaddress.ip_address(source)
    if address.version == 4:
        return b"\x45".ljust(12, b"\0") + address.packed
    return b"\x60".ljust(8, b"\0") + address.packed


@pytest.mark.parametrize(
    ("source", "passed"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("192.0.2.2", True),
        ("192.0.2.3", False),
        ("10.0.0.1", False),
        ("::1", True),
        ("fd00::2", True),
        ("fd00::3", False),
        ("fd00::2:0:2", False),
        ("::", False),
    ],
)
def test_the_filter_passes_only_what_it_is_told(source, passed):
    allowed = {ipaddress.ip_address(text) for text in ("192.0.2.2", "fd00::2", "127.0.0.1", "::1")}
    program = ports._program(allowed)
    assert passes(program, packet(source)) is passed
    assert not passes(program, b"\x55" + packet("127.0.0.1")[1:])  # Neither version 4 nor 6.


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is one of Linux")
@pytest.mark.parametrize(("allowed", "comes_through"), [(LOOPBACK, True), (OTHER, False)])
def test_what_is_filtered_gets_no_connection(monkeypatch, allowed, comes_through):
    # Without the loopback network, which always passes: then this machine is a stranger.
    if not comes_through:
        monkeypatch.setattr(ports, "_program", lambda _: struct.pack("=HBBI", 0x06, 0, 0, 0))
    with socket.create_server(("", 0)) as server:
        address = (LOOPBACK, server.getsockname()[1])
        assert ports.shield(address[1], [ipaddress.ip_address(allowed)])
        if comes_through:
            socket.create_connection(address, 5).close()
        else:
            with pytest.raises(TimeoutError):
                socket.create_connection(address, 0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is one of Linux")
def test_who_connected_before_is_cut_off_unless_from_here(monkeypatch):
    with socket.create_server(("", 0)) as server:
        client = socket.create_connection((LOOPBACK, server.getsockname()[1]), 5)
        accepted, _ = server.accept()
        with client, accepted:
            ports.shield(server.getsockname()[1], [])
            accepted.sendall(b"still there")
            assert client.recv(99) == b"still there"
            monkeypatch.setattr(ipaddress.IPv4Address, "is_loopback", False)
            ports._close_if_foreign(accepted, set())
            assert client.recv(99) == b""


def test_nothing_listens_at_a_port_yet():
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        assert not ports.shield(other.getsockname()[1], [])


def wait_for(condition):
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()


@pytest.mark.parametrize(("second", "shielded"), [("127.0.0.2:2222", True), (f"{OTHER}:1", False)])
def test_only_a_cluster_wholly_on_this_machine_is_shielded(monkeypatch, second, shielded):
    seen = []
    monkeypatch.setattr(ports, "shield", lambda port, allowed: seen.append((port, allowed)) or True)
    with ports.shielded(task("127.0.0.1:41", second)):
        if shielded:
            wait_for(lambda: seen)
    found = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("127.0.0.2")}
    assert seen == ([(41, found)] if shielded else [])


def test_where_there_is_no_filter_a_line_says_that_the_port_is_open(monkeypatch, capsys):
    def fail(port, allowed):
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(ports, "shield", fail)
    errors = []
    with ports.shielded(task("127.0.0.1:41")):
        wait_for(lambda: errors.append(capsys.readouterr().err) or any(errors))
    line = "warning: port 41 of chief is open to the network: cannot filter it (Protocol not"
    assert line in "".join(errors)
