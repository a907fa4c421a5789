"""Open files that are read."""

import concurrent.futures
import http.server
import random
import secrets
import threading

import pytest

from mnist_estimator.storage import _errors, _memory, _objects, _paths, _reading

SIZE = 3_000_000


@pytest.fixture
def small(monkeypatch):
    """Sizes with which a file of 3 MB goes through all that a large one does."""
    for name, value in (("FIRST", 50_000), ("RANGE", 200_000), ("_LEAST_RANGE", 20_000)):
        monkeypatch.setattr(_reading, f"{name}_BYTES", value)
    monkeypatch.setattr(_reading, "AHEAD_BYTES", 600_000)
    monkeypatch.setattr(_reading, "_NEAR_BYTES", 10_000)


@pytest.fixture(autouse=True)
def nothing_stays():
    before = _memory.used()
    yield
    assert _memory.used() == before


@pytest.fixture
def asked(monkeypatch):
    """The ranges that were asked for, as (start, end)."""
    found, real = [], _objects.get

    def get(location, start, end, tag=None):
        found.append((start, end))
        return real(location, start, end, tag)

    monkeypatch.setattr(_objects, "get", get)
    return found


def made(content):
    location = _paths.parse(f"memory://{secrets.token_hex(4)}/a")
    _objects.put(location, content)
    return location


@pytest.fixture(scope="module")
def content():
    return random.Random(1).randbytes(SIZE)


def test_a_small_file_is_one_request(asked):
    reader = _reading.Reader(made(b"hello"))
    assert reader.size == 5
    assert [reader.read_bytes(*place) for place in ((0, 5), (1, 2), (3, 9), (5, 1), (99, 1))] == [
        b"hello",
        b"el",
        b"lo",
        b"",
        b"",
    ]
    reader.close()
    assert len(asked) == 1


def test_an_empty_file_is_read():
    reader = _reading.Reader(made(b""))
    assert (reader.size, reader.read_bytes(0, 10)) == (0, b"")
    reader.close()


@pytest.mark.parametrize("step", [999, 65_536, 1_000_000, 2 * SIZE])
def test_in_order_all_bytes_come_once(small, content, asked, step):
    reader = _reading.Reader(made(content))
    pieces = [reader.read_bytes(start, step) for start in range(0, SIZE, step)]
    reader.close()
    assert b"".join(pieces) == content
    assert sum(end - start for start, end in asked) <= SIZE + 2 * 50_000
    if step < 200_000:
        assert any(end - start > 100_000 for start, end in asked), "ranges grow"


def test_anywhere_the_bytes_are_right(small, content):
    reader, draw = _reading.Reader(made(content)), random.Random(2)
    for _ in range(300):
        start, size = draw.randrange(SIZE + 10), draw.choice([1, 100, 30_000, 500_000])
        assert reader.read_bytes(start, size) == content[start : start + size]
    reader.close()


def test_small_reads_near_one_another_are_one_request(small, content, asked):
    reader = _reading.Reader(made(content))
    for start in (1_000_000, 1_004_000, 1_001_000, 1_002_000):
        assert reader.read_bytes(start, 100) == content[start : start + 100]
    reader.close()
    assert len(asked) == 2


def test_threads_share_a_file(small, content):
    reader = _reading.Reader(made(content))

    def read(seed):
        draw = random.Random(seed)
        for _ in range(40):
            start, size = draw.randrange(SIZE), draw.choice([10, 5_000, 300_000])
            if reader.read_bytes(start, size) != content[start : start + size]:
                return False
        return True

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        assert all(threads.map(read, range(6), timeout=120))
    reader.close()


def test_with_no_memory_to_hold_anything_the_bytes_are_right(small, content, monkeypatch):
    monkeypatch.setenv(_memory.VARIABLE, "0")
    reader = _reading.Reader(made(content))
    pieces = [reader.read_bytes(start, 70_000) for start in range(0, SIZE, 70_000)]
    assert b"".join(pieces) == content and _memory.used() == 0
    reader.close()


