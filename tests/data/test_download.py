"""Fetching datasets: from a loopback server that does everything mirrors have been seen to do."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import os
import re
import socket
import threading
import time
import tracemalloc
import urllib.parse
import urllib.request

import pytest

from mnist_estimator import InputError
from mnist_estimator.data import download, transfer
from mnist_estimator.data.known_datasets import FILE_NAMES, KnownDataset
from mnist_estimator.runtime.progress import ProgressLine

_CONTENTS = {
    "train_images": bytes(range(256)) * 8,
    "train_labels": b"train labels " * 9,
    "test_images": bytes(range(255, -1, -1)) * 5,
    "test_labels": b"test labels " * 7,
}
_DIGESTS = {role: hashlib.sha256(content).hexdigest() for role, content in _CONTENTS.items()}
_SIZES = {role: len(content) for role, content in _CONTENTS.items()}
_BY_FILE = {f"{name}.gz": _CONTENTS[role] for role, name in FILE_NAMES.items()}
_FILES = sorted(_BY_FILE)
_DATASET = KnownDataset(
    name="toy",
    title="Toy",
    class_names=("a", "b"),
    digests=_DIGESTS,
    mirrors=("http://unused.invalid/",),
    content_bytes=_SIZES,
)
_TIMEOUT_SECS = 0.5


class _Handler(http.server.BaseHTTPRequestHandler):
    """/BEHAVIOUR/FILE: answers with FILE, in the way that the function BEHAVIOUR has."""

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        self.server.asked.append(path)
        _, behaviour, name = path.split("/")
        with contextlib.suppress(OSError):
            getattr(self, behaviour)(gzip.compress(_BY_FILE[name], mtime=0))

    def log_message(self, *args):
        pass

    def send(self, body, length=None, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def send_chunked(self, *chunks):
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(chunk)

    def send_forever(self, data):
        # A client that has left is noticed only after minutes when it had read nothing for a while.
        self.connection.settimeout(0.1)
        while not self.server.over.is_set():
            with contextlib.suppress(TimeoutError):
                self.connection.send(data)

    def good(self, body):
        self.send(body)

    def without_length(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def chunked(self, body):
        self.send_chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    def plain(self, body):
        self.send(gzip.decompress(body))

    def other_compression(self, body):
        self.send(gzip.compress(gzip.decompress(body), compresslevel=1, mtime=99))

    def moved(self, body):
        self.send_response(302)
        self.send_header("Location", self.path.replace("/moved/", "/good/"))
        self.end_headers()

    def missing(self, body):
        self.send(b"<html>404</html>", status=404)

    def forbidden(self, body):
        self.send(b"<Error>AccessDenied</Error>", status=403)

    def broken(self, body):
        self.send(b"oops", status=500)

    def html(self, body):
        self.send(b"<!doctype html><title>Welcome</title>")

    def empty(self, body):
        self.send(b"")

    def wrong(self, body):
        self.send(gzip.compress(b"another file"))

    def wrong_size(self, body):
        self.send(gzip.compress(gzip.decompress(body) + b"!"))

    def damaged(self, body):
        self.send(body[:-5] + b"!!!!!")

    def half_a_gzip(self, body):
        self.send(body[: len(body) // 2])

    def cut_off(self, body):
        self.send(body[:30], length=len(body))

    def chunk_cut_off(self, body):
        self.send_chunked(b"%x\r\n%b" % (len(body), body[:30]))

    def last_chunk_missing(self, body):
        self.send_chunked(b"%x\r\n%b\r\n" % (30, body[:30]))

    def stalled(self, body):
        self.send(body[:30], length=len(body))
        self.wfile.flush()
        self.server.over.wait(10)

    def silent(self, body):
        self.server.over.wait(10)

    def dripping(self, body):
        self.send(b"", length=len(body))
        for byte in body:
            self.wfile.write(bytes([byte]))
            if self.server.over.wait(0.03):
                return

    def drip(self, *pieces, forever):
        """Sends pieces at once, and then another one within each timeout."""
        for piece in pieces:
            self.wfile.write(piece)
        while not self.server.over.wait(0.03):
            self.wfile.write(forever)

    def dripping_status(self, body):
        self.drip(b"HTTP/1.1 200 ", forever=b"O")

    def dripping_headers(self, body):
        self.drip(b"HTTP/1.1 200 OK\r\nX-Name: ", forever=b"a")

    def continuing(self, body):
        self.drip(forever=b"HTTP/1.1 100 Continue\r\n\r\n")

    def continuing_fast(self, body):
        self.send_forever(b"HTTP/1.1 100 Continue\r\n\r\n")

    def dripping_chunk_size(self, body):
        self.send_chunked()
        self.drip(b"1\r\nx\r\n", forever=b"0")

    def dripping_trailer(self, body):
        self.send_chunked(b"%x\r\n%b\r\n0\r\n" % (len(body), body))
        self.drip(forever=b"a: b\r\n")

    def redirect(self, url):
        self.send_response(302)
        self.send_header("Location", url)
        self.end_headers()

    def to_ftp(self, body):
        self.redirect(f"ftp://{self.server.host}/file")

    def to_file(self, body):
        self.redirect("file:///etc/hostname")

    def to_data(self, body):
        self.redirect("data:,hello")

    def redirects_in_circles(self, body):
        self.send_response(302)
        self.send_header("Location", self.path)
        self.end_headers()

    def promises_too_much(self, body):
        self.send(body, length=1 << 50)

    def endless(self, body):
        self.send_response(200)
        self.end_headers()
        self.send_forever(bytes(1 << 16))

    def bomb(self, body):
        self.send(gzip.compress(bytes(1 << 25), compresslevel=9))

    def nonsense(self, body):
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    def nonsense_length(self, body):
        self.send(body, length="many")


class _Server(http.server.ThreadingHTTPServer):
    block_on_close = True
    daemon_threads = False


@pytest.fixture
def server():
    server = _Server(("127.0.0.1", 0), _Handler)
    server.asked, server.over = [], threading.Event()
    server.host = f"127.0.0.1:{server.server_port}"
    server.mirror = lambda behaviour: f"http://{server.host}/{behaviour}/"
    # The default poll would make every shutdown wait half a second.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join(60)
    server.server_close()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def _fetch(
    directory,
    *mirrors,
    dataset=_DATASET,
    timeout_secs=10.0,
    stream=None,
    clock=time.monotonic,
):
    """Returns the paths, and the lines that the stream, a log by default, has got."""
    stream = stream or io.StringIO()
    paths = download.fetch(
        dataset,
        str(directory),
        mirrors=mirrors,
        timeout_secs=timeout_secs,
        line=ProgressLine(stream, clock),
    )
    return paths, stream.getvalue().splitlines()


def _refusal(directory, *mirrors, **kwargs):
    with pytest.raises(download.DownloadError) as caught:
        _fetch(directory, *mirrors, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _contents(paths):
    found = {}
    for role, path in paths.items():
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            found[role] = file.read()
    return found


def _put(directory, suffix="", change=lambda content: content):
    for role, content in _CONTENTS.items():
        (directory / (FILE_NAMES[role] + suffix)).write_bytes(change(content))


# What is right.


def test_fetches_the_four_files(server, tmp_path):
    folder = tmp_path / "new" / "folder"
    paths, lines = _fetch(folder, server.mirror("good"))
    assert paths == {role: str(folder / f"{name}.gz") for role, name in FILE_NAMES.items()}
    assert _contents(paths) == _CONTENTS
    assert sorted(os.listdir(folder)) == _FILES
    assert len(server.asked) == 4
    assert lines[0] == f"downloading train-images-idx3-ubyte.gz from {server.host}"
    assert re.fullmatch(r"downloaded train-images-\S+ from \S+: 0\.0 of 0\.0 MB .*MB/s", lines[1])


@pytest.mark.parametrize("behaviour", ["without_length", "chunked", "other_compression", "moved"])
def test_takes_the_right_content_however_it_is_sent(server, tmp_path, behaviour):
    paths, _ = _fetch(tmp_path, server.mirror(behaviour))
    assert _contents(paths) == _CONTENTS


def test_content_sent_plain_gets_a_plain_name(server, tmp_path):
    paths, _ = _fetch(tmp_path, server.mirror("plain"))
    assert sorted(os.listdir(tmp_path)) == sorted(FILE_NAMES.values())
    assert _contents(paths) == _CONTENTS


def test_mirror_without_a_slash_at_its_end(server, tmp_path):
    _fetch(tmp_path, server.mirror("good").rstrip("/"))


def test_the_dataset_has_mirrors_of_its_own(server, tmp_path):
    dataset = KnownDataset(
        "toy", "Toy", ("a", "b"), _DIGESTS, (server.mirror("good"),), content_bytes=_SIZES
    )
    download.fetch(dataset, str(tmp_path), line=ProgressLine(io.StringIO()))
    assert sorted(os.listdir(tmp_path)) == _FILES


def test_files_can_be_read_by_others(server, tmp_path):
    before = os.umask(0o022)
    try:
        paths, _ = _fetch(tmp_path, server.mirror("good"))
    finally:
        os.umask(before)
    assert {os.stat(path).st_mode & 0o777 for path in paths.values()} == {0o644}


def test_goes_through_a_proxy_of_the_environment(server, tmp_path, monkeypatch):
    # urllib looks at the environment once in a process.
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("http_proxy", f"http://{server.host}")
    monkeypatch.setenv("no_proxy", "")
    _fetch(tmp_path, "http://mirror.invalid/good/")
    assert len(server.asked) == 4


# Mirrors that fail: the next one is asked.


_FAILURES = {
    "missing": "HTTP 404 Not Found",
    "forbidden": "HTTP 403 Forbidden",
    "broken": "HTTP 500 Internal Server Error",
    "html": "it is an HTML page",
    "empty": "it is empty",
    "wrong": r"its SHA-256 is [0-9a-f]{16}\.\.\., expected [0-9a-f]{16}\.\.\.",
    "wrong_size": r"it holds more than the \d+ bytes it can have",
    "damaged": r"its gzip data is broken \(CRC check failed .*\)",
    "half_a_gzip": r"its gzip data is broken \(Compressed file ended .*\)",
    "cut_off": r"the transfer was cut off at 30 of \d+ bytes",
    "chunk_cut_off": "the transfer was cut off",
    "last_chunk_missing": "the transfer was cut off",
    "redirects_in_circles": "HTTP 302 The HTTP server returned a redirect error .* loop.",
    "to_ftp": "unknown url type: ftp",
    "to_file": "HTTP 302 Found - Redirection to url 'file:///etc/hostname' is not allowed",
    "to_data": "HTTP 302 Found - Redirection to url 'data:,hello' is not allowed",
    "promises_too_much": r"sends more than \d+ bytes, the most that the file can have",
    "endless": r"sends more than \d+ bytes, the most that the file can have",
    "bomb": r"it holds more than the \d+ bytes it can have",
    "nonsense": "SSH-2.0-OpenSSH_9.2",
    "nonsense_length": "invalid literal .*",
}
_SLOW = {
    "stalled": "no answer for 0.5 s",
    "silent": "no answer for 0.5 s",
    "dripping": r"sent \d+ bytes in 0.5 s",
    "dripping_status": "no whole answer in 1.5 s",
    "dripping_headers": "no whole answer in 1.5 s",
    "continuing": "no whole answer in 1.5 s",
    "continuing_fast": "no whole answer in 1.5 s",
    "dripping_chunk_size": "no answer for 0.5 s",
    "dripping_trailer": "no answer for 0.5 s",
}


def _check_next_is_asked(server, directory, behaviour, reason, **kwargs):
    paths, lines = _fetch(directory, server.mirror(behaviour), server.mirror("good"), **kwargs)
    assert _contents(paths) == _CONTENTS
    assert sorted(os.listdir(directory)) == _FILES
    failures = [line for line in lines if not line.startswith("download")]
    assert len(failures) == 1 and re.fullmatch(f"toy: {server.host}: {reason}", failures[0])
    # The mirror that failed is not asked again while another one works.
    assert len(server.asked) - sum("/good/" in path for path in server.asked) >= 1
    assert sum("/good/" in path for path in server.asked) == 4


@pytest.mark.parametrize(("behaviour", "reason"), _FAILURES.items())
def test_after_a_failure_the_next_mirror_is_asked(server, tmp_path, behaviour, reason):
    _check_next_is_asked(server, tmp_path, behaviour, reason)


@pytest.mark.parametrize(("behaviour", "reason"), _SLOW.items())
def test_after_a_stall_the_next_mirror_is_asked(server, tmp_path, behaviour, reason):
    _check_next_is_asked(server, tmp_path, behaviour, reason, timeout_secs=_TIMEOUT_SECS)


def test_a_slow_mirror_that_goes_on_is_waited_for(server, tmp_path, monkeypatch):
    """A file that takes many timeouts, at more than the least rate even on a busy machine."""
    monkeypatch.setattr(transfer, "_MIN_BYTES_PER_SEC", 8)
    paths, _ = _fetch(tmp_path, server.mirror("dripping"), timeout_secs=0.3)
    assert _contents(paths) == _CONTENTS


def test_a_transfer_that_is_given_up_leaves_no_thread(server, tmp_path):
    before = threading.active_count()
    mirrors = [server.mirror(name) for name in ("continuing_fast", "dripping_headers")]
    _refusal(tmp_path, *mirrors, timeout_secs=0.2)
    # The server's go with ours: they find nobody to send to.
    until = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < until:
        server.over.wait(0.01)
    assert threading.active_count() <= before


def _closed_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def test_after_a_refused_connection_the_next_mirror_is_asked(server, tmp_path):
    refused = f"127.0.0.1:{_closed_port()}"
    _, lines = _fetch(tmp_path, f"http://{refused}/", server.mirror("good"))
    assert f"toy: {refused}: Connection refused" in lines


def test_after_an_unknown_host_the_next_mirror_is_asked(server, tmp_path, monkeypatch):
    resolve = socket.getaddrinfo

    def fail_for_the_unknown(host, *args, **kwargs):
        if host == "mirror.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", fail_for_the_unknown)
    _, lines = _fetch(tmp_path, "http://mirror.invalid/", server.mirror("good"))
    assert "toy: mirror.invalid: Name or service not known" in lines


def test_after_a_tls_error_the_next_mirror_is_asked(server, tmp_path):
    mirror = f"https://{server.host}/good/"
    _, lines = _fetch(tmp_path, mirror, server.mirror("good"))
    assert any(line.startswith(f"toy: {server.host}: [SSL") for line in lines)


@pytest.mark.parametrize("mirror", ["htp://x/", "no url", "http://[broken/"])
def test_after_a_mirror_that_is_no_url_the_next_is_asked(server, tmp_path, mirror):
    _fetch(tmp_path, mirror, server.mirror("good"))


def test_a_password_in_a_mirror_is_not_said(tmp_path):
    assert "secret" not in _refusal(tmp_path, f"http://me:secret@127.0.0.1:{_closed_port()}/")


def test_all_mirrors_fail(server, tmp_path):
    message = _refusal(tmp_path, server.mirror("forbidden"), server.mirror("html"))
    assert message == (
        "Toy cannot be downloaded: train-images-idx3-ubyte.gz: "
        f"{server.host}: HTTP 403 Forbidden; {server.host}: it is an HTML page; put its four "
        f"files in {tmp_path}, or use --dataset=sample, the digits in the package"
    )
    assert os.listdir(tmp_path) == []
    assert len(server.asked) == 2


@pytest.mark.parametrize("behaviour", _FAILURES)
def test_nothing_is_left_behind_by_a_failure(server, tmp_path, behaviour):
    _refusal(tmp_path, server.mirror(behaviour))
    assert os.listdir(tmp_path) == []


def test_files_fetched_before_a_failure_are_kept(server, tmp_path):
    _fetch(tmp_path, server.mirror("good"))
    os.remove(tmp_path / "t10k-labels-idx1-ubyte.gz")
    _refusal(tmp_path, server.mirror("missing"))
    assert sorted(os.listdir(tmp_path)) == [
        name for name in _FILES if not name.startswith("t10k-labels")
    ]


def test_a_bomb_is_not_inflated(server, tmp_path):
    tracemalloc.start()
    try:
        # Here, not in the server: its own memory would count too.
        # Without its end: who gets there says that the gzip data is broken.
        bomb = gzip.compress(bytes(1 << 25))[:-8]
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert "holds more than" in _refusal(tmp_path, server.mirror("good"))
        assert tracemalloc.get_traced_memory()[1] - before < 2e6
    finally:
        tracemalloc.stop()


# Files that are there already.


@pytest.mark.parametrize(
    ("suffix", "change"),
    [
        ("", lambda content: content),
        (".gz", gzip.compress),
        (".gz", lambda content: gzip.compress(content, compresslevel=1)),
        (".gz", lambda content: gzip.compress(content[:5]) + gzip.compress(content[5:])),
    ],
)
def test_right_files_are_kept(server, tmp_path, suffix, change):
    _put(tmp_path, suffix, change)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    paths, _ = _fetch(tmp_path, server.mirror("good"))
    assert _contents(paths) == _CONTENTS
    assert server.asked == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_only_missing_files_are_fetched(server, tmp_path):
    _put(tmp_path)
    os.remove(tmp_path / "t10k-images-idx3-ubyte")
    paths, _ = _fetch(tmp_path, server.mirror("good"))
    assert server.asked == ["/good/t10k-images-idx3-ubyte.gz"]
    assert paths["test_images"] == str(tmp_path / "t10k-images-idx3-ubyte.gz")
    assert paths["train_images"] == str(tmp_path / "train-images-idx3-ubyte")


def test_a_wrong_file_is_an_error_and_stays(server, tmp_path):
    wrong = tmp_path / "train-labels-idx1-ubyte"
    wrong.write_bytes(b"my own labels")
    message = _refusal(tmp_path, server.mirror("good"))
    assert message.startswith(f"{wrong}: is not Toy's file: its SHA-256 is ")
    assert message.endswith("or choose the dataset that it belongs to")
    assert wrong.read_bytes() == b"my own labels"


def test_an_html_page_in_place_of_a_file_is_an_error(server, tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"\xef\xbb\xbf\n<html></html>")
    assert "is not Toy's file: it is an HTML page" in _refusal(tmp_path, server.mirror("good"))


def test_a_folder_in_place_of_a_file_is_an_error(server, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    message = _refusal(tmp_path, server.mirror("good"))
    assert "train-images-idx3-ubyte: cannot be read: Is a directory" in message


_ARCHIVED = KnownDataset(
    name="toy",
    title="Toy",
    class_names=("a", "b"),
    digests={role: digest for role, digest in _DIGESTS.items() if role != "train_images"},
    archive_digests={
        "train_images": hashlib.sha256(
            gzip.compress(_CONTENTS["train_images"], mtime=0)
        ).hexdigest()
    },
    mirrors=(),
    content_bytes=_SIZES,
)


def test_a_file_known_by_its_archive_is_fetched(server, tmp_path):
    paths, _ = _fetch(tmp_path, server.mirror("good"), dataset=_ARCHIVED)
    assert _contents(paths) == _CONTENTS


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("other_compression", "its SHA-256 is .*"),
        ("plain", "it is plain, and of this file only the published .gz has a known digest"),
    ],
)
def test_a_file_known_by_its_archive_is_taken_only_as_that(server, tmp_path, behaviour, reason):
    mirrors = [server.mirror(behaviour), server.mirror("good")]
    _, lines = _fetch(tmp_path, *mirrors, dataset=_ARCHIVED)
    assert any(re.fullmatch(f"toy: {server.host}: {reason}", line) for line in lines)


# The local disk.


def test_the_directory_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    message = _refusal(tmp_path / "file" / "folder", server.mirror("good"))
    assert "folder: cannot be written: Not a directory; give another --data_dir" in message


def test_the_disk_is_full(server, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def full(path, mode):
        class File:
            def writelines(self, pieces):
                next(iter(pieces))
                raise OSError(errno.ENOSPC, "No space left on device")

        yield File()

    monkeypatch.setattr(download, "open", full, raising=False)
    message = _refusal(tmp_path, server.mirror("good"), server.mirror("good"))
    assert message.startswith(f"{tmp_path}: cannot be written: No space left on device")
    # Another mirror would not help.
    assert len(server.asked) == 1


def test_remote_folders_are_refused():
    assert _refusal("gs://bucket/data", "http://unused.invalid/").startswith("gs://bucket/data: ")


class _WatchedLog(io.StringIO):
    """Passes each text to a function before it writes it."""

    def __init__(self, watch):
        super().__init__()
        self._watch = watch

    def write(self, text):
        self._watch(text)
        return super().write(text)


def test_interrupted(server, tmp_path):
    def interrupt(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _fetch(tmp_path, server.mirror("good"), stream=_WatchedLog(interrupt))
    assert os.listdir(tmp_path) == []


def test_two_fetch_into_one_folder(server, tmp_path):
    both, failures = threading.Barrier(2), []

    def wait_for_the_other(text):
        # Each waits, with its file open, for the other to be as far.
        if text.startswith("downloading"):
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(2)

    def fetch():
        try:
            _fetch(tmp_path, server.mirror("good"), stream=_WatchedLog(wait_for_the_other))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert sorted(os.listdir(tmp_path)) == _FILES
    assert len(server.asked) == 8


# Progress.


class _Clock:
    """Every look is `step` seconds after the last one."""

    def __init__(self, step):
        self._now, self._step = 0.0, step

    def __call__(self):
        self._now += self._step
        return self._now


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    stream.isatty = lambda: True
    return stream


def _shown(terminal):
    """What a terminal's line has shown, in turn, "" where it was cleared."""
    start, *shown = terminal.getvalue().split("\r\x1b[K")
    assert start == ""
    return shown


