"""Where the examples of a split go, whichever of them a process writes."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import numpy as np
import pytest
from support import tiny_dataset

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import crc32c, records, shard_writer
from mnist_estimator.data.frames import Frames
from mnist_estimator.data.shard_writer import ShardWriter, shard_counts


def _tick(doing: str, examples: int) -> None:
    pass


def _frame(record: bytes) -> bytes:
    """The bytes of a TFRecord file that holds one record."""
    path = f"ram://shard_writer/{secrets.token_hex(8)}"
    with tf.io.TFRecordWriter(path) as file:
        file.write(record)
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def _add(writer: ShardWriter, contents: list[bytes]) -> None:
    """Adds examples with these bytes."""
    sizes = np.array([len(content) for content in contents], np.int64)
    rows = np.zeros((len(contents), max(sizes, default=0)), np.uint8)
    for row, content in zip(rows, contents, strict=True):
        row[: len(content)] = np.frombuffer(content, np.uint8)
    writer.add(Frames(rows, sizes), np.arange(len(contents)))


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_pieces_that_follow_one_another_are_the_shards(tmp_path: Path, shards: int):
    joined: dict[str, list[bytes]] = {}
    for first, stop in ((0, 5), (5, 5), (5, 6), (6, 20)):
        folder = tmp_path / f"{first}-{stop}"
        folder.mkdir()
        with ShardWriter(str(folder), "train", shards, first) as writer:
            middle = (first + stop) // 2
            for begin, end in ((first, middle), (middle, stop)):
                _add(writer, [_frame(bytes([example])) for example in range(begin, end)])
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
        _add(writer, [_frame(b"one")])
    path = tmp_path / "test-00000-of-00001.tfrecord"
    path.unlink()
    with ShardWriter(str(tmp_path), "test", 1) as other:
        _add(other, [_frame(b"two")])
    with pytest.raises(InputError, match=f"{path}: reads back other than it was written"):
        writer.read_back(_tick)


@pytest.mark.parametrize("damage", [lambda x: x[:-1], lambda x: x + b"x", lambda x: b"", None])
@pytest.mark.parametrize("shard", range(5))
def test_any_shard_that_is_not_as_it_was_given(tmp_path: Path, damage, shard: int):
    with ShardWriter(str(tmp_path), "test", 5) as writer:
        _add(writer, [_frame(bytes([example])) for example in range(13)])
    path = tmp_path / f"test-{shard:05d}-of-00005.tfrecord"
    content = path.read_bytes()
    path.write_bytes(damage(content) if damage else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=f"{path}: reads back other than it was written"):
        writer.read_back(_tick)


def test_every_example_is_counted_while_shards_are_read_back(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(shard_writer, "_BLOCK_BYTES", 20)
    told = []
    with ShardWriter(str(tmp_path), "test", 3) as writer:
        _add(writer, [_frame(bytes([example])) for example in range(100)])
    writer.read_back(lambda doing, examples: told.append(examples))
    assert sum(told) == 100 and len(told) > 50 and min(told) >= 0


@pytest.mark.parametrize("bit", [0, 31])
def test_a_wrong_checksum_of_the_last_record_alone_is_found(tmp_path: Path, monkeypatch, bit: int):
    real = crc32c.masked

    def wrong(rows: np.ndarray) -> np.ndarray:
        checksums = real(rows)
        checksums[-1] ^= np.uint32((len(rows) > 1) << bit)
        return checksums

    monkeypatch.setattr(crc32c, "masked", wrong)
    data_dir = tmp_path / "data"
    line = f"{data_dir}/train-00001-of-00003.tfrecord: record 16 is corrupt"
    with pytest.raises(InputError, match=line):
        tiny_dataset.write(data_dir, train=50, test=0, validation_split="0")
    assert not data_dir.exists()


def test_a_record_too_many_is_found(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(shard_writer, "CHUNK_EXAMPLES", 2)
    with ShardWriter(str(tmp_path), "test", 1) as writer:
        _add(writer, [_frame(b"one") * 2, _frame(b"two")])
    with pytest.raises(InputError, match="reads back other than it was written"):
        writer.read_back(_tick)


def test_tensorflow_reads_one_shard_at_a_time(tmp_path: Path, monkeypatch):
    real, held = records.counts, []

    def counts(path: str, at_once: int):
        for more in real(path, at_once):
            held.append(shard_writer._TURN.locked())
            yield more

    monkeypatch.setattr(records, "counts", counts)
    monkeypatch.setattr(shard_writer, "CHUNK_EXAMPLES", 1)
    with ShardWriter(str(tmp_path), "test", 4) as writer:
        _add(writer, [_frame(bytes([example])) for example in range(100)])
    writer.read_back(_tick)
    assert held == [True] * 100
    assert not shard_writer._TURN.locked()
