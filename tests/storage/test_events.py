"""Names and beginnings of the objects of a file of events."""

import secrets
import struct

import pytest

from mnist_estimator.storage import _events, _objects, _paths

NAME = "events.out.tfevents.1700000000.host.1.0.v2"


def record(content):
    return struct.pack("<QI", len(content), 7) + content + struct.pack("<I", 8)


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        (f"run/{NAME}", True),
        (NAME, True),
        ("run/eval.tfevents.x", True),
        (f"{NAME}/model.ckpt", False),
        ("run/events", False),
    ],
)
def test_a_file_of_events_is_known_by_its_name(key, is_one):
    assert _events.is_event_file(_paths.Location("s3", "b", key)) is is_one


def test_the_names_sort_in_order():
    place = _paths.Location("s3", "b", NAME)
    names = [_events.numbered(place, number).key for number in (0, 1, 2, 10, 9999)]
    assert names[0] == NAME and names == sorted(names)
    assert all(_events.is_event_file(_paths.Location("s3", "b", name)) for name in names)


def test_the_next_number_follows_those_in_the_store():
    place = _paths.parse(f"memory://{secrets.token_hex(4)}/run/{NAME}")
    assert _events.next_number(place) == 1
    for key in (place.key, f"{place.key}.00002", f"{place.key}.x", f"{place.key}.v2.00007"):
        _objects.put(place._replace(key=key), b"")
    assert _events.next_number(place) == 3


def test_the_first_record_is_taken_if_it_names_the_version():
    first = record(b"\x09\0\0\0\0\0\0\0\0\x1a\x0dbrain.Event:2")
    assert _events.header(first + record(b"more")) == first
    assert _events.header(bytearray(first)) == first
    assert _events.header(first[:-1]) == b""
    assert _events.header(record(b"another")) == b""
    assert _events.header(b"") == b"" and _events.header(b"\xff" * 40) == b""
