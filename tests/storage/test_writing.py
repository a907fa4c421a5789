"""Open files that are written."""

import logging
import secrets

import pytest
from obstore import exceptions

from mnist_estimator.storage import _errors, _events, _filesystem, _objects, _paths, _writing

EVENTS = "run/events.out.tfevents.1700000000.host.1.0.v2"


@pytest.fixture
def place():
    return _paths.parse(f"memory://{secrets.token_hex(4)}/d/a")


@pytest.fixture
def small(monkeypatch):
    """Sizes with which little is enough to go in parts."""
    monkeypatch.setattr(_objects, "PART_BYTES", 10_000)
    monkeypatch.setattr(_writing, "_HAND_OVER_BYTES", 1_000)
    monkeypatch.setattr(_writing, "SMALL_BYTES", 4_000)


@pytest.fixture
def sent(monkeypatch):
    """The sizes of what was written to objects as a whole."""
    sizes, real = [], _objects.put

    def put(location, content, mode=None):
        sizes.append(len(content))
        return real(location, content, mode)

    monkeypatch.setattr(_objects, "put", put)
    return sizes


def content(place):
    found = _objects.head(place)
    return None if found is None else bytes(_objects.get_all(place).bytes())


def names(place):
    return _filesystem.children(place.above())


def test_a_small_file_is_there_when_it_is_closed_or_flushed(place):
    writer = _writing.Writer(place)
    writer.append(b"one")
    assert content(place) is None and writer.tell() == 3
    writer.flush()
    assert content(place) == b"one"
    writer.append(memoryview(b" two"))
    assert content(place) == b"one"
    writer.close()
    assert content(place) == b"one two"


def test_nothing_written_is_an_empty_file_when_it_is_closed(place):
    _objects.put(place, b"old")
    writer = _writing.Writer(place)
    writer.flush()
    assert content(place) == b"old"
    writer.close()
    assert content(place) == b""


def test_a_flush_without_news_sends_nothing(place, sent):
    writer = _writing.Writer(place)
    writer.append(b"one")
    for _ in range(5):
        writer.flush()
    writer.close()
    assert sent == [3]


def test_a_large_file_goes_in_parts_and_is_there_when_it_is_closed(place, small, sent):
    parts, writer = [secrets.token_bytes(size) for size in (1, 9_998, 1, 25_000, 7)], None
    writer = _writing.Writer(place)
    for part in parts:
        writer.append(part)
        writer.flush()
    assert writer.tell() == sum(map(len, parts)) and content(place) == parts[0]
    writer.close()
    assert content(place) == b"".join(parts) and sent == [1]


def test_memory_is_bounded(place, small):
    writer = _writing.Writer(place)
    for _ in range(100):
        writer.append(b"x" * 5_000)
        assert len(writer._content) <= 15_000
    writer.close()
    assert _objects.head(place)["size"] == 500_000


def test_a_flush_of_events_sends_little_again(small, sent):
    place = _paths.parse(f"memory://{secrets.token_hex(4)}/{EVENTS}")
    writer = _writing.Writer(place)
    for _ in range(100):
        writer.append(b"r" * 1_000)
        writer.flush()
    writer.close()
    assert max(sent) <= 6_000
    found = names(place)
    assert len(found) >= 15 and found[0] == place.key.rpartition("/")[2]
    whole = b"".join(content(place.above().below(name)) for name in found)
    assert whole == b"r" * 100_000 and writer.tell() == 100_000


def test_events_are_cut_where_they_were_flushed_and_each_object_has_its_version(small):
    first = b"\x18" + bytes(11) + b"\x1a\x0dbrain.Event:2" + bytes(13)
    first = first[: 24 + 16]
    assert _events.header(first) == first
    place = _paths.parse(f"memory://{secrets.token_hex(4)}/{EVENTS}")
    writer = _writing.Writer(place)
    writer.append(first)
    for _ in range(30):
        writer.append(b"a" * 100)
        writer.append(b"b" * 900)
        if _ % 3 == 2:
            writer.flush()
    writer.close()
    pieces = [content(place.above().below(name)) for name in names(place)]
    assert len(pieces) > 3
    for piece in pieces:
        assert piece.startswith(first + b"a") and piece.endswith(b"b")


