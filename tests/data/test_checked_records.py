"""Records of shards in a graph. What batches of damaged shards do is tested with `inputs`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import stored_shards, tiny_dataset

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import checked_records, shard_cache
from mnist_estimator.data.manifest import Dataset
from mnist_estimator.runtime.files import is_local


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(str(tmp_path / "data"), tiny_dataset.write(tmp_path / "data"))


def _checked(path: str, dataset: Dataset) -> str:
    """The path as a graph of tf.data gets it back."""
    paths = tf.data.Dataset.from_tensors(path)
    (checked,) = paths.map(lambda path: checked_records.checked_path(path, dataset.manifest))
    return checked.numpy().decode()


def test_all_records_are_read_shard_by_shard(dataset: Dataset):
    paths = dataset.shard_paths("train")
    read = checked_records.read_all(paths, dataset.manifest)
    assert len(list(read)) == dataset.manifest.num_examples("train")
    for path in paths:
        assert _checked(path, dataset) == path


def test_the_records_of_a_store_are_read_from_copies(tmp_path: Path):
    with stored_shards.dataset() as stored:
        expected = list(checked_records.read_split(stored, "train").as_numpy_iterator())
        with shard_cache.opened(stored, folder=str(tmp_path), limit=None):
            read = checked_records.read_split(stored, "train")
            for shard in stored.manifest.splits["train"]:
                tf.io.gfile.remove(stored_shards.path(stored, shard))
            assert list(read.as_numpy_iterator()) == expected
            assert list(read.as_numpy_iterator()) == expected  # Another time over.
    assert len(expected) == stored.manifest.num_examples("train")


def test_a_copy_is_held_until_the_next_one_is_taken_and_the_last_until_its_end(tmp_path: Path):
    with stored_shards.dataset() as stored:
        shards = stored.manifest.splits["train"]
        with shard_cache.opened(stored, folder=str(tmp_path), limit=shards[0].bytes):
            other = shard_cache.of(stored).stream()
            read = iter(checked_records.read_split(stored, "train"))
            next(read)
            assert not is_local(other.take(shards[2:]))
            assert len(list(read)) == stored.manifest.num_examples("train") - 1
            assert is_local(other.take(shards[2:]))


def test_a_wrong_shard_of_a_store_is_named_in_a_graph(tmp_path: Path):
    with stored_shards.dataset() as stored:
        shard = stored.manifest.splits["train"][1]
        with shard_cache.opened(stored, folder=str(tmp_path), limit=shard.bytes):
            stored_shards.replace(stored, shard, b"x" * shard.bytes)
            read = checked_records.read_split(stored, "train")  # There is room for the first one.
            with pytest.raises(tf.errors.InvalidArgumentError, match=f"{shard.file}: sha256"):
                list(read)


def test_a_shard_that_is_no_file_is_not_opened(dataset: Dataset):
    path = dataset.shard_paths("train")[0]
    os.unlink(path)
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a plain file"):
        checked_records.read_all([path], dataset.manifest)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a plain file"):
        _checked(path, dataset)


@pytest.mark.parametrize("there", [2, 3, 4])
def test_missing_records_are_an_error(there: int):
    numbers, records = tf.data.Dataset.range(3), tf.data.Dataset.from_tensor_slices(["r"] * there)
    numbered = checked_records.numbered_records(numbers, records, 3)
    if there >= 3:
        assert [int(number) for number, _ in numbered] == [0, 1, 2]
    else:
        with pytest.raises(tf.errors.FailedPreconditionError, match="contained only 2 elements"):
            list(numbered)


def test_the_shards_of_a_store_are_brought_before_a_session_reads_them(tmp_path: Path):
    with stored_shards.dataset() as stored:
        shards = stored.manifest.splits["train"]
        with shard_cache.opened(stored, folder=str(tmp_path), limit=None):
            checked_records.prepare_split(stored, "train")
            stream = shard_cache.of(stored).stream()
            for shard in shards:
                tf.io.gfile.remove(stored_shards.path(stored, shard))
            assert all(is_local(stream.take([shard])) for shard in shards)
            stream.end()


def test_the_shards_of_a_split_are_checked_again_each_time(dataset: Dataset):
    checked_records.prepare_split(dataset, "train")
    path = dataset.shard_paths("train")[-1]
    os.truncate(path, os.path.getsize(path) - 1)
    with pytest.raises(tf.errors.DataLossError, match="longer than the file"):
        checked_records.prepare_split(dataset, "train")
