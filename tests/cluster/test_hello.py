"""Who is at an address: datagrams on loopback, and what strangers send."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket

import pytest

from mnist_estimator.cluster import hello, roles


def me(model_dir="/shared/a", run="1f", role="worker", index=1):
    return hello.of(roles.Task({"chief": ("a:1",)}, role, index), model_dir, run)


@contextlib.contextmanager
def answering(one):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with hello.answering(address, lambda: one):
        yield address


def test_a_task_says_who_it_is():
    with answering(me("/shared/a", role="chief", index=0)) as address:
        found = hello.ask_all({"chief": address}, me(), wait_secs=10)
    (answer,) = found.values()
    assert (answer.task, answer.model_dir, answer.run) == ("chief", "/shared/a", "1f")
    assert answer.host == socket.gethostname() and answer.pid.isdecimal()


def test_who_does_not_answer_is_not_in_the_answers():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, answering(me()) as there:
        silent.bind(("127.0.0.1", 0))
        addresses = {
            "silent": f"127.0.0.1:{silent.getsockname()[1]}",
            "unknown": "no-such-host.invalid:1",
            "no name": f"{'a' * 64}.b:1",
            "closed": "127.0.0.1:9",
            "there": there,
        }
        assert list(hello.ask_all(addresses, me(), wait_secs=1)) == ["there"]


@pytest.mark.parametrize(
    ("model_dir", "run", "strange"),
    [
        ("/shared/a", "1f", False),
        ("/mnt/a", "1f", False),  # Another name of the same folder.
        ("/shared/a", "2e", True),  # Another machine's folder of this name.
        ("/mnt/a", "2e", True),
        ("/mnt/a", "", True),  # Nobody knows yet.
        ("/shared/a", "", False),
    ],
)
def test_a_stranger_is_of_a_run_of_another_name(model_dir, run, strange):
    assert hello.is_stranger(me(), me(model_dir, run)) is strange
    assert hello.is_stranger(me(model_dir, run), me()) is strange


def test_a_folder_is_known_by_its_whole_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert not hello.is_stranger(me("a", ""), me(str(tmp_path / "a"), ""))
    assert hello.is_stranger(me("gs://a", ""), me("a", ""))


def test_a_line_names_both_runs_and_the_one_who_is_asked_says_so_too(capsys):
    chief = me("/shared/other", "2e", role="chief", index=0)
    with answering(chief) as address:
        for _ in range(3):
            (line,) = hello.problems({"chief": address}, me()).values()
    assert f"chief at {address} is chief of the run in /shared/other (host " in line
    assert "and this is worker 1 of the run in /shared/a (host " in line
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "worker 1 of the run in /shared/a" in said[0]


def test_a_task_of_the_same_run_is_no_problem(capsys):
    with answering(me(role="chief", index=0)) as address:
        assert hello.problems({"chief": address}, me()) == {"chief": ""}
    assert not capsys.readouterr().err


def packet(**changes):
    fields = dataclasses.asdict(me()) | changes
    return json.dumps(fields).encode().ljust(1024)


GARBAGE = {
    "empty": b"",
    "short": b"hello",
    "almost": packet()[:-1],
    "long": packet() + b" ",
    "text": b"x" * 1024,
    "zeros": bytes(1024),
    "no UTF-8": b'"\xff"'.ljust(1024),
    "a list": b"[]".ljust(1024),
    "a number": b"7".ljust(1024),
    "another field": packet(more="x"),
    "a field less": json.dumps({"task": "worker 1"}).encode().ljust(1024),
    "no text": packet(pid=7),
    "deep": (b"[" * 500 + b"]" * 500).ljust(1024),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_neither_understood_nor_answered(garbage):
    assert hello._parsed(garbage) is None


def test_after_all_garbage_a_task_still_answers_and_never_with_more_than_it_was_sent():
    with answering(me()) as address, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        host, _, port = address.rpartition(":")
        client.connect((host, int(port)))
        client.settimeout(10)
        for garbage in GARBAGE.values():
            client.send(garbage)
        client.send(packet())
        assert len(client.recv(4096)) == 1024
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(4096)


@pytest.mark.parametrize(
    "model_dir", ["/x" * 5000, "/数" * 99, "\U0001f600" * 500, "/\udcff", "a\nb"]
)
def test_any_model_dir_goes_into_a_datagram(model_dir):
    assert hello._parsed(hello._packed(me(model_dir))) == me(model_dir)


def test_a_port_that_is_taken_is_a_warning(capsys):
    with answering(me("/first")) as address, hello.answering(address, lambda: me("/second")):
        (answer,) = hello.ask_all({"chief": address}, me(), wait_secs=10).values()
    assert answer.model_dir == "/first"
    assert f"warning: port {address.rpartition(':')[2]} (UDP): " in capsys.readouterr().err


@pytest.mark.parametrize("letter", ["a", "\u00e4", "\U0001f600"])
def test_what_a_task_does_is_said_if_there_is_room(letter):
    one = dataclasses.replace(me(f"/{letter * 200}"), host="h" * 64, doing="d" * 80, busy="export")
    with answering(one) as address:
        (found,) = hello.ask_all({"chief": address}, me(), wait_secs=10).values()
    assert found == dataclasses.replace(one, doing="" if letter == "\U0001f600" else "d" * 80)