def test_a_large_object_of_events_that_is_flushed_late_is_there_too(small):
    place = _paths.parse(f"memory://{secrets.token_hex(4)}/{EVENTS}")
    writer = _writing.Writer(place)
    writer.append(b"x" * 35_000)
    writer.flush()
    assert content(place) == b"x" * 35_000
    writer.close()
    assert len(names(place)) == 1


def test_adding_to_a_file_keeps_what_it_holds(place, small):
    for part in (b"a" * 25_000, b"b" * 10, b"c" * 30_000):
        writer = _writing.appender(place)
        writer.append(part)
        writer.close()
    assert content(place) == b"a" * 25_000 + b"b" * 10 + b"c" * 30_000


def test_adding_to_events_makes_another_object():
    place = _paths.parse(f"memory://{secrets.token_hex(4)}/{EVENTS}")
    for part in (b"one", b"two", b"three"):
        writer = _writing.appender(place)
        writer.append(part)
        writer.close()
    found = [content(place.above().below(name)) for name in names(place)]
    assert found == [b"one", b"two", b"three"]


def test_the_last_to_close_has_written_it(place):
    one, other = _writing.Writer(place), _writing.Writer(place)
    one.append(b"one")
    other.append(b"other")
    other.close()
    one.close()
    assert content(place) == b"one"


def test_what_is_no_file_is_not_written(place):
    _objects.put(place.below("x"), b"")
    for wrong in (place, place._replace(key="")):
        with pytest.raises(IsADirectoryError):
            _writing.Writer(wrong)
    with pytest.raises(_errors.ReadOnlyError):
        _writing.Writer(_paths.parse("https://host/a"))


def test_an_error_comes_again_at_each_later_call(place, monkeypatch):
    def put(location, content, mode=None):
        raise exceptions.PermissionDeniedError("no")

    monkeypatch.setattr(_objects, "put", put)
    writer = _writing.Writer(place)
    writer.append(b"one")
    for call in (writer.flush, writer.flush, lambda: writer.append(b"x"), writer.close):
        with pytest.raises(exceptions.PermissionDeniedError):
            call()
    writer.drop()


class Upload:
    """An upload that fails at a call, and says whether it was aborted."""

    def __init__(self, real, fails_at):
        self.real, self.fails_at, self.aborted = real, fails_at, False

    def write(self, content):
        if self.fails_at == "write":
            raise OSError("status code: 500")
        self.real.write(content)

    def close(self):
        if self.fails_at == "close, which took place":
            self.real.close()
        if self.fails_at.startswith("close"):
            raise OSError("status code: 404")
        self.real.close()

    def __exit__(self, *error):
        self.aborted = True
        self.real.__exit__(*error)


@pytest.fixture
def failing(monkeypatch):
    """Uploads that fail at the call of a name."""
    made, real = [], _objects.upload

    def at(name):
        def upload(place, first):
            made.append(Upload(real(place, first), name))
            return made[-1]

        monkeypatch.setattr(_objects, "upload", upload)
        return made

    return at


@pytest.mark.parametrize("call", ["write", "close"])
def test_an_upload_that_fails_is_aborted_and_the_error_is_said(place, small, failing, call):
    made = failing(call)
    _objects.put(place, b"old")
    writer = _writing.Writer(place)
    with pytest.raises(OSError, match="status code"):
        writer.append(b"x" * 20_000)
        writer.close()
    assert made[0].aborted
    with pytest.raises(OSError, match="status code"):
        writer.close()
    writer.drop()
    assert content(place) == b"old"


def test_a_close_that_took_place_is_no_error(place, small, failing):
    failing("close, which took place")
    _objects.put(place, b"y" * 20_000)
    writer = _writing.Writer(place)
    writer.append(b"x" * 20_000)
    writer.close()
    assert content(place) == b"x" * 20_000


def test_a_small_file_that_is_not_closed_is_kept_and_a_large_one_is_not(place, small, caplog):
    writer = _writing.Writer(place)
    writer.append(b"one")
    writer.drop()
    assert content(place) == b"one" and not caplog.records
    big = place.above().below("big")
    writer = _writing.Writer(big)
    writer.append(b"x" * 20_000)
    with caplog.at_level(logging.WARNING):
        writer.drop()
    assert content(big) is None and f"{big} was not closed" in caplog.text


def test_a_closed_file_takes_nothing_more(place):
    writer = _writing.Writer(place)
    writer.close()
    with pytest.raises(ValueError, match="closed already"):
        writer.append(b"x")
    writer.drop()
    assert content(place) == b""
