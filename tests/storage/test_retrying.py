"""Calls that are made again."""

import secrets

import obstore
import pytest

from mnist_estimator.storage import _objects, _paths, _retrying, _stores


@pytest.fixture(autouse=True)
def waited(monkeypatch):
    """The waits, which take no time."""
    found = []
    monkeypatch.setattr(_retrying.time, "sleep", found.append)
    return found


def failing(times, error):
    """A function that fails so many times, and then says how often it was called."""
    calls = []

    def call(*arguments, **named):
        calls.append(arguments)
        if len(calls) <= times:
            raise error
        return len(calls)

    return call


def test_what_passes_is_tried_again_after_longer_and_longer_waits(waited):
    assert _retrying.call(failing(6, ConnectionError("cut"))) == 7
    assert len(waited) == 6 and waited[-1] > 4 * waited[0]


@pytest.mark.parametrize("error", [PermissionError("no"), FileNotFoundError("no"), KeyError("no")])
def test_what_does_not_pass_is_raised_at_once(waited, error):
    with pytest.raises(type(error)):
        _retrying.call(failing(1, error))
    assert not waited


def test_it_ends_in_time(monkeypatch):
    monkeypatch.setattr(_stores, "RETRY_SECONDS", 100)
    now = iter([0.0, 10.0, 99.8, 99.95])
    tries = _retrying.Tries(lambda: next(now))
    tries.wait_or_raise(ConnectionError("cut"))
    with pytest.raises(ConnectionError):
        for _ in range(2):
            tries.wait_or_raise(ConnectionError("cut"))


def test_a_wait_is_never_long(waited, monkeypatch):
    monkeypatch.setattr(_stores, "RETRY_SECONDS", 1e9)
    _retrying.call(failing(30, TimeoutError("silence")))
    assert max(waited) <= 10


CUT = ConnectionError("body error")


@pytest.mark.parametrize("name", ["list", "list_with_delimiter", "delete", "copy", "open_writer"])
def test_an_answer_that_is_cut_is_asked_for_again(monkeypatch, name):
    place = _paths.parse(f"memory://{secrets.token_hex(4)}/d/a")
    _objects.put(place, b"x")
    real, calls = getattr(obstore, name), []

    def cut(*arguments, **named):
        calls.append(name)
        if len(calls) < 3:
            raise CUT
        return real(*arguments, **named)

    monkeypatch.setattr(obstore, name, cut)
    if name == "list":
        assert [len(page) for page in _objects.listed(place.above())] == [1]
    elif name == "list_with_delimiter":
        assert len(_objects.level(place.above())[1]) == 1
    elif name == "delete":
        _objects.delete(place, [place.key])
    elif name == "copy":
        _objects.copy_within(place, place.above().below("b"))
    else:
        upload = _objects.upload(place, b"y" * 100)
        _objects.finish(upload, place, 100, None)
    assert len(calls) == 3


def test_a_listing_goes_on_where_it_was_cut(monkeypatch):
    bucket = _paths.parse(f"memory://{secrets.token_hex(4)}")
    for number in range(2500):
        _objects.put(bucket.below(f"{number:04d}"), b"")
    real, began = obstore.list, []

    def cut(*arguments, **named):
        began.append(named["offset"])
        for number, page in enumerate(real(*arguments, **named)):
            if number == 1 and len(began) == 1:
                raise CUT
            yield page

    monkeypatch.setattr(obstore, "list", cut)
    keys = [key for page in _objects.listed(bucket) for key in _objects.keys_of(page)]
    assert keys == [f"{number:04d}" for number in range(2500)] and began == [None, "0999"]
