"""A proxy between an HTTP client and its server that fails, cuts, delays or loses what it is told.

What happens to a request is drawn with a seed. `faults` may be changed at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import random
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator

_DEADLINE_SECS = 60


@dataclasses.dataclass(frozen=True)
class Faults:
    """What goes wrong.

    Attributes:
      refused: the fraction of requests that are answered with one of `statuses`, and not forwarded.
      cut: the fraction of requests in whose answer the connection ends halfway.
      lost: the fraction of requests that are forwarded, and whose answer is not sent.
      silent: the fraction of requests that get no answer, on a connection that stays open.
      latency: seconds that are added to each request.
      concerns: whether a request of this method and path may be hit; by default each may.
    """

    refused: float = 0.0
    statuses: tuple[int, ...] = (503, 500, 429)
    cut: float = 0.0
    lost: float = 0.0
    silent: float = 0.0
    latency: float = 0.0
    concerns: Callable[[str, str], bool] = lambda method, path: True


@contextlib.contextmanager
def proxy(server: str, faults: Faults = Faults(), seed: int = 0) -> Iterator[FaultProxy]:
    """A proxy before the server of a URL, on loopback and in a thread, until the block ends."""
    found = FaultProxy(server, faults, seed)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        found.end()
        thread.join(timeout=60)


class FaultProxy(http.server.ThreadingHTTPServer):
    """The proxy.

    Attributes:
      endpoint: its URL.
      requests: (method, path, bytes that the client sent) of each request so far.
      hit: how many requests so far had a fault.
    """

    daemon_threads, block_on_close, request_queue_size = True, False, 128

    def __init__(self, server: str, faults: Faults, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server_url = urllib.parse.urlsplit(server)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults, self.hit = faults, 0
        self.requests: list[tuple[str, str, int]] = []
        self.ended = threading.Event()
        self._random, self._lock = random.Random(seed), threading.Lock()

    def draw(self, method: str, path: str, size: int) -> str | int:
        """What happens to a request: "" for nothing, a status, "cut", "lost" or "silent"."""
        faults = self.faults
        with self._lock:
            self.requests.append((method, path, size))
            place, status = self._random.random(), self._random.choice(faults.statuses)
            if not faults.concerns(method, path):
                return ""
            for name in ("refused", "cut", "lost", "silent"):
                place -= getattr(faults, name)
                if place < 0:
                    self.hit += 1
                    return status if name == "refused" else name
        return ""

    def end(self) -> None:
        """Stops, also what is silent."""
        self.ended.set()
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: FaultProxy
    _to_server: http.client.HTTPConnection | None = None

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.draw(self.command, self.path, len(body))
        time.sleep(self.server.faults.latency)
        if isinstance(fault, int):
            self._answer(fault, {}, b"<Error><Code>Fault</Code></Error>")
        elif fault == "silent":
            self.server.ended.wait(_DEADLINE_SECS)
            self.close_connection = True
        else:
            self._forward(body, fault)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _forward(self, body: bytes, fault: str) -> None:
        try:
            status, headers, answer = self._ask(body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # As if the server itself were not there.
            return
        if fault == "lost":
            self.close_connection = True
        else:
            self._answer(status, headers, answer, cut=fault == "cut")

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Has the server answer; the signature is of the Host that the client gave."""
        url = self.server.server_url
        if self._to_server is None:
            self._to_server = http.client.HTTPConnection(
                url.hostname, url.port, timeout=_DEADLINE_SECS
            )
        try:
            self._to_server.request(self.command, self.path, body, dict(self.headers))
            found = self._to_server.getresponse()
            return found.status, dict(found.headers), found.read()
        except BaseException:
            self._to_server.close()
            self._to_server = None
            raise

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        has_no_body = self.command == "HEAD" or status in (204, 304)
        kept = {
            name: value
            for name, value in headers.items()
            if name.lower() not in ("connection", "keep-alive", "transfer-encoding")
            and (has_no_body or name.lower() != "content-length")
        }
        if not has_no_body:
            kept["Content-Length"] = str(len(body))
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}"]
        lines += [f"{name}: {value}" for name, value in kept.items()]
        answer = "\r\n".join([*lines, "", ""]).encode() + (b"" if has_no_body else body)
        if cut:
            answer, self.close_connection = answer[: -max(len(body) // 2, 1)], True
        self.wfile.write(answer)

    def finish(self) -> None:
        if self._to_server:
            self._to_server.close()
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()
