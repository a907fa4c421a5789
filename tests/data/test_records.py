"""Shards: every damage to them is found, and nothing is read that no record can be."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from support import colours_dataset as colours
from support.datasets import record_header

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import records
from mnist_estimator.data.manifest import (
    Dataset,
    DatasetError,
    read_manifest,
)
from mnist_estimator.runtime import files


def test_whole_dataset_has_no_problems(prepared: Path):
    assert records.verify(str(prepared)) == []


def test_any_flipped_bit_is_found(data_dir: Path):
    dice, problems = random.Random(1), set()
    for path in sorted(data_dir.glob("*.tfrecord")):
        whole = path.read_bytes()
        # The first record byte by byte, for its length, checksums and content; then here and there.
        for at in [*range(60), *(dice.randrange(len(whole)) for _ in range(40))]:
            broken = bytearray(whole)
            broken[at] ^= 1 << dice.randrange(8)
            path.write_bytes(broken)
            found = records.verify(str(data_dir))
            assert any("sha256" in line for line in found), (path, at)
            assert any("is corrupt" in line for line in found), (path, at)
            assert all(line.startswith(path.name) for line in found)
            problems.update(line.split("(")[0] for line in found if "corrupt" in line)
        path.write_bytes(whole)
    assert "test-00000-of-00003.tfrecord: record 2 is corrupt " in problems
    assert records.verify(str(data_dir)) == []


def test_every_cut_is_found(data_dir: Path):
    path = data_dir / "test-00001-of-00003.tfrecord"
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        problems = records.verify(str(data_dir))
        assert f"{path.name}: {size} bytes, expected {len(whole)}" in problems


def test_trailing_bytes_are_found(data_dir: Path):
    path = data_dir / "test-00001-of-00003.tfrecord"
    size = path.stat().st_size
    # TensorFlow's reader takes less than 12 bytes, a record's header, for the end of the file.
    path.write_bytes(path.read_bytes() + b"x")
    assert f"{path.name}: {size + 1} bytes, expected {size}" in records.verify(str(data_dir))
    path.write_bytes(path.read_bytes() + b"x" * 11)
    assert any("record 2 is corrupt" in line for line in records.verify(str(data_dir)))


@pytest.mark.parametrize("length", [2**33, 2**63, 2**64 - 1])
def test_a_record_longer_than_its_file_is_found_before_it_is_read(data_dir: Path, length: int):
    path = data_dir / "train-00001-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    second = 16 + int.from_bytes(data[:8], "little")
    data[second : second + 8] = length.to_bytes(8, "little")
    path.write_bytes(data)
    line = f"{path.name}: record 1 is corrupt (it is longer than the file)"
    manifest = read_manifest(str(data_dir))
    assert records.find_damage(Dataset(str(data_dir), manifest)) == line
    assert records.verify(str(data_dir))[-1] == line


@pytest.mark.parametrize("length", [2**40, 2**63 - 20, 2**64 - 1])
@pytest.mark.parametrize("vouched", [True, False], ids=["right digest", "wrong digest"])
@pytest.mark.parametrize("place", ["in the middle", "at the end"])
def test_a_length_that_no_memory_can_hold_is_found_before_it_is_read(
    data_dir: Path, tmp_path: Path, length: int, vouched: bool, place: str
):
    """TensorFlow's reader ends the process where the checksum of such a length is right."""
    path = data_dir / "test-00001-of-00003.tfrecord"
    data, header = path.read_bytes(), record_header(length, tmp_path / "scratch")
    second = 16 + int.from_bytes(data[:8], "little")
    data = data + header if place == "at the end" else data[:second] + header + data[second + 12 :]
    path.write_bytes(data)
    if vouched:
        size, sha256 = files.size_and_sha256(str(path))
        colours.edit(data_dir, lambda m: m["splits"]["test"][1].update(bytes=size, sha256=sha256))
    number = 2 if place == "at the end" else 1
    line = f"{path.name}: record {number} is corrupt (it is longer than the file)"
    assert records.verify(str(data_dir))[-1] == line
    assert records.find_damage(Dataset(str(data_dir), read_manifest(str(data_dir)))) == line
    found = records.read_records(str(path))
    assert [len(next(found)) for _ in range(number)]
    with pytest.raises(DatasetError, match=f"record {number} is corrupt"):
        next(found)


def test_a_record_longer_than_any_example_is_not_read(data_dir: Path):
    path = data_dir / "test-00002-of-00003.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(records.encode_example(_GOOD, 299))
        file.write(bytes(2000))
    line = f"{path.name}: record 1 is corrupt (it has 2,000 bytes, expected at most 1,042)"
    assert records.verify(str(data_dir))[-1] == line


@pytest.mark.parametrize("block_bytes", [24, 100, 2**20])
def test_every_length_is_looked_at(tmp_path: Path, monkeypatch, block_bytes: int):
    """Wherever a block that is read ends, and whatever the lengths before are."""
    monkeypatch.setattr(records, "_BLOCK_BYTES", block_bytes)
    dice, path = random.Random(0), tmp_path / "a.tfrecord"
    for _ in range(100):
        lengths = dice.choices([0, 1, 20, 20, 20, 150], k=dice.randrange(30))
        with tf.io.TFRecordWriter(str(path)) as file:
            for length in lengths:
                file.write(bytes(length))
        assert records.find_overlong(str(path)) is None
        first = next((n for n, length in enumerate(lengths) if length > 20), None)
        found = records.find_overlong(str(path), 20)
        assert (found and found.number) == first
        if lengths:
            path.write_bytes(path.read_bytes()[:-1])
            assert records.find_overlong(str(path)).number == len(lengths) - 1


