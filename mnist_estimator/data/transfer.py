"""Downloads one file over http or https. Every wait has a time limit."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from mnist_estimator import __version__
from mnist_estimator.runtime.progress import ProgressLine

_PIECE_BYTES = 1 << 16
# A transfer slower than this counts as stalled.
_MIN_BYTES_PER_SEC = 1000
# A mirror's answer, until its body begins, may take this many timeouts: connections to several
# addresses, TLS and redirects are parts of it.
_ANSWER_TIMEOUTS = 3


class MirrorError(Exception):
    """A mirror did not give the file; the message says why."""


def read_url(url: str, limit: int, timeout_secs: float, line: ProgressLine) -> Iterator[bytes]:
    """Yields the body of `url`. Whatever goes wrong is a MirrorError."""
    try:
        with _Transfer(url, timeout_secs) as transfer:
            yield from _read_body(transfer, url, limit, timeout_secs, line)
    except urllib.error.HTTPError as error:
        error.close()
        raise MirrorError(f"HTTP {error.code} {first_line(error.reason)}") from error
    except http.client.IncompleteRead as error:
        raise MirrorError("the transfer was cut off") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            raise MirrorError(f"no answer for {timeout_secs:g} s") from error
        raise MirrorError(first_line(getattr(reason, "strerror", None) or reason)) from error


def _read_body(
    transfer: _Transfer,
    url: str,
    limit: int,
    timeout_secs: float,
    line: ProgressLine,
) -> Iterator[bytes]:
    header = transfer.next(_ANSWER_TIMEOUTS * timeout_secs, "no whole answer in")
    total = int(header) if header else None
    received = window_received = 0
    window_start = time.monotonic()
    progress = _Progress(line, url, total)
    while total is None or received < total:
        piece = transfer.next(timeout_secs, "no answer for")
        received += len(piece)
        if max(received, total or 0) > limit:
            raise MirrorError(f"sends more than {limit} bytes, the most that the file can have")
        if not piece:
            break
        yield piece
        progress.update(received)
        now = time.monotonic()
        if now - window_start >= timeout_secs:
            if received - window_received < timeout_secs * _MIN_BYTES_PER_SEC:
                raise MirrorError(f"sent {received - window_received} bytes in {timeout_secs:g} s")
            window_start, window_received = now, received
    if total is not None and received < total:
        raise MirrorError(f"the transfer was cut off at {received} of {total} bytes")
    progress.finish(received)


class _Progress:
    """Describes on a progress line how far the download of a file is."""

    def __init__(self, line: ProgressLine, url: str, total: int | None) -> None:
        self._line, self._total = line, total
        self._label = f"{url.rpartition('/')[2]} from {host(url)}"
        self._began = time.monotonic()
        line.show(f"downloading {self._label}")

    def update(self, received: int) -> None:
        """Shows how many bytes have come."""
        self._line(f"downloading {self._label}: {self._describe(received)}")

    def finish(self, received: int) -> None:
        """Says that all bytes have come."""
        self._line.say(f"downloaded {self._label}: {self._describe(received)}")

    def _describe(self, received: int) -> str:
        part = f"{received / 1e6:.1f} MB"
        if self._total:
            part = (
                f"{received / 1e6:.1f} of {self._total / 1e6:.1f} MB ({received / self._total:.0%})"
            )
        secs = max(time.monotonic() - self._began, 1e-3)
        return f"{part}, {received / 1e6 / secs:.1f} MB/s"


class _Transfer:
    """A GET in a thread of its own, so that every wait for it has a time limit.

    The time limit of a socket is for one call. A server that sends its headers, or the size of a
    chunk, byte by byte keeps http.client in a call that does not return.
    """

    def __init__(self, url: str, timeout_secs: float) -> None:
        self._url, self._timeout_secs = url, timeout_secs
        self._items: queue.Queue[str | bytes | Exception | None] = queue.Queue(maxsize=4)
        self._over = threading.Event()
        self._socket: socket.socket | None = None

    def __enter__(self) -> _Transfer:
        # A daemon, as the look-up of a host's name cannot be ended.
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def next(self, secs: float, late: str) -> str | bytes | None:
        """First the header Content-Length, then the pieces of the body, an empty one at its end.

        Raises:
          MirrorError: `late`, if it does not come in so many seconds.
          Whatever urllib raises.
        """
        try:
            item = self._items.get(timeout=secs)
        except queue.Empty:
            raise MirrorError(f"{late} {secs:g} s") from None
        if isinstance(item, Exception):
            raise item
        return item

    def _run(self) -> None:
        headers = {"User-Agent": f"mnist_estimator/{__version__}"}
        try:
            request = urllib.request.Request(self._url, headers=headers)
            with self._opener().open(request, timeout=self._timeout_secs) as response:
                wanted = self._put(response.headers.get("Content-Length"))
                # read1 returns with what there is; read would wait for all of it.
                while wanted and (piece := response.read1(_PIECE_BYTES)):
                    wanted = self._put(piece)
                self._put(b"")
        except Exception as error:
            self._put(error)

    def _put(self, item: str | bytes | Exception | None) -> bool:
        """Passes an item to the reader; returns False if nobody reads any more."""
        while not self._over.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.1)
                return True
        return False

    def _opener(self) -> urllib.request.OpenerDirector:
        """Opens http and https, through the proxies of the environment, and nothing else."""
        opener = urllib.request.OpenerDirector()
        found = urllib.request.getproxies()
        for handler in (
            urllib.request.ProxyHandler({s: found[s] for s in ("http", "https") if s in found}),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Handler(self._connected),
        ):
            opener.add_handler(handler)
        return opener

    def _connected(self, connected: socket.socket) -> None:
        """Keeps a duplicate of the socket, by which another thread can end the connection."""
        before, self._socket = self._socket, socket.socket(fileno=os.dup(connected.fileno()))
        if before:  # A redirect has led on.
            before.close()


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens http and https URLs, and passes the socket of each connection to a function."""

    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_Connection, self._connected), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_TlsConnection, self._connected), request)


class _ReportingSocket:
    """A connection that passes its socket to a function as soon as it is connected."""

    def __init__(
        self, connected: Callable[[socket.socket], None], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._on_connect = connected

    def connect(self) -> None:
        super().connect()
        self._on_connect(self.sock)


class _Connection(_ReportingSocket, http.client.HTTPConnection):
    pass


class _TlsConnection(_ReportingSocket, http.client.HTTPSConnection):
    pass


def host(url: str) -> str:
    """The host of a URL, without a password; what is no URL is returned as it is."""
    # urlsplit raises an error for what is no URL.
    return url.partition("//")[2].partition("/")[0].rpartition("@")[2] or url


def first_line(reason: object) -> str:
    """The first line of an error's message, or the name of its class if it has no message."""
    return str(reason).strip().partition("\n")[0].strip() or type(reason).__name__