def test_many_open_files_stay_within_the_memory(content, monkeypatch):
    monkeypatch.setenv(_memory.VARIABLE, "4")
    location = made(content)
    readers = [_reading.Reader(location) for _ in range(20)]
    for start in range(0, SIZE, 250_000):
        for reader in readers:
            assert reader.read_bytes(start, 250_000) == content[start : start + 250_000]
            assert _memory.used() <= 4 << 20
    for reader in readers:
        reader.close()


def test_two_versions_are_never_mixed(small, content):
    location = made(content)
    reader = _reading.Reader(location)
    assert reader.read_bytes(0, 100) == content[:100]
    _objects.put(location, content[::-1])
    with pytest.raises(_errors.ChangedError, match=str(location)):
        reader.read_bytes(2_000_000, 1000)
    assert reader.read_bytes(0, 100) == content[:100], "what is held is of the old version"
    reader.close()


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_file_of_events_is_read_on_when_it_has_grown(small, content, size):
    location = made(b"").above().below("events.out.tfevents.1.host")
    _objects.put(location, content[:size])
    reader = _reading.Reader(location)
    assert reader.read_bytes(0, 10) == content[:10]
    view = bytearray(100)
    _objects.put(location, content[: size + 50])
    assert reader.read_into(size - 5, memoryview(view)) == 55
    assert view[:55] == content[size - 5 : size + 50]
    assert reader.read_into(size + 50, memoryview(view)) == 0
    _objects.put(location, content[: size + 90_000])
    assert reader.read_bytes(size // 2, 10) == content[size // 2 : size // 2 + 10]
    _objects.put(location, content[:5])
    with pytest.raises(_errors.ChangedError):
        reader.read_into(size + 60_000, memoryview(view))
    reader.close()


def test_an_error_is_not_kept(small, content, monkeypatch):
    reader, real, fail = _reading.Reader(made(content)), _objects.get, [True]

    def get(*arguments):
        if fail:
            raise ConnectionError("the line is cut")
        return real(*arguments)

    monkeypatch.setattr(_objects, "get", get)
    with pytest.raises(ConnectionError):
        reader.read_bytes(1_000_000, 10)
    fail.clear()
    assert reader.read_bytes(1_000_000, 10) == content[1_000_000:1_000_010]
    reader.close()


def test_fewer_bytes_than_asked_for_are_an_error(small, content, monkeypatch):
    reader, real = _reading.Reader(made(content)), _objects.get
    monkeypatch.setattr(
        _objects, "get", lambda place, start, end, tag=None: real(place, start, end - 1, tag)
    )
    with pytest.raises(ConnectionError, match="bytes came"):
        reader.read_bytes(1_000_000, 10)
    reader.close()


def test_what_is_no_file_is_not_opened():
    location = made(b"1")
    with pytest.raises(FileNotFoundError):
        _reading.Reader(location.above().below("no"))
    _objects.put(location.above().below("d/x"), b"")
    for place in (location.above().below("d"), location.above()):
        with pytest.raises(IsADirectoryError):
            _reading.Reader(place)


class WithoutRanges(http.server.BaseHTTPRequestHandler):
    """A server that gives a file as a whole only."""

    protocol_version = "HTTP/1.1"
    content = bytes(range(256)) * 1000

    def do_GET(self):
        found = self.path == "/d/a%20b?sig=x"
        body = self.content if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


def test_a_server_without_ranges_is_read_by_way_of_a_file():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WithoutRanges)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        path = f"http://127.0.0.1:{server.server_port}/d/a b?sig=x"
        reader = _reading.Reader(_paths.parse(path))
        assert reader.read_bytes(0, SIZE) == WithoutRanges.content
        assert reader.read_bytes(255, 3) == b"\xff\x00\x01"
        reader.close()
        with pytest.raises(FileNotFoundError):
            _reading.Reader(_paths.parse(path.replace("a b", "no")))
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=60)
