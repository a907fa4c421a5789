"""Asks a served model as many clients do, and sends it what is no request.

  python benchmarks/server_load.py --export_dir=tboard/mod1/export/best/5000

It starts `mnist_estimator.serve` on this machine, needs KServe (pip install
'mnist_estimator[serve]'), and ends it. First 1, 8 and 64 clients ask for an image each, again and
again, for --secs seconds, over connections that stay open. It prints the answers a second and the
percentiles of the time that an answer takes. Client and server share the cores.

Then, while 8 clients go on, it sends requests that are wrong, and pictures that want more than they
look. Each has to get the status that is expected. No right request may be lost, every right answer
has to be the one that the model gave at first, and the server may not keep memory.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator

import numpy as np
from absl import app, flags

_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Exported SavedModel.", required=True)
_SECS = flags.DEFINE_float("secs", 10, "Length of each measurement.", lower_bound=1)
_PYTHON = flags.DEFINE_string("python", sys.executable, "Python that has KServe.")
_CLIENTS = (1, 8, 64)
_START_SECS, _ANSWER_SECS = 180, 120
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_URL = "/v1/models/model:predict"
_JSON = {"Content-Type": "application/json"}


@dataclasses.dataclass
class Load:
    """What clients saw: seconds of each right answer, and what else there was."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)


def main(_: list[str]) -> None:
    """Measures and prints."""
    shape = json.loads(pathlib.Path(_EXPORT_DIR.value, "assets.extra/model.json").read_text())
    shape = shape["image_shape"]
    requests = [image_request(shape, seed) for seed in range(32)]
    with serving() as (port, process):
        answers = [ask(port, request)[1] for request in requests]
        names = ("clients", "answers/s", "median ms", "95% ms", "99% ms", "slowest ms")
        names += ("server's CPU ms an answer", "wrong")
        print(f"| {' | '.join(names)} |\n|{' ---: |' * len(names)}")
        for clients in _CLIENTS:
            load, secs, used = Load(), _SECS.value, processor_seconds(process.pid)
            with asking(port, requests, answers, clients, load):
                time.sleep(secs)
            print(row(clients, load, secs, processor_seconds(process.pid) - used))
        failed = bad_requests(port, process, shape, requests, answers)
    sys.exit(1 if failed else 0)


def row(clients: int, load: Load, secs: float, used: float) -> str:
    """A line of the table."""
    cuts = statistics.quantiles(load.seconds, n=100)
    times = (statistics.median(load.seconds), cuts[94], cuts[98], max(load.seconds))
    times += (used / len(load.seconds),)
    cells = " | ".join(f"{1000 * each:.1f}" for each in times)
    return f"| {clients} | {len(load.seconds) / secs:.0f} | {cells} | {len(load.wrong)} |"


def bad_requests(
    port: int,
    process: subprocess.Popen[bytes],
    shape: list[int],
    requests: list[bytes],
    answers: list[bytes],
) -> int:
    """Sends each bad request while others ask; returns how many things were not as expected."""
    load, failed = Load(), 0
    cases = list(bad(shape))
    before = memory(process.pid)
    with asking(port, requests, answers, 8, load):
        for name, body, expected in cases:
            started = time.perf_counter()
            status, answer = ask(port, body)
            secs = time.perf_counter() - started
            fine = status == expected and (status == 200) == (b"predictions" in answer)
            failed += not fine
            said = f"{name}: {status} in {secs:.2f} s: {shown(answer)}"
            print(f"{'as expected' if fine else 'FAILED'}: {said}")
        half_a_request(port)
    after = memory(process.pid)
    status, answer = ask(port, requests[0])
    print(f"{len(load.seconds)} right answers meanwhile, {len(load.wrong)} lost or wrong")
    print(f"memory of the server: {before:.0f} MiB before, {after:.0f} MiB after")
    return failed + len(load.wrong) + (answer != answers[0])


def shown(answer: bytes) -> str:
    """An answer in a line: what is wrong, or the first problem."""
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        found = json.loads(answer)
        return str(found.get("error") or found["predictions"][0].get("problem") or "answered")[:160]
    return repr(answer[:160])


def bad(shape: list[int]) -> Iterator[tuple[str, bytes, int]]:
    """Requests that are wrong or harmful: name, body, and the status that is to come."""
    height, width, channels = shape
    blank = np.zeros([1, *shape]).tolist()
    for name, request, status in (
        ("another shape", {"instances": np.zeros([1, height + 1, width, channels]).tolist()}, 400),
        ("one image without its list", {"instances": blank[0][0][0]}, 400),
        ("images of several shapes", {"instances": [blank[0], blank[0][:-1]]}, 400),
        ("null for a pixel", {"instances": [[[[None] * channels] * width] * height]}, 400),
        ("text for a pixel", {"instances": [[[["0"] * channels] * width] * height]}, 400),
        ("true for a pixel", {"instances": [[[[True] * channels] * width] * height]}, 400),
        ("negative pixels", {"instances": np.full([1, *shape], -5).tolist()}, 400),
        ("pixels of 1e30", {"instances": np.full([1, *shape], 1e30).tolist()}, 400),
        ("an int of 400 digits", {"instances": [[[[10**399] * channels] * width] * height]}, 400),
        ("300 for a byte", named("serving_uint8", np.full([1, *shape], 300).tolist()), 400),
        ("1.5 for a byte", named("serving_uint8", np.full([1, *shape], 1.5).tolist()), 400),
        ("another signature", named("no_such", blank), 400),
        ("a signature that is a list", {"signature_name": [], "instances": blank}, 400),
        ("no instances", {"inputs": blank}, 400),
        ("a list", blank, 400),
        ("no base64", named("predict_images", [{"image_bytes": {"b64": "%%"}}]), 400),
        ("a number for a picture", named("predict_images", [7]), 400),
    ):
        yield name, json.dumps(request).encode(), status
    yield "NaN", json.dumps({"instances": blank}).replace("0.0", "NaN", 1).encode(), 400
    yield "Infinity", json.dumps({"instances": blank}).replace("0.0", "Infinity", 1).encode(), 400
    yield "nothing", b"", 400
    yield "not JSON", b"<html>", 400
    yield "not UTF-8", b'{"instances": "\xff\xfe"}', 400
    yield "cut off", json.dumps({"instances": blank}).encode()[:-9], 400
    yield "a million brackets", b"[" * 10**6, 400
    yield "40 MB", b" " * 40_000_000, 413
    for name, picture in pictures():
        yield name, json.dumps(named("predict_images", [picture_instance(picture)])).encode(), 200


