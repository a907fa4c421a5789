"""From a bucket to its store: settings, retries, and no secret in an error."""

import base64
import http.server
import importlib.util
import os
import re
import threading

import pytest
from obstore import exceptions

from mnist_estimator import InputError, RunError, storage
from mnist_estimator.storage import _errors, _gs, _objects, _paths, _stores

SECRET = "hunter2222"
WITHOUT = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_HOST")


class Server(http.server.ThreadingHTTPServer):
    """It answers each request with the next of `answers`, and with 200 when there is none."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked, self.content = [], [], b"0123456789"
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        what = self.server.answers.pop(0) if self.server.answers else 200
        if what == "silence":
            self.server.ended.wait(30)
        if what in ("cut", "silence"):
            self.close_connection = True
            return
        content = (
            self.server.content if what in (200, "half") else b"<Error><Code>No</Code></Error>"
        )
        status, size = (200, len(content)) if what == "half" else (what, len(content))
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if span and status == 200:
            first, last = int(span[1]), min(int(span[2]), size - 1)
            content, status = content[first : last + 1], 206
        self.send_response(status)
        if span and status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"tag"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if what == "half" else content)
        self.close_connection = what == "half"

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server for s3://bucket, with short times, and no other setting."""
    for name in list(os.environ):
        if name.startswith(WITHOUT):
            monkeypatch.delenv(name)
    found = Server()
    found.ended = threading.Event()
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(_stores, "RETRY_SECONDS", 20)
    _stores.forget()
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield found
    found.ended.set()
    found.shutdown()
    found.server_close()
    thread.join(timeout=60)
    _stores.forget()


PLACE = _paths.parse("s3://bucket/a")


def test_a_bucket_has_one_store():
    place = _paths.parse("memory://one-store/a")
    assert _stores.of(place) is _stores.of(place.above())
    assert _stores.of(place) is not _stores.of(_paths.parse("memory://another/a"))


@pytest.mark.parametrize("answer", [503, 500, 429, "cut", "silence", "half"])
def test_what_may_pass_is_asked_again(server, monkeypatch, answer):
    if answer == "silence":
        monkeypatch.setattr(_stores, "SILENCE_SECONDS", 0.5)
    server.answers = [answer]
    assert bytes(_objects.get(PLACE, 2, 8).bytes()) == b"234567"
    # More where the machine is so busy that an answer counts as silence.
    assert len(server.asked) >= 2


@pytest.mark.parametrize("answer", [503, 429, "cut"])
def test_what_may_pass_is_written_again(server, answer):
    server.answers = [answer]
    _objects.put(PLACE, b"x")
    assert [method for method, _, _ in server.asked] == ["PUT", "PUT"]


def test_what_does_not_pass_ends_in_time(server, monkeypatch):
    monkeypatch.setattr(_stores, "RETRY_SECONDS", 1)
    server.answers = [503] * 1000
    with pytest.raises(Exception) as raised:
        _objects.get(PLACE, 0, 8)
    assert _errors.code_of(raised.value) == _errors.UNAVAILABLE
    assert len(server.asked) > 2


@pytest.mark.parametrize(("answer", "code"), [(403, 7), (401, 7), (400, 2), (409, 6), (412, 10)])
def test_what_is_refused_is_said_at_once_and_without_secrets(server, monkeypatch, answer, code):
    endpoint = server.url.replace("http://", f"http://user:{SECRET}@")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"{SECRET}-token")
    server.answers = [answer]
    with pytest.raises(Exception) as raised:
        _objects.put(PLACE, b"x")
    assert _errors.code_of(raised.value) == code and len(server.asked) == 1
    assert SECRET not in _errors.text_of(raised.value)
    assert "127.0.0.1" in _errors.text_of(raised.value)


def test_http_is_used_only_where_it_is_allowed(server, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(exceptions.GenericError):
        _objects.get(PLACE, 0, 8)
    assert not server.asked


def test_a_bucket_that_is_not_there_is_named(server):
    server.answers = [404]
    with pytest.raises(FileNotFoundError, match="s3://bucket: there is no such bucket"):
        _objects.put(PLACE, b"x")


def test_a_signature_of_a_url_stays_with_its_path(server):
    url = server.url.replace("http://", f"http://me:{SECRET}@")
    place = _paths.parse(f"{url}/d/a?sig={SECRET}")
    assert bytes(_objects.get(place, 0, 3).bytes()) == b"012"
    _, path, headers = server.asked[-1]
    assert path == f"/d/a?sig={SECRET}"
    given = base64.b64decode(headers["authorization"].split()[1]).decode()
    assert given == f"me:{SECRET}"
    server.answers = [403]
    with pytest.raises(Exception) as raised:
        _objects.get(place, 0, 3)
    assert SECRET not in _errors.text_of(raised.value)


def test_an_account_of_azure_comes_from_the_path_or_the_connection_string(server, monkeypatch):
    key = base64.b64encode(b"key-of-azure").decode()
    text = f"AccountName=acc;AccountKey={key};BlobEndpoint={server.url}/acc;"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    for path in ("az://cont/a", "abfs://cont@acc.dfs.core.windows.net/a", "abfss://cont@acc.x/a"):
        assert _objects.head(_paths.parse(path))["size"] == 10
        method, asked, headers = server.asked[-1]
        assert (method, asked) == ("HEAD", "/acc/cont/a")
        assert headers["authorization"].startswith("SharedKey acc:")
    assert _errors.redacted(f"it is {key}") == "it is ***"


def test_a_server_in_the_place_of_google_s_is_asked(server, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url.removeprefix("http://"))
    assert _gs.emulator() == server.url
    assert bytes(_objects.get(_paths.parse("gs://bucket/a"), 0, 3).bytes()) == b"012"


def test_settings_of_the_client_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_READ_TIMEOUT", "7s")
    monkeypatch.setenv("AWS_PROXY_URL", "http://proxy:1")
    client = _stores._options("AWS")["client_options"]
    assert (client["read_timeout"], client["proxy_url"]) == ("7s", "http://proxy:1")
    assert "allow_invalid_certificates" not in client


def test_a_wrong_setting_is_one_line(server, monkeypatch):
    monkeypatch.setenv("AWS_READ_TIMEOUT", "soon")
    with pytest.raises(InputError, match="s3://bucket: ") as raised:
        _stores.of(PLACE)
    assert "\n" not in str(raised.value)


def test_without_obstore_the_way_out_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for call in (_stores.of, lambda place: storage.install_for("/local", str(place))):
        with pytest.raises(InputError, match=r"pip install 'mnist_estimator\[storage\]'"):
            call(_paths.parse("memory://new-bucket/a"))
    storage.install_for("/local", "")


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_is_told_what_to_do():
    place = _paths.parse("memory://fork/a")
    _stores.of(place)
    child = os.fork()
    if child == 0:
        try:
            _stores.of(place)
        except RunError as error:
            os._exit(7 if "spawn" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
