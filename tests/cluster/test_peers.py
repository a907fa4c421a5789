"""Who is there and who is lost: real ports on loopback, and a clock that the test moves."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from mnist_estimator.cluster import peers, roles


@contextlib.contextmanager
def port():
    """A port that answers while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def closed_port() -> str:
    with port() as address:
        return address


def test_an_open_port_answers_and_a_closed_one_refuses():
    with port() as address:
        assert peers.probe(address) == peers.ANSWERS
    assert peers.probe(address) == peers.REFUSED


def test_a_host_without_a_name_is_silent():
    assert peers.probe("no-such-host.invalid:2222") == peers.SILENT


def test_a_name_that_is_none_is_silent():
    assert peers.probe(f"{'a' * 64}.b:2222") == peers.SILENT


def test_an_ipv6_address_is_one():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert peers.probe(f"[::1]:{server.getsockname()[1]}") == peers.ANSWERS


def test_each_name_gets_its_own_answer():
    with port() as there:
        found = peers.probe_all({"chief": there, "worker 0": closed_port()})
    assert found == {"chief": peers.ANSWERS, "worker 0": peers.REFUSED}


def test_many_are_asked_at_once(monkeypatch):
    everybody = threading.Barrier(100)

    def connect(address, timeout):
        everybody.wait(20)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    found = peers.probe_all({f"worker {n}": f"a:{n}" for n in range(1, 101)})
    assert list(found.values()) == [peers.SILENT] * 100


def test_a_task_without_a_server_of_its_own_answers_too(capsys):
    address = closed_port()
    with peers.listening(address):
        assert peers.probe(address) == peers.ANSWERS
        with peers.listening(address):  # Somebody has the port: worth a line, no failure.
            assert "warning: port" in capsys.readouterr().err
    assert peers.probe(address) == peers.REFUSED


def test_a_port_that_was_just_closed_can_be_listened_at_again(capsys):
    address = closed_port()
    for _ in range(5):
        with peers.listening(address):
            for _ in range(20):
                assert peers.probe(address) == peers.ANSWERS
    assert not capsys.readouterr().err


def test_a_task_at_an_ipv6_address_answers_there():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        address = f"[::1]:{server.getsockname()[1]}"
    with peers.listening(address):
        assert peers.probe(address) == peers.ANSWERS


JOBS = {"chief": ("a:1",), "worker": ("b:1", "b:2"), "ps": ("c:1", "c:2")}


@pytest.mark.parametrize(
    ("role", "index", "names"),
    [
        ("chief", 0, {"ps 0", "ps 1"}),
        ("worker", 1, {"chief", "ps 0", "ps 1"}),
        ("ps", 1, {"chief"}),
        ("evaluator", 0, {"chief"}),
    ],
)
def test_with_parameter_servers_workers_may_come_and_go(role, index, names):
    assert set(peers.needed(roles.Task(JOBS, role, index))) == names


def test_synchronous_workers_need_one_another():
    jobs = {"worker": ("a:1", "b:1", "c:1")}
    found = peers.needed(roles.Task(jobs, "worker", 1))
    assert set(found.values()) == {"a:1", "c:1"}


class Told:
    """A watch whose peers answer what the test says, at the time that it says."""

    def __init__(self, *names: str, **options):
        self.now = 0.0
        self.answers = dict.fromkeys(names, peers.REFUSED)
        seconds = {"gone_secs": 2, "silent_secs": 20, "start_secs": 600} | options
        self.watch = peers.Watch(
            {name: f"{name}:1" for name in names},
            on_lost=pytest.fail,
            probe_all=lambda addresses: self.answers,
            clock=lambda: self.now,
            **seconds,
        )

    def look(self, after: float, **answers: str) -> str:
        self.now += after
        self.answers |= answers
        return self.watch.look()


def test_one_that_never_answers_is_waited_for_and_named(capsys):
    told = Told("a", "b")
    assert not told.look(10, a=peers.ANSWERS)
    assert not capsys.readouterr().err
    assert not told.look(10)
    assert capsys.readouterr().err == "waiting for b at b:1\n"
    assert told.watch.missing() == ["b"]
    assert not told.look(579)
    assert told.look(2) == "b at b:1 has not answered for 600 s"