def test_a_fifo_in_place_of_a_shard_is_not_opened(data_dir: Path):
    path = data_dir / "train-00001-of-00003.tfrecord"
    size = path.stat().st_size
    path.unlink()
    os.mkfifo(path)
    assert records.verify(str(data_dir)) == [f"{path.name}: 0 bytes, expected {size}"]
    with pytest.raises(InputError, match="not a plain file"):
        list(records.read_records(str(path)))


def test_a_shard_without_bytes_has_no_records(tmp_path):
    (tmp_path / "a.tfrecord").touch()
    assert list(records.read_records(str(tmp_path / "a.tfrecord"))) == []


@pytest.mark.parametrize(("at_once", "expected"), [(1, [1] * 5), (2, [2, 2, 1]), (8, [5])])
def test_counts(tmp_path: Path, at_once: int, expected: list[int]):
    path = str(tmp_path / "shard")
    with tf.io.TFRecordWriter(path) as file:
        for number in range(5):
            file.write(bytes(number))
    assert list(records.counts(path, at_once)) == expected


def test_counts_name_the_first_corrupt_record(data_dir: Path):
    path = data_dir / "test-00000-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    last = read_manifest(str(data_dir)).splits["test"][0].examples - 1
    with pytest.raises(DatasetError, match=f"{path}: record {last} is corrupt"):
        list(records.counts(str(path), 1024))


def test_missing_shard(data_dir: Path):
    (data_dir / "train-00001-of-00003.tfrecord").unlink()
    assert records.verify(str(data_dir)) == ["train-00001-of-00003.tfrecord: missing"]


def test_shard_is_a_folder(data_dir: Path):
    path = data_dir / "train-00001-of-00003.tfrecord"
    path.unlink()
    path.mkdir()
    (problem,) = records.verify(str(data_dir))
    assert problem.startswith(path.name) and "directory" in problem.lower()


def test_extra_shard(data_dir: Path):
    (data_dir / "train-00003-of-00004.tfrecord").write_bytes(b"")
    (data_dir / "notes.txt").write_text("mine")
    assert records.verify(str(data_dir)) == ["train-00003-of-00004.tfrecord: not in manifest.json"]


def test_swapped_shards(data_dir: Path):
    one, two = (data_dir / f"train-0000{i}-of-00003.tfrecord" for i in (0, 1))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    problems = records.verify(str(data_dir))
    assert [line.split(":")[0] for line in problems if "sha256" in line] == [one.name, two.name]


def _example(**features: tf.train.Feature) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _bytes(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


_GOOD = b"p" * 18
_WRONG_RECORDS = {
    "empty": (b"", "has features '', expected image_raw and label"),
    "noise": (b"\xff\xff\xff", "is not a tf.train.Example"),
    "no label": (_example(image_raw=_bytes(_GOOD)), "has features 'image_raw'"),
    "more": (
        _example(image_raw=_bytes(_GOOD), label=_ints(1), x=_ints(1)),
        "'image_raw, label, x'",
    ),
    "label as bytes": (
        _example(image_raw=_bytes(_GOOD), label=_bytes(b"1")),
        "1 images and 0 labels",
    ),
    "two labels": (_example(image_raw=_bytes(_GOOD), label=_ints(1, 2)), "1 images and 2 labels"),
    "short": (
        _example(image_raw=_bytes(_GOOD[1:]), label=_ints(1)),
        "image of 17 bytes, expected 18",
    ),
    "label": (_example(image_raw=_bytes(_GOOD), label=_ints(300)), "label 300, expected 0 to 299"),
    "negative": (_example(image_raw=_bytes(_GOOD), label=_ints(-1)), "label -1, expected 0 to 299"),
}


@pytest.mark.parametrize("name", _WRONG_RECORDS)
def test_record_that_is_no_example(data_dir: Path, name: str):
    """Well-formed records of a shard that the manifest vouches for."""
    record, line = _WRONG_RECORDS[name]
    path = data_dir / "test-00002-of-00003.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(records.encode_example(_GOOD, 299))
        file.write(record)
    size, sha256 = files.size_and_sha256(str(path))
    colours.edit(data_dir, lambda m: m["splits"]["test"][2].update(bytes=size, sha256=sha256))
    (problem,) = records.verify(str(data_dir))
    assert problem.startswith(f"{path.name}: record 1 ") and line in problem


def test_wrong_count(data_dir: Path):
    def one_more(manifest: dict) -> None:
        manifest["splits"]["test"][0].update(examples=4)
        manifest["class_examples"]["test"][0] += 1

    colours.edit(data_dir, one_more)
    assert records.verify(str(data_dir)) == ["test-00000-of-00003.tfrecord: 3 records, expected 4"]


def test_every_problem_is_named(data_dir: Path):
    for path in data_dir.glob("*.tfrecord"):
        path.write_bytes(b"")
    assert len({line.split(":")[0] for line in records.verify(str(data_dir))}) == 9


def test_encoding_is_pinned():
    # Shards of the same data have the same bytes on every version of Python and TensorFlow.
    assert (
        records.encode_example(b"\x00\xff", 300).hex()
        == "0a260a130a09696d6167655f72617712060a040a0200ff0a0f0a056c6162656c12061a040a02ac02"
    )
