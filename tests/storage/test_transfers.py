"""Who hears that some of a large file has come or gone."""

from __future__ import annotations

import secrets

import pytest

from mnist_estimator import storage
from mnist_estimator.storage import _objects, _paths, _reading, _transfers, _writing

SMALL, LARGE = 1_000, 2**20


def test_listeners_hear_of_transfers_in_their_block_only():
    heard = []
    with (
        storage.transfers_told_to(lambda: heard.append("one")),
        storage.transfers_told_to(lambda: heard.append("two")),
    ):
        _transfers.note()
    _transfers.note()
    assert heard == ["one", "two"]


@pytest.mark.parametrize(("size", "is_heard"), [(SMALL, False), (LARGE, True)])
def test_a_large_file_is_heard_of_and_a_small_one_is_not(size, is_heard, monkeypatch):
    monkeypatch.setattr(_objects, "PART_BYTES", LARGE // 2)
    location = _paths.parse(f"memory://{secrets.token_hex(4)}/d/a")
    heard = {"write": 0, "read": 0}

    def count(what: str) -> None:
        heard[what] += 1

    writer = _writing.Writer(location)
    with storage.transfers_told_to(lambda: count("write")):
        for _ in range(4):
            writer.append(bytes(size // 4))
    writer.close()
    reader = _reading.Reader(location)
    with storage.transfers_told_to(lambda: count("read")):
        assert len(reader.read_bytes(0, size)) == size
    reader.close()
    assert [bool(count) for count in heard.values()] == [is_heard, is_heard]
