"""TensorFlow's files of events, which grow for as long as a run: one name, several objects.

An object cannot grow. A file of events therefore ends at a flush, when it is large, and goes on in
an object whose name sorts right after: name, name.00001, name.00002. TensorBoard reads all files of
a folder whose names hold "tfevents", in the order of their names.
"""

import struct

from mnist_estimator.storage import _objects, _paths

_MARK = ".tfevents."
# What the first event of a file holds: tensorflow/core/util/event.proto, file_version.
_VERSION = b"brain.Event:"
_MOST_OF_HEADER = 256


def is_event_file(location: _paths.Location) -> bool:
    """Say whether an object is a file of events, by its name."""
    return _MARK in location.key.rpartition("/")[2]


def numbered(location: _paths.Location, number: int) -> _paths.Location:
    """Return the object of a number; 0 is the one with the name itself."""
    return location._replace(key=f"{location.key}.{number:05d}") if number else location


def next_number(location: _paths.Location) -> int:
    """Return the number that follows the last object of a file of events in the store."""
    _, objects = _objects.level(location.above())
    endings = [
        entry["path"].removeprefix(f"{location.key}.")
        for entry in objects
        if entry["path"].startswith(f"{location.key}.")
    ]
    numbers = [int(ending) for ending in endings if ending.isdigit()]
    return max(numbers, default=0) + 1


def header(content: bytes | bytearray) -> bytes:
    """Return the first record if it names the version of the format; each object begins with it.

    A record is its length in 8 bytes, 4 bytes of check sum, itself, and 4 of check sum
    (tensorflow/core/lib/io/record_writer.h).
    """
    if len(content) < 16:
        return b""
    (length,) = struct.unpack("<Q", content[:8])
    whole = bytes(content[: length + 16])
    known = length <= _MOST_OF_HEADER and len(whole) == length + 16 and _VERSION in whole
    return whole if known else b""
