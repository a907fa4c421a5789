"""One file over HTTP. What a mirror may do wrong is tested by what `download.fetch` then does."""

import contextlib
import http.server
import io
import threading

import pytest

from mnist_estimator.data import transfer
from mnist_estimator.runtime.progress import ProgressLine

_CONTENT = bytes(range(256)) * 1000


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/file":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(_CONTENT)))
        self.end_headers()
        self.wfile.write(_CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def url(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        server.shutdown()
        thread.join(5)


def _read(url, *, limit=1_000_000, log=None):
    line = ProgressLine(log or io.StringIO(), clock=lambda: 0.0)
    with contextlib.closing(transfer.read_url(url, limit, 5.0, line)) as pieces:
        return b"".join(pieces)


def test_the_body_is_read_and_the_progress_reported(url):
    log = io.StringIO()
    assert _read(url, log=log) == _CONTENT
    lines = log.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["downloading", "downloaded"]
    assert lines[1].startswith(f"downloaded file from {transfer.host(url)}: 0.3 of 0.3 MB (100%)")


def test_more_than_the_limit_is_refused(url):
    with pytest.raises(transfer.MirrorError, match="sends more than 1000 bytes"):
        _read(url, limit=1000)


def test_an_http_error_is_named(url):
    with pytest.raises(transfer.MirrorError, match="^HTTP 404 Not Found$"):
        _read(f"{url}/missing")


def test_the_host_of_a_url_is_named_without_a_password():
    assert transfer.host("https://me:secret@mirror.example/mnist/") == "mirror.example"
    assert transfer.host("no url") == "no url"


def test_the_first_line_of_an_error_names_at_least_its_kind():
    assert transfer.first_line("  one\ntwo") == "one"
    assert transfer.first_line(ValueError()) == "ValueError"