def test_one_whose_port_closes_is_gone_soon():
    told = Told("a")
    assert not told.look(1, a=peers.ANSWERS)
    assert not told.look(1, a=peers.REFUSED)
    assert told.look(2) == "a at a:1 is gone"


def test_one_that_comes_back_in_time_is_not_lost():
    told = Told("a", gone_secs=20)
    assert not told.look(1, a=peers.ANSWERS)
    assert not told.look(19, a=peers.REFUSED)
    assert not told.look(1, a=peers.ANSWERS)
    assert not told.look(19, a=peers.REFUSED)
    assert told.look(2)


def test_a_machine_that_does_not_answer_has_longer():
    told = Told("a")
    assert not told.look(1, a=peers.ANSWERS)
    assert not told.look(19, a=peers.SILENT)
    assert told.look(2) == "a at a:1 does not answer"


def test_a_process_that_stands_still_is_lost_although_its_machine_answers():
    greetings = {"a": ""}
    told = Told("a", greet=lambda addresses: greetings)
    assert not told.look(1, a=peers.ANSWERS)
    greetings.clear()
    assert not any(told.look(1) for _ in range(59))
    greetings["a"] = ""
    assert not told.look(1)
    greetings.clear()
    assert not told.look(10_000)  # This process stood still, too.
    assert not any(told.look(1) for _ in range(58))
    assert told.look(1) == "a at a:1 does not answer, its process stands still"


def test_one_that_never_greets_is_none_that_stands_still():
    told = Told("a", greet=lambda addresses: {})
    assert not told.look(1, a=peers.ANSWERS)
    assert not any(told.look(1) for _ in range(200))


def test_a_task_that_stays_one_of_another_run_is_no_peer():
    greetings = {"a": "a at a:1 is of another run"}
    told = Told("a", greet=lambda addresses: greetings)
    assert not told.look(1, a=peers.ANSWERS)
    assert not any(told.look(1) for _ in range(28))
    assert told.look(1) == "a at a:1 is of another run"


def test_after_the_end_nobody_is_waited_for():
    told = Told("a", is_over=lambda: True)
    assert told.look(1) == "a at a:1 has ended"


def test_the_thread_tells_once_and_only_while_it_watches():
    lost, told = [], threading.Event()

    def on_lost(line):
        lost.append(line)
        told.set()

    seconds = {"gone_secs": 0, "silent_secs": 0, "start_secs": 0}
    with peers.Watch({"a": closed_port()}, on_lost=on_lost, **seconds):
        assert told.wait(30)
    assert len(lost) == 1
    with peers.Watch({"a": closed_port()}, on_lost=on_lost, **seconds) as watch:
        watch.stop()
    assert len(lost) == 1


def test_a_watch_that_cannot_look_tells():
    lost, told = [], threading.Event()

    def probe_all(addresses):
        raise RuntimeError("can't start new thread")

    def on_lost(line):
        lost.append(line)
        told.set()

    seconds = {"gone_secs": 9, "silent_secs": 0, "start_secs": 9}
    with peers.Watch({"a": "a:1"}, on_lost=on_lost, probe_all=probe_all, **seconds):
        assert told.wait(30)
    assert lost == ["cannot look for the other tasks (can't start new thread)"]


def test_wait_returns_when_all_have_answered():
    seconds = {"gone_secs": 9, "silent_secs": 9, "start_secs": 9}
    with (
        port() as address,
        peers.Watch({"a": address}, on_lost=pytest.fail, **seconds) as watch,
    ):
        watch.wait()
        assert not watch.missing()


def test_what_is_known_of_one_that_never_answers_is_said(capsys):
    told = Told("a", known=lambda: "it failed before")
    assert not told.look(16)
    assert capsys.readouterr().err == "waiting for a at a:1; it failed before\n"
    assert told.look(600) == "a at a:1 has not answered for 600 s; it failed before"