def pictures() -> Iterator[tuple[str, bytes]]:
    """Files that want more memory or time than they look; the model itself deals with them."""
    yield "a text for a picture", b"hello"
    yield "an empty picture", b""
    yield "a PNG that says 60,000 x 60,000", png(60_000, 60_000, b"")
    yield "a PNG bomb: 7,000 x 7,000 of one colour", png(7_000, 7_000, bytes(7_001 * 7_000))
    yield "a PNG whose data inflate to 200 MB more", png(28, 28, bytes(200_000_000))
    yield "a PNG with a text of 200 MB", png(28, 28, bytes(29 * 28), text=bytes(200_000_000))
    gif = b"GIF89a" + struct.pack("<HH", 50_000, 50_000) + b"\0\0\0,\0\0\0\0"
    yield "a GIF that says 50,000 x 50,000", gif + struct.pack("<HH", 50_000, 50_000) + b"\0\2\0;"


def png(width: int, height: int, data: bytes, text: bytes = b"") -> bytes:
    """A grey PNG of this size, with these bytes in it, whatever they are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = chunk(b"zTXt", b"a\0\0" + zlib.compress(text, 9)) if text else b""
    body = chunk(b"IHDR", header) + packed + chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def named(signature: str, instances: object) -> dict[str, object]:
    """A request to a signature."""
    return {"signature_name": signature, "instances": instances}


def picture_instance(picture: bytes) -> dict[str, dict[str, str]]:
    """A picture as TensorFlow Serving's REST API has it."""
    return {"image_bytes": {"b64": base64.b64encode(picture).decode()}}


def image_request(shape: list[int], seed: int) -> bytes:
    """A request with one image."""
    image = np.random.default_rng(seed).integers(256, size=[1, *shape])
    return json.dumps({"instances": image.tolist()}).encode()


def half_a_request(port: int) -> None:
    """Connects, sends half a request, and goes."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        head = f"POST {_URL} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 1000)


def ask(port: int, body: bytes) -> tuple[int, bytes]:
    """Status and answer of a request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECS)
    with contextlib.closing(connection):
        # The server may refuse a long request before all of it has been sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", _URL, body, _JSON)
        answer = connection.getresponse()
        return answer.status, answer.read()


@contextlib.contextmanager
def asking(
    port: int, requests: list[bytes], answers: list[bytes], clients: int, load: Load
) -> Iterator[None]:
    """So many clients ask for as long as the block takes."""
    stopped = threading.Event()
    arguments = (port, requests, answers, stopped, load)
    threads = [threading.Thread(target=client, args=(*arguments, n)) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join(2 * _ANSWER_SECS)


def client(
    port: int,
    requests: list[bytes],
    answers: list[bytes],
    stopped: threading.Event,
    load: Load,
    number: int,
) -> None:
    """Asks again and again over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECS)
    with contextlib.closing(connection):
        while not stopped.is_set():
            number = (number + 1) % len(requests)
            started = time.perf_counter()
            try:
                connection.request("POST", _URL, requests[number], _JSON)
                found = connection.getresponse().read()
            except (OSError, http.client.HTTPException) as error:
                load.wrong.append(repr(error))
                connection.close()
                continue
            load.seconds.append(time.perf_counter() - started)
            if found != answers[number]:
                load.wrong.append(repr(found[:200]))


@contextlib.contextmanager
def serving() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Starts the server; yields its port and process when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    module = "mnist_estimator.serve"
    command = [_PYTHON.value, "-m", module, f"--export_dir={_EXPORT_DIR.value}", f"--port={port}"]
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path.strip(os.pathsep)})
    try:
        wait_for(port, process)
        yield port, process
    finally:
        process.terminate()
        process.wait(60)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Returns when the server says that its model is ready."""
    until = time.monotonic() + _START_SECS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", "/v1/models/model")
                if connection.getresponse().status == 200:
                    return
        time.sleep(0.2)
    raise SystemExit("the server did not start")


def processor_seconds(pid: int) -> float:
    """The processor seconds that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """The resident memory of a process in MiB."""
    fields = pathlib.Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) / 1024


if __name__ == "__main__":
    app.run(main)
