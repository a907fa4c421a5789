"""Where the examples of a split go, whichever of them a process writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_estimator import InputError
from mnist_estimator.data import records
from mnist_estimator.data.shard_writer import ShardWriter, shard_counts


def _tick(doing: str, examples: int) -> None:
    pass


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_pieces_that_follow_one_another_are_the_shards(tmp_path: Path, shards: int):
    joined: dict[str, list[bytes]] = {}
    for first, stop in ((0, 5), (5, 5), (5, 6), (6, 20)):
        folder = tmp_path / f"{first}-{stop}"
        folder.mkdir()
        with ShardWriter(str(folder), "train", shards, first) as writer:
            for example in range(first, stop):
                writer.add(bytes([example]))
        found = writer.read_back(_tick)
        assert [shard.file for shard in found] == sorted(os.listdir(folder))
        assert sum(shard.examples for shard in found) == stop - first
        for shard in found:
            joined.setdefault(shard.file, []).extend(records.read_records(str(folder / shard.file)))
    for index in range(shards):
        name = f"train-{index:05d}-of-{shards:05d}.tfrecord"
        assert joined[name] == [bytes([example]) for example in range(index, 20, shards)]


def test_counts_are_those_of_the_numbers():
    for first in range(7):
        for examples in range(9):
            expected = [sum(j % 4 == s for j in range(first, first + examples)) for s in range(4)]
            found = dict(shard_counts(first, examples, 4))
            assert [found.get(shard, 0) for shard in range(4)] == expected
            assert 0 not in found.values()


def test_what_reads_back_otherwise_is_an_error(tmp_path: Path):
    with ShardWriter(str(tmp_path), "test", 1) as writer:
        writer.add(b"one")
    path = tmp_path / "test-00000-of-00001.tfrecord"
    with ShardWriter(str(tmp_path), "test", 1) as other:
        other.add(b"two")
    with pytest.raises(InputError, match=f"{path}: reads back other than it was written"):
        writer.read_back(_tick)