def test_a_log_gets_a_line_now_and_then(server, tmp_path):
    _, lines = _fetch(tmp_path, server.mirror("good"), clock=_Clock(11.0))
    began, come, ended = lines[:3]
    label = f"train-images-idx3-ubyte.gz from {server.host}"
    assert began == f"downloading {label}"
    assert re.fullmatch(f"downloading {label}: 0\\.0 of 0\\.0 MB \\(100%\\), .* MB/s", come)
    assert re.fullmatch(f"downloaded {label}: 0\\.0 of 0\\.0 MB \\(100%\\), .* MB/s", ended)


def test_a_log_does_not_get_a_line_all_the_time(server, tmp_path):
    _, lines = _fetch(tmp_path, server.mirror("good"), clock=_Clock(1e-6))
    assert [line.split()[0] for line in lines] == ["downloading", "downloaded"] * 4
    assert [": " in line for line in lines] == [False, True] * 4


def test_a_terminal_gets_one_line_that_gives_way_to_what_stays(server, tmp_path, terminal):
    _fetch(tmp_path, server.mirror("good"), stream=terminal, clock=_Clock(1.0))
    shown = _shown(terminal)
    label = f"downloading train-images-idx3-ubyte.gz from {server.host}"
    assert shown[0] == label and shown[1].startswith(f"{label}: ")
    stayed = [line for line in shown if line.endswith("\n")]
    assert [line.split()[0] for line in stayed] == ["downloaded"] * 4
    assert stayed[-1] == shown[-1]
    assert terminal.getvalue().count("\n") == 4


def test_a_terminals_line_gives_way_to_a_failure(server, tmp_path, terminal):
    mirrors = [server.mirror("cut_off"), server.mirror("good")]
    _fetch(tmp_path, *mirrors, stream=terminal, clock=_Clock(1.0))
    shown = _shown(terminal)
    failure = next(line for line in shown if "cut off" in line)
    assert re.fullmatch(f"toy: {server.host}: the transfer was cut off .*\n", failure)
    before = shown[shown.index(failure) - 1]
    assert before.startswith(f"downloading train-images-idx3-ubyte.gz from {server.host}: ")


def test_progress_goes_to_stderr_by_default(server, tmp_path, capsys):
    download.fetch(_DATASET, str(tmp_path), mirrors=[server.mirror("good")])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("downloaded ") == 4
    assert "\r" not in captured.err


def test_errors_are_input_errors():
    assert issubclass(download.DownloadError, InputError)
