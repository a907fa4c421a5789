"""The serve command: mistakes in a line; with KServe installed, a server that answers."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import signal
import socket
from pathlib import Path

import pytest
from support import programs
from support.exports import Exported, train_and_export

from mnist_estimator import InputError, serve

HAS_KSERVE = importlib.util.find_spec("kserve") is not None


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "serve: --export_dir: found no saved_model.pb, expected an exported model, as MODEL"),
        (["--export_dir=none"], "serve: --export_dir: found no none/saved_model.pb, expected an"),
        (["--port=0"], "serve: flag --port=0: 0 is not an integer in the range [1, 65535]"),
        (["--http_port=9"], "serve: Unknown command line flag 'http_port'"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, flags, line):
    done = programs.run_forked(programs.command("serve", *flags), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


def test_without_kserve_there_is_a_line(monkeypatch, tmp_path):
    (tmp_path / "saved_model.pb").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(serve.flags, "FLAGS", type("Given", (), {"export_dir": str(tmp_path)}))
    with pytest.raises(InputError, match=r"kserve not found; pip install 'mnist_estimator\[serve"):
        serve.main([])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return train_and_export(tmp_path_factory.mktemp("exported"))


@pytest.mark.skipif(not HAS_KSERVE, reason="KServe, of the extra 'serve', is not installed")
def test_a_server_answers_right_and_wrong_requests_and_ends_when_it_is_told(exported, tmp_path):
    port = free_port()
    flags = [f"--export_dir={exported.path}", f"--port={port}", "--name=squares"]
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = programs.fork(
            programs.command("serve", *flags), cwd=tmp_path, stdout=file, stderr=file
        )
    try:
        programs.wait_until(lambda: ask(port)[0] == 200, process=process)
        images, labels = exported.test_data()
        status, answer = ask(port, {"instances": images.tolist()})
        classes = [row["classes"] for row in answer["predictions"]]
        assert status == 200 and sum(classes == labels) > len(labels) / 2
        assert ask(port, {"instances": [[1]]})[0] == 400
        assert ask(port, b"<html>")[0] == 400
        assert ask(port, b" " * 2**26)[0] == 413
        assert ask(port, {"instances": images.tolist()}) == (status, answer)
        assert listens_only_here(port)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 143, output.read_text()


def ask(port: int, request=None) -> tuple[int, object]:
    """Status and answer; without a request, whether the model is ready; 0 if nobody answers."""
    body = json.dumps(request).encode() if isinstance(request, dict) else request
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
        url = "/v1/models/squares" + (":predict" if body else "")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST" if body else "GET", url, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    return 0, None


def listens_only_here(port: int) -> bool:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    places = {line.split()[1] for line in lines if line.split()[3] == "0A"}
    return {place for place in places if place.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
